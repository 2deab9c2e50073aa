"""What stands between the output of the command and ours: pipes, and a terminal of its own where ours is one.

Guarantees:
- What was a terminal is one for the command, with the same size and settings; what was not is none. Two streams stay
  two; where standard error is the same file as standard output, both are one pipe, so that their order is kept.
- Standard input is the command's own, but where it is the terminal. Every other descriptor is inherited as it is.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import termios
import threading
from typing import Any

from monitor_auto.boot import guard, relaying

from .terminal import Terminal

PIPE_BYTES = 1 << 20
"""A larger pipe halves the switches between two processes; the most that a user may have without asking (Linux)."""
TERMINAL_HOLD_SECONDS = 0.1
"""Whoever types `m` at the beginning of a line wants to see it."""
GRACE_SECONDS = 0.1
"""How long what the command has left behind may go on to write before it is left to the guardian."""


class Streams:
    """The streams of one command. `slots` and `closed` are for the guardian's Plan."""

    def __init__(self) -> None:
        self.slots: dict[int, int] = {}
        self.closed = [number for number in (0, 1, 2) if not _is_open(number)]
        for _ in self.closed:  # or the next descriptors that we open would get these numbers
            os.open(os.devnull, os.O_RDWR)
        self.sources: list[tuple[int, int]] = []
        self.pumps: list[relaying.Pump] = []
        self.threads: list[threading.Thread] = []
        self.terminal: Terminal | None = None
        self.slave = self.master = -1
        self.initial: list[Any] = []
        self._stop, self._stopping = os.pipe()
        self.ended, self._end = os.pipe()
        os.set_blocking(self.ended, False)
        self._make()

    def _make(self) -> None:
        terminals = [number for number in (1, 2) if number not in self.closed and os.isatty(number)]
        if terminals:
            self._make_terminal(terminals)
        others = [number for number in (1, 2) if number not in self.closed and number not in terminals]
        if len(others) == 2 and _is_same_file(1, 2):
            self._make_pipe(1, 2)
        else:
            for number in others:
                self._make_pipe(number)

    def _make_pipe(self, *numbers: int) -> None:
        reading, writing = os.pipe()
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            try:
                fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            except OSError:  # the user's share of pipe memory is used up
                pass
        self.sources.append((reading, numbers[0]))
        self.slots.update(dict.fromkeys(numbers, writing))

    def _make_terminal(self, numbers: list[int]) -> None:
        self.master, self.slave = os.openpty()
        readable = 0 if 0 not in self.closed and os.isatty(0) else _reopened(numbers[0])
        settings = termios.tcgetattr(readable)
        termios.tcsetattr(self.slave, termios.TCSANOW, settings)
        self.initial = termios.tcgetattr(self.master)
        self.terminal = Terminal(readable, self.master)
        self.terminal.copy_size()
        self.sources.append((self.master, numbers[0]))
        self.slots.update(dict.fromkeys(numbers, self.slave))
        if readable == 0:
            self.slots[0] = self.slave

    @property
    def not_the_guardians(self) -> list[int]:
        """What the guardian must not hold: a reader of its own would hide that we are gone."""
        return [*(source for source, _ in self.sources), self._stop, self._stopping, self.ended, self._end]

    def let_go(self) -> None:
        """The guardian is there: what is the command's is not ours any more."""
        for descriptor in set(self.slots.values()):
            os.close(descriptor)

    def start(self, pid: int) -> None:
        """Begin to pass on."""
        guard.call("relay", relaying.prepare)
        for source, sink in self.sources:
            hold = TERMINAL_HOLD_SECONDS if source == self.master else relaying.HOLD_SECONDS
            pump = relaying.Pump(source, sink, pid, hold, self._stop)
            self.pumps.append(pump)
            thread = threading.Thread(target=self._run, args=(pump,), daemon=True)
            self.threads.append(thread)
            thread.start()
        if self.terminal is not None:
            threading.Thread(target=self.terminal.feed, args=(self._stop,), daemon=True).start()

    def _run(self, pump: relaying.Pump) -> None:
        relaying.without_signals()
        try:
            pump.is_ended = pump.run()
        finally:
            # Whoever still writes there learns that nobody reads. What the terminal is set to is still to be asked.
            if pump.fault is not None or pump.is_ended and pump.source != self.master:
                os.close(pump.source)
            pump.is_over = True
            os.write(self._end, b".")

    @property
    def are_over(self) -> bool:
        """True when every stream has come to its end."""
        try:
            os.read(self.ended, 64)
        except BlockingIOError:
            pass
        return all(pump.is_over for pump in self.pumps)

    @property
    def are_idle(self) -> bool:
        """True when there is nothing to pass on just now."""
        for pump in self.pumps:
            if not pump.is_over and (pump.is_busy or _has_data(pump.source)):
                return False
        return True

    def stop(self) -> list[tuple[int, int]]:
        """End the pumps that still run; return what they leave: pairs of source and sink."""
        os.write(self._stopping, b".")
        left = []
        for pump, thread in zip(self.pumps, self.threads, strict=True):
            thread.join()
            if not pump.is_ended and pump.fault is None:
                relaying.write_all(pump.sink, pump.splitter.finish())
                left.append((pump.source, pump.sink))
        return left

    def faults(self) -> list[str]:
        """Return why output could not be written; a reader who has gone is no reason to speak."""
        found = [pump.fault for pump in self.pumps if pump.fault is not None]
        return [str(fault.strerror) for fault in found if fault.errno not in (errno.EPIPE, errno.EIO)]


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
        return True
    except OSError:
        return False


def _is_same_file(one: int, other: int) -> bool:
    first, second = os.fstat(one), os.fstat(other)
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def _has_data(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return any(event & select.POLLIN for _, event in poll.poll(0))


def _reopened(number: int) -> int:
    """Return a descriptor that can read a terminal; ours may be open for writing only."""
    try:
        return os.open(os.ttyname(number), os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return number

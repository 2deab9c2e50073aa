"""One command of `monitor-auto run`, from its start to our own end, on our side of the guardian."""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import time
from collections.abc import Sequence
from typing import Any

from monitor_auto.boot import children, guard

from ..terminal import complain
from . import guardian, signals
from .guardian import Channel, Plan
from .session import OwnSession, child_environment, signal_name
from .streams import GRACE_SECONDS, Streams

WITNESS_SECONDS = 5.0
"""How long the guardian may take to answer on a machine that is busy."""
FAILED = 125


class Running:
    """One command, from its start to our own end."""

    def __init__(self, command: list[str], own: OwnSession) -> None:
        self.command = command
        self.own = own
        self.status: int | None = None
        self.failure = 0
        self.pid = 0
        self.number: int | None = None
        self.witnessed: list[int] = []
        self.wakings: list[float] = []
        """For each time that the guardian has woken us, until when the signal of it counts as such."""
        self.asked = self.answered = 0
        self.is_lost = False

    def work(self) -> int:
        """Run it all; return the exit status."""
        mask = signals.block()
        self.streams = Streams()
        self.channel = self._start_guardian(mask)
        self.own.begin(self.command)
        self.caught = signals.catch(mask)
        self.started = time.monotonic()
        try:
            if self.streams.terminal is not None:  # before the command writes anything: both would turn \n into \r\n
                self.streams.terminal.enter()
            self.channel.tell(env=child_environment(), leftover=self.own.leftover)
            self._follow()
            self._drain()
        finally:
            self._finish()
        return self._leave()

    def _start_guardian(self, mask: set[Any]) -> Channel:
        ours, theirs = socket.socketpair()
        streams, terminal = self.streams, self.streams.terminal
        pid = os.fork()
        if not pid:
            ours.close()
            plan = Plan(self.command, streams.slots, streams.closed, streams.slave)
            plan.not_ours = streams.not_the_guardians
            if terminal is not None:
                plan.user_terminal, plan.calm, plan.raw = terminal.descriptor, terminal.calm, terminal.raw
            guardian.serve(Channel(theirs), plan, mask)
        self.guardian = pid
        theirs.close()
        streams.let_go()
        return Channel(ours)

    def _follow(self) -> None:
        """Pass on signals and do what the guardian says, until the command has ended."""
        poll = select.poll()
        poll.register(self.channel, select.POLLIN)
        poll.register(self.caught, select.POLLIN)
        while self.status is None and not self.failure:
            ready = {descriptor for descriptor, _ in poll.poll(self.own.tend())}
            if self.channel.fileno() in ready and not self._hear():
                self.is_lost = True
                return
            if self.caught in ready:
                self._on_signals()

    def _hear(self) -> bool:
        words = self.channel.hear()
        if words is None:
            return False
        for word in words:
            if "started" in word:
                self._on_start(word["started"])
            elif "failed" in word:
                self.failure = word["failed"]
            elif "exited" in word:
                self.status = word["exited"]
            elif "stopped" in word:
                self._on_stop(word["stopped"])
            elif "signal" in word:
                self.witnessed.append(word["signal"])
            elif "woken" in word:
                self.wakings.append(time.monotonic() + guardian.WAKE_SECONDS)
            elif "asked" in word:
                self.answered = word["asked"]
        return True

    def _on_start(self, pid: int) -> None:
        self.pid = pid
        self.number = guard.call("relay", children.started, pid, self.started, self.command, "run")
        self.streams.start(pid)

    def _on_signals(self) -> None:
        terminal = self.streams.terminal
        for number in signals.caught(self.caught):
            if number == signal.SIGCONT and terminal is not None:
                terminal.enter()
            if number == signal.SIGWINCH and terminal is not None:
                terminal.copy_size()
            elif not (terminal is not None and terminal.is_own(number)) and not self._was_for_all(number):
                self.channel.tell(kill=number)

    def _was_for_all(self, number: int) -> bool:
        """True when the guardian got the signal, too: then the command did, as it is in the same process group. Or when
        it comes from the guardian, because the command goes on: passed on, it would wake one that has stopped again.
        """
        if self.streams.terminal is not None and number != signal.SIGCONT:  # the guardian is in a session of its own
            return False
        self.asked += 1  # whoever sent it to both did so in one system call: by now the guardian has it
        self.channel.tell(ask=self.asked)
        poll = select.poll()
        poll.register(self.channel, select.POLLIN)
        deadline = time.monotonic() + WITNESS_SECONDS
        while self.answered != self.asked and poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            if not self._hear():
                break
        if number == signal.SIGCONT:
            self.wakings = [end for end in self.wakings if end > time.monotonic()]
            if self.wakings:
                self.wakings.pop(0)
                return True
        if number not in self.witnessed:
            return False
        self.witnessed.remove(number)
        return True

    def _on_stop(self, number: int) -> None:
        """The command has stopped: stop, too, so that the shell gives its user a prompt."""
        terminal = self.streams.terminal
        if terminal is not None:
            terminal.leave()
        is_woken = stop_ourselves()
        if terminal is not None:
            terminal.enter()
            if not is_woken and number == signal.SIGTSTP:  # in a bare run the kernel would have ignored the Ctrl-Z
                self.channel.tell(kill=int(signal.SIGCONT))

    def _drain(self) -> None:
        """Pass on what the command has left in its pipes; what others still hold open is left to the guardian."""
        streams = self.streams
        poll = select.poll()
        poll.register(streams.ended, select.POLLIN)
        poll.register(self.caught, select.POLLIN)
        deadline = time.monotonic() + GRACE_SECONDS
        while not streams.are_over and not (time.monotonic() > deadline and streams.are_idle):
            poll.poll(GRACE_SECONDS * 1000 / 4)
            if signals.DEADLY.intersection(signals.caught(self.caught)):
                return  # nobody reads what we write, and somebody does not want to wait for that

    def _finish(self) -> None:
        """Give the terminal back; tell the guardian to go, or to carry on."""
        streams = self.streams
        is_stuck = not streams.are_over and not streams.are_idle
        left = [] if is_stuck else streams.stop()
        if streams.terminal is not None:
            streams.terminal.close(streams.initial, keep=self.status is not None and self.status >= 0)
        if left:
            self.channel.tell([source for source, _ in left], carry=[sink for _, sink in left])
        else:
            self.channel.tell(bye=True)
            os.waitpid(self.guardian, 0)
        self.channel.end.close()

    def _leave(self) -> int:
        """Record the end, report, deliver, and go as the command went."""
        for fault in self.streams.faults():
            complain(f"the output of the command cannot be written: {fault}")
        if self.failure:
            status = tell_failure(self.command, OSError(self.failure, os.strerror(self.failure)))
        elif self.status is None:
            complain("the process that looked after the command was killed")
            status = FAILED
        else:
            status = self.status
            self._record_exit(status)
        self.own.end(status)
        return status if status >= 0 else die_of(-status)

    def _record_exit(self, status: int) -> None:
        facts = {"signal": signal_name(-status)} if status < 0 else {"exit_code": status}
        if self.number is not None:
            guard.call("relay", children.exited, self.pid, facts)


def stop_ourselves() -> bool:
    """Stop as by Ctrl-Z; True once somebody has woken us, False where the kernel finds that nobody could."""
    woken: list[int] = []
    before = {
        signal.SIGTSTP: signal.signal(signal.SIGTSTP, signal.SIG_DFL),
        signal.SIGCONT: signal.signal(signal.SIGCONT, lambda number, frame: woken.append(number)),
    }
    os.kill(os.getpid(), signal.SIGTSTP)
    for number, handler in before.items():
        signal.signal(number, handler)
    return bool(woken)


def tell_failure(command: Sequence[str], error: Exception) -> int:
    """Say why the command could not be started; return the status by which shells say it."""
    is_missing = isinstance(error, (FileNotFoundError, NotADirectoryError, ValueError))
    reason = "there is no such command" if is_missing else str(getattr(error, "strerror", error))
    complain(f"{command[0]}: {reason}")
    return 127 if is_missing else 126


def die_of(number: int) -> int:
    """Die of a signal, without leaving a core of our own; return what a shell would say where we do not."""
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, limits[1]))
    signal.set_wakeup_fd(-1)
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    return 128 + number

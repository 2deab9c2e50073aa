"""The process between `monitor-auto run` and its command: it starts the command, waits for it, and is told what to do.

Forked before the session begins, so it is none, and the command's only parent. Why there is one:

- On a terminal of its own the command needs a parent in its session, or Ctrl-Z would not stop it: the kernel ignores
  stop signals for a process group that has nobody to wake it (POSIX: orphaned process group).
- Without one it is our witness: in our process group, it gets each signal that was sent to the group, as the command
  does. Those are not passed on, or the command would get them twice: Ctrl-C, `timeout`, a CI system that ends a job.
- When `run` is killed by SIGKILL it puts the terminal right and hands the SIGKILL on.
- When the command is gone, and something that it has started still holds its output, it stays to pass that on.

It says, a JSON object a line: {"started": pid}, {"failed": errno}, {"stopped": signal}, {"signal": number}, {"woken":
true} (before it wakes `run`), {"exited": status} (negative: a signal), {"asked": n}. It is told:
{"env": {…}, "leftover": […]}, {"kill": number}, {"carry": […]}, {"bye": true}, and {"ask": n}, which it answers when it
has told every signal that it got.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
import termios
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from . import signals

WAKE_SECONDS, LOOK_SECONDS = 1.0, 0.02
"""When somebody wakes the command alone, `run`, which has stopped because the command had, is woken too. It may only
just be about to stop."""
CARRIED = 3
"""Streams at most: what `carry` hands over."""


@dataclass
class Plan:
    """What the command is and what it gets. `slots`: which of our descriptors is its 0, 1 and 2, where not the same."""

    command: Sequence[str]
    slots: dict[int, int]
    closed: Sequence[int] = ()
    slave: int = -1
    user_terminal: int = -1
    calm: list[Any] = field(default_factory=list)
    raw: list[Any] = field(default_factory=list)
    not_ours: Sequence[int] = ()


class Channel:
    """One end of the line between `run` and its guardian."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self._read = b""
        self.descriptors: list[int] = []

    def fileno(self) -> int:
        return self.end.fileno()

    def tell(self, descriptors: Sequence[int] = (), **facts: Any) -> None:
        """Say something; when the other end is gone there is nobody to hear it."""
        line = json.dumps(facts).encode() + b"\n"
        try:
            if descriptors:
                socket.send_fds(self.end, [line], descriptors)
            else:
                self.end.sendall(line)
        except OSError:
            return

    def hear(self) -> Iterator[dict[str, Any]] | None:
        """Wait for something and return it; None at the end."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self.end, 1 << 20, CARRIED)
        except OSError:
            data, descriptors = b"", []
        self.descriptors += descriptors
        if not data:
            return None
        *lines, self._read = (self._read + data).split(b"\n")
        return map(json.loads, lines)


def serve(channel: Channel, plan: Plan, mask: set[Any]) -> NoReturn:
    """Be the guardian. Never returns."""
    status = 125
    try:
        for descriptor in plan.not_ours:
            os.close(descriptor)
        Guardian(channel, plan, mask).work()
        status = 0
    finally:
        os._exit(status)


class Guardian:
    """The guardian's work, in its own process."""

    def __init__(self, channel: Channel, plan: Plan, mask: set[Any]) -> None:
        self.channel = channel
        self.plan = plan
        self.mask = mask
        self.caught = signals.catch(mask, signal.SIGCHLD)
        self.pid = 0
        self.run = os.getppid()
        self.is_over = False
        self.leftover: list[str] = []
        self.wake_until = 0.0

    def work(self) -> None:
        """Start the command when told to, and look after it until `run` says that it is over, or is gone."""
        if self.plan.slave >= 0:
            self._take_terminal()
        poll = select.poll()
        poll.register(self.channel, select.POLLIN)
        poll.register(self.caught, select.POLLIN)
        while not self.is_over:
            is_waking = time.monotonic() < self.wake_until
            ready = {descriptor for descriptor, _ in poll.poll(LOOK_SECONDS * 1000 if is_waking else None)}
            if is_waking and is_stopped(self.run):
                self.channel.tell(woken=True)
                os.kill(self.run, signal.SIGCONT)
            if self.caught in ready:
                self._on_signals()
            if self.channel.fileno() in ready:
                self._on_words()

    def _take_terminal(self) -> None:
        import fcntl

        os.setsid()
        fcntl.ioctl(self.plan.slave, termios.TIOCSCTTY, 0)

    def _on_signals(self) -> None:
        for number in signals.caught(self.caught):
            if number == signal.SIGCHLD:
                self._look()
            else:
                self.channel.tell(signal=number)

    def _look(self) -> None:
        """Tell what became of the command."""
        while self.pid:
            pid, status = os.waitpid(self.pid, os.WUNTRACED | os.WCONTINUED | os.WNOHANG)
            if not pid:
                return
            if os.WIFSTOPPED(status):
                self.wake_until = 0.0
                self.channel.tell(stopped=os.WSTOPSIG(status))
            elif os.WIFCONTINUED(status):
                self.wake_until = time.monotonic() + WAKE_SECONDS
            else:
                self.pid = 0
                self.channel.tell(exited=os.waitstatus_to_exitcode(status))

    def _on_words(self) -> None:
        words = self.channel.hear()
        if words is None:
            self._on_murder()
            return
        for word in words:
            if "env" in word:
                self.leftover = word.get("leftover", [])
                self._start(word["env"])
            elif "ask" in word:
                self._on_signals()
                self.channel.tell(asked=word["ask"])
            elif "kill" in word:
                self._kill(word["kill"])
            elif "carry" in word:
                self.is_over = True
                carry(self.channel, word["carry"])
            elif "bye" in word:
                self.is_over = True

    def _on_murder(self) -> None:
        """`run` was killed: the terminal gets the settings back that it took, the command the same SIGKILL."""
        self.is_over = True
        plan = self.plan
        if plan.user_terminal >= 0:
            try:
                if termios.tcgetattr(plan.user_terminal) == plan.raw:  # else a shell has put it right already
                    termios.tcsetattr(plan.user_terminal, termios.TCSANOW, plan.calm)
            except termios.error:  # the terminal is gone
                pass
        if self.leftover:  # nobody looks after what is kept for a report any more
            try:
                os.rename(*self.leftover)
            except OSError:  # it was not begun
                pass
        self._kill(signal.SIGKILL)

    def _kill(self, number: int) -> None:
        """Send the command a signal; what wakes it wakes its group, which Ctrl-Z has stopped as a whole."""
        if self.pid:
            try:
                if number == signal.SIGCONT and self.plan.slave >= 0:
                    os.killpg(self.pid, number)
                else:
                    os.kill(self.pid, number)
            except (ProcessLookupError, PermissionError):  # a command of another user (sudo) is not ours to signal
                return

    def _start(self, environment: dict[str, str]) -> None:
        """Start the command; tell its pid, or why it could not be started."""
        reading, writing = os.pipe()
        all_blocked = signals.block()
        pid = os.fork()
        if not pid:
            become(self.plan, environment, self.mask, writing)
        signal.pthread_sigmask(signal.SIG_SETMASK, all_blocked)
        os.close(writing)
        for descriptor in {*self.plan.slots.values()} - {0, 1, 2}:
            os.close(descriptor)
        trouble = os.read(reading, 16)
        os.close(reading)
        if trouble:
            os.waitpid(pid, 0)
            self.channel.tell(failed=int(trouble))
            return
        self.pid = pid
        self.channel.tell(started=pid)
        self._look()


def is_stopped(pid: int) -> bool:
    """Return whether a process is stopped; where that cannot be seen, it may be."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] == b"T"
    except OSError:
        return True


def become(plan: Plan, environment: dict[str, str], mask: set[Any], writing: int) -> NoReturn:
    """In the child: take the terminal and the streams, and become the command, or write down the errno."""
    try:
        if plan.slave >= 0:
            os.setpgid(0, 0)
            os.tcsetpgrp(plan.slave, os.getpid())  # SIGTTOU is blocked
        for number, descriptor in plan.slots.items():
            os.dup2(descriptor, number)
        for descriptor in plan.closed:
            os.close(descriptor)
        signal.set_wakeup_fd(-1)
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them in its own processes
            signal.signal(ignored, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        execute(list(plan.command), environment)
    except OSError as error:
        os.write(writing, str(error.errno or errno.EINVAL).encode())
    except ValueError:  # a NUL byte
        os.write(writing, str(errno.ENOENT).encode())
    finally:
        os._exit(127)


def execute(command: list[str], environment: dict[str, str]) -> NoReturn:
    """Become the command, found as a shell finds it; a script without a first line is run by sh. Raises OSError."""
    name = command[0]
    folders = environment.get("PATH", os.defpath).split(os.pathsep)
    paths = [name] if "/" in name else [f"{folder or '.'}/{name}" for folder in folders]
    best = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    for path in paths if name else []:
        try:
            os.execve(path, command, environment)
        except OSError as error:
            if error.errno == errno.ENOEXEC:
                os.execve("/bin/sh", ["/bin/sh", path, *command[1:]], environment)
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                best = error  # type: ignore[assignment]
    raise best


def carry(channel: Channel, sinks: Sequence[int]) -> None:
    """Pass on what still comes, byte for byte, until nobody holds the streams any more. `run` is gone by now."""
    pairs = dict(zip(channel.descriptors, sinks, strict=True))
    channel.end.close()
    poll = select.poll()
    for source in pairs:
        poll.register(source, select.POLLIN)
    while pairs:
        for source, _ in poll.poll():
            if source in pairs and not _pass_on(source, pairs[source]):
                poll.unregister(source)
                os.close(source)
                del pairs[source]


def _pass_on(source: int, sink: int) -> bool:
    """Pass on one block. False at the end of either."""
    try:
        data = os.read(source, 65536)
        rest = data
        while rest:
            rest = rest[os.write(sink, rest) :]
        return bool(data)
    except OSError:
        return False

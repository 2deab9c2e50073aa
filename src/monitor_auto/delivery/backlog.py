"""Has a helper interpreter send a long backlog of own events. Runs in the background thread.

Beside a thread that computes, each time that ours waits and goes on costs the program a change of threads, and us 5 ms:
100,000 events took 12 s and a tenth of the program's time (CPython 3.11, two cores). The helper has a lock of its own.

Guarantees:
- One helper delivers while this thread waits, by the claim that this process has. It is gone before the thread goes on,
  makes way for a fork or ends, and by itself when this process is gone, after the request that is under way.
- It is none of the program's children: a shell that ends at once starts it. Where the program could notice that one (a
  child of its own that it may wait for, a handler of SIGCHLD, or as process 1), there is no helper.
- The token goes through the socket pair. Each report of the helper is about batches that it has noted.
"""

import os
import sys

from monitor_auto.boot import background, guard, patches, recorder, stdlib

from . import courier, deaths

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from typing import Any

    from .segments import Segment
    from .sending import Sending

LONG_BYTES = 2 << 20
"""About 5,000 events: the start of an interpreter has to be worth its 30 ms."""
LOOK_SECONDS = 0.2
SHELL = "/bin/sh"
CODE = "import sys; sys.path.append(sys.argv[1]); from monitor_auto.delivery.backlog_main import main; main()"


def is_long(own: "list[Segment]") -> bool:
    """Return whether so much waits that a helper is worth it."""
    try:
        return sum(os.lstat(segment.path).st_size for segment in own) >= LONG_BYTES
    except OSError:
        return False


def would_be_unseen() -> bool:
    """Return whether the program cannot notice that a child of this process starts and ends."""
    signals = sys.modules["_signal"]
    if os.getpid() == 1 or not os.access(SHELL, os.X_OK) or not hasattr(os, "waitid"):
        return False
    if signals.getsignal(signals.SIGCHLD) is not signals.SIG_DFL or is_blocked(signals.SIGCHLD):
        return False
    try:
        patches.real_of(os.waitid)(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


def is_blocked(signal: int) -> bool:
    """Return whether the main thread blocks a signal, to wait for it (proc(5))."""
    try:
        descriptor = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
        try:
            mask = os.read(descriptor, 8192).partition(b"\nSigBlk:")[2].split()[0]
        finally:
            os.close(descriptor)
    except (OSError, IndexError):
        return True
    return bool(int(mask, 16) >> signal - 1 & 1)


def deliver(state: "Any", sending: "Sending", own: "list[Segment]", batch_size: int) -> bool:
    """Have these segments sent; return whether to go on with what is left of them. Raises OSError where there is no
    helper.
    """
    helper = Helper(state, sending)
    real_interrupt, state.interrupt = state.interrupt, helper.kill
    try:
        helper.begin(own, batch_size)
        while not helper.is_over and not state.is_stopping:
            background.rest(state, LOOK_SECONDS)
            helper.listen(0.0)
    finally:
        helper.end()
        state.interrupt = real_interrupt
    return not sending.why and not state.is_stopping


class Helper:
    """One helper, and what it has reported."""

    def __init__(self, state: "Any", sending: "Sending") -> None:
        self.state, self.sending = state, sending
        self.pid = 0
        self.held = b""
        self.is_over = False
        self.told = [0, 0, 0]
        self.socket: Any = None

    def begin(self, own: "list[Segment]", batch_size: int) -> None:
        """Start it. Raises OSError."""
        sockets, python = stdlib.load("_socket"), courier.interpreter()
        if sockets is None or not python:
            raise OSError("this Python cannot start a helper")
        self.socket, theirs = sockets.socketpair()
        try:
            start(python, theirs.fileno())
        finally:
            theirs.close()
        settings = self.sending.settings
        numbers = ",".join([str(segment.number) for segment in own])
        fields = [settings.scheme, settings.host, settings.port, settings.path, settings.token or "", settings.endpoint]
        fields += [str(settings.debug or ""), own[0].directory, own[0].base, numbers, batch_size]
        data = "\0".join(map(str, fields)).encode("utf-8", "surrogateescape")
        self.socket.sendall(b"%d\n" % len(data) + data)

    def listen(self, seconds: float) -> None:
        """Take what the helper has reported, waiting so long at most for the first of it."""
        self.socket.settimeout(seconds)
        try:
            while piece := self.socket.recv(65536):
                self.held += piece
                self.socket.settimeout(0.0)
            self.is_over = True
        except (BlockingIOError, TimeoutError):
            pass
        except OSError:
            self.is_over = True
        *lines, self.held = self.held.split(b"\n")
        for line in lines:
            word, _, rest = line.partition(b" ")
            self.take(word, rest)

    def take(self, word: bytes, rest: bytes) -> None:
        """Do what one line of a report says."""
        if word == b"pid":
            self.pid = int(rest)
        elif word == b"done":
            self.count([int(number) for number in rest.split()])
        elif word == b"exit":
            deaths.remember(rest)
        elif word == b"why":
            status, misplaced, seconds, why = rest.split(b" ", 3)
            sending = self.sending
            sending.why, sending.status = why.decode("utf-8", "replace"), int(status)
            sending.is_misplaced, sending.retry_after_seconds = misplaced == b"1", float(seconds)
            guard.late("selfreport", "on_failure", sending.status, sending.why)

    def count(self, now: "list[int]") -> None:
        """Count what was sent, rejected and dropped since the last report."""
        sent, rejected, dropped = [after - before for before, after in zip(self.told, now, strict=True)]
        self.told = now
        self.sending.delivered += sent
        self.sending.rejected += rejected
        self.sending.dropped += dropped
        if recorder.session is not None and not recorder.session.is_ended:
            for fate, count in (("sent", sent), ("rejected", rejected), ("dropped", dropped)):
                guard.late("selfreport", "add", fate, count)

    def end(self) -> None:
        """Let it end after the request that is under way, and wait until it is gone."""
        if self.socket is None:
            return
        try:
            self.socket.shutdown(1)
        except OSError:  # gone already
            pass
        while not self.is_over:
            self.listen(1.0)
        self.socket.close()

    def kill(self) -> None:
        """End it at once. Called in another thread. As long as the socket is open there, the pid is its own; one that
        has not told it yet ends when it tries to.
        """
        try:
            if not self.pid:
                self.socket.shutdown(2)
            elif not self.is_over:
                os.kill(self.pid, 9)
        except OSError:  # gone by itself
            return


def start(python: str, descriptor: int) -> None:
    """Start the helper as nobody's child of this process. Raises OSError."""
    words = [SHELL, "-c", '"$@" &', "sh", python, "-I", "-S", "-c", CODE, courier.LIBRARY]
    pid = courier.spawn(words, descriptor)
    try:
        patches.real_of(os.waitpid)(pid, 0)
    except ChildProcessError:  # a thread of the program has waited for whatever comes
        return

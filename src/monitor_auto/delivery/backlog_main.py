"""What runs in the helper interpreter that `backlog.py` starts: it sends own segments of the session that waits for it.

Guarantees: ends when that session's process is gone or says so, before the next batch; never a session (`-S`).
"""

from __future__ import annotations

import os
import socket
import time
from types import SimpleNamespace
from typing import Any

from monitor_auto.boot import guard

from . import bulk, kept
from .lines import OutOfTime
from .segments import Segment, Unreadable
from .sending import Sending

PARENTS_FD = 3
REQUEST_SECONDS = 30.0


def main() -> None:
    """Send what the parent names, and tell it what became of that."""
    os.closerange(PARENTS_FD + 1, 4096)
    os.setsid()  # Ctrl-C is for the program; it tells us by closing the socket
    os.chdir("/")
    parent = socket.socket(fileno=PARENTS_FD)
    parent.sendall(b"pid %d\n" % os.getpid())
    with parent.makefile("rb", buffering=0) as frames:
        size = int(frames.readline())
        data = b""
        while len(data) < size:
            data += frames.read(size - len(data)) or os._exit(0)
    try:
        Backlog(parent, data.decode("utf-8", "surrogateescape").split("\0")).send()
    except ConnectionError:  # nobody is there any more
        pass
    os._exit(0)


class Backlog:
    """Segments of one session, and how far they are."""

    def __init__(self, parent: socket.socket, fields: list[str]) -> None:
        self.parent = parent
        scheme, host, port, path, token, endpoint, debug, directory, base, numbers, batch_size = fields
        settings = SimpleNamespace(
            scheme=scheme, host=host, port=int(port), path=path, token=token or None, endpoint=endpoint
        )
        shield: Any = guard
        shield.debug_target = debug or None
        guard.use_directory(directory)
        self.batch_size = int(batch_size)
        self.segments = [Segment(directory, base, int(number)) for number in numbers.split(",")]
        self.transport = transport_of(settings)
        self.sending = Sending(settings, directory, self.post)

    def post(self, body: bytes) -> Any:
        """Send one body."""
        return self.transport.post(body, time.monotonic() + REQUEST_SECONDS)

    def send(self) -> None:
        """Send segment after segment; the parent goes on with what is not as usual."""
        sending = self.sending
        try:
            for segment in self.segments:
                try:
                    is_going = bulk.deliver(segment, sending, self.batch_size, self.report, self.remember)
                except FileNotFoundError:
                    continue
                if not is_going or not segment.is_finished:
                    break
        except (OutOfTime, Unreadable, OSError):  # told to end; the parent finds and tells what is wrong with the rest
            pass
        self.tell()
        if sending.why:
            facts = sending.status, sending.is_misplaced, sending.retry_after_seconds, sending.why.replace("\n", " ")
            self.parent.sendall(b"why " + b"%d %d %f " % facts[:3] + facts[3].encode("utf-8", "replace") + b"\n")

    def report(self) -> None:
        """Tell how far we are. Raises OutOfTime when the parent is gone, or wants us to end."""
        self.tell()
        try:
            if not self.parent.recv(1, socket.MSG_DONTWAIT):
                raise OutOfTime
        except BlockingIOError:
            return

    def tell(self) -> None:
        """Tell what became of how many events."""
        sending = self.sending
        self.parent.sendall(b"done %d %d %d\n" % (sending.delivered, sending.rejected, sending.dropped))

    def remember(self, line: bytes) -> None:
        """Let the parent know what it would have read of its children."""
        self.parent.sendall(b"exit " + line + b"\n")


def transport_of(settings: Any) -> Any:
    """Return what sends."""
    hosts = kept.plain_hosts(settings)
    if hosts:
        return kept.Kept(SimpleNamespace(is_stopping=False, interrupt=None), settings, hosts)
    from . import native

    return native.Transport(settings, REQUEST_SECONDS)

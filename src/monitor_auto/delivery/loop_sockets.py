"""Plain sockets that a loop of the program waits for. Runs on that loop, which has loaded `socket`.

asyncio's own transports have a name looked up in the loop's pool of threads, for which `asyncio.run` waits at its end,
and complain when their loop is closed. These have no thread and no timer.

Guarantees: closing needs no loop, and may come from any thread; a number that the program has closed, and perhaps
opened again for something of its own, is not closed.
"""

from __future__ import annotations

import os
import socket

from monitor_auto.boot import guard

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

SEND_FLAGS = getattr(socket, "MSG_NOSIGNAL", 0)
"""A program that set SIGPIPE back to its default must not die of our socket."""
CHUNK_BYTES = 65536


class Sockets:
    """The sockets of one client. `loop` is the running one, to which a socket is bound only while somebody waits for
    it.
    """

    def __init__(self) -> None:
        self.loop: Any = None
        self.pid = os.getpid()
        self.sockets: dict[socket.socket, int] = {}

    async def connect(self, places: list[tuple[Any, Any]]) -> socket.socket:
        """Return a socket that is connected to one of these places (family, address). Raises OSError."""
        failure = OSError("no address")
        for family, address in places:
            try:
                connection = socket.socket(family, socket.SOCK_STREAM)
            except guard.ours(OSError) as error:  # no descriptor left; a system without IPv6
                failure = error
                continue
            self.sockets[connection] = os.fstat(connection.fileno()).st_ino
            try:
                connection.setblocking(False)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await self.join(connection, address)
                return connection
            except guard.ours(OSError) as error:
                self.forget(connection)
                failure = error
        raise failure

    def check(self) -> None:
        """Raise OSError in a forked child whose loop goes on: the request is its parent's, and so is the connection."""
        if os.getpid() != self.pid:
            raise OSError("the process has forked")

    async def join(self, connection: socket.socket, address: Any) -> None:
        """Connect a socket that does not block. Raises OSError."""
        try:
            connection.connect(address)
        except guard.ours(BlockingIOError):
            await self.wait(connection, self.loop.add_writer, self.loop.remove_writer)
            code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, "the connection failed") from None

    async def receive(self, connection: socket.socket, max_bytes: int = CHUNK_BYTES) -> bytes:
        """Return some bytes, b"" at the end. Raises OSError."""
        while True:
            self.check()
            try:
                return connection.recv(max_bytes)
            except guard.ours(BlockingIOError):
                await self.wait(connection, self.loop.add_reader, self.loop.remove_reader)

    async def send(self, connection: socket.socket, data: bytes) -> None:
        """Send all bytes. Raises OSError."""
        rest = memoryview(data)
        while rest:
            self.check()
            try:
                rest = rest[connection.send(rest[:CHUNK_BYTES], SEND_FLAGS) :]
            except guard.ours(BlockingIOError):
                await self.wait(connection, self.loop.add_writer, self.loop.remove_writer)

    async def wait(
        self, connection: socket.socket, add: Callable[..., object], remove: Callable[[int], object]
    ) -> None:
        """Wait until the loop says that a socket can be read, or written to."""
        number, ready = connection.fileno(), self.loop.create_future()
        if number < 0:
            raise OSError("the connection was closed")
        add(number, wake, ready)
        try:
            await ready
        finally:
            if connection.fileno() == number and not self.loop.is_closed():
                remove(number)

    def is_ours(self, connection: socket.socket) -> bool:
        """Return whether a socket's number is still its own (a daemon closes all, and opens others)."""
        try:
            return os.fstat(connection.fileno()).st_ino == self.sockets.get(connection)
        except guard.ours(OSError):
            return False

    def forget(self, connection: socket.socket) -> None:
        """Close a socket."""
        if self.is_ours(connection):
            connection.close()
        else:
            connection.detach()
        self.sockets.pop(connection, None)

    def close(self) -> None:
        """Close all sockets."""
        for connection in list(self.sockets):
            self.forget(connection)


class Pause:
    """Awaited, lets the loop do something else."""

    def __await__(self) -> Generator[None, None, None]:
        yield


def wake(ready: Any) -> None:
    """Let who waits for a socket go on."""
    if not ready.done():
        ready.set_result(None)

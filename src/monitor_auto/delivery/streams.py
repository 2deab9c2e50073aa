"""What httpx's async client writes to and reads from on a loop of the program: plain sockets and TLS over them. Runs on
that loop.

anyio's own connections would resolve names in the loop's pool of threads, for which `asyncio.run` waits at its end, and
leave transports behind that complain when their loop closes. These have no thread and no timer: a name look-up and the
arithmetic of a TLS handshake are done by the thread that waits for the answer anyway, which also knows the time.

Guarantees: closing is one system call, needs no loop, and may come from any thread.
"""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING, Any

import httpcore

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

SEND_FLAGS = getattr(socket, "MSG_NOSIGNAL", 0)
"""A program that set SIGPIPE back to its default must not die of our socket."""
CHUNK_BYTES = 65536


class Backend(httpcore.AsyncNetworkBackend):
    """Makes connections. `on_thread(function)` awaits what the waiting thread makes of it; `loop` is the running one,
    to which a connection is bound only while somebody waits for it.
    """

    def __init__(self, on_thread: Callable[[Callable[[], Any]], Any]) -> None:
        self.on_thread = on_thread
        self.loop: Any = None
        self.pid = os.getpid()
        self.sockets: list[socket.socket] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> Stream:
        """Connect to the first address of a host that takes it. Raises httpcore.ConnectError."""
        try:
            self.check()
            found = addresses(host, port) or await self.on_thread(
                lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            )
            return Stream(self, await self.connect([(entry[0], entry[4]) for entry in found]))
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error

    async def connect(self, places: list[tuple[Any, Any]]) -> socket.socket:
        """Return a socket that is connected to one of these places. Raises OSError."""
        failure = OSError("no address")
        for family, address in places:
            connection = socket.socket(family, socket.SOCK_STREAM)
            self.sockets.append(connection)
            try:
                connection.setblocking(False)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await self.join(connection, address)
                return connection
            except OSError as error:
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
        except BlockingIOError:
            await self.wait(connection, self.loop.add_writer, self.loop.remove_writer)
            code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, "the connection failed") from None

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

    def forget(self, connection: socket.socket) -> None:
        """Close a socket."""
        if connection in self.sockets:
            self.sockets.remove(connection)
        connection.close()

    def close(self) -> None:
        """Close all sockets."""
        for connection in list(self.sockets):
            self.forget(connection)

    async def sleep(self, seconds: float) -> None:
        """Wait: httpcore asks for it between attempts, of which we allow one."""


class Stream(httpcore.AsyncNetworkStream):
    """A connected socket. httpcore's timeouts are not looked at: the waiting thread has one deadline for all."""

    def __init__(self, backend: Backend, connection: socket.socket) -> None:
        self.backend, self.socket = backend, connection

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return some bytes, b"" at the end. Raises httpcore.ReadError."""
        loop = self.backend.loop
        try:
            while True:
                self.backend.check()
                try:
                    return self.socket.recv(max_bytes)
                except BlockingIOError:
                    await self.backend.wait(self.socket, loop.add_reader, loop.remove_reader)
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all bytes. Raises httpcore.WriteError."""
        loop, rest = self.backend.loop, memoryview(buffer)
        try:
            while rest:
                self.backend.check()
                try:
                    rest = rest[self.socket.send(rest[:CHUNK_BYTES], SEND_FLAGS) :]
                except BlockingIOError:
                    await self.backend.wait(self.socket, loop.add_writer, loop.remove_writer)
            await Pause()
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    async def aclose(self) -> None:
        """Close the connection."""
        self.backend.forget(self.socket)

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> TlsStream:
        """Return TLS over this stream. Raises httpcore.ConnectError."""
        tls = TlsStream(self, ssl_context, server_hostname)
        try:
            await tls.shake_hands()
        except (OSError, httpcore.NetworkError) as error:
            await self.aclose()
            raise httpcore.ConnectError(str(error)) from error
        return tls

    def get_extra_info(self, info: str) -> Any:
        """Tell httpcore whether the server has hung up (is_readable while idle), and its socket."""
        if info == "is_readable":
            return self.is_readable()
        return self.socket if info == "socket" else None

    def is_readable(self) -> bool:
        """Return whether there is something to read: of an idle connection that means its end."""
        try:
            self.socket.recv(1, socket.MSG_PEEK)
            return True
        except BlockingIOError:
            return False
        except OSError:
            return True


class TlsStream(Stream):
    """TLS in memory over another stream, which may be TLS itself: to a server behind a proxy that speaks it."""

    def __init__(self, under: Stream, context: ssl.SSLContext, server_hostname: str | None) -> None:
        super().__init__(under.backend, under.socket)
        self.under = under
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=server_hostname)

    async def shake_hands(self) -> None:
        """Do the handshake: its arithmetic takes milliseconds, so that is done by the waiting thread."""
        while True:
            try:
                await self.backend.on_thread(self.tls.do_handshake)
                await self.send_waiting()
                return
            except ssl.SSLWantReadError:
                await self.send_waiting()
                await self.receive()

    async def send_waiting(self) -> None:
        """Send what TLS wants to have sent."""
        data = self.outgoing.read()
        if data:
            await self.under.write(data)

    async def receive(self) -> None:
        """Receive something for TLS to look at."""
        data = await self.under.read(CHUNK_BYTES)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return some bytes, b"" at the end. Raises httpcore.ReadError."""
        while True:
            try:
                return self.tls.read(max_bytes)
            except ssl.SSLWantReadError:
                await self.send_waiting()
                await self.receive()
            except ssl.SSLZeroReturnError:
                return b""
            except OSError as error:
                raise httpcore.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all bytes. Raises httpcore.WriteError."""
        try:
            self.tls.write(buffer)
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error
        await self.send_waiting()

    def get_extra_info(self, info: str) -> Any:
        """Tell httpcore the TLS object, too."""
        return self.tls if info == "ssl_object" else super().get_extra_info(info)


class Pause:
    """Awaited, lets the loop do something else: httpcore talks to h11 for half a millisecond between two waits."""

    def __await__(self) -> Generator[None, None, None]:
        yield


def addresses(host: str, port: int) -> list[Any]:
    """Return what getaddrinfo would for a literal address, [] for a name."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except OSError:
        return []


def wake(ready: Any) -> None:
    """Let who waits for a socket go on."""
    if not ready.done():
        ready.set_result(None)

"""What httpx's async client writes to and reads from on a loop of the program: plain sockets and TLS over them. Runs on
that loop.

A name look-up and the arithmetic of a TLS handshake are done by the thread that waits for the answer anyway, which also
knows the time. Guarantees: those of loop_sockets.py.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Any

import httpcore

from .loop_sockets import CHUNK_BYTES, Pause, Sockets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Backend(Sockets, httpcore.AsyncNetworkBackend):
    """Makes connections. `on_thread(function)` awaits what the waiting thread makes of it."""

    def __init__(self, on_thread: Callable[[Callable[[], Any]], Any]) -> None:
        super().__init__()
        self.on_thread = on_thread

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

    async def sleep(self, seconds: float) -> None:
        """Wait: httpcore asks for it between attempts, of which we allow one."""


class Stream(httpcore.AsyncNetworkStream):
    """A connected socket. httpcore's timeouts are not looked at: the waiting thread has one deadline for all."""

    def __init__(self, backend: Backend, connection: socket.socket) -> None:
        self.backend, self.socket = backend, connection

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return some bytes, b"" at the end. Raises httpcore.ReadError."""
        try:
            return await self.backend.receive(self.socket, max_bytes)
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all bytes. Raises httpcore.WriteError. Then the loop may do something else: httpcore talks to h11 for
        half a millisecond between two waits.
        """
        try:
            await self.backend.send(self.socket, buffer)
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


def addresses(host: str, port: int) -> list[Any]:
    """Return what getaddrinfo would for a literal address, [] for a name."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except OSError:
        return []

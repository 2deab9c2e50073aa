"""Plain http to a literal address over one kept connection, by a loop of the program. Lazy: for asyncio programs.

A request takes a tenth of the time on the loop that httpx's async client needs for it, and nothing is imported for it:
the program has asyncio and sockets. TLS, names and proxies are `async_native.py`'s.

Guarantees: those of kept.py, but that the waiting thread keeps the time, and those of async_flusher.py.
"""

from __future__ import annotations

from monitor_auto.boot import guard

from . import exchange, kept
from .async_flusher import Client
from .batches import renewed
from .exchange import Answer, NoAnswer
from .kept import Gone
from .loop_sockets import Sockets

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from typing import Any


class More(Exception):
    """What has come of an answer so far is not all of it."""


class PlainClient(Client):
    """Sends to one endpoint, by one loop after the other."""

    errors = (NoAnswer, OSError, ValueError)

    def __init__(self, settings: Any, hosts: tuple[str, ...]) -> None:
        """`hosts` are literal addresses. Raises NoAnswer for a token that no header may hold."""
        super().__init__()
        import socket

        self.settings, self.hosts, self.is_near = settings, hosts, kept.is_near(hosts)
        self.families = {True: socket.AF_INET6, False: socket.AF_INET}
        self.sockets = Sockets()
        self.connection: Any = None
        self.request(b"")

    def request(self, body: bytes) -> bytes:
        """Return the bytes of the request that brings a body."""
        return kept.request(self.settings, body, self.is_near)

    async def send(self, request: bytes, body: bytes) -> Answer:
        """Send a request; once more when a kept connection turns out to have been closed. Raises OSError, NoAnswer."""
        if self.connection is not None:
            try:
                return await self.talk(request)
            except Gone:
                request = await self.on_thread(lambda: self.request(renewed(body)))
        places = [(self.families[":" in host], (host, self.settings.port)) for host in self.hosts]
        self.connection = await self.sockets.connect(places)
        try:
            return await self.talk(request)
        except Gone as error:
            raise NoAnswer("the connection was closed before the answer was complete") from error

    async def talk(self, request: bytes) -> Answer:
        """Send a request over the connection and return its Answer. Raises Gone, OSError, NoAnswer."""
        connection = self.connection
        try:
            self.check()
            try:
                await self.sockets.send(connection, request)
            except guard.ours(ConnectionError):
                pass  # who hangs up before he has read everything may have answered
            answer = await self.hear(connection)
        except BaseException:
            self.disconnect()
            raise
        if answer.is_last:
            self.disconnect()
        return answer

    async def hear(self, connection: Any) -> Answer:
        """Return the answer that a connection brings. Raises Gone, OSError, NoAnswer."""
        pieces: list[bytes] = []
        while True:
            try:
                pieces.append(await self.sockets.receive(connection))
            except guard.ours(ConnectionError):
                pieces.append(b"")
            if pieces == [b""]:
                raise Gone
            try:
                return answer_of(pieces)
            except More:
                continue

    def check(self) -> None:
        """Raise Gone where the connection's number is not ours any more; then it is not ours to close either."""
        self.sockets.check()
        if not self.sockets.is_ours(self.connection):
            raise Gone

    def disconnect(self) -> None:
        """Close the connection; the next request opens another."""
        connection, self.connection = self.connection, None
        if connection is not None:
            self.sockets.forget(connection)


def answer_of(pieces: list[bytes]) -> Answer:
    """Return the answer that these pieces are; the last one is b"" where the connection has ended. Raises More,
    NoAnswer.
    """
    held = iter([b"".join(pieces)] if pieces[-1] else [b"".join(pieces), b""])

    def receive() -> bytes:
        for piece in held:
            return piece
        if pieces[-1]:
            raise More
        return b""

    return exchange.read_answer(receive)

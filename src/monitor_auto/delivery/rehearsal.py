"""A request to nobody, through httpx's whole async client. Lazy: once a client.

httpx, httpcore and anyio import a good part of what they need at the first request, which would hold up the program's
loop for 20 ms and more. So the first request is one to nobody, on a thread of ours.

Guarantees: no socket; those of loopless.py; what fails here fails unseen, and again when it is meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpcore

from . import loopless

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


class Backend(httpcore.AsyncNetworkBackend, httpcore.AsyncNetworkStream):
    """Connects to nobody, and is the connection, too."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> Backend:
        """Return itself."""
        return self

    async def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> Backend:
        """Return itself."""
        return self

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return the answer to whatever was asked."""
        return ANSWER

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Take anything."""

    async def aclose(self) -> None:
        """There is nothing to close."""

    def get_extra_info(self, info: str) -> Any:
        """Say nothing."""
        return None


def rehearse(asyncio: Any, coroutine: Coroutine[Any, Any, Any]) -> None:
    """Run what sends a request over a Backend to its end."""
    loopless.Loop(asyncio).run(quiet(coroutine))


async def quiet(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Await something whatever it raises."""
    try:
        await coroutine
    except Exception:  # a proxy that wants another answer, for example
        return

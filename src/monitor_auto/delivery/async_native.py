"""httpx's async client on a loop of the program: for TLS, names and proxies. Lazy: for asyncio programs that need them.

Guarantees: those of async_flusher.py; everything that is imported late was called once, on the waiting thread, before
the loop is asked for anything.
"""

from __future__ import annotations

from typing import Any

import httpx

from . import hush, native, rehearsal, streams
from .async_flusher import Client
from .batches import renewed
from .exchange import Answer
from .tickets import LoopGone, Ticket


class HttpxClient(Client):
    """An httpx client whose requests can be made by one loop after the other."""

    errors = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError)

    def __init__(self, settings: Any, timeout_seconds: float) -> None:
        """Raises ValueError and OSError as native.Transport does; LoopGone for a version of httpx that lets nobody else
        make its connections.
        """
        super().__init__()
        hush.loggers()
        self.sockets = streams.Backend(self.on_thread)
        self.url, self.is_gzip_worthwhile, options = native.client_options(settings)
        self.client = httpx.AsyncClient(timeout=timeout_seconds, **options)
        self.client._monitor_auto_own = True  # type: ignore[attr-defined]
        connect_by(self.client, rehearsal.Backend())
        request = self.request(b"{}")
        ticket = Ticket(self.asyncio, None, lambda: self.send(request, b"{}"))
        rehearsal.rehearse(self.asyncio, ticket.run())
        if ticket.error is not None and not isinstance(ticket.error, Exception):  # told to stop
            raise ticket.error
        connect_by(self.client, self.sockets)

    def request(self, body: bytes) -> Any:
        """Return the request that brings a body."""
        body, headers = native.packed(body) if self.is_gzip_worthwhile else (body, {})
        return self.client.build_request("POST", self.url, content=body, headers=headers)

    async def send(self, request: Any, body: bytes) -> Answer:
        """Send a request; once more when a kept connection turns out to have been closed."""
        try:
            response = await self.client.send(request)
        except httpx.RemoteProtocolError:
            response = await self.client.send(await self.on_thread(lambda: self.request(renewed(body))))
        told = response.headers
        content_type, retry_after = told.get("content-type", ""), told.get("retry-after", "")
        return Answer(response.status_code, content_type, response.content, retry_after)


def connect_by(client: Any, backend: Any) -> None:
    """Let a client make its connections by a backend of ours. Raises LoopGone for an httpx that cannot be told to."""
    for transport in [client._transport, *client._mounts.values()]:
        pool: Any = getattr(transport, "_pool", None)
        if hasattr(pool, "_network_backend"):
            pool._network_backend = backend
        elif transport is not None:
            raise LoopGone("this version of httpx keeps its connections elsewhere")

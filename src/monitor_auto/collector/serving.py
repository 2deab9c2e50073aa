"""Serving the application: the socket, the end, and what is printed. Imported by `monitor-auto collect` alone."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from .app import Collector, Options

MAX_CONNECTIONS = 1000
KEEP_ALIVE_SECONDS = 65
"""Longer than the monitor's flush interval, so that its connection is still there at the next flush."""
END_SECONDS = 5
"""For requests that are being answered when the collector is told to end."""


def listen(host: str, port: int) -> socket.socket:
    """Return the listening socket. Raises OSError: the port is taken, the address is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, so that asyncio sees that it is TCP and sends at once: with proto 0 the second half of an answer waits for
    # the sender to acknowledge the first one, which takes it 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(1024)
    except BaseException:
        listening.close()
        raise
    return listening


class Announcing(uvicorn.Server):
    """Calls `on_ready` when connections are answered."""

    def __init__(self, config: uvicorn.Config, collector: Collector, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._collector = collector
        self._on_ready = on_ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End at SIGINT and SIGTERM, and then return: uvicorn's own would raise the signal again."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams of open pages first: uvicorn waits for them."""
        self._collector.server.live.close()
        await super().shutdown(sockets)


def serve(listening: socket.socket, options: Options, on_ready: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM. Raises schema.Unusable when there is no database to be had."""
    collector = Collector(options)
    config = uvicorn.Config(
        collector,
        log_level="warning",
        access_log=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=END_SECONDS,
        server_header=False,
    )
    server = Announcing(config, collector, on_ready)
    server.run(sockets=[listening])

"""What is told to the pages that are open, as server-sent events. One queue a page, bounded; a page that reads too
slowly is told to load anew instead of being told everything.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from .store import Committed

MAX_WAITING = 100
"""Messages for one page. Beyond, it gets one that says `reset`."""
MAX_PAGES = 50
MAX_EVENTS = 200
"""Of one commit; a page cannot show more, and asks for what it needs."""
ALIVE_SECONDS = 15.0


class TooMany(Exception):
    """More pages are open than are served live."""


class Live:
    """Hands commits on to the pages. `publish` is called in the writer's thread, the rest on the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pages: set[asyncio.Queue[str | None]] = set()
        self._is_closed = False

    def publish(self, committed: Committed) -> None:
        """Tell every page what is new."""
        if self._pages and committed.events and not self._loop.is_closed():
            message = message_of(committed)
            self._loop.call_soon_threadsafe(self._tell, message)

    def _tell(self, message: str) -> None:
        for page in self._pages:
            if page.qsize() >= MAX_WAITING:
                while not page.empty():
                    page.get_nowait()
                message = "event: reset\ndata: {}\n\n"
            page.put_nowait(message)

    def close(self) -> None:
        """End all streams."""
        self._is_closed = True
        for page in self._pages:
            page.put_nowait(None)

    def join(self) -> AsyncIterator[str]:
        """Return the stream for one more page. Raises TooMany."""
        if len(self._pages) >= MAX_PAGES or self._is_closed:
            raise TooMany
        page: asyncio.Queue[str | None] = asyncio.Queue()
        self._pages.add(page)
        return self._stream(page)

    async def _stream(self, page: asyncio.Queue[str | None]) -> AsyncIterator[str]:
        try:
            yield "retry: 2000\n\n"
            while True:
                try:
                    message = await asyncio.wait_for(page.get(), ALIVE_SECONDS)
                except asyncio.TimeoutError:
                    message = ": alive\n\n"  # a proxy, or a page that has gone, notices
                if message is None:
                    return
                yield message
        finally:
            self._pages.discard(page)


def message_of(committed: Committed) -> str:
    """Return what a page needs to know of a commit: what came, and which runs to draw anew."""
    last, _ = committed.events[-1]
    told: dict[str, Any] = {"seq": last, "count": len(committed.events), "roots": sorted(committed.roots)[:MAX_EVENTS]}
    told["events"] = [
        {"seq": seq, "type": row.type, "name": row.name, "app": row.app, "session": row.session, "at_ms": row.at_ms}
        for seq, row in committed.events[-MAX_EVENTS:]
    ]
    return f"id: {last}\nevent: commit\ndata: {json.dumps(told)}\n\n"

"""What is recorded now: events as they come, from spools or from a collector of ours. Changes nothing there.

Guarantees: of what is still in a file, or at the collector, each event is given once, and in the order of its session.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from .lines import read
from .sources import asked, collector, opened

MAX_BLOCK_BYTES = 8 << 20
"""Read of one file at a time: a spool may hold more than memory should."""
PAGE = 1000


class Spools:
    """Follows all segments of the spools that `directories()` names: there may be more at every look."""

    def __init__(self, directories: Callable[[], Iterable[str]]) -> None:
        self._directories = directories
        self._read: dict[str, tuple[int, int]] = {}

    def new(self) -> list[dict[str, Any]]:
        """Return the events that have come since the last call; at the first all that there are."""
        found: list[dict[str, Any]] = []
        seen: dict[str, tuple[int, int]] = {}
        for path in self._segments():
            entry = self._follow(path, found)
            if entry is not None:
                seen[path] = entry
        self._read = seen
        return sorted(found, key=lambda event: str(event.get("timestamp")))

    def _segments(self) -> Iterable[str]:
        for directory in self._directories():
            try:
                names = os.listdir(directory)
            except OSError:  # a run's folder that was deleted meanwhile
                continue
            yield from (f"{directory}/{name}" for name in sorted(names) if name.endswith(".jsonl") and "." in name[:-6])

    def _follow(self, path: str, found: list[dict[str, Any]]) -> tuple[int, int] | None:
        """Read what is new in a segment, to its last whole line; return which file that was and how far it is read."""
        file = opened(path)
        if file is None:
            return None
        with file:
            inode = os.fstat(file.fileno()).st_ino
            before, offset = self._read.get(path, (inode, 0))
            file.seek(offset if before == inode else 0)
            start = file.tell()
            block = file.read(MAX_BLOCK_BYTES)
        whole = block[: block.rfind(b"\n") + 1]
        found += read(BytesIO(whole))
        return inode, start + len(whole)


class Collector:
    """Follows a collector of ours by asking it for what came after what is known."""

    def __init__(self, base: str, token: str | None) -> None:
        self._client = collector(base, token)
        self._last = -1

    def new(self) -> list[dict[str, Any]]:
        """Return the events that have come since the last call; at the first the latest. Raises Unreadable."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = asked(self._client, f"/v1/events?limit={PAGE}&after={max(0, self._last)}{cursor}")
            found += page["events"]
            if self._last < 0 or not page["next_cursor"]:
                break
            cursor = f"&cursor={page['next_cursor']}"
        self._last = max((int(event["seq"]) for event in found), default=max(0, self._last))
        return found[::-1]


def as_line(event: dict[str, Any]) -> str:
    """Return an event as one line of JSON, in ASCII."""
    return json.dumps(event)

"""Events as JSON lines: what a run has recorded, for other tools and for `monitor-auto report FILE` later."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import IO, Any

from .model import Run

MAX_LINE_BYTES = 1 << 20
"""An event has at most 64 KiB; a longer line is none."""


def lines(run: Run) -> Iterator[str]:
    """Yield the events of a run in the order of their times."""
    events = [event for process in run.processes for event in process.events]
    for event in sorted(events, key=lambda event: (str(event.get("timestamp")), str(event.get("event_id")))):
        yield json.dumps(event, ensure_ascii=False, separators=(",", ":"))


def read(source: Iterable[bytes] | IO[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the events of JSON lines; a line that is none (a segment's header, half a line) is passed over."""
    for line in source:
        if len(line) > MAX_LINE_BYTES:
            continue
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and "name" in event and "type" in event:
            yield event

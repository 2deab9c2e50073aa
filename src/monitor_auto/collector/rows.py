"""One event as it is stored, and what makes one that cannot be. Pure: no network, no disk, no clock."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from ..report.fingerprints import fingerprint
from .intake import Posted
from .moments import milliseconds

MAX_EVENT_BYTES = 256 << 10
"""Four times what a monitor sends (64 KiB)."""
MAX_DEPTH = 64
MAX_NAME = 256
MAX_ID = 200
TYPES = ("event", "error", "metric", "lifecycle")
DRIFT_MS = 5_000
"""A sender whose clock is further off than this is flagged. Less is the network and the waiting in line."""

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


@dataclass(frozen=True)
class Problem:
    """Why one event was refused: its place in the body, a sentence, and the fields that the sentence is about."""

    index: int
    message: str
    fields: list[str]


@dataclass(slots=True)
class Row:
    """One event as it is stored: what is asked for by column, and the whole of it as JSON. Times are Unix ms."""

    event_id: str | None
    type: str
    name: str
    app: str | None
    at_ms: int
    received_ms: int
    drift_ms: int | None
    session: str | None
    trace: str | None
    level: str | None
    fingerprint: str | None
    body: str
    event: dict[str, Any]


def check(posted: Posted, received_ms: int) -> tuple[list[Row], list[Problem]]:
    """Sort the events into rows to store and problems to answer."""
    drift = drift_of(posted.sent_ms, received_ms)
    rows, problems = [], []
    for index, (event, text) in enumerate(zip(posted.events, posted.texts or repeat(None), strict=False)):
        wrong = fault_of(event, text)
        made = None if wrong else row_of(event, text, received_ms, drift)
        if isinstance(made, Row):
            rows.append(made)
        else:
            message, fields = wrong or made or ("", [])
            problems.append(Problem(index, message, fields))
    return rows, problems


def drift_of(sent: int | None, received_ms: int) -> int | None:
    """Return by how many ms the sender's clock is ahead, if that is more than sending can explain."""
    drift = 0 if sent is None else sent - received_ms
    return drift if abs(drift) > DRIFT_MS else None


def fault_of(event: Any, text: str | None) -> tuple[str, list[str]] | None:
    """Return what is wrong with an event and in which fields; None for one that can be stored."""
    if not isinstance(event, dict):
        return "An event is a JSON object.", []
    source, session, data = event.get("source"), event.get("session"), event.get("data")
    known = source if isinstance(source, dict) else {}
    faults = {
        "v": event.get("v") != 1 or event["v"] is True,
        "type": not isinstance(event.get("type"), str) or event["type"] not in TYPES,
        "name": not is_text(event.get("name"), MAX_NAME),
        "timestamp": milliseconds(event.get("timestamp")) is None,
        "source.sdk": not is_text(known.get("sdk"), MAX_ID),
        "source.platform": not is_text(known.get("platform"), MAX_ID),
        "event_id": not is_text(event.get("event_id", "none"), MAX_ID),
        "session": session is not None and not (isinstance(session, dict) and is_text(session.get("id"), MAX_ID)),
        "data": data is not None and not isinstance(data, dict),
    }
    if True in faults.values():
        wrong = [field for field, is_wrong in faults.items() if is_wrong]
        return f"Missing or not as an event has it: {', '.join(wrong)}.", wrong
    return ("Nested too deeply.", ["data"]) if is_too_deep(event, text) else None


def is_text(value: Any, most: int) -> bool:
    """True for a text that is not empty, not too long and has no control characters."""
    return isinstance(value, str) and 0 < len(value) <= most and value.isprintable()


def is_too_deep(event: dict[str, Any], text: str | None) -> bool:
    """True when an event is nested deeper than MAX_DEPTH. Most have fewer brackets in all than that."""
    few = text is not None and text.count("{") + text.count("[") <= MAX_DEPTH
    return not few and depth_exceeds(event, MAX_DEPTH)


def depth_exceeds(value: Any, levels: int) -> bool:
    """True when lists and objects are nested deeper than so many levels."""
    if levels <= 0:
        return True
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, (dict, list)) and depth_exceeds(item, levels - 1):
            return True
    return False


def row_of(
    event: dict[str, Any], text: str | None, received_ms: int, drift_ms: int | None
) -> Row | tuple[str, list[str]]:
    """Return a checked event as a row, or why it cannot be one. It is stored as ASCII: a lone surrogate, which any
    program may record, has no other form.
    """
    body = text or _encode(event)
    if len(body) > MAX_EVENT_BYTES:
        return f"Larger than {MAX_EVENT_BYTES} bytes.", []
    data, session, source = event.get("data") or {}, event.get("session") or {}, event["source"]
    span = event.get("span")
    trace = (span.get("trace_id") if isinstance(span, dict) else None) or session.get("trace_id")
    is_error = event["type"] == "error"
    return Row(
        event_id=event.get("event_id"),
        type=event["type"],
        name=event["name"],
        app=text_or_none(source.get("app")),
        at_ms=milliseconds(event["timestamp"]) or 0,
        received_ms=received_ms,
        drift_ms=drift_ms,
        session=text_or_none(session.get("id")),
        trace=text_or_none(trace),
        level=(text_or_none(data.get("level")) or "error") if is_error else None,
        fingerprint=fingerprint(event["name"], data) if is_error else None,
        body=body,
        event=event,
    )


def text_or_none(value: Any) -> str | None:
    """Return a text that can be stored in a column, or None."""
    if not isinstance(value, str) or not value:
        return None
    return value[:200] if value.isascii() else value[:200].encode("utf-8", "replace").decode()

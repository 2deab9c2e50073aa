"""What a POST holds: unpacked within bounds, parsed, and each event checked. Pure: no network, no disk, no clock.

Guarantees: no body, whatever is in it, takes more memory than MAX_BODY_BYTES times a small factor, and none raises
anything but Refused.
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from ..report.fingerprints import fingerprint

MAX_BODY_BYTES = 16 << 20
"""Of a body as it is after unpacking."""
MAX_EVENTS = 10_000
"""In one body."""
MAX_EVENT_BYTES = 256 << 10
"""Four times what a monitor sends (64 KiB)."""
MAX_DEPTH = 64
MAX_NAME = 256
TYPES = ("event", "error", "metric", "lifecycle")
DRIFT_MS = 5_000
"""A sender whose clock is further off than this is flagged. Less is the network and the waiting in line."""

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|z|[+-]\d\d:?\d\d)")
_UUID7 = re.compile(r"([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


class Refused(Exception):
    """The body as a whole cannot be taken. `status` is the HTTP answer, `fields` what was wrong, when an event was."""

    def __init__(self, status: int, message: str, fields: list[str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.fields = fields or []


@dataclass(frozen=True)
class Posted:
    """What was in a body. `sent_ms` is the sender's clock when it sent, where the batch's id tells; Unix ms."""

    events: list[Any]
    is_single: bool
    sent_ms: int | None


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


def unpack(body: bytes, encoding: str) -> bytes:
    """Return the body as it was before compression. Raises Refused: 400 damaged, 413 too large, 415 unknown."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise Refused(415, f"Content-Encoding {encoding[:40]!r} is not known here: send gzip, or nothing.")
    packed = zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: gzip or zlib, whichever it is
    try:
        plain = packed.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise Refused(400, f"The body is not {encoding}: {error}.") from None
    if len(plain) > MAX_BODY_BYTES:
        raise Refused(413, f"The body is larger than {MAX_BODY_BYTES} bytes when it is unpacked.")
    if not packed.eof:
        raise Refused(400, "The compressed body is cut off.")
    return plain


def parse(body: bytes) -> Posted:
    """Return the events of a body: one event, an array, or a batch. Raises Refused: 400, 413."""
    if len(body) > MAX_BODY_BYTES:
        raise Refused(413, f"The body is larger than {MAX_BODY_BYTES} bytes.")
    value = load(body)
    if isinstance(value, list):
        return Posted(within_count(value), False, None)
    if not isinstance(value, dict):
        raise Refused(400, "The body is neither an event, nor an array of events, nor a batch.")
    if "events" not in value:
        return Posted([value], True, None)
    if not isinstance(value["events"], list):
        raise Refused(400, "`events` is not an array.", ["events"])
    return Posted(within_count(value["events"]), False, sent_ms(value.get("batch_id")))


def load(body: bytes) -> Any:
    """Parse JSON strictly: no NaN, no lone encodings, no number that takes a minute to read."""
    try:
        return json.loads(body.decode("utf-8"), parse_constant=refuse_constant)
    except RecursionError:
        raise Refused(400, "The body is nested too deeply.") from None
    except ValueError as error:  # also UnicodeDecodeError, and an int of more digits than Python reads
        raise Refused(400, f"The body is not JSON: {str(error)[:200]}.") from None


def refuse_constant(text: str) -> Any:
    """JSON has no NaN and no Infinity, and what reads our answers may choke on them."""
    raise ValueError(f"{text} is no JSON value")


def within_count(events: list[Any]) -> list[Any]:
    """Return the events. Raises Refused when there are more than one body may hold."""
    if len(events) > MAX_EVENTS:
        raise Refused(413, f"More than {MAX_EVENTS} events in one body: send smaller batches.")
    return events


def sent_ms(batch_id: Any) -> int | None:
    """Return the sender's clock when it made the batch: a UUID of version 7 begins with it (RFC 9562)."""
    found = _UUID7.fullmatch(batch_id) if isinstance(batch_id, str) else None
    return int(found[1] + found[2], 16) if found else None


def check(posted: Posted, received_ms: int) -> tuple[list[Row], list[Problem]]:
    """Sort the events into rows to store and problems to answer."""
    drift = drift_of(posted.sent_ms, received_ms)
    rows, problems = [], []
    for index, event in enumerate(posted.events):
        wrong = fault_of(event)
        made = None if wrong else row_of(event, received_ms, drift)
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


def fault_of(event: Any) -> tuple[str, list[str]] | None:
    """Return what is wrong with an event and in which fields; None for one that can be stored."""
    if not isinstance(event, dict):
        return "An event is a JSON object.", []
    source, session, data = event.get("source"), event.get("session"), event.get("data")
    faults = {
        "v": event.get("v") != 1 or event["v"] is True,
        "type": event.get("type") not in TYPES if isinstance(event.get("type"), str) else True,
        "name": not is_text(event.get("name"), MAX_NAME),
        "timestamp": milliseconds(event.get("timestamp")) is None,
        "source.sdk": not (isinstance(source, dict) and is_text(source.get("sdk"), 200)),
        "source.platform": not (isinstance(source, dict) and is_text(source.get("platform"), 200)),
        "event_id": "event_id" in event and not is_text(event["event_id"], 200),
        "session": session is not None and not (isinstance(session, dict) and is_text(session.get("id"), 200)),
        "data": data is not None and not isinstance(data, dict),
    }
    wrong = [field for field, is_wrong in faults.items() if is_wrong]
    if wrong:
        return f"Missing or not as an event has it: {', '.join(wrong)}.", wrong
    return ("Nested too deeply.", ["data"]) if depth_exceeds(event, MAX_DEPTH) else None


def is_text(value: Any, most: int) -> bool:
    """True for a text that is not empty, not too long and has no control characters."""
    return isinstance(value, str) and 0 < len(value) <= most and value.isprintable()


def depth_exceeds(value: Any, levels: int) -> bool:
    """True when lists and objects are nested deeper than so many levels."""
    if levels <= 0:
        return True
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, (dict, list)) and depth_exceeds(item, levels - 1):
            return True
    return False


def milliseconds(text: Any) -> int | None:
    """Return a timestamp (ISO 8601 with an offset) as Unix ms; None for anything else."""
    return _milliseconds(text) if isinstance(text, str) and len(text) <= 40 else None


@lru_cache(4096)  # one flush holds many events of one moment, and each names the start of its session
def _milliseconds(text: str) -> int | None:
    if not _TIMESTAMP.fullmatch(text):
        return None
    try:
        return round(datetime.fromisoformat(_for_every_python(text)).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):  # the 30th of February; an offset that leads out of the calendar
        return None


def _for_every_python(text: str) -> str:
    """Python 3.10 reads neither Z nor a fraction of other than 3 or 6 digits nor an offset without a colon."""
    text = text.replace(",", ".")
    offset = "+00:00" if text[-1] in "Zz" else text[-6:] if text[-3] == ":" else f"{text[-5:-2]}:{text[-2:]}"
    seconds, _, fraction = text[:-1].partition("+")[0][:29].partition(".")
    digits = re.match(r"\d*", fraction)
    return f"{seconds[:19]}.{(digits[0] if digits else '')[:6]:0<6}{offset}"


def row_of(event: dict[str, Any], received_ms: int, drift_ms: int | None) -> Row | tuple[str, list[str]]:
    """Return a checked event as a row, or why it cannot be one."""
    body = _encode(event)  # ASCII: a lone surrogate cannot be stored otherwise
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
    return value[:200].encode("utf-8", "replace").decode() if isinstance(value, str) and value else None

"""What a POST holds: unpacked within bounds, and parsed. Pure: no network, no disk, no clock.

Guarantees: no body, whatever is in it, takes more memory than MAX_BODY_BYTES times a small factor, and none raises
anything but Refused.
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass, field
from typing import Any

MAX_BODY_BYTES = 16 << 20
"""Of a body as it is after unpacking."""
MAX_EVENTS = 10_000
"""In one body."""

_BATCH = re.compile(r'(?:\{"batch_id":"([^"\\]*)","events":)?\[')
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
    """What was in a body. `sent_ms` is the sender's clock when it sent, where the batch's id tells; Unix ms. `texts`:
    the same events as JSON, where that can be stored as it came; else empty.
    """

    events: list[Any]
    is_single: bool
    sent_ms: int | None
    texts: list[str] = field(default_factory=list)


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
    text = text_of_body(body)
    return as_sent(text) or sorted_out(load(text))


def text_of_body(body: bytes) -> str:
    """Decode a body. Raises Refused (400)."""
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(400, f"The body is not JSON: {str(error)[:200]}.") from None


def as_sent(text: str) -> Posted | None:
    """Parse an array or a batch as monitors write it, and keep the text of each event: to write it again would be a
    tenth of all the work. None for everything else, also for what is damaged.
    """
    begin = _BATCH.match(text)
    if begin is None or not text.isascii():
        return None
    try:
        events, texts, end = elements(text, begin.end())
    except (StopIteration, IndexError, ValueError, RecursionError):  # `load` finds the words for it
        return None
    if text[end:].rstrip() != ("]" if begin[1] is None else "]}"):
        return None
    return Posted(within_count(events), False, sent_ms(begin[1]), texts)


def elements(text: str, place: int) -> tuple[list[Any], list[str], int]:
    """Parse the elements of an array with nothing but commas between them; return where they end, too."""
    events: list[Any] = []
    texts: list[str] = []
    while True:
        event, end = _scan(text, place)
        events.append(event)
        texts.append(text[place:end])
        if text[end] != ",":
            return events, texts, end
        place = end + 1


def sorted_out(value: Any) -> Posted:
    """Return the events of a parsed body. Raises Refused: 400, 413."""
    if isinstance(value, list):
        return Posted(within_count(value), False, None)
    if not isinstance(value, dict):
        raise Refused(400, "The body is neither an event, nor an array of events, nor a batch.")
    if "events" not in value:
        return Posted([value], True, None)
    if not isinstance(value["events"], list):
        raise Refused(400, "`events` is not an array.", ["events"])
    return Posted(within_count(value["events"]), False, sent_ms(value.get("batch_id")))


def load(text: str) -> Any:
    """Parse JSON strictly: no NaN, no number that takes a minute to read or that is infinite. Raises Refused (400)."""
    try:
        return _decoder.decode(text)
    except RecursionError:
        raise Refused(400, "The body is nested too deeply.") from None
    except ValueError as error:  # also an int of more digits than Python reads
        raise Refused(400, f"The body is not JSON: {str(error)[:200]}.") from None


def refuse_constant(text: str) -> Any:
    """JSON has no NaN and no Infinity, and what reads our answers may choke on them."""
    raise ValueError(f"{text} is no JSON value")


def finite(text: str) -> float:
    """Read a number; one that is too large would be written as Infinity when it is asked for."""
    number = float(text)
    return number if number - number == 0 else refuse_constant(text[:40])


_decoder = json.JSONDecoder(parse_constant=refuse_constant, parse_float=finite)
_scan = _decoder.scan_once  # type: ignore[attr-defined]  # typeshed leaves it out


def within_count(events: list[Any]) -> list[Any]:
    """Return the events. Raises Refused when there are more than one body may hold."""
    if len(events) > MAX_EVENTS:
        raise Refused(413, f"More than {MAX_EVENTS} events in one body: send smaller batches.")
    return events


def sent_ms(batch_id: Any) -> int | None:
    """Return the sender's clock when it made the batch: a UUID of version 7 begins with it (RFC 9562)."""
    found = _UUID7.fullmatch(batch_id) if isinstance(batch_id, str) else None
    return int(found[1] + found[2], 16) if found else None

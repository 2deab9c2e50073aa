"""Joins raw event lines to request bodies, and settles what was answered. Runs at exit and in commands.

Guarantees: builtin modules only; a batch has at most `batch_size` lines and MAX_BODY_BYTES.
"""

from monitor_auto.boot import guard
from monitor_auto.boot.formats import uuid7

from .segments import Line

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .segments import Segment

MAX_BODY_BYTES = 1 << 20
_FRAME_BYTES = 100
_BEGIN = b'{"batch_id":"'


def batches(lines: "Iterable[Line]", batch_size: int) -> "Iterator[list[Line]]":
    """Yield lists of lines for one request each, damaged lines among them."""
    batch: list[Line] = []
    size = _FRAME_BYTES
    for line in lines:
        if batch and (len(batch) >= batch_size or size + len(line.text) >= MAX_BODY_BYTES):
            yield batch
            batch, size = [], _FRAME_BYTES
        batch.append(line)
        size += len(line.text) + 1
    if batch:
        yield batch


def body(batch: list[Line]) -> bytes:
    """Return the request body of a batch's good lines, with a batch id of its own: every attempt has another.

    Empty when no line is good.
    """
    return framed([line.text for line in batch if not line.fault])


def framed(events: list[bytes]) -> bytes:
    """Return the request body of these events; empty when there are none."""
    return _BEGIN + uuid7().encode() + b'","events":[' + b",".join(events) + b"]}" if events else b""


def renewed(data: bytes) -> bytes:
    """Return a request body with another batch id, for another attempt."""
    batch_id: bytes = uuid7().encode()
    return _BEGIN + batch_id + data[len(_BEGIN) + len(batch_id) :]


def settle(batch: list[Line]) -> int:
    """Note in the spool that a batch needs no further attempt; return how many events it had. Raises OSError."""
    segments: dict[Segment, list[Line]] = {}
    for line in batch:
        if line.segment is not None:
            segments.setdefault(line.segment, []).append(line)
    damaged = [line for line in batch if line.fault]
    if damaged:
        from . import aside  # rare: not worth loading at every exit

        guard.call("put aside", aside.put_lines, damaged)
    for segment, lines in segments.items():
        segment.settle(lines)
    return len(batch) - len(damaged)

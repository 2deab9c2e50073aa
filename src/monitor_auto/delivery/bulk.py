"""Sends own segments of a session that lives, in whole blocks of lines. Runs in the background thread where much waits:
a program that has recorded 100,000 events at once goes on with its work, and as long as we hold the interpreter's lock
it stands still. For a batch that is 0.2 ms instead of 1.

Guarantees:
- The same batches in the same order as line by line; an answer is noted before the next batch is sent.
- At the first block that is not, line after line, as the session writes it, who reads line by line takes over.
"""

import os

from monitor_auto.boot import express, guard

from . import answers, deaths
from .batches import MAX_BODY_BYTES, framed
from .segments import PROCESS_EXIT, Line, open_own, read_header, session_id

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .segments import Segment
    from .sending import Sending

CHUNK_BYTES = 512 * 1024
WORTHWHILE_BYTES = 16 * 1024
_BETWEEN = b'}\n{"v":1,'
_EVENT_ID = b'","event_id":"'
_CONTROLS = bytes(set(range(32)) - {10})


class Unusual(Exception):
    """Here are lines that somebody has to look at one by one."""


def is_worthwhile(segment: "Segment") -> bool:
    """Return whether a segment is so long."""
    try:
        return os.lstat(segment.path).st_size >= WORTHWHILE_BYTES
    except guard.ours(OSError):
        return False


def deliver(
    segment: "Segment",
    sending: "Sending",
    batch_size: int,
    check: "Callable[[], None]",
    remember: "Callable[[bytes], None]" = deaths.remember,
) -> bool:
    """Send a segment; return whether to go on: with the next one where it `is_finished`, else with what is left of it.

    `check` is called before each batch, and raises what shall end it; `remember` gets each `process.exit`. Raises
    OSError and Unreadable.
    """
    descriptor, facts = open_own(segment.path)
    try:
        header, segment.end = read_header(descriptor)
        segment.take_facts(header, facts)
        segment.end = max(segment.end, segment.position(facts.st_size))
        for lines in groups(descriptor, segment.end, batch_size):
            check()
            tell_exits(lines, remember)
            if not send(segment, sending, lines):
                return False
    except guard.ours(Unusual):
        return True
    finally:
        os.close(descriptor)
    segment.is_read = True
    segment.finish()
    return True


def groups(descriptor: int, offset: int, batch_size: int) -> "Iterator[list[bytes]]":
    """Yield the lines from an offset on, as many at a time as go into one batch. Raises Unusual, OSError."""
    os.lseek(descriptor, offset, os.SEEK_SET)
    lines: list[bytes] = []
    held = b""
    while chunk := os.read(descriptor, CHUNK_BYTES):
        more = (held + chunk).split(b"\n")
        held = more.pop()
        lines += more
        while len(lines) >= batch_size:
            yield checked(lines[:batch_size])
            del lines[:batch_size]
    if held:
        raise Unusual
    if lines:
        yield checked(lines)


def checked(lines: list[bytes]) -> list[bytes]:
    """Return the lines if all of them look as we write them. Raises Unusual."""
    block = b"\n".join(lines)
    if len(block) >= MAX_BODY_BYTES - 200 or not are_usual(block, len(lines)):
        raise Unusual
    return lines


def are_usual(block: bytes, count: int) -> bool:
    """Return whether a block is so many lines as we write them."""
    is_usual = block.startswith(_BETWEEN[2:]) and block.endswith(b"}") and block.count(_BETWEEN) == count - 1
    return is_usual and len(block.translate(None, _CONTROLS)) == len(block)


def send(segment: "Segment", sending: "Sending", lines: list[bytes]) -> bool:
    """Send one batch; return whether all of it is settled."""
    last = last_number(lines, session_id(segment.base))
    verdict, answer = sending.exchange(framed(lines))
    if verdict != answers.DELIVERED or answer is None or answer.status == answers.PARTLY:
        batch = singly(segment, lines)
        return sending.judge(batch, batch, verdict, answer)
    segment.settle_block(len(lines), sum(map(len, lines)) + len(lines), last)
    sending.on_block_delivered(len(lines))
    return True


def tell_exits(lines: list[bytes], remember: "Callable[[bytes], None]") -> None:
    """Tell of the lines that say how a child has ended."""
    if PROCESS_EXIT in b"\n".join(lines):
        for line in lines:
            if PROCESS_EXIT in line:
                remember(line)


def last_number(lines: list[bytes], session: str) -> int:
    """Return the highest sequence number of these lines."""
    parts = b"\n".join(lines).split(_EVENT_ID + session.encode() + b"-")
    numbers = [part[: part.find(b'"')] for part in parts[1:]]
    if len(numbers) != len(lines) or not all(map(bytes.isdigit, numbers)):  # one of the program's own texts has it, too
        return max(map(express.sequence_of, lines))
    return max(map(int, numbers))


def singly(segment: "Segment", lines: list[bytes]) -> list[Line]:
    """Return the lines as such, for an answer that is not the same for all."""
    batch = []
    for text in lines:
        segment.end += len(text) + 1
        batch.append(Line(text, segment, segment.end, ""))
    segment.pending += len(batch)
    return batch

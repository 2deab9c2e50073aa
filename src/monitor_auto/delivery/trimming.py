"""Makes a segment of the own session smaller in whole blocks of lines: who records at full speed into a full spool
would else take longer to make room than to fill it (6 µs a line instead of 0.3). Runs where its bounds are kept.

Guarantees: those of `rewrite.py`. At the first block that is not, line after line, as the session writes it, nothing
has happened and `rewrite.trim` does it.
"""

import os

from monitor_auto.boot import guard, recorder

from . import deaths
from .bulk import CHUNK_BYTES, Unusual, are_usual, last_number, tell_exits
from .rewrite import Writer, size_of
from .segments import account_path, add_to_account, open_own, read_header, session_id

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .segments import Segment


def trim_own(segment: "Segment", kind: str, most: int, dropped: "dict[str, int]") -> "int | None":
    """Do what `rewrite.trim` does for a segment of the session that lives here; None where that has to do it. Raises
    OSError, Unreadable.
    """
    if not kind or recorder.segment is None or recorder.segment.was_torn:
        return None
    facts = os.lstat(segment.path)
    writer = Writer(segment, segment.number, False)
    try:
        count, kept = sift(segment, kind, most + writer.growth, writer)
        segment.tally.counts["dropped"] = segment.tally.counts.get("dropped", 0) + count
        add_to_account(account_path(segment.directory, segment.base[:16]), segment.tally.line(segment.account_name()))
        segment.is_finished = not kept
        if kept:  # else it is deleted: a full disk has no room for a header
            writer.finish(facts.st_mtime, segment.position_path)
    except guard.ours(Unusual):
        return None
    finally:
        writer.abandon()
    if count:
        dropped[kind] = dropped.get(kind, 0) + count
    return facts.st_size - (size_of(segment.path) if kept else 0)


def sift(segment: "Segment", kind: str, most: int, writer: Writer) -> "tuple[int, int]":
    """Give the writer what was not delivered but the oldest lines of a type, as many as make `most` bytes; return how
    many lines those are, and how many are kept. Raises Unusual, OSError, Unreadable.
    """
    mark = b'{"v":1,"type":"%s"' % kind.encode()
    descriptor, facts = open_own(segment.path)
    count = kept = 0
    try:
        header, segment.end = read_header(descriptor)
        segment.take_facts(header, facts)
        for lines in blocks(descriptor, max(segment.end, segment.position(facts.st_size))):
            if kind == "lifecycle":
                tell_exits(lines, deaths.remember)
            segment.tally.last = max(segment.tally.last, last_number(lines, session_id(segment.base)))
            rest, size = without(lines, mark, most)
            most -= size
            count += len(lines) - len(rest)
            kept += len(rest)
            writer.add_all(rest)
    finally:
        os.close(descriptor)
    return count, kept


def blocks(descriptor: int, offset: int) -> "Iterator[list[bytes]]":
    """Yield the lines from an offset on, many at a time. Raises Unusual, OSError."""
    os.lseek(descriptor, offset, os.SEEK_SET)
    held = b""
    while chunk := os.read(descriptor, CHUNK_BYTES):
        lines = (held + chunk).split(b"\n")
        held = lines.pop()
        if lines:
            if not are_usual(b"\n".join(lines), len(lines)):
                raise Unusual
            yield lines
    if held:
        raise Unusual


def without(lines: "list[bytes]", mark: bytes, most: int) -> "tuple[list[bytes], int]":
    """Return the lines without the first of those that begin with `mark`, as many as make `most` bytes, and the size of
    what is left out.
    """
    if most <= 0:
        return lines, 0
    found = [line for line in lines if line.startswith(mark)]
    size = sum(map(len, found)) + len(found)
    if size <= most:
        return [line for line in lines if not line.startswith(mark)], size
    rest, size = [], 0
    for line in lines:
        if size < most and line.startswith(mark):
            size += len(line) + 1
        else:
            rest.append(line)
    return rest, size

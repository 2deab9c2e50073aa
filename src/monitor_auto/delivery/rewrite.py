"""Makes a segment smaller, or one segment of many small ones. Runs where the bounds of a spool are kept.

Guarantees:
- Builtin modules only; one chunk of lines is held, whatever the size of the files; of small ones that are merged all.
- What is left out is left out by a rename: a death at any moment leaves the old segment or the new one. A death in
  between may repeat events (with the `event_id` they had) and loses none; the account counts them once.
- A rewritten segment of a dead session is marked `merged` in its header: what became of the session has been written
  before, so that dropping its `session.end` makes no `session.lost` of it.
"""

import os

from monitor_auto.boot import guard
from monitor_auto.boot.formats import wall_clock

from .claims import Claim, field
from .lines import is_whole
from .segments import (
    FATES,
    HEADER,
    WITH_TOKEN,
    WRITE,
    Line,
    Segment,
    Unreadable,
    account_path,
    add_to_account,
    open_own,
    read_header,
    remove,
    trimmed,
    type_at,
)

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from typing import Any

KINDS = ("metric", "event", "lifecycle", "error")
"""The types of events in the order in which they are dropped."""
MERE = KINDS[:2]
"""What says nothing of how a session began and ended."""
_BUFFER_BYTES = 256 * 1024
MAX_SOURCES_BYTES = 12000
"""A header is read in one piece (segments.MAX_HEADER_BYTES)."""


class Writer:
    """A segment in the making: `add` lines, then `finish` or `abandon`. Its header is by `growth` bytes longer than its
    model's.
    """

    def __init__(self, model: Segment, number: int, is_merged: bool, sources: bytes = b"") -> None:
        """`model` is a segment of the same session; `sources` tells what it is made of. Raises OSError, Unreadable."""
        header = header_line(model)
        self.path = Segment(model.directory, model.base, number).path
        self.temporary = f"{self.path}.{os.getpid()}.tmp"
        remove(self.temporary)
        self.descriptor = os.open(self.temporary, WRITE | os.O_EXCL, 0o600)
        self.parts = [header_of(header, number, os.fstat(self.descriptor).st_ino, is_merged)]
        self.growth = len(self.parts[0]) - len(header)
        if sources:
            self.parts[0] = HEADER + b'"of":"' + sources + b'",' + without_sources(self.parts[0])[len(HEADER) :]
        self.held = 0

    def add(self, text: bytes) -> None:
        """Append a line. Raises OSError on a full disk."""
        self.parts.append(text)
        self.held += len(text)
        if self.held > _BUFFER_BYTES:
            self.flush()

    def add_all(self, texts: list[bytes]) -> None:
        """Append lines. Raises OSError on a full disk."""
        self.parts += texts
        self.held += sum(map(len, texts))
        if self.held > _BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        data = b"\n".join([*self.parts, b""])
        if os.write(self.descriptor, data) != len(data):
            raise OSError("the disk is full")
        self.parts, self.held = [], 0

    def finish(self, written: float, *stale: str) -> None:
        """Put the segment into its place, with the age of what it holds, after deleting `stale` files."""
        if self.parts:
            self.flush()
        os.utime(self.temporary, (wall_clock(), written))
        for path in stale:
            remove(path)
        os.replace(self.temporary, self.path)
        os.close(self.descriptor)
        self.descriptor = -1

    def abandon(self) -> None:
        """Leave everything as it was, unless it has been put into its place."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            remove(self.temporary)


def header_of(model: bytes, number: int, inode: int, is_merged: bool) -> bytes:
    """Return a segment's header with another number, or as that of a smaller one, and another inode."""
    header = model.replace(b'"inode":' + field(model, b"inode"), b'"inode":%d' % inode, 1)
    header = header.replace(b'"number":' + field(model, b"number"), b'"number":%d' % number, 1)
    if field(model, b"number") == b"%d" % number:  # the same segment, made smaller
        rounds = trimmed(model)
        header = header.replace(b'"trimmed":%d,' % rounds, b"", 1)
        header = HEADER + b'"trimmed":%d,' % (rounds + 1) + header[len(HEADER) :]
    if is_merged and b',"merged":' not in header:
        header = HEADER + b'"merged":true,' + header[len(HEADER) :]
    return header


def without_sources(header: bytes) -> bytes:
    """Return a header that does not say what its segment was made of."""
    before, mark, rest = header.partition(b'"of":"')
    return before + rest.partition(b'",')[2] if mark else header


def kind_of(text: bytes) -> str:
    """Return the type of a line that is an event."""
    kind = text.partition(b'"type":"')[2][:10].partition(b'"')[0].decode("ascii", "replace")
    return kind if kind in KINDS else "event"


def header_line(segment: Segment) -> bytes:
    """Return the header of a segment. Raises OSError, Unreadable."""
    descriptor, _ = open_own(segment.path)
    try:
        return read_header(descriptor)[0]
    finally:
        os.close(descriptor)


def had_token(claim: Claim, numbers: list[int]) -> bool:
    """Return whether a session had a token; not one of which nothing can be read."""
    for number in numbers:
        try:
            return WITH_TOKEN in header_line(Segment(claim.directory, claim.base, number))
        except guard.ours(OSError, Unreadable):
            continue
    return False


def kinds_in(segment: Segment) -> set[str]:
    """Return the types of events that may be in a segment, a quick look: delivered ones count, too. All of them for
    what cannot be read.
    """
    marks = {kind: f'"type":"{kind}"'.encode() for kind in KINDS}
    try:
        descriptor, facts = open_own(segment.path)
    except guard.ours(OSError, Unreadable):
        return set(KINDS)
    try:
        kinds: set[str] = set()
        held = b""
        while len(kinds) < len(KINDS) and (chunk := os.read(descriptor, _BUFFER_BYTES)):
            held = held[-32:] + chunk
            kinds.update([kind for kind, mark in marks.items() if mark in held])
        return kinds
    finally:
        os.close(descriptor)


def trim(
    segment: Segment, claim: "Claim | None", kind: str, most: int, dropped: "dict[str, int]", deadline: float
) -> int:
    """Rewrite a segment without what was delivered and without its oldest events of a type, as many as make it smaller
    by `most` bytes; count them in `dropped` and return by how many bytes it has shrunk.

    `claim` is None for the own session, which lives on. Raises OSError, Unreadable, OutOfTime.
    """
    facts = os.lstat(segment.path)
    writer = Writer(segment, segment.number, claim is not None)
    left, count, kept = most + writer.growth, 0, 0  # else a few bytes are missing, and a better type has to go
    damaged: list[Line] = []
    try:
        for line in segment.read(deadline, check=claim.check if claim is not None else None):
            if line.fault:
                damaged.append(line)
            elif left > 0 and kind_of(line.text) == kind:
                left -= len(line.text) + 1
                count += 1
                line.fate = "dropped"
                segment.tally.add(line)
            else:
                kept += 1
                segment.tally.see(line.text)
                writer.add(line.text)
        put_aside(damaged)
        for line in damaged:
            segment.tally.add(line)
        segment.is_finished = not kept
        if count and not kept and kind in MERE and not type_at(segment.position_path):
            segment.delete()  # a full disk has no room for a header; and the end of a session is not in it
        else:
            path = account_path(segment.directory, segment.base[:16])
            add_to_account(path, segment.tally.line(segment.account_name()))
            writer.finish(facts.st_mtime, segment.position_path)
    finally:
        writer.abandon()
    if count:
        dropped[kind] = dropped.get(kind, 0) + count
    return facts.st_size - size_of(segment.path)


def merge(claims: "list[Claim]", numbers: "dict[str, list[int]]", settings: "Any", deadline: float) -> int:
    """Make one segment of what several dead sessions of one endpoint, all with a token or all without, have left;
    return how many there were before.

    The new one belongs to the first session that has something left; the others are gone when their claims are
    released. Raises OSError, Unreadable, OutOfTime.
    """
    texts: dict[bytes, None] = {}  # in their order, each once: a death may have left what an earlier merging has copied
    taken: dict[Segment, int] = {}
    damaged: list[Line] = []
    written = 0.0
    for claim in claims:
        for line in claim.lines(settings, numbers[claim.base], deadline, is_whole, is_sent=False):
            if line.segment is None or line.fault:
                damaged.append(line)
            elif line.text not in texts:
                texts[line.text] = None
                taken[line.segment] = taken.get(line.segment, 0) + 1
            if line.segment is not None:
                tally_moved(line.segment, line)
        written = max([written, *(_written(segment) for segment in claim.segments)])
    put_aside(damaged)
    owner = next((claim for claim in claims for segment in claim.segments if segment in taken), None)
    if owner is not None:
        put_together(owner, numbers[owner.base], list(texts), taken, written)
    merged = [segment for claim in claims for segment in claim.segments if segment.is_read]
    for segment in merged:
        segment.is_finished = True
        segment.delete()
    if owner is not None:
        owner.is_complete = False  # its lock stays, with the new segment
    return len(merged)


def put_together(
    owner: Claim, numbers: list[int], texts: list[bytes], taken: "dict[Segment, int]", written: float
) -> None:
    """Write the segment that takes the place of others. Raises OSError, Unreadable."""
    model = next(segment for segment in owner.segments if segment in taken)
    writer = Writer(model, free_number(owner, numbers), True, source_words(taken))
    try:
        for text in texts:
            writer.add(text)
        writer.finish(written)
    except BaseException:
        writer.abandon()
        raise


def source_words(taken: "dict[Segment, int]") -> bytes:
    """Return what a merged segment says of those that it was made of, so that what is sent from both, after a death
    before they are deleted, is told from what was sent once. Nothing where that would be too long for a header.
    """
    words = []
    for segment, count in taken.items():
        name = segment.account_name()
        settled = sum(segment.tally.counts.get(fate, 0) for fate in FATES)
        words.append(f"of:{name}={count}" + (f" had:{name}={settled}" if settled else ""))
    text = " ".join(words).encode()
    return text if len(text) <= MAX_SOURCES_BYTES else b""


def tally_moved(segment: Segment, line: Line) -> None:
    """Count a damaged line; of one that goes on elsewhere only the sequence number matters."""
    if line.fault:
        segment.tally.add(line)
    else:
        segment.tally.see(line.text)


def free_number(claim: Claim, numbers: list[int]) -> int:
    """Return the number of the next segment of a dead session."""
    number = max(numbers, default=-1) + 1
    while type_at(Segment(claim.directory, claim.base, number).path):
        number += 1
    return number


def put_aside(damaged: "list[Line]") -> None:
    """Put damaged lines where they can be looked at."""
    if damaged:
        from . import aside

        aside.put_lines(damaged)


def _written(segment: Segment) -> float:
    try:
        return os.lstat(segment.path).st_mtime
    except guard.ours(OSError):
        return 0.0


def size_of(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except guard.ours(OSError):
        return 0

"""The account of a spool: how many events were produced, and what became of each. Runs in commands and at compaction.

What happened to the lines of a segment is added up in the segment (`segments.Tally`), kept beside it while part of it
is delivered, and written into `<key>.account` before the segment is deleted.

Guarantees:
- produced = sent + rejected + dropped + aside + sampled out + spooled + gaps, where gaps are sequence numbers that
  never reached a file: dropped from memory while no disk took them, or not told of by a session that was killed.
- A line is named by session, segment, inode and how often the segment was trimmed (a file system gives the number of an
  inode out again): written again after a death in between, it counts once.
- So it does where a death has left a merged segment beside those that it was made of: it says which they were.
- `produced` comes from the sequence numbers alone, so that the sum is a check and no definition.
"""

from __future__ import annotations

import os

from monitor_auto.boot import guard

from . import claims
from .lines import read_lines
from .lost import UNKNOWN_SEQUENCE
from .rewrite import size_of
from .segments import (
    FATES,
    Segment,
    Tally,
    Unreadable,
    account_path,
    open_own,
    read_header,
    session_id,
    sessions,
    write_whole,
)

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES = 1 << 20
TOTAL = "total"
JOINED = "joined"


class Counts:
    """Events of one endpoint in one spool, since the spool was made."""

    def __init__(self, spooled: int = 0) -> None:
        self.produced = self.sent = self.rejected = self.dropped = self.aside = self.sampled_out = 0
        self.spooled = spooled

    def __repr__(self) -> str:
        return f"<Counts {vars(self)}>"

    @property
    def gaps(self) -> int:
        """How many were never written: dropped from memory, or by a session that could not tell any more."""
        known = self.sent + self.rejected + self.dropped + self.aside + self.sampled_out
        return self.produced - known - self.spooled


class Account:
    """What the account and the segments of one endpoint in one spool say."""

    def __init__(self, directory: str, key: str) -> None:
        self.directory, self.key = directory, key
        self.tallies: dict[str, Tally] = {}
        self.size = size_of(account_path(directory, key))
        for name, tally in read_account(account_path(directory, key)):
            self.tallies[name] = tally
        self.waiting: dict[str, int] = {}
        self.present: set[str] = set()

    def counts(self) -> Counts:
        """Add everything up. Raises OSError when the spool cannot be read."""
        for base, numbers in sessions(self.directory, self.key).items():
            self.present.add(session_id(base))
            for number in numbers:
                self.look(Segment(self.directory, base, number))
        total = Counts(spooled=sum(self.waiting.values()))
        for tally in self.tallies.values():
            for fate in FATES:
                setattr(total, fate, getattr(total, fate) + tally.counts.get(fate, 0))
        twice = self.counted_twice(self.tallies)
        total.sent -= max(0, twice - total.spooled)
        total.spooled -= min(twice, total.spooled)
        total.produced = self.produced()
        return total

    def look(self, segment: Segment) -> None:
        """Count what one segment still holds, and what was delivered of it."""
        try:
            descriptor, facts = open_own(segment.path)
        except guard.ours(OSError, Unreadable):
            return
        try:
            header, begin = read_header(descriptor)
            segment.take_facts(header, facts)
            begin = max(begin, segment.position(facts.st_size))
            count = 0
            for text, _ in read_lines(descriptor, begin, float("inf")):
                count += bool(text)
                segment.tally.see(text)
        except guard.ours(OSError, Unreadable):
            return
        finally:
            os.close(descriptor)
        name = segment.account_name()
        segment.tally.counts.update(segment.sources)
        self.tallies[name], self.waiting[name] = segment.tally, count

    def counted_twice(self, tallies: dict[str, Tally]) -> int:
        """Return how many events of these are there twice: a death while segments were merged has left the new one
        beside those that it was made of.
        """
        twice = 0
        for tally in tallies.values():
            for word, count in tally.counts.items():
                name = word.removeprefix("of:")
                if name != word and (source := self.tallies.get(name)) is not None:
                    settled = sum(source.counts.get(fate, 0) for fate in FATES)
                    own = settled + self.waiting.get(name, 0) - tally.counts.get("had:" + name, 0)
                    twice += max(0, min(count, own))
        return twice

    def produced(self) -> int:
        """Return how many sequence numbers the sessions have used, as far as their lines tell."""
        last: dict[str, int] = {}
        total = 0
        for name, tally in self.tallies.items():
            total += tally.counts.get("produced", 0)
            session = name.partition(".")[0]
            if tally.last >= UNKNOWN_SEQUENCE:  # of a session whose earlier numbers nobody knew
                total += tally.last - UNKNOWN_SEQUENCE + 1
            elif tally.last >= 0:
                last[session] = max(last.get(session, -1), tally.last)
        return total + sum(number + 1 for number in last.values())

    def compact(self) -> None:
        """Join the lines of sessions that are gone to one, and for each that lives those of segments that are gone.
        One process at a time; raises OSError.
        """
        path = account_path(self.directory, self.key)
        found = sessions(self.directory, self.key)
        self.present = {session_id(base) for base in found}
        kept = {name: tally for name, tally in self.tallies.items() if name.partition(".")[0] in self.present}
        total = self.total_of({name: tally for name, tally in self.tallies.items() if name not in kept})
        for base, numbers in found.items():
            if claims.is_alive(self.directory, base):
                join_settled(kept, session_id(base), numbers)
        if size_of(path) == self.size:  # else somebody has just added a line: the next run does it
            write_whole(path, b"".join(tally.line(name) for name, tally in [(TOTAL, total), *kept.items()]))

    def total_of(self, gone: dict[str, Tally]) -> Tally:
        """Return what stays of sessions that are gone."""
        total = joined(gone)
        total.last = -1
        total.counts["sent"] = total.counts.get("sent", 0) - self.counted_twice(gone)
        everything, self.tallies = self.tallies, gone
        total.counts["produced"] = self.produced()
        self.tallies = everything
        return total


def joined(tallies: dict[str, Tally]) -> Tally:
    """Return what these lines say together of what became of events, and the highest sequence number."""
    total = Tally()
    for tally in tallies.values():
        total.last = max(total.last, tally.last)
        for fate in FATES:
            total.counts[fate] = total.counts.get(fate, 0) + tally.counts.get(fate, 0)
    return total


def join_settled(tallies: dict[str, Tally], session: str, numbers: list[int]) -> None:
    """Make one line of those of a session that lives, of which a server has thousands a day. That of a segment that is
    there (`numbers`) stays, since it may be written again when that is delivered.
    """
    there = set(map(str, numbers))
    settled = {}
    for name, tally in tallies.items():
        owner, _, rest = name.partition(".")
        if owner == session and rest.partition(".")[0] not in there:
            settled[name] = tally
    for name in settled:
        del tallies[name]
    if settled:
        tallies[f"{session}.{JOINED}"] = joined(settled)


def counts(directory: str, key: str) -> Counts:
    """Return the counts of one endpoint's events in a spool. Raises OSError when the spool cannot be read."""
    return Account(directory, key).counts()


def compact_if_long(directory: str) -> None:
    """Shorten the accounts of a spool that have grown. Called under the lock of the spool's keeper."""
    for name in os.listdir(directory):
        if name.endswith(".account") and os.lstat(f"{directory}/{name}").st_size > MAX_BYTES:
            guard.call("account", Account(directory, name.partition(".")[0]).compact)


def read_account(path: str) -> Iterator[tuple[str, Tally]]:
    """Yield (name, tally) of every whole line of an account; an absent or strange file has none."""
    try:
        descriptor, _ = open_own(path)
    except guard.ours(OSError, Unreadable):
        return
    try:
        for text, _ in read_lines(descriptor, 0, float("inf")):
            name, _, rest = text.partition(b" ")
            if (tally := Tally.parse(rest)) is not None:
                yield name.decode("ascii", "replace"), tally
    finally:
        os.close(descriptor)

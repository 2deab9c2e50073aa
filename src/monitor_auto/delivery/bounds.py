"""Keeps a spool within its bounds: bytes, age and number of files. Runs when a segment is full, at some exits while
the spool is crowded, and in `monitor-auto flush`.

Guarantees:
- Builtin modules only, one enforcer at a time, a time limit: what is not done now is done the next time.
- Only dead sessions are touched, under their claim, and what the own session has finished. A session that lives
  elsewhere keeps its own bounds.
- What was delivered and what never can be (`aside/`) goes first, then the oldest metrics, events, lifecycle, and errors
  last. Each dropped event is counted in the ledger, by reason and type.
"""

import os
import time

from monitor_auto.boot import guard, handover, notes, recorder
from monitor_auto.boot.formats import quote
from monitor_auto.boot.spool import one_line

from . import account, claims, rewrite
from .claims import Claim, field
from .lines import OutOfTime
from .rewrite import KINDS
from .segments import WRITE, Segment, Unreadable, remove, session_id, split_name, tree_of

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Work = Callable[[Segment, "Claim | None"], None]

MAX_SEGMENTS = 5000
MERGED_BYTES = 1 << 20
"""Sessions smaller than this are merged, up to this size."""
MERGED_SESSIONS = 32
"""As many are claimed at a time: each claim is a descriptor, of which the program may have few."""
MAX_READ_BYTES = 64 << 20
"""A segment larger than this is no normal one; reading it takes longer than a program can be held up."""
MAX_LEDGER_BYTES = 1 << 20
MAX_ENTRIES = 200_000
"""A folder with more files than this is nothing that we made."""
LEFT_OVER_SECONDS = {"sent": 60.0, "tmp": 3600.0, "away": 86400.0}
LIMIT_SECONDS = 0.25
LEAST_STEPS = 32
"""Sessions that are dealt with on the slowest machine, too, so that every run gets on."""
UNIT_SECONDS = 5.0
_running: dict[int, object] = {}


def enforce(settings: "Any", directory: str, own_base: str, seconds: float = LIMIT_SECONDS) -> None:
    """Bring a spool back into its bounds, within about so many seconds; `own_base` is the session that runs here.

    Raises OSError when the folder cannot be read.
    """
    mark = object()
    if _running.setdefault(os.getpid(), mark) is not mark:
        return
    lock = -1
    try:
        lock = take_lock(f"{directory}/bounds.lock")
        Keeper(settings, directory, own_base, time.monotonic() + seconds).run()
    except BlockingIOError:  # another process is at it
        return
    finally:
        if lock >= 0:
            os.close(lock)
        del _running[os.getpid()]


def take_lock(path: str) -> int:
    """Return the descriptor of a lock file, locked. Raises BlockingIOError when another process has it."""
    descriptor = os.open(path, WRITE, 0o600)
    try:
        if hasattr(os, "lockf"):
            os.lockf(descriptor, os.F_TLOCK, 0)
    except OSError as error:
        os.close(descriptor)
        raise BlockingIOError from error
    return descriptor


class Keeper:
    """One run: what the listing shows, and what is done about it until `deadline`."""

    def __init__(self, settings: "Any", directory: str, own_base: str, deadline: float) -> None:
        self.settings, self.directory, self.own_base, self.deadline = settings, directory, own_base, deadline
        self.now = time.time()
        self.sessions: dict[str, dict[int, os.stat_result]] = {}
        self.kinds: dict[str, set[str]] = {}
        self.delivered_parts: set[str] = set()
        self.aside: list[tuple[float, int, str]] = []
        self.bytes = self.steps = 0
        self.dropped: dict[tuple[str, str], int] = {}

    def run(self) -> None:
        """Do one thing after the other."""
        try:
            self.look()
            self.drop_old()
            self.limit_bytes()
            self.limit_files()
            account.compact_if_long(self.directory)
        except OutOfTime:
            notes.debug("bounds of the spool: not all was done in time, the next one goes on")
        finally:
            for (reason, kind), count in self.dropped.items():
                notes.ledger("dropped", reason=reason, type=kind, count=count)

    def look(self) -> None:
        """List the folder, and remove what deaths have left behind."""
        lonely = []
        for name, facts in entries(self.directory):
            base, number = split_name(name)
            if number >= 0:
                self.sessions.setdefault(base, {})[number] = facts
            elif base:
                lonely.append(base)
            elif self.is_foreign(name) or self.is_left_over(name, facts):
                continue
            self.bytes += facts.st_size
        for name, facts in entries(self.directory + "/aside"):
            self.aside.append((facts.st_mtime, facts.st_size, name))
            self.bytes += facts.st_size
        self.aside.sort()
        for base in lonely:
            if base not in self.sessions:
                self.remove_lonely(base)

    def is_foreign(self, name: str) -> bool:
        """Return whether a file is none of ours: it is not counted and not touched."""
        first = name.partition(".")[0]
        return len(first) != 16 or name.rpartition(".")[2] not in LEFT_OVER_SECONDS

    def is_left_over(self, name: str, facts: os.stat_result) -> bool:
        """Remove a position without its segment, half of a file, an old breaker; return whether it was one."""
        stem, _, ending = name.rpartition(".")
        if ending == "sent":
            self.delivered_parts.add(stem.rpartition(".")[0])
        is_old = facts.st_mtime < self.now - LEFT_OVER_SECONDS[ending]
        if not is_old or (ending == "sent" and os.path.lexists(f"{self.directory}/{stem}.jsonl")):
            return False
        try:
            remove(f"{self.directory}/{name}")
        except OSError:  # somebody's folder of such a name
            return False
        return True

    def remove_lonely(self, base: str) -> None:
        """Remove the lock of a session that has no segment, if it is dead and not just starting."""
        claim = claims.claim(self.directory, base, is_lonely=True)
        if claim is not None:
            claim.is_complete = not claim.all_numbers([])
            guard.call("release", claim.release)

    def drop_old(self) -> None:
        """Drop what has waited for too long, and all but the newest of a long ledger."""
        horizon = self.now - self.settings.spool_age_seconds
        while self.aside and self.aside[0][0] < horizon:
            self.drop_aside("age")

        def drop(segment: Segment, claim: "Claim | None") -> None:
            if os.lstat(segment.path).st_mtime < horizon and not self.is_of_this_boot(segment):
                self.drop_segment(segment, claim, "age")

        for base in [base for base in self.sessions if self.age(base) < horizon]:
            self.with_session(base, drop)
        ledger = f"{self.directory}/ledger.jsonl"
        if rewrite.size_of(ledger) > MAX_LEDGER_BYTES:
            os.replace(ledger, f"{self.directory}/ledger.old")

    def is_of_this_boot(self, segment: Segment) -> bool:
        """Return whether a segment that looks too old is younger: the machine has not been up for so long, so its clock
        was wrong then, or is now. A board without a battery begins every day in 1970. Raises OSError, Unreadable.
        """
        if time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) > self.settings.spool_age_seconds:
            return False
        boot = one_line("/proc/sys/kernel/random/boot_id")
        return bool(boot) and field(rewrite.header_line(segment), b"boot") == quote(boot).encode()

    def limit_bytes(self) -> None:
        """Make room when there is too much, an eighth more than needed: not for every segment anew."""
        limit = self.settings.spool_limit_bytes
        if self.bytes <= limit:
            return
        target = limit - limit // 8
        for base in self.delivered_parts.intersection(self.sessions):
            self.trim_session(base, "", target)
        while self.aside and self.bytes > target:
            self.drop_aside("bytes")
        for kind in KINDS:
            for base in sorted(self.sessions, key=self.age):
                if self.bytes <= target:
                    return
                if kind in self.kinds_of(base):
                    self.trim_session(base, kind, target)

    def trim_session(self, base: str, kind: str, target: int) -> None:
        """Drop the oldest events of a type from one session until the spool is small enough; with no type given only
        what was delivered.
        """

        def trim(segment: Segment, claim: "Claim | None") -> None:
            if self.bytes > target and (kind or os.path.lexists(segment.position_path)):
                self.trim_segment(segment, claim, kind, self.bytes - target)

        self.with_session(base, trim, is_kept=True)

    def trim_segment(self, segment: Segment, claim: "Claim | None", kind: str, most: int) -> None:
        """Rewrite one segment, or drop it whole when it is monstrous and it is the last type's turn."""
        if os.lstat(segment.path).st_size > MAX_READ_BYTES:
            if kind == KINDS[-1]:
                self.drop_segment(segment, claim, "bytes")
            return
        dropped: dict[str, int] = {}
        self.bytes -= rewrite.trim(segment, claim, kind, most, dropped, time.monotonic() + UNIT_SECONDS)
        self.count("bytes", dropped)
        if claim is None and segment.is_finished:
            segment.delete()

    def drop_segment(self, segment: Segment, claim: "Claim | None", reason: str) -> None:
        """Drop a segment with all that was not delivered of it."""
        dropped: dict[str, int] = {}
        size = os.lstat(segment.path).st_size
        if size > MAX_READ_BYTES:
            dropped["unknown"] = 1
        else:
            check = claim.check if claim is not None else None
            for line in segment.read(time.monotonic() + UNIT_SECONDS, check=check):
                kind = "damaged" if line.fault else rewrite.kind_of(line.text)
                dropped[kind] = dropped.get(kind, 0) + 1
                line.fate = "dropped"
                segment.tally.add(line)
        segment.delete()
        segment.is_finished = True
        self.bytes -= size
        self.count(reason, dropped)

    def drop_aside(self, reason: str) -> None:
        """Drop the oldest thing that was put aside."""
        _, size, name = self.aside.pop(0)
        path = f"{self.directory}/aside/{name}"
        self.bytes -= size
        try:
            if os.path.isdir(path) and not os.path.islink(path):
                os.rmdir(path)
            else:
                remove(path)
            self.count(reason, {"aside": 1})
        except OSError as error:  # a folder with something in it
            notes.debug(f"left in aside/: {error}")

    def limit_files(self) -> None:
        """Merge small sessions while there are too many files, the oldest first, an eighth more than needed."""
        excess = sum(map(len, self.sessions.values())) + len(self.aside) - MAX_SEGMENTS
        if excess <= 0:
            return
        excess += MAX_SEGMENTS // 8
        while excess > 0 and len(self.aside) > MAX_SEGMENTS // 8:
            self.drop_aside("files")
            excess -= 1
        for group in self.groups():
            if excess > 0:
                excess -= self.merge(group)
                self.step(len(group))

    def groups(self) -> "Iterator[list[str]]":
        """Yield sessions to merge: of one endpoint, those of a tree together, the oldest tree first."""
        sizes = {base: sum(facts.st_size for facts in numbers.values()) for base, numbers in self.sessions.items()}
        first: dict[str, str] = {}
        for base in sorted(sizes, key=session_id):
            first.setdefault(tree_of(base), session_id(base))
        group: list[str] = []
        size = 0
        for base in sorted(sizes, key=lambda base: (base[:16], first[tree_of(base)], session_id(base))):
            if sizes[base] > MERGED_BYTES or base == self.own_base:
                continue
            is_full = size + sizes[base] > MERGED_BYTES or len(group) == MERGED_SESSIONS
            if group and (is_full or base[:16] != group[0][:16]):
                yield group
                group, size = [], 0
            group.append(base)
            size += sizes[base]
        yield group

    def merge(self, group: list[str]) -> int:
        """Merge what of a group is dead; return how many segments are fewer."""
        found = [claim for base in group if (claim := claims.claim(self.directory, base)) is not None]
        numbers = {claim.base: claim.all_numbers(sorted(self.sessions[claim.base])) for claim in found}
        with_token = [claim for claim in found if rewrite.had_token(claim, numbers[claim.base])]
        fewer = 0
        try:
            for part in (with_token, [claim for claim in found if claim not in with_token]):
                if sum(len(numbers[claim.base]) for claim in part) > 1:
                    fewer += rewrite.merge(part, numbers, self.settings, time.monotonic() + UNIT_SECONDS) - 1
        except (OSError, Unreadable) as error:
            notes.debug(f"segments were not merged: {error}")
        finally:
            for claim in found:
                guard.call("release", claim.release)
        return fewer

    def with_session(self, base: str, work: "Work", is_kept: bool = False) -> None:
        """Call `work(segment, claim)` for the segments of a dead session, and without a claim for those that the own
        one has finished; not at all for one that lives. `is_kept`: it may stay, so it has to be said how it ended.
        """
        numbers = sorted(self.sessions[base])
        if base == self.own_base:
            self.with_own(numbers, work)
        elif claim := claims.claim(self.directory, base):
            try:
                claim.segments = [Segment(self.directory, base, n, True) for n in claim.all_numbers(numbers)]
                if is_kept:
                    claim.write_what_became(self.settings)
                for segment in list(claim.segments):
                    self.attempt(work, segment, claim)
                claim.is_complete = True  # and gone, if every segment is finished now
            finally:
                guard.call("release", claim.release)
        self.step(1)

    def with_own(self, numbers: list[int], work: "Work") -> None:
        """Do the same for the own session, unless it is just being delivered: its positions would become wrong."""
        segment, session = recorder.segment, recorder.session
        if segment is None or session is None or session.is_ended or not handover.flushing.acquire(False):
            return
        try:
            for number in numbers:
                if number < segment.number:
                    self.attempt(work, Segment(self.directory, segment.base, number, True), None)
        finally:
            handover.flushing.release()

    def attempt(self, work: "Work", segment: Segment, claim: "Claim | None") -> None:
        """Work on one segment; one that fails is left, one that is none of ours is put aside."""
        try:
            work(segment, claim)
        except FileNotFoundError:
            segment.is_finished = True
        except Unreadable as error:
            if claim is not None:
                claim.put_aside(segment, str(error))
        except OSError as error:  # a full or bad disk
            notes.debug(f"bounds of the spool: {error}")

    def kinds_of(self, base: str) -> set[str]:
        """Return the types of events that a session has, and all of them for what cannot be read here."""
        if base not in self.kinds:
            self.kinds[base] = set()
            for number in self.sessions[base]:
                self.kinds[base] |= rewrite.kinds_in(Segment(self.directory, base, number))
        return self.kinds[base]

    def age(self, base: str) -> float:
        """Return when the oldest segment of a session was last written."""
        return min(facts.st_mtime for facts in self.sessions[base].values())

    def count(self, reason: str, dropped: dict[str, int]) -> None:
        """Remember what was dropped for the ledger."""
        for kind, count in dropped.items():
            self.dropped[reason, kind] = self.dropped.get((reason, kind), 0) + count

    def step(self, steps: int) -> None:
        """Raise OutOfTime when the time is up and something has been done."""
        self.steps += steps
        late = time.monotonic() - self.deadline
        if late > 0 and (self.steps >= LEAST_STEPS or late > LIMIT_SECONDS):
            raise OutOfTime


def entries(path: str) -> "Iterator[tuple[str, os.stat_result]]":
    """Yield the names in a folder with their `lstat`; nothing for a link in its place."""
    if os.path.islink(path) or not os.path.isdir(path):
        return
    with os.scandir(path) as found:
        for _, entry in zip(range(MAX_ENTRIES), found, strict=False):
            try:
                yield entry.name, entry.stat(follow_symlinks=False)
            except OSError:  # delivered by somebody meanwhile
                continue

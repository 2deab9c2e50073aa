"""Keeps a spool within its bounds: bytes, age and number of files. Runs when a segment is full, at some exits while
the spool is crowded, and in `monitor-auto flush`.

Guarantees:
- Builtin modules only, one enforcer at a time, a time limit: what is not done now is done the next time.
- Only dead sessions are touched, under their claim, and what the own session has finished. A session that lives
  elsewhere keeps its own bounds: where another is the enforcer, it makes room for what it has itself added, no more.
- What was delivered and what never can be (`aside/`) goes first, then the oldest metrics, events, lifecycle, and errors
  last. Each dropped event is counted in the ledger, by reason and type.
"""

import os
import time

from monitor_auto.boot import flushing, guard, notes, recorder
from monitor_auto.boot.formats import monotonic, quote
from monitor_auto.boot.spool import one_line

from . import account, claims, merging, rewrite, trimming
from .claims import Claim, field
from .lines import OutOfTime
from .listing import Listing
from .merging import UNIT_SECONDS
from .rewrite import KINDS
from .segments import FOLDER, WRITE, Segment, Unreadable, remove, type_at

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Work = Callable[[Segment, "Claim | None"], None]

MAX_SEGMENTS = 5000
MAX_READ_BYTES = 64 << 20
"""A segment larger than this is no normal one; reading it takes longer than a program can be held up."""
MAX_LEDGER_BYTES = 1 << 20
LIMIT_SECONDS = 0.25
LEAST_STEPS = 32
"""Sessions that are dealt with on the slowest machine, too, so that every run gets on."""
_running: dict[int, object] = {}


def enforce(settings: "Any", directory: str, own_base: str, seconds: float = LIMIT_SECONDS) -> None:
    """Bring a spool back into its bounds, within about so many seconds; `own_base` is the session that runs here."""
    mark = object()
    if _running.setdefault(os.getpid(), mark) is not mark:
        return
    lock = -1
    keeper = Keeper(settings, directory, own_base, monotonic() + seconds)
    try:
        try:
            lock = take_lock(f"{directory}/bounds.lock")
        except guard.ours(BlockingIOError):  # another process is at it
            keeper.run(keeper.limit_own)
        else:
            keeper.run(keeper.limit_everything)
    except guard.ours(OSError) as error:  # a full or bad disk: the next one goes on
        notes.debug(f"bounds of the spool: {error}")
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
    except guard.ours(OSError) as error:
        os.close(descriptor)
        raise BlockingIOError from error
    return descriptor


def free_bytes(directory: str) -> int:
    """Return how much the disk of a folder has room for. Raises OSError."""
    if not hasattr(os, "statvfs"):
        return MAX_READ_BYTES
    facts = os.statvfs(directory)
    return facts.f_bavail * facts.f_frsize


class Keeper(Listing):
    """One run: what the listing shows, and what is done about it until `deadline`."""

    def __init__(self, settings: "Any", directory: str, own_base: str, deadline: float) -> None:
        super().__init__(directory)
        self.settings, self.own_base, self.deadline = settings, own_base, deadline
        self.kinds: dict[str, set[str]] = {}
        self.steps = 0
        self.dropped: dict[tuple[str, str], int] = {}

    def run(self, work: "Callable[[], None]") -> None:
        """Do that, and tell what was dropped."""
        try:
            self.look()
            work()
        except guard.ours(OutOfTime):
            notes.debug("bounds of the spool: not all was done in time, the next one goes on")
        finally:
            for (reason, kind), count in self.dropped.items():
                notes.ledger("dropped", reason=reason, type=kind, count=count)

    def limit_everything(self) -> None:
        """Do one thing after the other."""
        for base in self.lonely:
            self.remove_lonely(base)
        self.drop_old()
        limit = self.settings.spool_limit_bytes
        if self.bytes > limit:
            self.limit_bytes(list(self.sessions), limit - limit // 8)
        self.limit_files()
        account.compact_if_long(self.directory)

    def limit_own(self) -> None:
        """Make room in the own session for its last segment, where there is too much."""
        limit, segment = self.settings.spool_limit_bytes, recorder.segment
        last = self.sessions.get(self.own_base, {}).get(segment.number - 1) if segment is not None else None
        if self.bytes > limit and last is not None:
            self.aside.clear()  # it is everybody's, and for the enforcer
            self.limit_bytes([self.own_base], max(limit - limit // 8, self.bytes - last.st_size))

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

    def limit_bytes(self, bases: list[str], target: int) -> None:
        """Make room in these sessions until the spool is as small as `target`: an eighth below its limit, so that it is
        not done for every segment anew.
        """
        for base in self.delivered_parts.intersection(bases):
            self.trim_session(base, "", target)
        while self.aside and self.bytes > target:
            self.drop_aside("bytes")
        bases = [base for base in bases if base == self.own_base or not claims.is_alive(self.directory, base)]
        for kind in KINDS:
            for base in sorted(bases, key=self.age):
                if self.bytes <= target:
                    return
                if kind in self.kinds_of(base):
                    self.trim_session(base, kind, target)

    def trim_session(self, base: str, kind: str, target: int) -> None:
        """Drop the oldest events of a type from one session until the spool is small enough; with no type given only
        what was delivered.
        """

        def trim(segment: Segment, claim: "Claim | None") -> None:
            if self.bytes > target and (kind or type_at(segment.position_path)):
                self.trim_segment(segment, claim, kind, self.bytes - target)

        self.with_session(base, trim, is_kept=True)

    def trim_segment(self, segment: Segment, claim: "Claim | None", kind: str, most: int) -> None:
        """Rewrite one segment, or drop it whole when it is monstrous and it is the last type's turn."""
        size = os.lstat(segment.path).st_size
        if size > MAX_READ_BYTES:
            if kind == KINDS[-1]:
                self.drop_segment(segment, claim, "bytes")
            return
        if size > free_bytes(self.directory):  # the less stays the less room it takes: else younger ones had to go
            most = size
        dropped: dict[str, int] = {}
        shrunk = trimming.trim_own(segment, kind, most, dropped) if claim is None else None
        if shrunk is None:
            shrunk = rewrite.trim(segment, claim, kind, most, dropped, monotonic() + UNIT_SECONDS)
        self.bytes -= shrunk
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
            for line in segment.read(monotonic() + UNIT_SECONDS, check=check):
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
            if type_at(path) == FOLDER:
                os.rmdir(path)
            else:
                remove(path)
            self.count(reason, {"aside": 1})
        except guard.ours(OSError) as error:  # a folder with something in it
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
        for group in merging.groups(self.sessions, self.own_base):
            if excess > 0:
                excess -= merging.merge(self.directory, self.sessions, group, self.settings)
                self.step(len(group))

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
        if segment is None or session is None or session.is_ended or not flushing.busy.acquire(False):
            return
        try:
            for number in numbers:
                if number < segment.number:
                    self.attempt(work, Segment(self.directory, segment.base, number, True), None)
        finally:
            flushing.busy.release()

    def attempt(self, work: "Work", segment: Segment, claim: "Claim | None") -> None:
        """Work on one segment; one that fails is left, one that is none of ours is put aside."""
        try:
            work(segment, claim)
        except guard.ours(FileNotFoundError):
            segment.is_finished = True
        except guard.ours(Unreadable) as error:
            if claim is not None:
                claim.put_aside(segment, str(error))
        except guard.ours(OSError) as error:  # a full or bad disk
            notes.debug(f"bounds of the spool: {error}")

    def kinds_of(self, base: str) -> set[str]:
        """Return the types of events that a session has, and all of them for what cannot be read here."""
        if base not in self.kinds:
            self.kinds[base] = set()
            for number in self.sessions[base]:
                self.kinds[base] |= rewrite.kinds_in(Segment(self.directory, base, number))
        return self.kinds[base]

    def count(self, reason: str, dropped: dict[str, int]) -> None:
        """Remember what was dropped for the ledger."""
        for kind, count in dropped.items():
            self.dropped[reason, kind] = self.dropped.get((reason, kind), 0) + count

    def step(self, steps: int) -> None:
        """Raise OutOfTime when the time is up and something has been done."""
        self.steps += steps
        late = monotonic() - self.deadline
        if late > 0 and (self.steps >= LEAST_STEPS or late > LIMIT_SECONDS):
            raise OutOfTime

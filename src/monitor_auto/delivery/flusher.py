"""The background thread's work: it delivers what the living session has recorded and what dead ones have left, and
records that the session lives and what it uses. Runs in a thread of its own, started by `boot/background.py`.

Guarantees:
- Only segments that nobody writes to any more are read: the session goes on in a fresh one first.
- `flush`, `aflush`, `close`, the exit and this thread never deliver at the same time (`flushing.busy`).
- Told to stop, it ends after the request that is under way; what was answered is noted, the rest stays in the spool,
  and after a fork the next thread goes on with it at once.
"""

import os

from monitor_auto.boot import background, check_same, cold, flushing, guard, notes, recorder, repairs, spool
from monitor_auto.boot.formats import monotonic, wall_clock

from . import breaker, hush, policy, resources
from .call import Call
from .connection import REQUEST_SECONDS, Connection
from .lines import OutOfTime
from .policy import Policy
from .segments import Segment, Unreadable, sessions, tree_of, type_at
from .turns import Turns

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .segments import Line

MAX_SEEN = 1000
LEFT_SECONDS = 60.0
"""A parent may look for children that have died every few seconds only, on a busy machine, and has to send then."""


def run(state: "Any") -> None:
    """Do what is due until told to stop. `state` is what background.py knows of this thread."""
    flusher = Flusher(state)
    try:
        flusher.work()
    except Stopped:
        return
    finally:
        flusher.close()
        hush.no_more_on_thread()


class Stopped(BaseException):
    """The thread was told to stop while it did something that nobody may catch."""


def produced() -> int:
    """Return how many sequence numbers this session has used, without using one."""
    return int(cold("limits").produced())


_policies: "dict[str, tuple[Policy, list[int]]]" = {}


def policy_of_session(session: "Any", first_due: float) -> "tuple[Policy, list[int]]":
    """Return the policy of this session, and the number of events that are our own: both outlive a thread and a fork,
    and the asyncio task goes on with them.
    """
    found = _policies.get(session.id)
    if found is None:
        _policies.clear()
        found = _policies[session.id] = policy.of(recorder.settings, session.started_monotonic), [0]
        found[0].next_flush = first_due
    return found


class Flusher:
    """One thread's work for one session."""

    def __init__(self, state: "Any") -> None:
        self.state = state
        self.settings: Any = recorder.settings
        self.segment: Any = recorder.segment
        self.policy, self.own = policy_of_session(state.session, state.first_due)
        self.turns = Turns(state)
        self.sender = Connection(state, self.settings, self.turns)
        self.orphans: dict[str, list[int]] = {}
        guard.call("collections", resources.watch_collections)
        self.last_news, self.last_count = monotonic(), -1

    def close(self) -> None:
        """Let go of everything."""
        self.turns.end()
        guard.call("flusher", self.sender.close)

    def recorded(self) -> int:
        """Return how many events the program has recorded."""
        return produced() - self.own[0]

    def is_over(self) -> bool:
        """Return whether to end: told so, or the session has ended or become another."""
        return self.state.is_stopping or recorder.session is not self.state.session

    def work(self) -> None:
        """Do what is due, rest, and again."""
        while not self.is_over():
            self.step(monotonic())
            self.rest()

    def step(self, now: float) -> None:
        """Do what is due now."""
        recorded = self.recorded()
        if self.state.session.is_ended:  # by an exec, which may fail
            return
        if self.policy.is_heartbeat_due(now, recorded):
            self.policy.on_heartbeat(now)
            resources.record_heartbeat(self.own)
        if self.policy.is_flush_due(now, recorded):
            self.turns.renew()
            self.flush(now, recorded)
        elif self.policy.are_orphans_due(now):
            self.turns.renew()
            self.deliver_orphans(now)

    def rest(self) -> None:
        """Wait until something is due; while the program records, look again soon."""
        now, recorded = monotonic(), self.recorded()
        if recorded != self.last_count:
            self.last_news, self.last_count = now, recorded
        seconds = self.policy.seconds_until_due(now, recorded)
        if now - self.last_news < background.ATTENTIVE_SECONDS:
            seconds = min(seconds, background.LOOK_SECONDS)
        else:
            self.state.is_resting = True
        if seconds > 0 and not self.is_over():
            self.turns.rest(seconds)
        self.state.is_resting = False

    def flush(self, now: float, recorded: int) -> None:
        """Deliver what the session has; at the interval's end also dead children's, and look for orphans."""
        is_scheduled = now >= self.policy.next_flush
        is_news = recorded != self.policy.flushed
        if is_news and self.policy.are_resources_due(now):
            self.policy.on_resources(now)
            resources.record(self.own)
        if self.settings.scheme == "local":
            self.policy.on_flush(now, recorded)
            return
        check_same()
        spool.check(self.segment)
        if flushing.is_shut_out(self.segment):
            self.policy.on_flush(now, recorded)
            return
        directory = self.segment.directory
        if directory is not None and breaker.is_away(directory, self.settings, REQUEST_SECONDS + 1):
            self.policy.on_flush(now, recorded)
            self.policy.on_away(now, max(0.1, breaker.read(directory, self.settings)[0] - wall_clock()))
            return
        if not flushing.busy.acquire(False):  # a flush of the program's own is under way
            self.policy.earliest = now + background.LOOK_SECONDS
            return
        is_told = False
        try:
            self.policy.on_flush(now, recorded)
            is_told = self.deliver(now, is_scheduled)
        finally:
            flushing.busy.release()
            if not is_told:
                self.policy.on_cut()
        if self.segment.is_keeper and self.segment.number >= repairs.KEEPER_SEGMENTS:  # else it is for the end
            self.segment.is_keeper = False
            guard.call("bounds", repairs.keep_bounds, self.segment)

    def deliver(self, now: float, is_scheduled: bool) -> bool:
        """Send own events, and children's when it is their time, and tell the policy what came of it, if it was not cut
        off; return whether it was told.
        """
        segment = self.segment
        sealed = repairs.turn(segment) if has_lines(segment) else segment.number - 1
        call = Delivery(self, segment.directory)
        call.batch_size = self.policy.batch
        lines = [line.rstrip(b"\n") for line in flushing.take_queue(segment)] if segment.queue else []
        try:
            is_complete = call.run(sealed, lines, is_scheduled)
        finally:
            call.release()
            if lines:
                segment.queue[:0] = [line + b"\n" for line in lines]
                segment.queue_bytes += sum(map(len, lines)) + len(lines)
        is_told = self.tell(call, is_complete)
        if is_complete and is_scheduled and segment.directory is not None:
            tree = tree_of(segment.base)
            self.orphans = {base: found for base, found in call.listed.items() if tree_of(base) != tree}
        if recorder.has_report:
            before = produced()
            guard.late("selfreport", "record", True)
            self.own[0] += produced() - before
        return is_told

    def tell(self, call: "Delivery", is_complete: bool) -> bool:
        """Tell the policy what came of a delivery; return False when nothing did, as it was cut off."""
        now, sending = monotonic(), call.sending
        if sending.why:
            self.sender.close()
            self.policy.on_failure(now, sending.status, sending.is_misplaced, sending.retry_after_seconds)
        elif is_complete:
            self.policy.on_success(now)
        return bool(sending.why) or is_complete

    def deliver_orphans(self, now: float) -> None:
        """Send one batch of what dead sessions of other trees have left; one process of the machine at a time."""
        directory = self.segment.directory
        if not self.orphans or directory is None or not flushing.busy.acquire(False):
            self.policy.on_orphans(now, 0, 0.0)
            return
        try:
            lock = take_turn(directory)
            if lock is None:
                self.policy.on_orphans(now, 0, 0.0)
                return
            try:
                self.send_orphans(directory, now)
            finally:
                os.close(lock)
        finally:
            flushing.busy.release()

    def send_orphans(self, directory: str, now: float) -> None:
        """Send one batch, and look how long the answer takes."""
        call = Delivery(self, directory)
        call.batch_size = self.policy.orphan_batch
        try:
            is_complete = call.one_batch(self.orphans)
        finally:
            call.release()
        if call.sending.why:
            self.tell(call, is_complete)
        else:
            left = len(self.orphans)
            self.policy.on_orphans(monotonic(), left or call.sending.delivered, self.sender.answer_seconds)


class Delivery(Call):
    """One flush: the steps of the last call, between which the thread may be told to stop."""

    def __init__(self, flusher: Flusher, directory: "str | None") -> None:
        self.flusher = flusher
        super().__init__(flusher.settings, directory, flusher.segment.base, float("inf"), flusher.sender.post)
        self.listed: dict[str, list[int]] = {}

    def run(self, sealed: int, memory_lines: list[bytes], is_scheduled: bool) -> bool:
        """Send memory and own segments up to this one; when `is_scheduled` also those of dead children."""
        if self.directory is None:
            return self.deliver(self.watched(self.own_lines([], memory_lines)), memory_lines)
        if is_scheduled:
            self.others = sessions(self.directory, self.key)
            numbers = [n for n in self.others.pop(self.base, []) if n <= sealed]
            self.listed = dict(self.others)
        else:
            numbers = own_numbers(self.directory, self.base, sealed)
        own = [Segment(self.directory, self.base, number) for number in numbers]
        if not memory_lines and not self.deliver_blocks(own):
            return False
        return self.deliver(self.watched(self.own_lines(own, memory_lines)), memory_lines)

    def deliver_blocks(self, own: list[Segment]) -> bool:
        """Send long segments of our own in blocks, as far as that goes, and take them off the list; return whether to
        go on.
        """
        from . import backlog, bulk

        is_usual = not getattr(self.flusher.segment, "was_torn", False)
        if is_usual and backlog.is_long(own) and backlog.would_be_unseen():
            try:
                if not backlog.deliver(self.flusher.state, self.sending, own, self.batch_size):
                    return False
            except OSError as error:  # no process, no descriptor: the thread does it by itself
                notes.debug(f"no helper: {error}")
            own[:] = [Segment(segment.directory, segment.base, segment.number) for segment in own]
        while own and is_usual:
            segment = own[0]
            if not bulk.is_worthwhile(segment):
                break
            try:
                if not bulk.deliver(segment, self.sending, self.batch_size, self.check_time):
                    return False
            except FileNotFoundError:
                segment.is_finished = True
            except Unreadable:  # line by line it is told
                break
            except OutOfTime:
                return False
            if not segment.is_finished:
                own[0] = Segment(segment.directory, segment.base, segment.number)
                break
            del own[0]
        return True

    def check_time(self) -> None:
        """Raise OutOfTime when the thread was told to stop; let the program's loop move."""
        if self.flusher.state.is_stopping:
            raise OutOfTime
        self.flusher.turns.renew()

    def one_batch(self, orphans: dict[str, list[int]]) -> bool:
        """Send one batch of these sessions; those that have nothing more to give are taken off the list."""

        def lines() -> "Iterator[Line]":
            for base in list(orphans):
                yield from self.claimed_lines(base)
                del orphans[base]  # here its last line is in the batch

        self.others = dict(orphans)
        return self.deliver(self.watched(lines()), [], 1)

    def claimed_lines(self, base: str) -> "Iterator[Line]":
        """Yield the lines of another session, if it is dead; in time, if somebody else will know more of its death."""
        segments = [Segment(str(self.directory), base, number) for number in self.others[base]]
        if is_left_to_others(segments, self.base, self.flusher.policy.interval_seconds):
            self.others.pop(base)
        else:
            yield from super().claimed_lines(base)

    def is_left_to_others(self, base: str, numbers: list[int]) -> bool:
        """Return False: that was asked before, since it depends on how long it lasts."""
        return False

    def watched(self, lines: "Iterator[Line]") -> "Iterator[Line]":
        """Yield the lines, until the thread is told to stop."""
        for line in lines:
            self.check_time()
            yield line


def has_lines(segment: "Any") -> bool:
    """Return whether the segment that is written to has more than its header."""
    if segment.directory is None or segment.fd < 0:
        return False
    try:
        return os.fstat(segment.fd).st_size > len(spool.header(segment, segment.inode, segment.number))
    except OSError:
        return False


def own_numbers(directory: str, base: str, sealed: int) -> list[int]:
    """Return the session's own segments up to this one, without listing the spool."""
    numbers: list[int] = []
    number = sealed
    while number >= 0 and type_at(Segment(directory, base, number).path):
        numbers.insert(0, number)
        number -= 1
    return numbers


_first_seen: dict[str, float] = {}
"""When this process has met a session first that it has left to others."""


def is_left_to_others(segments: "list[Segment]", own: str, interval_seconds: float) -> bool:
    """Return whether to wait with a dead session: its parent lives, and learns of the death when it waits for it, or
    has just learnt and sent it. It is waited for twice the interval, or LEFT_SECONDS where that is longer.
    """
    from . import deaths

    if not segments:
        return False
    base = segments[0].base
    if not deaths.is_better_known(segments, own):
        _first_seen.pop(base, None)
        return False
    now = monotonic()
    if len(_first_seen) > MAX_SEEN:
        _first_seen.clear()
    return now - _first_seen.setdefault(base, now) < max(2 * interval_seconds, LEFT_SECONDS)


def take_turn(directory: str) -> "int | None":
    """Return the lock of who delivers orphans here, or None when another process does."""
    from . import bounds

    try:
        return bounds.take_lock(f"{directory}/orphans.lock")
    except OSError:
        return None

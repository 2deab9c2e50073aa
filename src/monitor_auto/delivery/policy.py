"""When a living session delivers, and how fast: one object that its thread and its asyncio task share.

Pure: it reads no clock and starts nothing. Who uses it says what time it is (`now`, seconds on a clock that only goes
forward), how many events the program has `recorded` so far, and what came of a delivery; it says what is due. So a
simulation can run a year of it in a second.

Guarantees:
- The first flush comes after a random part of the interval; between two there are QUICKEST_SECONDS at least, whatever
  the program records, and after a failure the whole pause, whatever is due.
- Orphans never hold up the session's own events: one batch of them is due at a time, and none while there is a failure.
"""

import os

from monitor_auto.boot import background

from . import breaker

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

INTERVAL_SECONDS = background.INTERVAL_SECONDS
HEARTBEAT_SECONDS = 300.0
QUICKEST_SECONDS = 0.25
"""A program that records without end fills a batch a thousand times a second; what comes meanwhile goes together."""
ORPHAN_PAUSE_SECONDS = (1.0, 3.0)
ORPHAN_BATCH = (50, 100)
QUICK_ANSWER_SECONDS, SLOW_ANSWER_SECONDS = 0.05, 1.0
"""Between these answers the orphans' pace goes from its fastest to its slowest."""
LEAST_BATCH, CUT_FACTOR = 5, 4
"""After each flush that a fork has cut off, batches are so many times smaller: to look through fifty dead children for
a hundred events takes longer than a program that forks for each request ever leaves.
"""
TOO_MANY_REQUESTS = 429


def chance() -> float:
    """Return a random number from 0 to 1, without the `random` module."""
    return int.from_bytes(os.urandom(4), "little") / 0xFFFFFFFF


class Policy:
    """What one session should do next.

    Attributes to read: `failures` (in a row), `not_before` (no request until then), `is_throttled` (the last answer but
    successes was 429: metrics and events should be sampled at half the rate), `batch`, `orphan_batch` (the most events
    in the next batches of the session's own and its children's, and of orphans).
    """

    def __init__(
        self,
        interval_seconds: float,
        batch_size: int,
        heartbeat_seconds: float,
        now: float,
        recorded: int = 0,
        random: "Callable[[], float]" = chance,
    ) -> None:
        """`recorded`: events of the program so far. `random()` is from 0 to 1. A heartbeat of 0 seconds is none."""
        self.interval_seconds = max(interval_seconds, QUICKEST_SECONDS)
        self.batch_size, self.heartbeat_seconds, self.random = batch_size, heartbeat_seconds, random
        self.batch = batch_size
        self.next_flush = now + self.interval_seconds * random()
        self.earliest = now
        self.not_before = float("-inf")
        self.flushed = 0
        self.before = self.flushed, self.next_flush
        self.seen, self.last_sign = recorded, now
        self.last_resources = now
        self.next_orphans: float | None = None
        self.orphan_batch = min(ORPHAN_BATCH[1], batch_size)
        self.failures = 0
        self.is_throttled = False

    # What is due

    def is_flush_due(self, now: float, recorded: int) -> bool:
        """Return whether to deliver now: the interval has passed, or a batch is full, and no pause is on."""
        if now < self.not_before or now < self.earliest:
            return False
        return now >= self.next_flush or recorded - self.flushed >= self.batch_size

    def is_heartbeat_due(self, now: float, recorded: int) -> bool:
        """Return whether the session was silent for so long that it should say that it lives. Call it at every wake-up:
        that is how news is noticed.
        """
        if recorded != self.seen:
            self.seen, self.last_sign = recorded, now
        return 0 < self.heartbeat_seconds <= now - self.last_sign

    def are_resources_due(self, now: float) -> bool:
        """Return whether what the process uses should go with this flush: once an interval, not in a short life."""
        return now - self.last_resources >= self.interval_seconds

    def are_orphans_due(self, now: float) -> bool:
        """Return whether to deliver one batch of what dead sessions have left."""
        return self.next_orphans is not None and self.next_orphans <= now and now >= self.not_before

    def seconds_until_due(self, now: float, recorded: int) -> float:
        """Return how long nothing will be due if the program stays silent; 0 when something is due."""
        flush = self.next_flush if recorded - self.flushed < self.batch_size else self.earliest
        due = max(flush, self.earliest, self.not_before)
        if self.next_orphans is not None:
            due = min(due, max(self.next_orphans, self.not_before))
        if self.heartbeat_seconds > 0:
            due = min(due, self.last_sign + self.heartbeat_seconds)
        return max(0.0, due - now)

    # What happened

    def on_flush(self, now: float, recorded: int) -> None:
        """A flush begins: what is recorded from now on belongs to the next one."""
        self.before = self.flushed, self.next_flush
        self.flushed = recorded
        self.next_flush = now + self.interval_seconds
        self.earliest = now + QUICKEST_SECONDS

    def on_cut(self) -> None:
        """The flush was cut off, by a fork: what was due is due again, in smaller pieces."""
        self.flushed, self.next_flush = self.before
        self.batch = max(min(LEAST_BATCH, self.batch_size), self.batch // CUT_FACTOR)

    def on_success(self, now: float) -> None:
        """All that was to be sent was answered for, or there was nothing: orphans may follow."""
        self.failures, self.is_throttled, self.not_before = 0, False, float("-inf")
        self.batch = self.batch_size
        if self.next_orphans is None:
            self.next_orphans = now + self.orphan_pause(0.0)

    def on_failure(self, now: float, status: int, is_misplaced: bool, retry_after_seconds: float) -> None:
        """The collector did not take what it was sent (`status` 0: no answer). What is left waits in the spool."""
        seconds = breaker.pause_seconds(self.failures, is_misplaced, retry_after_seconds, self.random())
        self.failures += 1
        self.is_throttled = self.is_throttled or status == TOO_MANY_REQUESTS
        self.wait(now, seconds)
        self.next_orphans = None

    def on_away(self, now: float, seconds: float) -> None:
        """Another process has found out that the endpoint should be left alone for so long."""
        self.wait(now, seconds)
        self.next_orphans = None

    def wait(self, now: float, seconds: float) -> None:
        """Send nothing for so long, then what waits, at once."""
        self.not_before = now + seconds
        self.next_flush = min(self.next_flush, self.not_before)

    def on_heartbeat(self, now: float) -> None:
        """The session has said that it lives."""
        self.last_sign = now

    def on_resources(self, now: float) -> None:
        """What the process uses was recorded."""
        self.last_resources = now

    def on_orphans(self, now: float, delivered: int, answer_seconds: float) -> None:
        """A batch of orphans was delivered (0: there were none, the next flush looks again), answered so quickly."""
        least, most = ORPHAN_BATCH
        self.orphan_batch = min(self.batch_size, round(most - (most - least) * slowness(answer_seconds)))
        self.next_orphans = now + self.orphan_pause(answer_seconds) if delivered else None

    def orphan_pause(self, answer_seconds: float) -> float:
        """Return the seconds until the next batch of orphans: shorter while the collector answers quickly, jittered."""
        shortest, longest = ORPHAN_PAUSE_SECONDS
        middle = shortest + (longest - shortest) * slowness(answer_seconds)
        return min(longest, max(shortest, middle * (0.75 + 0.5 * self.random())))


def slowness(answer_seconds: float) -> float:
    """Return 0 for a collector that answers quickly, 1 for a slow one."""
    range_seconds = SLOW_ANSWER_SECONDS - QUICK_ANSWER_SECONDS
    return min(1.0, max(0.0, (answer_seconds - QUICK_ANSWER_SECONDS) / range_seconds))


def of(settings: "Any", now: float, recorded: int = 0) -> Policy:
    """Return the policy that the settings ask for."""
    interval = getattr(settings, "flush_interval_seconds", INTERVAL_SECONDS)
    heartbeat = getattr(settings, "heartbeat_seconds", HEARTBEAT_SECONDS)
    return Policy(interval, settings.batch_size, heartbeat, now, recorded)

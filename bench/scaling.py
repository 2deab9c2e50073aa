"""`python -m bench.scaling`: what a collector sees of many hosts. Prints the tables of docs/scaling.md.

Nothing is measured here: the product's own policy (`delivery/policy.py`, with the back-off of `breaker.py`) is run on a
simulated clock, one object for each host, and what would be sent is counted second by second.
"""

from __future__ import annotations

import argparse
import heapq
import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from monitor_auto.delivery.policy import HEARTBEAT_SECONDS, INTERVAL_SECONDS, Policy

EVENTS_A_SECOND = 1.0
"""What the one service of a host records, all day."""
SCRIPTS_A_MINUTE = 4.0
SCRIPT_EVENTS = 3
BATCH_SIZE = 100
ANSWER_SECONDS = 0.02
KEPT_SECONDS = 5.0
"""How long an idle connection is kept: httpx's default."""
HEAD_BYTES = 300
EVENT = (
    '{"v":1,"type":"event","name":"order.paid","timestamp":"2026-11-24T20:15:%02d.%03d+00:00","event_id":"'
    '01a20e5c-4077-7db7-9155-482130216d6c-%d","source":{"sdk":"python","app":"shop","version":"1.2.0","platform":"linux",'
    '"os":"6.1.0"},"session":{"id":"01a20e5c-4077-7db7-9155-482130216d6c","started":"2026-11-24T18:00:00.000+00:00",'
    '"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7"},"data":{"order":%d,"items":%d,'
    '"duration_ms":%.1f}}'
)
WARM_UP, STEADY, OUTAGE, AFTER = 60, 240, 3600, 1500
"""Seconds: after the restart of all hosts, of every-day life, of the outage, and of the time after it."""


@cache
def body_bytes(events: int, is_compressed: bool = True) -> int:
    """Return the size of a request with so many events, as `delivery/native.py` compresses it from 4 KiB on."""
    chance = random.Random(events)
    lines = [
        EVENT % (n % 60, chance.randrange(1000), n, chance.randrange(10**6), chance.randrange(9), chance.random() * 99)
        for n in range(events)
    ]
    body = (",".join(lines)).encode()
    return HEAD_BYTES + (len(zlib.compress(body, 6)) if is_compressed and len(body) >= 4096 else len(body))


@dataclass
class Seconds:
    """What the collector saw, second by second."""

    requests: list[int]
    connections: list[int]
    bytes: list[int]
    events: list[int]

    @classmethod
    def empty(cls, seconds: int) -> Seconds:
        """Return `seconds` seconds of silence."""
        return cls(*([0] * seconds for _ in range(4)))

    def add(self, now: float, events: int, is_new: bool) -> None:
        """Count one request."""
        second = min(int(now), len(self.requests) - 1)
        self.requests[second] += 1
        self.connections[second] += is_new
        self.bytes[second] += body_bytes(events) if events else 0
        self.events[second] += events


@dataclass
class Host:
    """One machine: a service that lives, and what short scripts have left while the collector was away."""

    policy: Policy
    sent: int = 0
    orphans: float = 0.0
    last_request: float = -1e9
    scripts_until: float = 0.0

    def recorded(self, now: float) -> int:
        """Return how many events the service has recorded: its start, and what came since."""
        return 1 + int(now * EVENTS_A_SECOND)

    def wake_after(self, now: float) -> float:
        """Return when something is due next: the policy's answer, or earlier when a batch will be full."""
        full = (self.policy.flushed + BATCH_SIZE - 1) / EVENTS_A_SECOND
        due = now + self.policy.seconds_until_due(now, self.recorded(now))
        return max(now + 0.001, min(due, max(full, self.policy.earliest, self.policy.not_before)))


@dataclass
class World:
    """All hosts and one collector. It is away from `down` until `up`."""

    hosts: int
    down: float
    up: float
    end: float
    seed: int = 1
    seen: Seconds = field(init=False)
    drained_at: list[float] = field(default_factory=list)

    def run(self) -> World:
        """Let the time pass."""
        chance = random.Random(self.seed)
        self.seen = Seconds.empty(int(self.end) + 1)
        everybody = [Host(make_policy(chance)) for _ in range(self.hosts)]
        queue = [(host.wake_after(0.0), number) for number, host in enumerate(everybody)]
        heapq.heapify(queue)
        while queue and queue[0][0] < self.end:
            now, number = heapq.heappop(queue)
            self.wake(everybody[number], now)
            heapq.heappush(queue, (everybody[number].wake_after(now), number))
        return self

    def wake(self, host: Host, now: float) -> None:
        """Do what is due."""
        policy, recorded = host.policy, host.recorded(now)
        policy.is_heartbeat_due(now, recorded)
        self.collect_orphans(host, now)
        if policy.is_flush_due(now, recorded):
            self.flush(host, now, recorded)
        elif policy.are_orphans_due(now):
            count = min(int(host.orphans), policy.orphan_batch)
            if count:
                self.request(host, now, count)
                host.orphans -= count
                self.note_drained(host, now)
            policy.on_orphans(now, count, ANSWER_SECONDS)

    def flush(self, host: Host, now: float, recorded: int) -> None:
        """Deliver batch after batch; a collector that is away refuses the first."""
        host.policy.on_flush(now, recorded)
        if self.down <= now < self.up:
            self.request(host, now, 0)
            host.policy.on_failure(now, 0, False, 0.0)
            return
        while host.sent < recorded:
            count = min(BATCH_SIZE, recorded - host.sent)
            self.request(host, now, count)
            host.sent += count
            now += ANSWER_SECONDS
        host.policy.on_success(now)

    def collect_orphans(self, host: Host, now: float) -> None:
        """Add what scripts have left since the last look: while the collector is away they only spool."""
        begin, end = max(host.scripts_until, self.down), min(now, self.up)
        host.orphans += max(0.0, end - begin) * SCRIPTS_A_MINUTE / 60 * SCRIPT_EVENTS
        host.scripts_until = now

    def note_drained(self, host: Host, now: float) -> None:
        """Remember when a host has nothing left of the outage."""
        if now >= self.up and host.orphans < 1:
            self.drained_at.append(now - self.up)

    def request(self, host: Host, now: float, events: int) -> None:
        """Count a request, and a connection unless the last one is still open."""
        self.seen.add(now, events, not events or now - host.last_request > KEPT_SECONDS)
        host.last_request = now


def make_policy(chance: random.Random) -> Policy:
    """Return the product's policy with its defaults."""
    return Policy(INTERVAL_SECONDS, BATCH_SIZE, HEARTBEAT_SECONDS, 0.0, random=chance.random)


@dataclass(frozen=True)
class Line:
    """One line of a table."""

    hosts: int
    requests: float
    peak: float
    connections: float
    kilobytes: float
    events: float

    def cells(self) -> list[str]:
        """Return it for people."""
        return [f"{self.hosts:,}", *(short(value) for value in list(vars(self).values())[1:])]


def short(value: float) -> str:
    """Return a number with two digits that count."""
    if value >= 100:
        digits = len(str(int(value))) - 2
        return f"{round(value / 10**digits) * 10**digits:,}"
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def line(world: World, begin: int, end: int, has_scripts: bool = True) -> Line:
    """Return what the collector saw in these seconds; scripts that deliver for themselves are a Poisson process."""
    length, seen = end - begin, world.seen
    scripts = world.hosts * SCRIPTS_A_MINUTE / 60 if has_scripts else 0.0
    requests = seen.requests[begin:end]
    return Line(
        world.hosts,
        sum(requests) / length + scripts,
        max(requests) + scripts + 3 * scripts**0.5,
        sum(seen.connections[begin:end]) / length + scripts,
        (sum(seen.bytes[begin:end]) / length + scripts * body_bytes(SCRIPT_EVENTS, False)) / 1000,
        sum(seen.events[begin:end]) / length + scripts * SCRIPT_EVENTS,
    )


@dataclass
class Outcome:
    """What one size of fleet looks like from the collector."""

    steady: Line
    restart: Line
    away: Line
    back: Line
    drained_seconds: tuple[float, float]
    """Half of the hosts, and the last one, have nothing left of the outage."""


def simulate(hosts: int) -> Outcome:
    """Run one fleet through a restart, a few minutes of work, an outage of an hour, and its end."""
    down = float(WARM_UP + STEADY)
    up = down + OUTAGE
    world = World(hosts, down, up, up + AFTER).run()
    drained = sorted(world.drained_at) or [0.0]
    begin, until = int(up), int(up) + 300
    return Outcome(
        steady=line(world, WARM_UP, WARM_UP + STEADY),
        restart=line(world, 0, int(INTERVAL_SECONDS)),
        away=line(world, int(down), int(up), has_scripts=False),
        back=line(world, begin, until),
        drained_seconds=(drained[len(drained) // 2], drained[-1]),
    )


TABLES = {
    "Every-day life": "steady",
    "All hosts restart in the same second: the half minute after it": "restart",
    "The collector is away: what knocks at its door": "away",
    "It is back after an hour: the first five minutes": "back",
}
HEADINGS = ("hosts", "requests/s", "in the worst second", "new connections/s", "kB/s", "events/s")


def page(outcomes: list[Outcome]) -> Iterator[str]:
    """Yield the tables in Markdown."""
    for title, name in TABLES.items():
        yield from (f"**{title}**", "", f"| {' | '.join(HEADINGS)} |", "|" + "---:|" * len(HEADINGS))
        for outcome in outcomes:
            yield f"| {' | '.join(getattr(outcome, name).cells())} |"
        yield ""
    yield from (
        "**Until nothing is left of the outage**",
        "",
        "| hosts | half of them | the last |",
        "|---:|---:|---:|",
    )
    for outcome in outcomes:
        half, last = outcome.drained_seconds
        yield f"| {outcome.steady.hosts:,} | {half / 60:.1f} min | {last / 60:.1f} min |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", default="1,1000,100000", help="sizes of fleets, default: %(default)s")
    sizes = [int(size) for size in parser.parse_args().hosts.split(",")]
    print("\n".join(page([simulate(size) for size in sizes])))


if __name__ == "__main__":
    main()

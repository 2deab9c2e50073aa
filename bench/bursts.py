"""The row about a burst of a session's own events, which are delivered beside the program's own work."""

from __future__ import annotations

import json
from statistics import median

from bench.endpoints import running_collector
from bench.lab import PROGRAMS, Lab, alternate, medians
from bench.rows import Measured
from bench.verdicts import Failed

EVENTS = 100_000
NO_LIMITS = {"MONITOR_RATE_LIMIT": "0", "MONITOR_SPOOL_LIMIT": "1GiB", "MONITOR_EXIT_TIMEOUT": "60"}
"""What the work leaves undelivered is counted as well, in the time that it takes the exit."""


def burst(lab: Lab) -> Measured:
    """How long it takes until the last of a burst has arrived, and by how much work is slowed down meanwhile."""
    words = (str(PROGRAMS / "burst.py"), str(EVENTS), str(lab.times(250_000, 150_000)))
    drains: list[float] = []

    def on() -> float:
        with running_collector("answer") as collector:
            done = json.loads(lab.on(MONITOR_ENDPOINT=collector.url, **NO_LIMITS).run(*words).stdout)
            counts = collector.counts()
        if counts["names"].get("bench.burst") != EVENTS:
            raise Failed(f"{counts['names'].get('bench.burst', 0)} of {EVENTS} events have arrived")
        drains.append(counts["latest"]["bench.burst"] - done["began"])
        return float(done["work"])

    pairs = alternate(lambda: float(json.loads(lab.bare.run(*words).stdout)["work"]), on, lab.times(3, 1))
    before, after = medians(pairs)
    slowed = median(after / before for before, after in pairs)
    return Measured((median(drains), slowed), f"work takes {before:.1f} s bare, {after:.1f} s on")

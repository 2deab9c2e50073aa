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


SPOOLS = {"MONITOR_FLUSH_INTERVAL": "0", "MONITOR_RATE_LIMIT": "0", "MONITOR_SPOOL_LIMIT": "1GiB"}


def burst(lab: Lab) -> Measured:
    """How long it takes until the last of a burst has arrived, and by how much work is slowed down meanwhile.

    What is compared is processor time, of work and background thread together, with that of the same program that only
    spools: one of them at a time has the interpreter's lock, so that is what the work waits for, and, other than the
    wall clock, it does not depend on who else wants a processor. What a helper takes is another process's.
    """
    words = (str(PROGRAMS / "burst.py"), str(EVENTS), str(lab.times(250_000, 150_000)))
    drains: list[float] = []
    walls: list[float] = []
    spooling_walls: list[float] = []

    def on() -> float:
        with running_collector("answer") as collector:
            done = json.loads(lab.on(MONITOR_ENDPOINT=collector.url, **NO_LIMITS).run(*words).stdout)
            counts = collector.counts()
        if counts["names"].get("bench.burst") != EVENTS:
            raise Failed(f"{counts['names'].get('bench.burst', 0)} of {EVENTS} events have arrived")
        drains.append(counts["latest"]["bench.burst"] - done["began"])
        walls.append(done["work"])
        return float(done["processor"])

    def spooling() -> float:
        done = json.loads(lab.on(**SPOOLS).run(*words).stdout)
        spooling_walls.append(done["work"])
        return float(done["processor"])

    pairs = alternate(spooling, on, lab.times(5, 1))
    before, after = medians(pairs)
    slowed = median(after / before for before, after in pairs)
    by_clock = f"by the clock {median(spooling_walls):.1f} s and {median(walls):.1f} s"
    return Measured((median(drains), slowed), f"work takes {before:.2f} s, {after:.2f} s beside delivery; {by_clock}")

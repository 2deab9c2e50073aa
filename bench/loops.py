"""Rows about asyncio programs whose loop sends for us: how late the loop is, and how much slower the program."""

from __future__ import annotations

import json
from statistics import median
from typing import Any

from bench.endpoints import running_collector
from bench.lab import PROGRAMS, Lab, alternate, medians
from bench.rows import Measured
from bench.verdicts import Failed

BUSY = {"MONITOR_FLUSH_INTERVAL": "0.5", "MONITOR_RATE_LIMIT": "0", "MONITOR_EXIT_TIMEOUT": "3"}
"""A flush every half second: a hundred times as often as usual."""
STRETCHES = ("2.5", "3")
"""Seconds: the first one has the start of the thread, all imports and the first flush in it."""


def loop_lag(lab: Lab) -> Measured:
    """How much later than without us a loop wakes up, in the worst of a hundred cases, the first flush included."""
    pairs: list[tuple[list[float], list[float]]] = []
    with running_collector("answer") as collector:
        on = lab.on(MONITOR_ENDPOINT=collector.url, **BUSY)
        words = (str(PROGRAMS / "loop.py"), "lag", *STRETCHES)
        for _ in range(lab.times(7, 3)):
            bare: list[float] = json.loads(lab.bare.run(*words).stdout)
            pairs.append((bare, json.loads(on.run(*words).stdout)))
        expect(collector.counts(), len(pairs), "bench.tick")
    values = tuple(median(after[part] - before[part] for before, after in pairs) for part in range(len(STRETCHES)))
    shown = ", ".join(f"{median(before[part] for before, _ in pairs):.2f} ms" for part in range(len(STRETCHES)))
    return Measured(values, f"bare {shown}")


def loop_work(lab: Lab) -> Measured:
    """How much more processor time a program takes that keeps its loop busy, beside one that only spools."""
    with running_collector("answer") as collector:
        spools = lab.on(MONITOR_FLUSH_INTERVAL="0", MONITOR_RATE_LIMIT="0")
        on = lab.on(MONITOR_ENDPOINT=collector.url, **BUSY)
        words = (str(PROGRAMS / "loop.py"), "work", str(lab.times(100_000, 50_000)))
        pairs = alternate(
            lambda: float(json.loads(spools.run(*words).stdout)),
            lambda: float(json.loads(on.run(*words).stdout)),
            lab.times(7, 3),
        )
        expect(collector.counts(), len(pairs), "bench.step")
    before, after = medians(pairs)
    return Measured(
        (median(after / before for before, after in pairs),), f"{before:.2f} s without flushes, {after:.2f} s with them"
    )


def expect(counts: dict[str, Any], runs: int, name: str) -> None:
    """Fail the row unless the events have come, and in more requests than the last one of each run."""
    if counts["requests"] < 4 * runs or not counts["names"].get(name):
        raise Failed(f"{counts['requests']} requests came from {runs} runs: nothing was sent while they ran")

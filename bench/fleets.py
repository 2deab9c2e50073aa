"""Rows about many events or many processes: a flush of what was left behind, and a fleet of short scripts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from resource import RUSAGE_CHILDREN, getrusage
from signal import SIGKILL
from statistics import median
from time import perf_counter

from bench.calls import NO_LIMITS
from bench.endpoints import running_collector
from bench.exits import DELIVERING
from bench.lab import PROGRAMS, Lab
from bench.rows import Measured
from bench.sides import Side, run
from bench.verdicts import Failed

ORPHANED_EVENTS = 100_000
DEAD_SESSIONS = 10
SCRIPTS = 200
AT_A_TIME = 2
EVENTS_OF_A_SCRIPT = ("session.start", "session.end")


def flush_orphans(lab: Lab) -> Measured:
    """Deliver what ten killed sessions have left behind."""
    with running_collector("answer") as collector:
        side = lab.on(MONITOR_ENDPOINT=collector.url, **NO_LIMITS)
        for _ in range(DEAD_SESSIONS):
            words = (str(PROGRAMS / "orphans.py"), str(ORPHANED_EVENTS // DEAD_SESSIONS))
            side.run(*words, keeps_spool=True, status=-SIGKILL)
        command = [str(side.python.with_name("monitor-auto")), "flush", "--quiet"]
        used = cpu_of_children()
        done = run(command, side.environment, side.folder)
        used = cpu_of_children() - used
        counts = collector.counts()
    arrived = counts["names"].get("bench.orphan", 0)
    if arrived != ORPHANED_EVENTS:
        raise Failed(f"{arrived} of {ORPHANED_EVENTS} events have arrived")
    return Measured((done.seconds,), f"CPU {used:.2f} s; {counts['requests']} requests")


def fleet(lab: Lab) -> Measured:
    """Many short scripts, each of which delivers at its end; then nothing may be missing."""
    ratios, missing, details = [], 0, ""
    for _ in range(lab.times(9, 1)):  # of three pairs the median varied by a tenth, on a machine that others share
        bare, bare_cpu = run_fleet(lab.bare)
        with running_collector("answer") as collector:
            side = lab.on(MONITOR_ENDPOINT=collector.url, **DELIVERING)
            on, on_cpu = run_fleet(side)
            counts = collector.counts()
        ratios.append(on / bare)
        # One more has warmed up.
        missing += sum(SCRIPTS + 1 - counts["names"].get(name, 0) for name in EVENTS_OF_A_SCRIPT)
        details = (
            f"{bare:.2f} s bare, {on:.2f} s on; CPU {bare_cpu:.2f} s, {on_cpu:.2f} s; "
            f"{counts['requests']} requests, CPU of the collector {counts['cpu']:.2f} s"
        )
    return Measured((median(ratios), missing), details)


def run_fleet(side: Side) -> tuple[float, float]:
    """Run all scripts, two at a time; return how long that took, and the CPU time of all scripts (seconds)."""
    script = str(PROGRAMS / "short.py")
    side.run(script)
    started, used = perf_counter(), cpu_of_children()
    with ThreadPoolExecutor(AT_A_TIME) as workers:
        list(workers.map(lambda _: side.seconds(script, keeps_spool=True), range(SCRIPTS)))
    return perf_counter() - started, cpu_of_children() - used


def cpu_of_children() -> float:
    """Return the CPU time of all children that have ended so far: less disturbed by a busy machine than the clock."""
    usage = getrusage(RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime

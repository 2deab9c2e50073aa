"""Rows about single calls in a program that runs: recording, and a client call that is watched."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench.lab import PROGRAMS, Lab, alternate, make_environments, median_difference, medians
from bench.rows import Measured
from bench.sides import Side
from bench.verdicts import Failed, Skipped
from support.sandbox import CommandFailed

LIBRARIES = ("aiohttp", "django", "flask", "pytest", "requests", "starlette", "uvicorn")

NO_LIMITS = {"MONITOR_RATE_LIMIT": "0", "MONITOR_SPOOL_LIMIT": "1GiB"}
"""A loop of events is no program: what keeps one that runs wild in check must not flatter the loop.

All programs take the median of many rounds of about a millisecond: on a busy machine most of those are undisturbed,
while hardly any of 20 ms is.
"""

_environments: dict[Path, tuple[Path, Path]] = {}


def event(lab: Lab) -> Measured:
    """A recorded event against the least it could be: one write of the same line."""
    side = lab.on(**NO_LIMITS)
    rounds, calls = lab.times(400, 100), 200
    done = side.run(str(PROGRAMS / "events.py"), str(lab.folder / "lines"), str(rounds), str(calls))
    expect(side, '"name":"bench.event"', rounds * calls)
    took = json.loads(done.stdout)
    return Measured((took["event"] / took["write"], took["event"]), f"one write takes {took['write']:.2f} µs")


def dormant_event(lab: Lab) -> Measured:
    """A recording call in a program that nobody monitors."""
    rounds = lab.times(400, 100)
    done = lab.off.run(str(PROGRAMS / "events.py"), "", str(rounds), "5000")
    return Measured((json.loads(done.stdout)["event"],))


def error(lab: Lab) -> Measured:
    """A recorded exception: its stack is formatted and cleaned before it is written."""
    side = lab.on(**NO_LIMITS)
    rounds, calls = lab.times(200, 50), 10
    done = side.run(str(PROGRAMS / "errors.py"), str(rounds), str(calls))
    expect(side, '"name":"error.ValueError"', rounds * calls)
    return Measured((float(done.stdout),))


def make_call(kind: str, name: str) -> Callable[[Lab], Measured]:
    """Return what measures a call without a network in it, so that the wrapper is not lost in the noise of one."""

    def measure(lab: Lab) -> Measured:
        bare, on = sides(lab)
        rounds, calls = lab.times(400, 100), 10
        words = (str(PROGRAMS / "calls.py"), kind, str(rounds), str(calls))
        pairs = alternate(lambda: float(bare.run(*words).stdout), lambda: float(on.run(*words).stdout), lab.times(9, 3))
        expect(on, f'"name":"{name}"', rounds * calls)
        before, after = medians(pairs)
        return Measured((median_difference(pairs),), f"{before:.1f} µs bare, {after:.1f} µs on")

    return measure


def sides(lab: Lab) -> tuple[Side, Side]:
    """Return the bare and the monitored side with libraries that the other rows have to be measured without."""
    if lab.folder not in _environments:
        try:
            _environments[lab.folder] = make_environments(lab.folder / "libraries", *LIBRARIES)
        except CommandFailed as error:
            raise Skipped(f"{', '.join(LIBRARIES)} cannot be installed") from error
    bare, monitored = _environments[lab.folder]
    return replace(lab.bare, python=bare), replace(lab.on(**NO_LIMITS), python=monitored)


def expect(side: Side, text: str, count: int) -> None:
    """Fail the row unless every call is on disk."""
    found = side.count_lines(text)
    if found != count:
        raise Failed(f"{found} of {count} events are in the spool")

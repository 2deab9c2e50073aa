"""Rows about single calls in a program that runs: recording, and a client call that is watched."""

from __future__ import annotations

import json

from bench.lab import PROGRAMS, Lab, alternate, median_difference, medians
from bench.rows import Measured
from bench.sides import Side
from bench.verdicts import Failed

NO_LIMITS = {"MONITOR_RATE_LIMIT": "0", "MONITOR_SPOOL_LIMIT": "1GiB"}
"""A loop of events is no program: what keeps one that runs wild in check must not flatter the loop.

All programs take the median of many rounds of about a millisecond: on a busy machine most of those are undisturbed,
while hardly any of 20 ms is.
"""


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


def http_call(lab: Lab) -> Measured:
    """A call through httpx, without a network in it, so that the wrapper is not lost in the noise of one."""
    bare, on = lab.bare, lab.on(**NO_LIMITS)
    rounds, calls = lab.times(300, 100), 10
    words = (str(PROGRAMS / "http_calls.py"), str(rounds), str(calls))
    pairs = alternate(lambda: float(bare.run(*words).stdout), lambda: float(on.run(*words).stdout), lab.times(9, 3))
    expect(on, '"name":"http.client.request"', rounds * calls)
    before, after = medians(pairs)
    return Measured((median_difference(pairs),), f"{before:.1f} µs bare, {after:.1f} µs on")


def expect(side: Side, text: str, count: int) -> None:
    """Fail the row unless every call is on disk."""
    found = side.count_lines(text)
    if found != count:
        raise Failed(f"{found} of {count} events are in the spool")

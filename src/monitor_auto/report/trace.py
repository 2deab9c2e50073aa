"""A run as Chrome trace JSON, for ui.perfetto.dev and chrome://tracing: a track for each process, on it the process
itself, what it called, its tests, and its errors as instants.

The format is Google's "Trace Event Format"; times are microseconds since the run's start.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .model import Process, Run


def document(run: Run) -> dict[str, Any]:
    """Return the trace as a JSON value."""
    events = [event for place, process in enumerate(run.processes, 1) for event in track(run, place, process)]
    return {"displayTimeUnit": "ms", "otherData": {"run": run.key}, "traceEvents": events}


def track(run: Run, place: int, process: Process) -> Iterator[dict[str, Any]]:
    """Yield the events of one process. Its place in the tree is its number: process ids are reused."""
    start = process.started_ms if process.started_ms is not None else process.last_ms
    end = process.ended_ms or max(process.last_ms, start)
    name = f"{process.label} [{process.pid}]" if process.pid is not None else process.label
    yield {"ph": "M", "pid": place, "tid": 0, "name": "process_name", "args": {"name": name}}
    yield {"ph": "M", "pid": place, "tid": 0, "name": "process_sort_index", "args": {"sort_index": place}}
    facts = {"result": process.result, "session": process.session, "pid": process.pid, "app": process.app}
    yield span(run, place, process.label, "process", start, end - start, facts)
    for call in run.calls:
        if call.process is process:
            title = f"{call.name} {call.what}".strip()
            begin = call.at_ms - call.duration_ms
            yield span(run, place, title, "call", begin, call.duration_ms, {"status": call.status}, 1)
    for test in run.tests:
        if test.process is process:
            facts = {"outcome": test.outcome, "message": test.message}
            yield span(run, place, test.name, "test", test.at_ms - test.duration_ms, test.duration_ms, facts, 2)
    for error in process.errors:
        facts = {"message": error.message, "location": error.location, "stack": error.stack}
        moment = {"ph": "i", "s": "p", "pid": place, "tid": 0, "cat": "error", "name": error.name}
        yield {**moment, "ts": since(run, error.at_ms), "args": facts}


def span(
    run: Run, place: int, name: str, kind: str, start: float, length: float, facts: dict[str, Any], row: int = 0
) -> dict[str, Any]:
    """Return a complete event: something with a beginning and a duration."""
    made = {"ph": "X", "pid": place, "tid": row, "name": name, "cat": kind}
    return {**made, "ts": since(run, start), "dur": max(0, round(length * 1000)), "args": facts}


def since(run: Run, at_ms: float) -> int:
    """Return a time as microseconds since the run's start; what clocks put before it is at it."""
    return max(0, round((at_ms - run.started_ms) * 1000))

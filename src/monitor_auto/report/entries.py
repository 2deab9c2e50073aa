"""What single events say: how a process began and ended, an error, a test, a call. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Any

from . import facts
from .fingerprints import fingerprint
from .model import Call, Error, Process, Test


def take_session(process: Process, name: str, at: float, data: dict[str, Any], event: dict[str, Any]) -> None:
    """Enter what `session.start`, `.exit`, `.end`, `.resume` and `.lost` say."""
    if name == "session.start":
        process.facts = data
        process.pid, process.ppid = facts.whole(data.get("pid")), facts.whole(data.get("ppid"))
        process.command = facts.command_text(data.get("argv"))
        process.label = facts.command_text(data.get("argv"), is_short=True) or facts.clean(data.get("program"), 100)
        process.host = facts.clean(data.get("host"), 100) or None
        process.method = process.method or facts.clean(data.get("start_method"), 60)
        source = event.get("source")
        process.app = facts.clean(source.get("app"), 100) if isinstance(source, dict) else None
    elif name == "session.end":
        process.has_ended, process.ended_ms = True, at
        process.reason = facts.clean(data.get("reason"), 60)
        process.duration_ms = facts.number(data.get("duration_ms"))
        process.max_rss_bytes = facts.whole(data.get("max_rss_bytes"))
        code = facts.whole(data.get("exit_code"))
        process.exit_code = code if process.exit_code is None else process.exit_code
    elif name == "session.resume":
        process.has_ended, process.ended_ms = False, None
    elif name == "session.lost":
        process.is_lost, process.lost = True, data
        process.signal = process.signal or facts.signal_name(data.get("signal"))


def take_exit(child: Process, at: float, data: dict[str, Any]) -> None:
    """Enter what `process.exit` says of a child."""
    child.waited = data.get("waited") is not False
    if data.get("running") is True:
        return
    child.has_ended, child.ended_ms = True, at
    child.duration_ms = facts.number(data.get("duration_ms"))
    child.exit_code = facts.whole(data.get("exit_code"))
    child.signal = facts.signal_name(data.get("signal"))


def error_of(process: Process, name: str, at: float, data: dict[str, Any]) -> Error:
    """Return one error."""
    return Error(
        name=facts.clean(name, 200),
        message=facts.clean(data.get("message")),
        location=facts.clean(data.get("location"), 400),
        stack=facts.clean_lines(data.get("stack")),
        level=facts.clean(data.get("level"), 20) or "error",
        at_ms=at,
        fingerprint=fingerprint(name, data),
        process=process,
    )


def test_of(process: Process, at: float, data: dict[str, Any]) -> Test:
    """Return one test's result."""
    error = data.get("error")
    message = error.get("message") if isinstance(error, dict) else data.get("message") or error
    return Test(
        name=facts.clean(data.get("nodeid") or data.get("test"), 400),
        outcome=facts.clean(data.get("outcome"), 20),
        duration_ms=facts.number(data.get("duration_ms")) or 0.0,
        message=facts.clean(message),
        at_ms=at,
        process=process,
        attempt=facts.whole(data.get("attempt")) or 1,
        is_failure=facts.is_failure(data),
    )


def last_results(tests: list[Test]) -> tuple[list[Test], list[Test]]:
    """Return the last result of each test of a process, and of those the ones that passed only when run again."""
    kept: dict[tuple[str, int], Test] = {}
    runs: Counter[str] = Counter()
    for test in sorted(tests, key=lambda test: (test.at_ms, test.attempt)):
        runs[test.name] += test.attempt == 1  # a test that is run twice on purpose is two results
        kept[test.name, runs[test.name]] = test
    last = list(kept.values())
    return last, [test for test in last if test.attempt > 1 and not test.is_failure]


def call_of(process: Process, name: str, at: float, data: dict[str, Any]) -> Call:
    """Return one call."""
    url = f"{data.get('host') or ''}{data.get('route') or data.get('path') or ''}"
    words = [data.get("method"), url, data.get("statement") or data.get("operation") or data.get("task")]
    what = " ".join(facts.clean(word, 300) for word in words if isinstance(word, str) and word)
    status = data.get("error") or data.get("status")
    return Call(
        name=facts.clean(name, 200),
        what=what,
        duration_ms=facts.number(data.get("duration_ms")) or 0.0,
        status=facts.clean(status, 60),
        at_ms=at,
        process=process,
    )

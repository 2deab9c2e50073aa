"""pytest: one event `test.result` for each test: its outcome, how long each phase took, and what it raised.

No plugin: nothing of this is in pytest's list of plugins, in its output, or on the stack while a test runs. What
is watched has returned before anything of the program is called, or comes after it: the function that notes the running
test in PYTEST_CURRENT_TEST, and the making of reports. All of it is in pytest from 6.2 to 9.

Guarantees:
- A test is recorded once by the process that ran it, when its teardown has ended: also with xdist, whose controller
  records only what a worker's death has left open, and with plugins that run tests again, each run as an `attempt`.
- What is recorded inside a test names the test's span as its own.
"""

from __future__ import annotations

import os
from _weakref import ref
from collections.abc import Callable
from typing import Any

from .. import boot
from ..boot import hooked
from ..boot.formats import monotonic
from . import passing, results
from .wrapping import Undo, wrap

CRASHED = "???"
"""The phase of a report that tells of a dead process (xdist, pytest-forked)."""

_undo: list[Undo] = []
_running: list[Test] = []
"""The test that runs now; below it the one that runs it, where pytest plugins are tested."""
_last = (0, "", 0)
"""Identity and nodeid of the item that has run last, and which attempt it was."""
_uncollected: set[str] = set()


class Test:
    """A test that runs. The program's objects are not kept alive."""

    def __init__(self, item: Any) -> None:
        self.item, self.config, self.pid = id(item), ref(item.config), os.getpid()
        self.nodeid = str(item.nodeid)
        self.span, self.token = boot.load("context").enter()
        self.started = monotonic()
        self.reports: dict[str, Any] = {}
        self.failed_subtests = 0
        self.error: dict[str, Any] | None = None


def install(module: Any) -> None:
    """Watch all that. Called once, after `import _pytest.runner`."""
    if not _undo:
        watch(module, "_update_current_test_var", on_update)
        watch(module.TestReport, "from_item_and_call", on_made)
        watch(module.TestReport, "__init__", on_made_by_hand)
        watch(module.CollectReport, "__init__", on_collected)
        hooked.at_end.append(on_end)


def uninstall() -> None:
    """Put the originals back where nobody has put something on top."""
    while _undo:
        _undo.pop()()
    hooked.at_end[:] = [function for function in hooked.at_end if function is not on_end]


def watch(module_or_class: Any, name: str, on_call: Callable[..., None]) -> None:
    """Have `on_call((instance, args, kwargs), result)` called, shielded, after each call that has returned."""

    def on_return(call: Any, result: Any, error: BaseException | None) -> None:
        if error is None:
            on_call(call, result)

    _undo.append(wrap(module_or_class, name, passing.around("pytest", lambda *call: call, on_return)))


def on_update(call: Any, _: Any) -> None:
    """`_update_current_test_var(item, when)`: a phase begins."""
    args = call[1]
    if len(args) == 2 and args[1] == "setup":
        begin(args[0])


def on_made(call: Any, report: Any) -> None:
    """`TestReport.from_item_and_call(item, call)`: a phase has ended."""
    args = call[1]
    if len(args) == 2:
        on_report(args[0], args[1], report)


def on_collected(call: Any, _: Any) -> None:
    """`CollectReport(nodeid, outcome, longrepr, …)`: what was to be collected."""
    if getattr(call[0], "outcome", None) == "failed":
        on_uncollected(call[0])


def on_made_by_hand(call: Any, _: Any) -> None:
    """`TestReport(…)`, made by hand where nothing else can: xdist's controller tells so of a worker that has died. The
    report that pytest makes itself, of a phase of that name (pytest-forked), says how long that took.

    xdist's own modules cannot be waited for: pytest loads its plugins with a finder that comes before ours.
    """
    report, args, kwargs = call
    phase = args[5] if len(args) > 5 else kwargs.get("when")
    if phase == CRASHED and "duration" not in kwargs and len(args) < 8:
        on_crash(report)


def begin(item: Any) -> None:
    """A test begins. One before it that has no end was interrupted, unless it runs a pytest of its own."""
    while _running and not is_outer(_running[-1], item):
        abandon(_running[-1])
    _running.append(Test(item))


def is_outer(test: Test, item: Any) -> bool:
    """Return whether an item of another pytest is run by a test, in this process."""
    config = test.config()
    return test.pid == os.getpid() and config not in (None, item.config) and getattr(config, "_configured", False)


def on_report(item: Any, call: Any, report: Any) -> None:
    """A phase of a test has ended; the last one ends the test."""
    if report.when == CRASHED:
        return on_crash(report)
    test = next((test for test in _running if test.item == id(item)), None)
    if test is None and report.when == "setup":  # skipped before it began
        begin(item)
        test = _running[-1]
    if test is None:
        return None
    while _running[-1] is not test:
        abandon(_running[-1])
    earlier = test.reports.get(report.when)
    if earlier is not None and earlier.outcome == "failed":  # what came before the last one were subtests
        test.failed_subtests += 1
    test.reports[report.when] = report
    if report.outcome == "failed" and (test.error is None or report.when == "call"):
        error = results.describe(getattr(call.excinfo, "value", None))
        test.error = {"phase": report.when, **error}
    if report.when == "teardown":
        finish(test, item)
    return None


def finish(test: Test, item: Any) -> None:
    """Record a test that has come to its end; with --setup-only it has none to speak of."""
    global _last
    _running.remove(test)
    boot.load("context").leave(test.span, test.token)
    outcome, reason = outcome_of(test)
    if not outcome:
        return
    attempt = _last[2] + 1 if _last[:2] == (test.item, test.nodeid) else 1
    attempt = max(attempt, getattr(item, "execution_count", 1))
    _last = (test.item, test.nodeid, attempt)
    facts: dict[str, Any] = {}
    total = 0.0
    for when, report in test.reports.items():
        total += report.duration
        facts[f"{when}_ms"] = round(report.duration * 1000, 3)
    facts["duration_ms"] = round(total * 1000, 3)
    if reason:
        facts["reason"] = reason[: results.MAX_REASON_CHARS]
    if outcome in ("failed", "error"):  # without an exception where an expected failure did not come
        facts["error"] = test.error or {"phase": "call", "message": reason_of(test)}
    if test.failed_subtests:
        facts["failed_subtests"] = test.failed_subtests
    if attempt > 1:
        facts["attempt"] = attempt
    record(test.nodeid, outcome, facts, test.span)


def outcome_of(test: Test) -> tuple[str, str]:
    """Return the outcome of a whole test, and why where it was skipped or expected to fail; "" where none has run."""
    phases: Any = (test.reports.get(when) for when in ("setup", "call", "teardown"))
    setup, call, teardown = phases
    decisive = call or setup
    if decisive is None or (call is None and setup.outcome == "passed"):
        return ("error", "") if teardown is not None and teardown.outcome == "failed" else ("", "")
    outcome, reason = str(decisive.outcome), ""
    if hasattr(decisive, "wasxfail"):
        reason = str(decisive.wasxfail)
        outcome = {"skipped": "xfailed", "passed": "xpassed"}.get(outcome, outcome)
    elif outcome == "skipped":
        reason = skip_reason(decisive)
    elif outcome == "failed" and call is None:
        outcome = "error"
    if teardown is not None and teardown.outcome == "failed" and outcome != "failed":
        outcome = "error"
    elif outcome == "passed" and test.failed_subtests:
        outcome = "failed"
    return outcome, reason


def skip_reason(report: Any) -> str:
    """Return why a test was skipped."""
    place = report.longrepr
    text = str(place[2]) if isinstance(place, tuple) and len(place) == 3 else str(place or "")
    return text.removeprefix("Skipped: ")


def reason_of(test: Test) -> str:
    """Return what pytest shows of a test that has failed without an exception."""
    return str(getattr(test.reports.get("call"), "longrepr", ""))[: results.MAX_REASON_CHARS]


def abandon(test: Test) -> None:
    """Record a test that has begun and not ended: Ctrl-C, pytest.exit, os._exit, a time-out; with what it had raised
    before, which --pdb was shown.
    """
    _running.remove(test)
    boot.load("context").leave(test.span, test.token)
    if test.pid == os.getpid():
        facts: dict[str, Any] = {"duration_ms": round((monotonic() - test.started) * 1000, 3)}
        if test.error is not None:
            facts["error"] = test.error
        record(test.nodeid, "interrupted", facts, test.span)


def on_end() -> None:
    """The session ends. Of a worker that ends within a test its controller tells."""
    while _running:
        if "PYTEST_XDIST_WORKER" in os.environ:
            _running.clear()
        else:
            abandon(_running[-1])


def on_uncollected(report: Any) -> None:
    """A module could not be imported, or is not as it should be: none of its tests runs. Of several workers that find
    out their controller tells, once.
    """
    if "PYTEST_XDIST_WORKER" in os.environ or report.nodeid in _uncollected:
        return
    _uncollected.add(report.nodeid)
    text = str(report.longrepr)
    last = text.rstrip().rpartition("\n")[2].removeprefix("E").strip()
    facts = {"error": {"phase": "collect", "message": last[: results.MAX_REASON_CHARS]}}
    record(str(report.nodeid), "error", facts)


def on_crash(report: Any) -> None:
    """A process that ran a test has died; xdist names it."""
    message = str(report.longrepr)[: results.MAX_REASON_CHARS]
    facts: dict[str, Any] = {"error": {"message": message}}
    if message.startswith("worker '"):
        facts["worker"] = message.split("'")[1]
    record(str(report.nodeid), "crashed", facts)


def record(nodeid: str, outcome: str, facts: dict[str, Any], span: Any = None) -> None:
    """Record one test, with whose test it is and which worker has run it."""
    if _running:
        facts["within"] = _running[-1].nodeid
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker:
        facts["worker"] = worker
    results.record("pytest", nodeid, outcome, facts, span)

"""unittest: one event `test.result` for each test: its outcome, how long it took, and what it raised. No wrapt.

`TestCase.run` is given a stand-in for the program's result, which hands everything on and listens; so results of any
class are right, also those that never call the methods of TestResult. What pytest runs its own hook records.

Guarantees: the program's result gets exactly the calls of a bare run, and what asks for its class, its attributes or
its methods finds them. What a test raises, Ctrl-C included, has no frame of ours in its traceback.
"""

import os

from .. import boot
from ..boot import guard, hooked, patches, recorder
from ..boot.formats import monotonic
from . import methods, passing, results

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OUTCOMES = {
    "addFailure": "failed",
    "addSubTest": "failed",
    "addError": "error",
    "addUnexpectedSuccess": "xpassed",
    "addExpectedFailure": "xfailed",
    "addSkip": "skipped",
}
"""What a result is told, and what that makes of a test; the first of these counts."""
LISTS = {
    "failures": "failed",
    "errors": "error",
    "unexpectedSuccesses": "xpassed",
    "expectedFailures": "xfailed",
    "skipped": "skipped",
}
"""The same of a result that the test has made itself."""

_running: "list[Test]" = []
_replaced: "list[tuple[Any, ...]]" = []


class Test:
    """A test that runs."""

    def __init__(self, case: "Any") -> None:
        self.nodeid = str(case.id())
        self.pid = os.getpid()
        context = boot.load("context")
        self.span, self.token = context.enter()
        own = getattr(case, "_asyncioTestContext", None)  # in which IsolatedAsyncioTestCase runs what it awaits
        if own is not None:
            own.run(vars(context)["variable"].set, self.span)
        self.started = monotonic()
        self.outcomes: set[str] = set()
        self.facts: dict[str, Any] = {}
        self.failed_subtests = 0


class Listening:
    """Stands in for a result during one test. Whatever it is asked for is the real one's."""

    __slots__ = ("real", "test")
    real: "Any"
    test: "Any"

    def __getattribute__(self, name: str) -> "Any":
        value = getattr(real_of(self), name)
        return make_told(value, name, test_of(self)) if name in OUTCOMES else value

    def __setattr__(self, name: str, value: "Any") -> None:
        setattr(real_of(self), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(real_of(self), name)

    def __repr__(self) -> str:
        return repr(real_of(self))

    def __eq__(self, other: object) -> "Any":
        return real_of(self) == (real_of(other) if type(other) is Listening else other)

    def __hash__(self) -> int:
        return hash(real_of(self))

    def __bool__(self) -> bool:
        return bool(real_of(self))


_slots: "Any" = Listening
real_of, test_of = _slots.real.__get__, _slots.test.__get__
_set_real, _set_test = _slots.real.__set__, _slots.test.__set__


def install(module: "Any") -> None:
    """Watch every test, and what prepares classes and modules of tests. Called once, after `import unittest.suite`."""
    kind, suite = getattr(module.case, "TestCase", None), getattr(module, "TestSuite", None)
    if _replaced or not isinstance(kind, type) or "run" not in vars(kind):
        return
    known = len(patches.replaced)
    methods.replace_around(kind, "run", run)
    if "_addClassOrModuleLevelException" in vars(suite):
        methods.replace_before(suite, "_addClassOrModuleLevelException", "unittest", on_preparation)
    _replaced.extend(patches.replaced[known:])
    hooked.at_end.append(on_end)


def uninstall() -> None:
    """Put the originals back where nobody has put something on top."""
    while _replaced:
        owner, name, real, ours = _replaced.pop()
        if vars(owner).get(name) is ours:
            setattr(owner, name, real)
        patches.replaced[:] = [patch for patch in patches.replaced if patch[3] is not ours]
    hooked.at_end[:] = [function for function in hooked.at_end if function is not on_end]


def run(real: "Any", *args: "Any", **kwargs: "Any") -> "Any":
    """`TestCase.run(self, result=None)`."""
    result = args[1] if len(args) == 2 else kwargs.get("result")
    is_plain = len(args) + len(kwargs) <= 2 and not type(result).__module__.startswith("_pytest.")
    is_test = bool(args) and hasattr(args[0], "id")  # a wrong call fails behind us
    if recorder.session is None or not is_test or not is_plain or type(result) is Listening:
        return real(*args, **kwargs)
    test = guard.call("unittest", begin, args[0])
    if test is None:
        return real(*args, **kwargs)
    try:
        if result is None:
            returned = real(*args, **kwargs)
            guard.call("unittest", read, test, returned)
        else:
            stand_in = object.__new__(Listening)
            _set_real(stand_in, result)
            _set_test(stand_in, test)
            returned = real(args[0], stand_in)
            if returned is stand_in:
                returned = result
    except BaseException:
        guard.call("unittest", end, test, "interrupted")
        raise
    guard.call("unittest", end, test, None)
    return returned


def begin(case: "Any") -> Test:
    """A test begins."""
    test = Test(case)
    _running.append(test)
    return test


def make_told(method: "Any", name: str, test: Test) -> "Any":
    """Return a method of the result that takes notes before it is called."""
    return passing.bind(passing.Call, (call_told, method, name, test))


def call_told(call: "Any", args: "Any", kwargs: "Any") -> "Any":
    """What the test calls. A result that raises is the program's own: no frame of ours is in its traceback."""
    _, method, name, test = call
    if recorder.session is not None:
        guard.call("unittest", note, test, name, args)
    return method(*args, **kwargs)


def note(test: Test, name: str, args: "tuple[Any, ...]") -> None:
    """Remember what the result is told. A subtest that passes, or is skipped, says nothing of its test."""
    if name == "addSubTest":
        if len(args) < 3 or args[2] is None:
            return
        test.failed_subtests += 1
    elif type(args[0]).__name__ == "_SubTest":
        return
    test.outcomes.add(OUTCOMES[name])
    detail = args[-1] if len(args) > 1 else None
    if name == "addSkip":
        test.facts["reason"] = str(detail)[: results.MAX_REASON_CHARS]
    elif name in ("addFailure", "addError", "addSubTest") and "error" not in test.facts:
        test.facts["error"] = results.describe(detail[1] if isinstance(detail, tuple) and len(detail) == 3 else None)


def read(test: Test, result: "Any") -> None:
    """Take the outcome from a result that the test has made for itself."""
    for name, outcome in LISTS.items():
        if getattr(result, name, None):
            test.outcomes.add(outcome)


def end(test: Test, outcome: "str | None") -> None:
    """Record a test that has ended."""
    if test in _running:
        _running.remove(test)
    boot.load("context").leave(test.span, test.token)
    if test.pid != os.getpid():
        return
    if outcome is None:
        outcome = next((known for known in OUTCOMES.values() if known in test.outcomes), "passed")
    facts = {"duration_ms": round((monotonic() - test.started) * 1000, 3), **test.facts}
    if test.failed_subtests:
        facts["failed_subtests"] = test.failed_subtests
    results.record("unittest", test.nodeid, outcome, facts, test.span)


def on_end() -> None:
    """The session ends within a test: os._exit."""
    while _running:
        end(_running[-1], "interrupted")


def on_preparation(args: "Any", kwargs: "Any") -> None:
    """`TestSuite._addClassOrModuleLevelException(self, result, error, name, info=None)`: setUpClass or its kin has
    raised, and none of its tests runs.
    """
    if len(args) < 4:  # a wrong call, which fails behind us
        return
    _, result, error, name = args[:4]
    if recorder.session is None or type(result).__module__.startswith("_pytest."):
        return
    if type(error).__name__ == "SkipTest":
        results.record("unittest", str(name), "skipped", {"reason": str(error)[: results.MAX_REASON_CHARS]})
    else:
        results.record("unittest", str(name), "error", {"error": results.describe(error)})

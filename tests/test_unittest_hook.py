"""What is recorded of unittest's tests, and that runners, results and tracebacks are the same."""

import re
import sys
from collections.abc import Callable
from typing import Any

import pytest

from support.children import Children, Run
from support.sandbox import Sandbox, other_pythons


def twin(children: Children, source: str, **how: Any) -> Run:
    """Run a script bare and monitored; status and output have to be equal but for durations."""
    bare = children.run(source, bare=True, **how)
    done = children.run(children.folder / "program-0" / "script.py", **how)
    assert done.status == bare.status
    for ours, real in ((done.stdout, bare.stdout), (done.stderr, bare.stderr)):
        ours, real = (re.sub(rb"in \d+\.\d+s|0x[0-9a-f]+", b"", text) for text in (ours, real))
        assert ours == real
    return done


def outcomes_of(run: Run) -> dict[str, str]:
    """Return the last part of each nodeid -> outcome; each test has to be there once."""
    found = [
        (event["data"]["nodeid"].rpartition(".")[2], event["data"]["outcome"]) for event in run.named("test.result")
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


EVERY_OUTCOME = """
import asyncio, sys, unittest

class Own(unittest.TextTestResult):
    def addFailure(self, test, err):
        self.stream.writeln("own failure of " + type(self).__name__)
        self.failures.append((test, "told by nobody else"))

class Tests(unittest.TestCase):
    def test_passes(self): pass
    def test_fails(self): self.assertEqual(1, 2, "password=hunter2")
    def test_raises(self): 1 / 0
    @unittest.skip("not today")
    def test_is_skipped(self): pass
    def test_skips_itself(self): self.skipTest("inside")
    @unittest.expectedFailure
    def test_fails_as_expected(self): self.fail("x")
    @unittest.expectedFailure
    def test_passes_unexpectedly(self): pass
    def test_parts(self):
        for part in range(4):
            with self.subTest(part=part):
                if part == 3: self.skipTest("no part")
                self.assertNotEqual(part, 1)
    def test_good_parts(self):
        for part in range(2):
            with self.subTest(part=part): pass
    def test_is_untidy(self):
        self.addCleanup(lambda: 1 / 0)

class Broken(unittest.TestCase):
    @classmethod
    def setUpClass(cls): raise OSError("no class")
    def test_never(self): pass

class Awaited(unittest.IsolatedAsyncioTestCase):
    async def test_awaited(self): await asyncio.sleep(0)

unittest.main(testRunner=unittest.TextTestRunner(resultclass=Own, verbosity=2), argv=["x", *sys.argv[1:]])
"""
OUTCOMES = {
    "test_passes": "passed",
    "test_fails": "failed",
    "test_raises": "error",
    "test_is_skipped": "skipped",
    "test_skips_itself": "skipped",
    "test_fails_as_expected": "xfailed",
    "test_passes_unexpectedly": "xpassed",
    "test_parts": "failed",
    "test_good_parts": "passed",
    "test_is_untidy": "error",
    "Broken)": "error",
    "test_awaited": "passed",
}


def test_every_outcome_is_recorded(children: Children) -> None:
    """Also with a result of the program's own that calls no method of the base class."""
    done = twin(children, EVERY_OUTCOME)
    assert done.status == 1
    assert outcomes_of(done) == OUTCOMES
    by_name = {event["data"]["nodeid"].rpartition(".")[2]: event["data"] for event in done.named("test.result")}
    error = by_name["test_fails"]["error"]
    assert error["type"] == "AssertionError"
    assert "[REDACTED]" in error["message"] and "hunter2" not in error["message"]
    assert error["location"].endswith("script.py:11:test_fails")
    assert by_name["test_parts"]["failed_subtests"] == 1
    assert by_name["test_is_skipped"]["reason"] == "not today"
    assert by_name["Broken)"]["error"]["message"] == "no class"


@pytest.mark.parametrize("version", sorted(other_pythons()))
def test_every_outcome_is_recorded_on_other_versions(
    children: Children, sandbox_for: Callable[..., Sandbox], version: str
) -> None:
    """How unittest tells its results has changed in 3.11 and 3.12."""
    done = twin(children, EVERY_OUTCOME, python=sandbox_for(other_pythons()[version]))
    assert outcomes_of(done) == OUTCOMES


def test_events_of_a_test_name_its_span(children: Children) -> None:
    """A failed request within a test belongs to that test, also in what it awaits."""
    source = """
    import unittest
    from monitor_auto import Monitor
    class Tests(unittest.IsolatedAsyncioTestCase):
        async def test_one(self): Monitor.event("in.one", {})
        def test_two(self): Monitor.event("in.two", {})
    unittest.main()
    """
    done = twin(children, source)
    spans = {event["data"]["nodeid"].rpartition("_")[2]: event["span"] for event in done.named("test.result")}
    for name in ("one", "two"):
        (event,) = done.named(f"in.{name}")
        assert event["span"]["span_id"] == spans[name]["span_id"]
    assert outcomes_of(done) == {"test_one": "passed", "test_two": "passed"}


def test_interrupt_shows_no_frame_of_ours(children: Children) -> None:
    """Ctrl-C at a hanging test prints a traceback from the outermost call to the test."""
    source = """
    import unittest
    class Tests(unittest.TestCase):
        def test_hangs(self): raise KeyboardInterrupt
    unittest.main()
    """
    done = twin(children, source)
    assert b"KeyboardInterrupt" in done.stderr and b"monitor" not in done.stderr
    assert outcomes_of(done) == {"test_hangs": "interrupted"}


def test_test_that_ends_the_process_is_recorded(children: Children) -> None:
    """Which test it was is what everybody asks."""
    source = """
    import os, unittest
    class Tests(unittest.TestCase):
        def test_ends(self): os._exit(7)
    unittest.main()
    """
    done = twin(children, source)
    assert done.status == 7
    assert outcomes_of(done) == {"test_ends": "interrupted"}


def test_forked_child_of_a_test_is_no_test(children: Children) -> None:
    """A child that a test forks ends within the test, and has not run it."""
    source = """
    import os, unittest
    class Tests(unittest.TestCase):
        def test_forks(self):
            pid = os.fork()
            if not pid: os._exit(0)
            os.waitpid(pid, 0)
    unittest.main()
    """
    assert outcomes_of(twin(children, source)) == {"test_forks": "passed"}


def test_run_looks_like_a_method(children: Children) -> None:
    """Frameworks subclass, wrap, patch, pickle and look at TestCase.run; a result is asked for its class."""
    source = """
    import inspect, io, pickle, unittest
    from unittest import mock
    class Result(unittest.TestResult):
        def startTest(self, test):
            super().startTest(test)
            self.seen = type(self).__name__
    class Old:  # as old as Python 2.6
        shouldStop = False
        def startTest(self, test): print("start")
        def stopTest(self, test): print("stop")
        def addSuccess(self, test): print("success")
        def addError(self, test, err): print("error", err[0])
        def addFailure(self, test, err): print("failure")
    class Tests(unittest.TestCase):
        def run(self, result=None):
            print("own run")
            return super().run(result)
        def test_one(self):
            result = self._outcome.result
            print(isinstance(result, Result), hasattr(result, "addSubTest"), bool(result))
            result.mark = 1
    result = Result()
    case = Tests("test_one")
    print(case.run(result) is result, result.mark, result.seen, result.testsRun)
    print(inspect.signature(unittest.TestCase.run), unittest.TestCase.run.__qualname__)
    print(inspect.signature(unittest.TestCase("run").run))
    print(pickle.loads(pickle.dumps(unittest.TestCase.run)) is unittest.TestCase.run)
    with mock.patch.object(unittest.TestCase, "run", lambda self, result=None: 5):
        print(case.run(result))
    print(case.run(None).testsRun)
    case.run(Old())
    for wrong in (lambda: case.run(1, 2), lambda: unittest.TestCase.run(), lambda: case.run(reslt=1)):
        try:
            wrong()
        except TypeError as error:
            print(error)
    """
    done = twin(children, source)
    assert done.stdout.startswith(b"own run\nTrue True True\nTrue 1 Result 1\n(self, result=None) TestCase.run\n")
    assert outcomes_of_all(done) == ["passed", "passed", "passed"]


def test_result_that_raises_shows_no_frame_of_ours(children: Children) -> None:
    """Django's parallel runner raises where an error cannot be pickled: its traceback is all that there is to go by."""
    source = """
    import unittest
    class Result(unittest.TextTestResult):
        def addError(self, test, err): raise TypeError("cannot be pickled") from err[1]
    class Tests(unittest.TestCase):
        def test_one(self): 1 / 0
    unittest.main(testRunner=unittest.TextTestRunner(resultclass=Result))
    """
    done = twin(children, source)
    assert done.status == 1 and b"cannot be pickled" in done.stderr and b"monitor_auto" not in done.stderr
    (data,) = [event["data"] for event in done.named("test.result")]
    assert (data["outcome"], data["error"]["type"]) == ("interrupted", "ZeroDivisionError")


def outcomes_of_all(run: Run) -> list[str]:
    """Return the outcomes in order."""
    return [event["data"]["outcome"] for event in run.named("test.result")]


def test_hook_undone_leaves_the_original(children: Children) -> None:
    """The same function is in its place again, and nothing is recorded."""
    source = """
    import types, unittest
    from monitor_auto.hooks import unittest as hook
    print(type(unittest.TestCase.__dict__["run"]).__name__)
    hook.uninstall()
    print(isinstance(unittest.TestCase.run, types.FunctionType))
    class Tests(unittest.TestCase):
        def test_one(self): pass
    unittest.main(argv=["x"])
    """
    done = children.run(source)
    assert done.stdout == b"Method\nTrue\n"
    assert not done.named("test.result")


def test_switched_off_by_its_name(children: Children) -> None:
    """MONITOR_SKIP names it."""
    source = "import unittest\nclass Tests(unittest.TestCase):\n    def test_one(self): pass\nunittest.main()\n"
    done = twin(children, source, env={"MONITOR_SKIP": "unittest"})
    assert not done.named("test.result")
    assert "session.end" in done.names


def test_importing_unittest_loads_no_wrapt(children: Children) -> None:
    """It is part of Python: who imports it must not pay for wrapt, 80 ms."""
    source = "import sys, unittest; print('wrapt' in sys.modules, sys.version_info[:2])"
    assert twin(children, source).stdout == f"False {sys.version_info[:2]}\n".encode()

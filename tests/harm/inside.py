"""Run one module of CPython's test suite through regrtest and write down how each test ended.

Runs inside the interpreter under test, as `python inside.py DIARY ARGUMENT...`. For every line the diary is opened
and closed anew: a crash loses no outcome, no descriptor stays open for a test to count. The rest is `python -m test`.
"""

import json
import os
import runpy
import sys
import unittest

# Tests that need these say nothing about a monitor: they need a network, a screen, a big disk, or measure time.
UNWANTED = ("network", "urlfetch", "largefile", "extralargefile", "cpu", "gui", "walltime")


class Diary:
    """One JSON object a line. Forked children that fall through into the runner's code must not write into it."""

    def __init__(self, path):
        self.path = os.path.abspath(path)
        self.owner = os.getpid()
        # Tests replace these in the os module; the diary keeps the real ones.
        self.open, self.write, self.close, self.getpid = os.open, os.write, os.close, os.getpid

    def note(self, test, what, why=""):
        if self.getpid() != self.owner:
            return
        line = json.dumps({"test": name_of(test), "is": what, "why": why}) + "\n"
        descriptor = self.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            self.write(descriptor, line.encode())
        finally:
            self.close(descriptor)


def name_of(test):
    """The id of a test method; a subtest counts as part of its method."""
    whole = getattr(test, "test_case", test)
    return whole.id()


def watch(diary, method, what):
    """Make one method of every unittest result write `what` into the diary before it does its own work."""
    real = getattr(unittest.TestResult, method)

    def noting(self, test, *args, **kwargs):
        diary.note(test, what, why_of(self, test, args))
        return real(self, test, *args, **kwargs)

    setattr(unittest.TestResult, method, noting)


def why_of(result, test, args):
    """The traceback of a failure, the reason of a skip, or nothing."""
    if not args:
        return ""
    if isinstance(args[0], tuple):
        return result._exc_info_to_string(args[0], test)
    return str(args[0])


def watch_subtests(diary):
    """A subtest reports success and failure through one method, and only the failures matter."""
    real = unittest.TestResult.addSubTest

    def noting(self, test, subtest, err):
        if err is not None:
            what = "fail" if issubclass(err[0], test.failureException) else "error"
            diary.note(test, what, f"{subtest}\n" + self._exc_info_to_string(err, subtest))
        return real(self, test, subtest, err)

    unittest.TestResult.addSubTest = noting


def watch_all(diary):
    outcomes = {
        "startTest": "start",
        "stopTest": "stop",
        "addSuccess": "pass",
        "addFailure": "fail",
        "addError": "error",
        "addSkip": "skip",
        "addExpectedFailure": "expected failure",
        "addUnexpectedSuccess": "unexpected success",
    }
    for method, what in outcomes.items():
        watch(diary, method, what)
    watch_subtests(diary)


def resources():
    """What regrtest's -u takes: all but the unwanted ones that this version knows (it refuses unknown names)."""
    from test.libregrtest.cmdline import RESOURCE_NAMES

    return ",".join(["all", *(f"-{name}" for name in UNWANTED if name in RESOURCE_NAMES)])


def main():
    watch_all(Diary(sys.argv[1]))
    sys.argv = ["regrtest", "-u", resources(), "--fail-env-changed", *sys.argv[2:]]
    # `python -m test` has the current directory here, not this file's folder.
    sys.path[0] = ""
    runpy.run_module("test", run_name="__main__", alter_sys=True)


# Children that multiprocessing spawns may load this file again as their main module.
if __name__ == "__main__":
    main()

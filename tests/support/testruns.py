"""Runs pytest bare and monitored, and says what was recorded of its tests."""

import re
from typing import Any

from support.children import Children, Run
from support.sandbox import Sandbox

Outcomes = dict[str, str]


def masked(output: bytes) -> str:
    """Return what pytest printed without what differs from run to run: durations and addresses."""
    text = re.sub(r"\b\d+\.\d+s\b( \(\d+:\d\d:\d\d\))?", "…s", output.decode())
    return re.sub(r"=+(?= .*…s)|(?<=…s) =+|\b(0x)?[0-9a-f.]{6,}\b", "…", text)


def apart(children: Children) -> dict[str, str]:
    """Return where pytest shall make its temporary folders. In the usual place it deletes those of earlier runs first,
    also ours, which have whole environments in them.
    """
    folder = children.folder / "temporary"
    folder.mkdir(exist_ok=True)
    return {"PYTEST_DEBUG_TEMPROOT": str(folder)}


def twin_of_pytest(
    children: Children,
    python: Sandbox,
    words: tuple[str, ...],
    files: dict[str, str],
    folder: str = "tests",
    **how: Any,
) -> Run:
    """Run pytest bare and monitored on the same files; status and output have to be equal but for durations."""
    place = children.folder / folder
    place.mkdir()
    for name, text in files.items():
        (place / name).write_text(text)
    command = ["python", "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", *words]
    how = {"python": python, "cwd": place, "timeout": 120, **how, "env": {**apart(children), **how.get("env", {})}}
    bare = children.run(command, bare=True, **how)
    done = children.run(command, **how)
    assert done.status == bare.status
    assert masked(done.stdout) == masked(bare.stdout)
    assert masked(done.stderr) == masked(bare.stderr)
    return done


def results_of(run: Run) -> list[dict[str, Any]]:
    """Return the data of all test results."""
    return [event["data"] for event in run.named("test.result")]


def outcomes_of(run: Run) -> Outcomes:
    """Return nodeid -> outcome; each test has to be there once."""
    found = [(data["nodeid"].partition("::")[2], data["outcome"]) for data in results_of(run)]
    assert len(dict(found)) == len(found)
    return dict(found)


EVERY_OUTCOME = """
import pytest, unittest
def test_passes(): pass
def test_fails():
    assert [1] == [2], "password=hunter2"
@pytest.mark.skip(reason="not today")
def test_is_skipped(): pass
def test_skips_itself(): pytest.skip("inside")
@pytest.mark.xfail(reason="known")
def test_fails_as_expected(): 1 / 0
@pytest.mark.xfail(run=False)
def test_is_not_run(): 1 / 0
@pytest.mark.xfail
def test_passes_unexpectedly(): pass
@pytest.mark.xfail(strict=True, reason="must fail")
def test_passes_and_must_not(): pass
@pytest.fixture
def broken(): raise OSError("no fixture")
def test_has_no_fixture(broken): pass
@pytest.fixture
def untidy():
    yield
    raise OSError("no teardown")
def test_is_untidy(untidy): pass
@pytest.mark.parametrize("number", [1, 2])
def test_numbers(number): assert number < 2
class TestOld(unittest.TestCase):
    def test_old(self): pass
    def test_equal(self): self.assertEqual(1, 2)
    @unittest.expectedFailure
    def test_expected(self): self.fail("x")
    @unittest.skip("no")
    def test_skipped(self): pass
"""
OUTCOMES = {
    "test_passes": "passed",
    "test_fails": "failed",
    "test_is_skipped": "skipped",
    "test_skips_itself": "skipped",
    "test_fails_as_expected": "xfailed",
    "test_is_not_run": "xfailed",
    "test_passes_unexpectedly": "xpassed",
    "test_passes_and_must_not": "failed",
    "test_has_no_fixture": "error",
    "test_is_untidy": "error",
    "test_numbers[1]": "passed",
    "test_numbers[2]": "failed",
    "TestOld::test_old": "passed",
    "TestOld::test_equal": "failed",
    "TestOld::test_expected": "xfailed",
    "TestOld::test_skipped": "skipped",
}

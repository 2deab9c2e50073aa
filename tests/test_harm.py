"""The harness behind `make harm` is held to account: it must find harm, invent none, and notice silence.

Real runs of the command, with small wheels in the place of ours that do a known amount of harm.
"""

import json
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

HARNESS = Path(__file__).with_name("harm") / "run.py"
PTH_LINE = "import os; os.environ.get('MONITOR_ENDPOINT') and __import__('stand_in_monitor')\n"
RECORD = """
import os
spool = os.environ["MONITOR_SPOOL_DIR"]
with open(os.path.join(spool, "%d.jsonl" % os.getpid()), "a") as segment:
    segment.write('{"name":"session.start"}\\n')
"""
SPEAK_AT_EXIT = """
import atexit
atexit.register(print, "harm done")
"""
SPEAK_ONCE = """
import atexit, sys
marker = os.path.join(os.path.dirname(spool), "spoke")
# The program of test_shutdown: its output is looked at.
if 'register(f, "one")' in str(sys.orig_argv[-1:]) and not os.path.exists(marker):
    open(marker, "w").close()
    atexit.register(print, "harm done")
"""
IN_BOTH_LINE = "import stand_in_monitor\n"
SPEAK_NOW_AND_THEN_IN_BOTH = """
import atexit, os, sys
is_monitored = "MONITOR_ENDPOINT" in os.environ
if is_monitored:
    with open(os.path.join(os.environ["MONITOR_SPOOL_DIR"], "%d.jsonl" % os.getpid()), "a") as segment:
        segment.write('{"name":"session.start"}\\n')
if 'register(f, "one")' in str(sys.orig_argv[-1:]):
    with open(os.path.join(sys.prefix, "runs"), "a+") as runs:
        number = runs.tell()
        runs.write("x")
    if number in ((0, 2) if is_monitored else (5,)):
        atexit.register(print, "harm done")
"""
NOTE_AN_INTERNAL_ERROR = """
with open(os.path.join(spool, "ledger.jsonl"), "a") as ledger:
    ledger.write('{"what":"internal_error","where":"here"}\\n')
"""
METADATA = "Metadata-Version: 2.1\nName: stand-in-monitor\nVersion: 1\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"

pytestmark = pytest.mark.skipif(
    find_spec("test.test_atexit") is None, reason="this Python was installed without CPython's own test suite"
)


def make_wheel(folder: Path, code: str, line: str = PTH_LINE) -> Path:
    """A wheel whose start-up line runs `code` in every interpreter that is told to be monitored, or does as it says."""
    wheel, info = folder / "stand_in_monitor-1-py3-none-any.whl", "stand_in_monitor-1.dist-info"
    files = {
        "stand_in_monitor.py": code,
        "stand_in_monitor.pth": line,
        f"{info}/METADATA": METADATA,
        f"{info}/WHEEL": WHEEL,
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"]))
    return wheel


def run_harness(
    folder: Path, code: str, *more: str, line: str = PTH_LINE
) -> tuple[subprocess.CompletedProcess[str], dict]:
    """Run the command on one small module; its result and that module's part of the report."""
    report = folder / "report.json"
    options = [
        "--modules",
        "test_atexit",
        "--jobs",
        "1",
        "--json",
        str(report),
        "--wheel",
        str(make_wheel(folder, code, line)),
    ]
    done = subprocess.run([sys.executable, HARNESS, *options, *more], capture_output=True, text=True, check=False)
    assert report.exists(), done.stdout + done.stderr
    return done, json.loads(report.read_text())[0]


@pytest.mark.slow
def test_a_harmless_monitor_passes(tmp_path):
    """A harness that always complains is switched off by its users."""
    done, result = run_harness(tmp_path, RECORD)
    assert done.returncode == 0, done.stdout
    assert result["differences"] == []
    assert result["monitored"]["sessions"] > 1
    assert result["bare"]["outcomes"].keys() == result["monitored"]["outcomes"].keys() != set()


@pytest.mark.slow
def test_harm_is_named_test_by_test_and_counts_although_it_is_known(tmp_path):
    """One printed word too many is harm, and an explanation on a page does not make it less."""
    page = tmp_path / "differences.md"
    page.write_text("| test | versions | reason |\n|---|---|---|\n| `*test_shutdown` | all | it prints |\n")
    done, result = run_harness(tmp_path, RECORD + SPEAK_AT_EXIT + NOTE_AN_INTERNAL_ERROR, "--known", str(page))
    assert done.returncode == 1
    (shutdown,) = [one for one in result["differences"] if one["test"].endswith(".test_shutdown")]
    assert (shutdown["bare"]["how"], shutdown["monitored"]["how"]) == ("pass", "fail")
    assert shutdown["monitored_alone"] == ["fail"] * 3
    assert f"{shutdown['test']}: pass -> fail [known: it prints]" in done.stdout
    assert "INTERNAL ERROR" in done.stdout


@pytest.mark.slow
def test_a_monitor_that_records_nothing_fails(tmp_path):
    """A monitor that never started harms nobody, and an empty list of differences would praise it."""
    done, result = run_harness(tmp_path, "")
    assert done.returncode == 1
    assert result["differences"] == []
    assert "NOT MONITORED" in done.stdout


@pytest.mark.slow
def test_a_difference_that_never_comes_back_is_called_unsteady(tmp_path):
    """CPython's tests fail by chance now and then; blaming the monitor for that would hide what it really does."""
    done, result = run_harness(tmp_path, RECORD + SPEAK_ONCE)
    assert [one["verdict"] for one in result["differences"]] == ["unsteady"], done.stdout
    assert "[unsteady]" in done.stdout
    assert done.returncode == 0


@pytest.mark.slow
def test_a_test_that_comes_and_goes_on_both_sides_is_called_unsteady(tmp_path):
    """With the monitor it failed at the second try again, bare only at the sixth: that was luck, not harm."""
    done, result = run_harness(tmp_path, SPEAK_NOW_AND_THEN_IN_BOTH, line=IN_BOTH_LINE)
    (shutdown,) = result["differences"]
    assert shutdown["monitored_alone"] == ["pass", "fail", "pass"], done.stdout
    assert shutdown["bare_alone"] == ["pass"] * 4 + ["fail"]
    assert shutdown["verdict"] == "unsteady"
    assert done.returncode == 0

"""The benchmark is no timed test; but one that measures nothing, or cannot miss, would call all well for ever."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.sandbox import ROOT, Sandbox, Sandboxes

JUDGE = """
from bench.rows import Limit, Measured, Row, judge
row = Row("x", "what", (Limit(1, "{} s"), Limit(2, "{} MiB")), lambda lab: Measured(({}, {})))
result = judge(row, None)
print(result.verdict, result.is_miss)
"""


@pytest.fixture(scope="module")
def empty(sandboxes: Sandboxes) -> Sandbox:
    """An environment without the monitor."""
    return sandboxes.empty()


def python(*words: str) -> "subprocess.CompletedProcess[str]":
    """Run this interpreter at the top of the tree, unmonitored."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("MONITOR_", "PYTHON"))}
    return subprocess.run([sys.executable, *words], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)


def bench(*words: str) -> "subprocess.CompletedProcess[str]":
    return python("-m", "bench", *words)


def test_help_says_how_to_use_it() -> None:
    """Who sees a row missed wants to measure it alone, and to know what the verdicts mean."""
    done = bench("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert {"--only", "--list", "--json", "--quick"} <= set(re.findall(r"--[a-z]+", done.stdout))
    assert "examples:" in done.stdout
    assert "MISSED" in done.stdout


def test_list_names_rows_with_their_limits_and_measures_nothing() -> None:
    """The names are what `--only` takes."""
    done = bench("--list")
    limits = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert limits["off"].endswith(" 1.025 ×")
    assert limits["exit-refuse"].endswith(" first 3.20 s, others 15.0 ms")
    assert len(limits) == len(done.stdout.splitlines()) > 15


def test_unknown_row_is_answered_with_the_known_ones() -> None:
    """A typing error must not measure nothing and succeed."""
    done = bench("--only", "on,of")
    assert done.returncode == 2
    assert "no row is called of; there are off, import-json, on" in done.stderr


def test_cheap_row_is_measured_beside_its_limit(sandbox: Sandbox, empty: Sandbox, tmp_path: Path) -> None:
    """From the command line to the verdict, with whole processes in real environments."""
    numbers = tmp_path / "numbers.json"
    environments = ["--bare", str(empty.python), "--monitored", str(sandbox.python)]
    done = bench("--only", "descriptors", "--json", str(numbers), *environments)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert re.search(r"^descriptors  .*  [1-3], 0 in the way  +3, 0 in the way  +ok$", done.stdout, re.MULTILINE)
    (row,) = json.loads(numbers.read_text(encoding="utf-8"))
    assert (row["name"], row["limits"], row["verdict"]) == ("descriptors", [3, 0], "ok")


def test_row_with_a_collector_gets_events_there(sandbox: Sandbox, empty: Sandbox) -> None:
    """The number is the machine's affair; that there is one means that every session arrived with its end."""
    done = bench("--only", "exit", "--quick", "--bare", str(empty.python), "--monitored", str(sandbox.python))
    assert re.search(r"^exit  .*  -?[0-9.]+ ms +5.0 ms +(ok|MISSED)$", done.stdout, re.MULTILINE), done.stdout


def test_monitor_that_does_nothing_is_no_cheap_one(empty: Sandbox) -> None:
    """Without the monitor every row would be met."""
    done = bench("--only", "descriptors", "--bare", str(empty.python), "--monitored", str(empty.python))
    assert done.returncode == 1
    assert "FAILED: no session was recorded" in done.stdout


@pytest.mark.parametrize(
    ("values", "verdict"), [((1, 2), "ok False"), ((1.01, 2), "MISSED True"), ((0, 2.5), "MISSED True")]
)
def test_one_number_above_its_limit_misses_the_row(values: tuple[float, float], verdict: str) -> None:
    """A row may have several limits, and meeting one of them is not enough."""
    code = JUDGE.replace("Measured(({}, {}))", f"Measured({values})")
    assert python("-c", code).stdout.strip() == verdict

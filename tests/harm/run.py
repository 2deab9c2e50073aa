"""Does the monitor harm the interpreter? CPython's own tests, run bare and monitored, compared test by test.

`python tests/harm/run.py --python 'COMMAND'` is what `make harm` calls. Exit status: 0 when nothing differs; 1 when
any test does (also one that docs/differences.md explains), when a module was not really monitored, or when the monitor
noted an internal error.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shlex
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from environments import find_wheel, make_copy, make_side, with_monitor
from known import read_known, reason_for
from outcomes import differences
from report import HEADER, ModuleResult, details, summary
from sides import Side
from suite import find_modules, write_stand_ins
from verdicts import judge

ROOT = Path(__file__).resolve().parents[2]
# The slow ones first, so that two jobs end at about the same time.
MODULES = (
    "test_multiprocessing_spawn",
    "test_multiprocessing_forkserver",
    "test_multiprocessing_fork",
    "test_subprocess",
    "test_threading",
    "test_faulthandler",
    "test_signal",
    "test_import",
    "test_cmd_line",
    "test_sys",
    "test_os",
    "test_posix",
    "test_site",
    "test_atexit",
)


@dataclass(frozen=True)
class Twins:
    """A bare and a monitored environment that one job uses at a time."""

    bare: Side
    monitored: Side


@dataclass(frozen=True)
class Harness:
    """What all jobs share. A job takes a pair of environments, and gives it back."""

    pairs: queue.SimpleQueue[Twins]
    known: dict[str, str]
    is_baseline: bool
    started: float
    printing: threading.Lock

    def say(self, text: str) -> None:
        with self.printing:
            print(f"[{time.monotonic() - self.started:5.0f} s] {text}", flush=True)

    def compare(self, module: str) -> ModuleResult:
        twins = self.pairs.get()
        try:
            return self.compare_in(twins, module)
        finally:
            self.pairs.put(twins)

    def compare_in(self, twins: Twins, module: str) -> ModuleResult:
        self.say(f"{module}: bare")
        bare = twins.bare.run(module)
        self.say(f"{module}: monitored")
        monitored = twins.monitored.run(module)
        result = ModuleResult(module, bare, monitored, differences(module, bare, monitored), self.is_baseline)
        judge(module, result.differences, twins.bare, twins.monitored, self.say)
        for one in result.differences:
            one.known = reason_for(one.test, self.known)
        self.say(result.row())
        return result


def main() -> int:
    options = parse(sys.argv[1:])
    listen_to_signals()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="harm-", ignore_cleanup_errors=True) as scratch:
        # Some tests start children as another user, who has to reach the interpreter.
        os.chmod(scratch, 0o755)
        results = compare_all(options, Path(scratch), started)
    print("\n" + HEADER, *[result.row() for result in results], sep="\n")
    print("\n" + "\n\n".join(text for result in results if (text := details(result))))
    print(summary(results, time.monotonic() - started))
    if options.json:
        options.json.write_text(json.dumps([result.as_json() for result in results], indent=1), encoding="utf-8")
    return 1 if any(result.failed for result in results) or not results else 0


def compare_all(options: argparse.Namespace, scratch: Path, started: float) -> list[ModuleResult]:
    wheel = None if options.baseline else options.wheel or find_wheel(ROOT)
    pairs = make_all_twins(scratch, options, wheel)
    harness = Harness(queue.SimpleQueue(), options.known, options.baseline, started, threading.Lock())
    modules, stand_ins = find_modules(pairs[0].bare, options.modules)
    for missing in sorted(set(options.modules) - set(modules)):
        harness.say(f"{missing}: skipped, this interpreter's test suite has no such module")
    for pair in pairs:
        write_stand_ins(stand_ins, pair.bare, pair.monitored)
        harness.pairs.put(pair)
    print(HEADER, flush=True)
    with ThreadPoolExecutor(options.jobs) as jobs:
        return list(jobs.map(harness.compare, modules))


def make_all_twins(scratch: Path, options: argparse.Namespace, wheel: Path | None) -> list[Twins]:
    """A pair for each job. The first environment is installed, the others are made equal to it."""
    first = make_side(scratch / "0" / "bare", options.python, wheel)
    bare = [first, *(make_copy(first, scratch / str(number) / "bare") for number in range(1, options.jobs))]
    twins = [make_copy(first, scratch / str(number) / "twin") for number in range(options.jobs)]
    if not options.baseline:
        twins = [with_monitor(twin, options.site_file) for twin in twins]
    return [Twins(*pair) for pair in zip(bare, twins, strict=True)]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument(
        "--python", type=shlex.split, default=default_python(), metavar="COMMAND", help="starts the interpreter"
    )
    parser.add_argument("--modules", type=lambda names: names.split(","), default=list(MODULES), metavar="A,B")
    parser.add_argument("--jobs", type=int, choices=(1, 2), default=2, help="modules at a time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, tracebacks included")
    parser.add_argument("--wheel", type=Path, metavar="FILE", help="instead of the one of this tree")
    parser.add_argument("--known", type=read_known_file, default=str(ROOT / "docs" / "differences.md"), metavar="PAGE")
    parser.add_argument("--baseline", action="store_true", help="bare against bare: what differs by itself")
    parser.add_argument(
        "--site-file",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="also monitor children whose environment was cleaned",
    )
    return parser.parse_args(arguments)


def default_python() -> list[str]:
    """What PYTHON says (`make harm PYTHON=...` passes it on), else the interpreter that runs this."""
    return shlex.split(os.environ.get("PYTHON", "")) or [sys.executable]


def listen_to_signals() -> None:
    """A shell starts background jobs with SIGINT ignored; children would inherit that, and tests fail or hang."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def read_known_file(name: str) -> dict[str, str]:
    return read_known(Path(name))


if __name__ == "__main__":
    sys.exit(main())

"""What the diary of one run says: how every test ended, how the module as a whole ended, and where two runs differ.

Pure functions on files and mappings; nothing here starts a process.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# The worst of several reports counts: a method can pass while one of its subtests failed.
SEVERITY = ("absent", "pass", "skip", "expected failure", "unexpected success", "fail", "error", "unfinished")
BAD = frozenset({"unexpected success", "fail", "error", "unfinished"})


@dataclass(frozen=True)
class Outcome:
    """How one test ended, and the traceback or reason that came with it."""

    how: str
    why: str = ""


ABSENT = Outcome("absent")


@dataclass
class Run:
    """One module run once on one side."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    ending: str = "exit 0"
    seconds: float = 0.0
    sessions: int = 0
    internal_errors: list[str] = field(default_factory=list)
    log: str = ""

    @property
    def bad(self) -> int:
        return sum(outcome.how in BAD for outcome in self.outcomes.values())

    @property
    def was_cut_short(self) -> bool:
        return not self.ending.startswith("exit")


@dataclass
class Difference:
    """A test that ended otherwise with the monitor than without, and what its reruns alone gave."""

    test: str
    bare: Outcome
    monitored: Outcome
    bare_alone: list[str] = field(default_factory=list)
    monitored_alone: list[str] = field(default_factory=list)
    verdict: str = "differs"
    known: str = ""


def read_diary(path: Path) -> dict[str, Outcome]:
    """Fold the diary's lines into one outcome a test; a test that started and never stopped is unfinished."""
    outcomes: dict[str, Outcome] = {}
    running: set[str] = set()
    for line in diary_lines(path):
        test, what = line["test"], line["is"]
        if what == "start":
            running.add(test)
        elif what == "stop":
            running.discard(test)
        else:
            outcomes[test] = worse(outcomes.get(test, ABSENT), Outcome(what, line["why"]))
    outcomes.update({test: Outcome("unfinished") for test in running})
    return outcomes


def diary_lines(path: Path) -> Iterator[dict[str, str]]:
    """A process killed while it wrote leaves a torn last line, which says nothing."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def worse(one: Outcome, other: Outcome) -> Outcome:
    return max(one, other, key=lambda outcome: SEVERITY.index(outcome.how))


def differences(module: str, bare: Run, monitored: Run) -> list[Difference]:
    """Every test whose ending is not the same; where all are, the module's own ending is compared in their place."""
    found = list(different_tests(bare.outcomes, monitored.outcomes))
    if not found and bare.ending != monitored.ending:
        found = [whole_module(module, bare, monitored)]
    return found


def different_tests(bare: Mapping[str, Outcome], monitored: Mapping[str, Outcome]) -> Iterator[Difference]:
    for test in sorted({*bare, *monitored}):
        pair = bare.get(test, ABSENT), monitored.get(test, ABSENT)
        if pair[0].how != pair[1].how:
            yield Difference(test, *pair)


def whole_module(module: str, bare: Run, monitored: Run) -> Difference:
    """All tests agree and yet the module ended otherwise: it crashed after them, or left something changed behind."""
    return Difference(
        f"{module} (as a whole)", Outcome(bare.ending, bare.log), Outcome(monitored.ending, monitored.log)
    )

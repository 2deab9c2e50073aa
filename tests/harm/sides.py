"""The two environments that are compared: same interpreter, same packages, same layout; one of them has the monitor on.

A side runs one module at a time in a process group of its own, under a time limit, and reads back what happened.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import outcomes
from limits import run_limited

MAX_RESUMPTIONS = 5
INSIDE = Path(__file__).with_name("inside.py")
STAND_INS = "stand-ins"


@dataclass(frozen=True)
class Side:
    """One environment. `spool` is None where the monitor is off."""

    folder: Path
    python: tuple[str, ...]
    environment: dict[str, str]
    spool: Path | None = None

    def run(self, module: str, only: Iterable[str] = ()) -> outcomes.Run:
        """Run `module`, or only the matching tests; what a crash or a hang kept from running is run afterwards."""
        self.empty_spool()
        run = self.run_once(module, only=only)
        for _ in range(MAX_RESUMPTIONS):
            if not run.was_cut_short or not any(one.how == "unfinished" for one in run.outcomes.values()):
                break
            rest = self.run_once(module, only=only, without=run.outcomes)
            if not rest.outcomes:
                break
            run = joined(run, rest)
        run.sessions, run.internal_errors = self.spooled()
        return run

    def run_once(self, module: str, only: Iterable[str] = (), without: Iterable[str] = ()) -> outcomes.Run:
        work = self.folder / f"{module}.{time.monotonic_ns()}"
        work.mkdir()
        diary, log = work / "diary", work / "log"
        inside = [str(self.folder / INSIDE.name), str(diary)]
        command = [*self.python, *inside, *self.arguments(work, module, only, without)]
        started = time.monotonic()
        with log.open("wb") as output:
            ending = run_limited(command, self.environment, output.fileno(), diary)
        text = log.read_text(encoding="utf-8", errors="replace")
        run = outcomes.Run(outcomes.read_diary(diary), ending, time.monotonic() - started, log=text[-4000:])
        shutil.rmtree(work, ignore_errors=True)
        return run

    def arguments(self, work: Path, module: str, only: Iterable[str], without: Iterable[str]) -> Iterator[str]:
        """What regrtest is told. Patterns go into files: there may be hundreds."""
        yield from ("--tempdir", str(work))
        for option, patterns in (("--matchfile", tuple(only)), ("--ignorefile", tuple(without))):
            if patterns:
                file = work / option.strip("-")
                file.write_text("\n".join(patterns) + "\n", encoding="utf-8")
                yield from (option, str(file))
        stand_in = self.folder / STAND_INS / stand_in_for(module)
        if stand_in.exists():
            yield from ("--testdir", str(stand_in.parent), stand_in.stem)
        else:
            yield module

    def empty_spool(self) -> None:
        if self.spool is not None:
            shutil.rmtree(self.spool, ignore_errors=True)
            self.spool.mkdir(mode=0o700, exist_ok=True)

    def spooled(self) -> tuple[int, list[str]]:
        """How many sessions started in the spool, and the lines of its ledger about errors inside the monitor."""
        if self.spool is None:
            return 0, []
        starts = records(self.spool, b'"session.start"', "name", "session.start")
        errors = records(self.spool, b'"internal_error"', "what", "internal_error")
        return sum(1 for _ in starts), [json.dumps(record) for record in errors]


def stand_in_for(module: str) -> str:
    """A stand-in's file name. Under the module's own name regrtest would, from 3.12 on, insist on a folder."""
    return module.removeprefix("test_") + ".py"


def records(spool: Path, mark: bytes, key: str, value: str) -> Iterator[dict[str, object]]:
    """The objects in the spool that have `value` under `key`; `mark` tells which lines are worth parsing."""
    for file in sorted(spool.rglob("*.jsonl")):
        for line in file.read_bytes().splitlines():
            with contextlib.suppress(ValueError):
                if mark in line and (record := json.loads(line)).get(key) == value:
                    yield record


def joined(run: outcomes.Run, rest: outcomes.Run) -> outcomes.Run:
    """A run that was cut short and the run of what it left over; the first ending is the one that tells."""
    return outcomes.Run({**rest.outcomes, **run.outcomes}, run.ending, run.seconds + rest.seconds, log=run.log)

"""Run one program on one side, as a whole process, and see to it that the monitor did what it is measured for."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bench.verdicts import Failed
from support.spool import read_ledger, segments

PATIENCE_SECONDS = 300
SHOWN_CHARACTERS = 300


@dataclass(frozen=True)
class Done:
    """A process that ended as it should; `seconds` from its start to its end."""

    seconds: float
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Side:
    """An interpreter and the environment variables it is started with. `spool` is None where the monitor is off."""

    python: Path
    environment: dict[str, str]
    folder: Path
    spool: Path | None = None

    def run(self, *words: str, before: Sequence[str] = (), keeps_spool: bool = False, status: int = 0) -> Done:
        """Run the interpreter with `words`, behind the command `before`, with an empty spool unless it is to be kept.

        Raises Failed for another status than expected, an internal error of the monitor, or a spool without a session.
        """
        if self.spool is not None and not keeps_spool:
            empty(self.spool)
        done = run([*before, str(self.python), *words], self.environment, self.folder, status)
        self.check()
        return done

    def seconds(self, *words: str, keeps_spool: bool = False) -> float:
        """Run, and return only how long it took."""
        return self.run(*words, keeps_spool=keeps_spool).seconds

    def check(self) -> None:
        """A monitor that broke, or that did nothing, is no cheap one."""
        if self.spool is None:
            return
        noted = [line for line in read_ledger(self.spool) if line.get("what") == "internal_error"]
        if noted:
            first = {"part": "", "error": "", "message": "", **noted[0]}
            raise Failed("the monitor broke in {part}: {error}: {message}".format_map(first))
        if self.environment["MONITOR_EXIT_TIMEOUT"] == "0" and not segments(self.spool):
            raise Failed("no session was recorded: the spool is empty")

    def files(self, pattern: str) -> list[Path]:
        """Return what lies in the spool by that pattern."""
        return [] if self.spool is None else list(self.spool.glob(pattern))

    def count_lines(self, text: str) -> int:
        """Return how many lines of the spool's segments hold `text`."""
        if self.spool is None:
            return 0
        wanted = text.encode()
        return sum(wanted in line for path in segments(self.spool) for line in path.read_bytes().splitlines())


def empty(spool: Path) -> None:
    """Leave an empty private folder there."""
    shutil.rmtree(spool, ignore_errors=True)
    spool.mkdir(mode=0o700)


def run(words: list[str], environment: dict[str, str], folder: Path, status: int = 0) -> Done:
    """Run a command to its end, and expect this status of it. Raises Failed.

    Its output goes to files: reading a pipe to its end would also wait for whoever has inherited it.
    """
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        started = time.perf_counter()
        process = subprocess.Popen(
            words,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        ended_with = wait(process)
        seconds = time.perf_counter() - started
        done = Done(seconds, read(stdout), read(stderr))
    if ended_with != status:
        raise Failed(
            f"{' '.join(words[-2:])} ended with {ended_with}: {(done.stderr or done.stdout)[-SHOWN_CHARACTERS:]}"
        )
    return done


def wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for the end. When it does not come, or the waiting is interrupted, the process's whole group is killed."""
    has_ended = False
    try:
        has_ended = sleep_until_end(process.pid)
    finally:
        if not has_ended:
            os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
    if not has_ended:
        raise Failed(f"still running after {PATIENCE_SECONDS} s")
    return status


def sleep_until_end(pid: int) -> bool:
    """Return whether the process has ended in time. Where there are no pidfds the time has no limit."""
    # Popen.wait with a timeout looks after 1, 3, 7, 15, 31 ms …: every short program took 16 or 32 ms.
    if not hasattr(os, "pidfd_open"):
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT) is not None
    pidfd = os.pidfd_open(pid)
    try:
        return bool(select.select([pidfd], [], [], PATIENCE_SECONDS)[0])
    finally:
        os.close(pidfd)


def read(output: IO[bytes]) -> str:
    output.seek(0)
    return output.read().decode("utf-8", "replace")

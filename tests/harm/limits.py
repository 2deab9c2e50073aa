"""Run a command in a process group of its own under two limits: its whole time, and the time in which no test ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

MODULE_LIMIT_SECONDS = 600
# No test started or ended for so long: one hangs. The slowest of the default modules takes about a minute when busy.
QUIET_LIMIT_SECONDS = 180
POLL_SECONDS = 0.2


def run_limited(command: Sequence[str], environment: dict[str, str], output: int, diary: Path) -> str:
    """Run to the end or the limit. Returns `exit N`, `signal N` or `timeout`; leaves no process of the group behind."""
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd=diary.parent,
        start_new_session=True,
    )
    try:
        status = wait_limited(process, diary)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if status is None:
        return "timeout"
    return f"exit {status}" if status >= 0 else f"signal {-status}"


def wait_limited(process: subprocess.Popen[bytes], diary: Path) -> int | None:
    """The return code, or None after a limit; then SIGABRT made regrtest's faulthandler print the stacks."""
    started = time.monotonic()
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(POLL_SECONDS)
        now = time.monotonic()
        quiet_since = diary.stat().st_mtime - time.time() + now if diary.exists() else started
        if now - started > MODULE_LIMIT_SECONDS or now - quiet_since > QUIET_LIMIT_SECONDS:
            process.send_signal(signal.SIGABRT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            return None

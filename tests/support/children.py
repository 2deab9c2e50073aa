"""Starts real programs in a sandbox, bare or monitored, each with a private home, working folder and spool."""

import os
import re
import shutil
import signal
import subprocess
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.sandbox import Sandbox
from support.spool import read_events, read_headers, read_ledger


@dataclass(frozen=True)
class Run:
    """What a finished child left behind. Status is negative for a signal, as `subprocess` has it."""

    status: int
    stdout: bytes
    stderr: bytes
    spool: Path

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events that lie in the spool now, by session; events that a collector took are gone from it."""
        return read_events(self.spool)

    @property
    def headers(self) -> list[dict[str, Any]]:
        """The header lines of the segments that lie in the spool now."""
        return read_headers(self.spool)

    @property
    def ledger(self) -> list[dict[str, Any]]:
        """The lines of the spool's ledger."""
        return read_ledger(self.spool)

    @property
    def names(self) -> list[str]:
        """The names of `events`."""
        return [event["name"] for event in self.events]

    def named(self, name: str) -> list[dict[str, Any]]:
        """Return the events of one name."""
        return [event for event in self.events if event["name"] == name]


class Child:
    """A running child. `process` is its Popen; `finish` waits for it and for everything that holds its output."""

    def __init__(self, process: "subprocess.Popen[bytes]", spool: Path, announced: bool) -> None:
        self.process = process
        self.pid = process.pid
        self.spool = spool
        self._announced = announced

    def finish(self, stdin: bytes | None = None, timeout: float = 60) -> Run:
        """Wait for the end; fail the test when it does not come in time or when the monitor counted its own error."""
        try:
            stdout, stderr = self.process.communicate(stdin, timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            stdout, stderr = self.process.communicate()
            pytest.fail(f"still running after {timeout} s; it had printed\n{_text(stdout)}\n{_text(stderr)}")
        run = Run(self.process.returncode, stdout or b"", stderr or b"", self.spool)
        if not self._announced:
            fail_on_internal_errors(self.spool)
        return run

    def kill(self) -> None:
        """Kill the child and what it started, if any of it is still there."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


class Children:
    """All children of one test, below one folder."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox = sandbox
        self.folder = folder
        self.home = _made(folder / "home")
        self.spool = folder / "spool"
        self.spools = {self.spool}
        self.untold = 0
        self._started: list[Child] = []
        self._programs = 0

    def run(
        self, program: str | Path | Sequence[str], *, stdin: bytes | None = None, timeout: float = 60, **how: Any
    ) -> Run:
        """Start a program as `start` does, feed it `stdin`, wait for its end (seconds), and return what it left."""
        if stdin is not None:
            how["stdin"] = subprocess.PIPE
        return self.start(program, **how).finish(stdin, timeout)

    def start(
        self,
        program: str | Path | Sequence[str],
        *,
        argv: Sequence[str] = (),
        flags: Sequence[str] = (),
        files: Mapping[str, str] | None = None,
        env: Mapping[str, str | None] | None = None,
        endpoint: str = "local:",
        bare: bool = False,
        python: Sandbox | None = None,
        cwd: Path | None = None,
        spool: Path | None = None,
        announce_internal_errors: bool = False,
        **popen: Any,
    ) -> Child:
        """Start a program and return at once.

        `program` is the source text of a script, the path of one, or a whole command line; in the latter "python"
        is the sandbox's. `argv` follows the script and `flags` stand before it; `files` are laid beside the script.
        `env` is added to a minimal environment (None removes); no PYTHON* variable is inherited. `bare` leaves out
        every MONITOR_* variable, so the same interpreter runs unmonitored. `popen` goes to subprocess.Popen.
        """
        sandbox = python or self.sandbox
        spool = spool or _made(self.spool, 0o700)
        words = self._words(program, sandbox, flags, files) + list(argv)
        settings = {} if bare else {"MONITOR_ENDPOINT": endpoint, "MONITOR_SPOOL_DIR": str(spool)}
        popen = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **popen}
        # In a process group of its own, so that a child that hangs can be killed with everything it started.
        popen = {"start_new_session": True, **popen}
        environment = _merged({**self._base(sandbox), **settings}, env)
        cwd = cwd or _made(self.folder / "cwd")
        self.spools |= {spool, *_spools_of(environment, cwd)}
        process = subprocess.Popen(words, env=environment, cwd=cwd, **popen)
        child = Child(process, spool, announce_internal_errors)
        self._started.append(child)
        return child

    def twin(self, program: str | Path | Sequence[str], **how: Any) -> Run:
        """Run a program bare, then monitored, from the same paths; all that it shows must be equal. Return the second.

        A test has to look at the events of what is returned: a monitor that does nothing is a perfect twin.
        """
        first_number = self._programs
        before = self.run(program, bare=True, **how)
        if "cwd" not in how:
            shutil.rmtree(self.folder / "cwd")
        shutil.rmtree(self.folder / f"program-{first_number}", ignore_errors=True)
        self._programs = first_number
        after = self.run(program, **how)
        seen, told = _seen(after), "the program can tell that it is monitored"
        assert seen == _seen(before), f"{told}: {_seen(before)} became {seen}"
        return after

    def kill_all(self) -> None:
        """Kill what a failed test left running."""
        for child in self._started:
            if child.process.poll() is None:
                child.kill()
            for stream in (child.process.stdin, child.process.stdout, child.process.stderr):
                if stream:
                    stream.close()

    def _words(
        self,
        program: str | Path | Sequence[str],
        sandbox: Sandbox,
        flags: Sequence[str],
        files: Mapping[str, str] | None,
    ) -> list[str]:
        if isinstance(program, str):
            program = self._write(program, files or {})
        if isinstance(program, Path):
            return [*sandbox.command, *flags, str(program)]
        words = [str(word) for word in program]
        return [*sandbox.command, *words[1:]] if words[0] == "python" else words

    def _write(self, source: str, files: Mapping[str, str]) -> Path:
        folder = _made(self.folder / f"program-{self._programs}")
        self._programs += 1
        for name, text in {"script.py": source, **files}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text), encoding="utf-8")
        return folder / "script.py"

    def _base(self, sandbox: Sandbox) -> dict[str, str]:
        path = os.pathsep.join([str(sandbox.bin), "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"])
        return {"PATH": path, "HOME": str(self.home), "LANG": "C.UTF-8"}


def fail_on_internal_errors(spool: Path) -> None:
    """Fail the test when the monitor noted an error of its own: in production it is swallowed, here it is told."""
    errors = [line for line in read_ledger(spool) if line.get("what") == "internal_error"]
    if errors:
        pytest.fail("the monitor failed inside:\n" + "\n".join(map(str, errors)))


def _merged(base: Mapping[str, str], changes: Mapping[str, str | None] | None) -> dict[str, str]:
    merged = {**base, **(changes or {})}
    return {key: value for key, value in merged.items() if value is not None}


def _spools_of(environment: Mapping[str, str], cwd: Path) -> set[Path]:
    """Return where a program with this environment may spool: a relative path is one from where it starts."""
    named = environment.get("MONITOR_SPOOL_DIR")
    homes = [Path(environment[name]) for name in ("HOME",) if environment.get(name)]
    folders = [cwd / named, *(home / named.removeprefix("~/") for home in homes)] if named else []
    folders += [home / ".cache/monitor/spool" for home in homes]
    return {path for folder in folders for path in (folder, folder / "monitor-spool")}


def _seen(run: Run) -> tuple[int, str, str]:
    """Addresses in memory differ from run to run."""
    stdout, stderr = (re.sub("0x[0-9a-f]{8,}", "0x…", _text(text)) for text in (run.stdout, run.stderr))
    return run.status, stdout, stderr


def _text(output: bytes | None) -> str:
    return (output or b"").decode("utf-8", "backslashreplace")


def _made(folder: Path, mode: int = 0o777) -> Path:
    folder.mkdir(mode=mode, parents=True, exist_ok=True)
    return folder

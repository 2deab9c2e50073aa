"""Scratch environments that have the wheel of this tree, and a search for the machine's other interpreters.

Tests run against what users install: the wheel, its start line and the bytecode that pip compiled.
"""

import fcntl
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUPPORTED = ("3.10", "3.11", "3.12", "3.13", "3.14", "3.15")


class CommandFailed(Exception):
    """A command that prepares the tests failed; says what it printed."""


@dataclass(frozen=True)
class Sandbox:
    """One virtual environment. `wrapper` is what has to stand before its interpreter, e.g. a chroot command."""

    folder: Path
    wrapper: tuple[str, ...] = ()

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    @property
    def python(self) -> Path:
        return self.bin / "python"

    @property
    def command(self) -> list[str]:
        """The words that start this interpreter."""
        return [*self.wrapper, str(self.python)]

    @property
    def site_packages(self) -> Path:
        """Where pip puts packages; there is one such folder in an environment."""
        (found,) = self.folder.glob("lib/python3*")  # pip takes the folder away with the last package
        return found / "site-packages"

    def pip(self, *words: str, env: dict[str, str] | None = None) -> str:
        """Run this environment's pip, or ours for it where it has none, and return what it printed."""
        if any(self.folder.glob("lib/python3*/site-packages/pip")):
            return call([*self.command, "-m", "pip", *words], env=env)
        return call([sys.executable, "-m", "pip", "--python", str(self.python), *words], env=env)


class Sandboxes:
    """Makes each environment once per test run, and the wheel once, below one folder that parallel workers share."""

    def __init__(self, folder: Path, with_pip: bool = False) -> None:
        """`with_pip`: for whom pip is a program to watch. It takes as long to install as all the rest together."""
        self._folder, self._with_pip = folder, with_pip
        folder.mkdir(exist_ok=True)

    @property
    def wheel(self) -> Path:
        """The wheel of the tree as it is now."""
        folder = self._folder / "wheel"
        self._once("wheel", lambda: build_wheel(folder))
        (wheel,) = folder.glob("monitor_auto-*.whl")
        return wheel

    def empty(self, python: str | tuple[str, ...] = sys.executable) -> Sandbox:
        """Make a new environment without the wheel, for tests that change it."""
        return self._fill(Path(tempfile.mkdtemp(prefix="environment-", dir=self._folder)), python)

    def get(self, python: str | tuple[str, ...] = sys.executable, *requirements: str) -> Sandbox:
        """Return the environment of an interpreter with the wheel and `requirements`, made at the first call."""
        words = words_of(python)
        name = hashlib.sha256(repr((words, requirements)).encode()).hexdigest()[:12]
        folder, wheel = self._folder / name, str(self.wheel)
        self._once(name, lambda: self._fill(folder, words).pip("install", "--quiet", wheel, *requirements))
        return Sandbox(folder, words[:-1])

    def _fill(self, folder: Path, python: str | tuple[str, ...]) -> Sandbox:
        words = words_of(python)
        needs_pip = self._with_pip or len(words) > 1 or not pip_installs_elsewhere()
        call([*words, "-m", "venv", *([] if needs_pip else ["--without-pip"]), str(folder)])
        # Some tests start children as another user, who has to reach the interpreter.
        folder.chmod(0o755)
        return Sandbox(folder, words[:-1])

    def _once(self, name: str, make: Callable[[], object]) -> None:
        """Call `make` unless some worker of this run has done so."""
        done = self._folder / f"{name}.done"
        with (self._folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                make()
                done.touch()


def build_wheel(folder: Path, source: Path = ROOT, **settings: str) -> Path:
    """Build a source tree into `folder`, with `settings` in the environment, and return the wheel."""
    words = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    call([sys.executable, "-m", "pip", *words], env=settings)
    (wheel,) = folder.glob("monitor_auto-*.whl")
    return wheel


def call(words: list[str], env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a command that must succeed, with `env` added to ours, and return its standard output."""
    # Not ours to hand on: the monitor's own settings, and the switch that leaves environments without bytecode.
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("MONITOR_", "PYTHON"))}
    done = subprocess.run(words, capture_output=True, text=True, env={**clean, **(env or {})}, cwd=cwd, timeout=600)
    if done.returncode:
        raise CommandFailed(f"{words} exited with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


@cache
def pip_installs_elsewhere() -> bool:
    """Return whether our pip knows `--python` (22.3)."""
    return [int(number) for number in re.findall(r"\d+", version("pip"))[:2]] >= [22, 3]


def words_of(python: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the words of a command that starts an interpreter: its path, perhaps behind a wrapper."""
    return tuple(shlex.split(python)) if isinstance(python, str) else python


@cache
def other_pythons() -> dict[str, str]:
    """Find the machine's other supported interpreters: version -> command, e.g. {"3.12": "/usr/bin/python3.12"}.

    TEST_PYTHON_3_14 and the like name one that is somewhere else, also as a command of several words.
    """
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    found: dict[str, str] = {}
    for path in _candidates():
        version = _version(path)
        if version in SUPPORTED and version != own:
            found.setdefault(version, path)
    return dict(sorted(found.items()))


def _candidates() -> list[str]:
    """List interpreters that somebody has named, then pyenv's, newest patch first, then those on the PATH: pyenv's
    shims there may not work.
    """
    pyenv = sorted(Path.home().glob(".pyenv/versions/3.*/bin/python"), key=_patch, reverse=True)
    on_path = [shutil.which(f"python{version}") for version in SUPPORTED]
    named = [os.environ.get("TEST_PYTHON_" + version.replace(".", "_")) for version in SUPPORTED]
    return [*filter(None, named), *map(str, pyenv), *filter(None, on_path)]


def _patch(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.parts[-3])]


def _version(python: str) -> str:
    """Return the minor version of a CPython that can make environments; empty for anything else."""
    code = "import sys, venv, ensurepip; print(sys.implementation.name, '%d.%d' % sys.version_info[:2])"
    done = subprocess.run([*words_of(python), "-c", code], capture_output=True, text=True, timeout=60)
    name, _, version = done.stdout.strip().partition(" ")
    return version if done.returncode == 0 and name == "cpython" else ""

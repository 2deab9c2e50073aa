"""Make the virtual environments that are compared, and switch the monitor on in one of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from sides import INSIDE, Side

VENV = "venv"
PACKAGES = "lib/python3*/site-packages"


def clean_environment() -> dict[str, str]:
    """Ours without what steers an interpreter (PYTHONDONTWRITEBYTECODE above all), an environment or a monitor."""
    unwanted = ("PYTHON", "MONITOR_", "VIRTUAL_ENV", "TRACEPARENT", "TRACESTATE")
    return {key: value for key, value in os.environ.items() if not key.startswith(unwanted)}


def make_side(folder: Path, interpreter: Sequence[str], wheel: Path | None) -> Side:
    """Make a virtual environment of `interpreter` (all words but the last are a wrapper) with the wheel in it.

    Raises:
        SystemExit: a command failed; its output is the message.
    """
    side = make_empty_side(folder, interpreter)
    must_run([*side.python, "-m", "ensurepip", "--default-pip"], side.environment, folder)
    if wheel is not None:
        options = ["--quiet", "--disable-pip-version-check", "--no-warn-script-location"]
        visible = str(shutil.copy(wheel, folder))
        must_run([*side.python, "-m", "pip", "install", *options, visible], side.environment, folder)
    return side


def make_copy(side: Side, folder: Path) -> Side:
    """Make another environment with the very same packages, file by file; it is quicker than to install again."""
    interpreter = (*side.python[:-1], str(side.folder / VENV / "bin" / "python"))
    copy = make_empty_side(folder, interpreter)
    (installed,) = (side.folder / VENV).glob(PACKAGES)
    (target,) = (folder / VENV).glob(PACKAGES)
    shutil.copytree(installed, target, dirs_exist_ok=True)
    return copy


def make_empty_side(folder: Path, interpreter: Sequence[str]) -> Side:
    folder.mkdir(parents=True)
    # A wrapper may see other folders than we do; the scratch folder it certainly sees.
    shutil.copy(INSIDE, folder)
    environment = clean_environment()
    must_run([*interpreter, "-m", "venv", "--without-pip", str(folder / VENV)], environment, folder)
    return Side(folder, (*interpreter[:-1], str(folder / VENV / "bin" / "python")), environment)


def with_monitor(side: Side, has_site_file: bool) -> Side:
    """Switch the monitor on: by variables, and by the site file for children whose environment was cleaned."""
    spool = side.folder / "spool"
    settings = {"MONITOR_ENDPOINT": "local:", "MONITOR_SPOOL_DIR": str(spool), "MONITOR_EXIT_TIMEOUT": "0"}
    if has_site_file:
        etc = side.folder / VENV / "etc"
        etc.mkdir(exist_ok=True)
        lines = "".join(f"{key}={value}\n" for key, value in settings.items())
        (etc / "monitor-auto.env").write_text(lines, encoding="utf-8")
    return Side(side.folder, side.python, {**side.environment, **settings}, spool)


def must_run(command: Sequence[str], environment: dict[str, str], folder: Path) -> None:
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def find_wheel(root: Path) -> Path:
    """The wheel of this tree: the one in `dist` when nothing changed since it was built, else a new one."""
    sources = [
        root / "pyproject.toml",
        root / "hatch_build.py",
        root / "monitor_auto.pth",
        *(root / "src").rglob("*.py"),
    ]
    newest = max(file.stat().st_mtime for file in sources if file.exists())
    built = sorted((root / "dist").glob("monitor_auto-*.whl"), key=lambda file: file.stat().st_mtime)
    if built and built[-1].stat().st_mtime >= newest:
        return built[-1]
    pip_wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    must_run([*pip_wheel, "--wheel-dir", str(root / "dist"), str(root)], clean_environment(), root)
    return max((root / "dist").glob("monitor_auto-*.whl"), key=lambda file: file.stat().st_mtime)

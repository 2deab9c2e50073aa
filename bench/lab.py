"""The two environments that are compared, and the sides on which a program can be run: bare, off and on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from zipfile import ZipFile

from bench.sides import Side, empty
from support.sandbox import Sandboxes

NOWHERE = "http://127.0.0.1:9/v1/events"
"""An endpoint for sessions that only spool: the discard port, which hardly any machine serves."""
PROGRAMS = Path(__file__).with_name("programs")


@dataclass(frozen=True)
class Lab:
    """Everything a row needs. Both interpreters are the same Python; only one has the monitor in its environment."""

    folder: Path
    bare_python: Path
    monitored_python: Path
    is_quick: bool
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def bare(self) -> Side:
        """The environment without the monitor."""
        return Side(self.bare_python, self._environment(self.bare_python), self.folder)

    @property
    def off(self) -> Side:
        """Installed, and no endpoint known."""
        return Side(self.monitored_python, self._environment(self.monitored_python), self.folder)

    def on(self, **settings: str) -> Side:
        """Monitored, with a spool of its own; it only spools unless `settings` say otherwise."""
        spool = self.folder / f"spool-{next(self._numbers)}"
        empty(spool)
        own = {"MONITOR_ENDPOINT": NOWHERE, "MONITOR_EXIT_TIMEOUT": "0", "MONITOR_SPOOL_DIR": str(spool)}
        return Side(self.monitored_python, {**self.off.environment, **own, **settings}, self.folder, spool)

    def times(self, many: int, few: int) -> int:
        """How often to repeat: `few` only with --quick."""
        return few if self.is_quick else many

    def _environment(self, python: Path) -> dict[str, str]:
        """Minimal and the same for all: nothing of the caller's may steer an interpreter or a monitor."""
        path = os.pathsep.join([str(python.parent), "/usr/local/bin", "/usr/bin", "/bin"])
        return {"PATH": path, "HOME": str(self.folder), "LANG": "C.UTF-8"}


@contextmanager
def make_lab(is_quick: bool, bare: Path | None, monitored: Path | None) -> Iterator[Lab]:
    """Make a lab below a temporary folder; environments that are not given are made of this interpreter and tree.

    Raises support.sandbox.CommandFailed.
    """
    with TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        if bare is None or monitored is None:
            bare, monitored = make_environments(folder / "environments")
        (folder / "work").mkdir()
        yield Lab(folder / "work", bare, monitored, is_quick)


def make_environments(folder: Path, *libraries: str) -> tuple[Path, Path]:
    """Make the bare and the monitored environment; apart from the monitor they hold the same packages."""
    sandboxes = Sandboxes(folder, with_pip=True)
    wheel = sandboxes.wheel
    bare, monitored = sandboxes.empty(), sandboxes.empty()
    bare.pip("install", "--quiet", *requirements(wheel), *libraries)
    monitored.pip("install", "--quiet", str(wheel), *libraries)
    return bare.python, monitored.python


def requirements(wheel: Path) -> list[str]:
    """Return what a wheel needs, without its extras."""
    with ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        needs = message_from_bytes(archive.read(name)).get_all("Requires-Dist", [])
    return [need for need in needs if "extra ==" not in need]


def alternate(first: Callable[[], float], second: Callable[[], float], times: int) -> list[tuple[float, float]]:
    """Measure in turns, each going first every other time: what else the machine does then hits both alike."""
    pairs = []
    for number in range(times):
        if number % 2:
            after = second()
            pairs.append((first(), after))
        else:
            pairs.append((first(), second()))
    return pairs


def median_difference(pairs: list[tuple[float, float]]) -> float:
    """Return by how much the second is more than the first, in the middle pair."""
    return median(after - before for before, after in pairs)


def medians(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the median of each half."""
    return median(before for before, _ in pairs), median(after for _, after in pairs)

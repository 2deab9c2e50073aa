"""The folders below `runs/` of a spool: the events of each run that nobody else is to have, or that were delivered.

A run without an endpoint has a spool of its own there. Of one with an endpoint, segments that were delivered are moved
to `runs/<tree>` (`express.retire`) for as long as that folder is there, which is for as long as `run` lives. Then it
gets another name, to which no segment is moved.

Guarantees: of both kinds together the latest KEPT_RUNS are kept; none is deleted while one of its programs lives.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from shutil import rmtree

from monitor_auto.boot import handover
from monitor_auto.boot.formats import uuid7

KEPT_RUNS = 50
TEND_SECONDS = 10.0
TREE_LENGTH = 12
MARK = ".incomplete"
"""In a kept folder: how many events it lacks."""


def private_spool(directory: str) -> str:
    """Return a folder for this run alone, below `runs/` of the spool; of earlier ones the latest are kept."""
    runs = f"{directory}/runs"
    forget_earlier(runs)
    return f"{runs}/{uuid7()}"


def forget_earlier(runs: str) -> None:
    """Make room for one more; what a run that was killed has left gets its last name."""
    try:
        names = sorted(os.listdir(runs))
    except OSError:
        return
    for name in names:
        if len(name) == TREE_LENGTH and not is_alive(f"{runs}/{name}"):
            rename(f"{runs}/{name}", f"{runs}/{uuid7()}")
    earlier = [name for name in names if len(name) != TREE_LENGTH]
    for name in earlier[: -KEPT_RUNS + 1]:
        forget_run(f"{runs}/{name}")


def forget_run(folder: str) -> None:
    """Delete an earlier run's folder, but not while one of its programs lives."""
    if not is_alive(folder):
        rmtree(folder, ignore_errors=True)


def is_alive(folder: str, own: str = "") -> bool:
    """True while one of a folder's sessions, other than our own, lives; also where that cannot be seen."""
    try:
        names = os.listdir(folder)
    except OSError:
        return True
    return any(handover.is_locked(f"{folder}/{name}") for name in names if name.endswith(".live") and name != own)


def ended(runs: str) -> list[str]:
    """Return the folders of runs of which no program lives."""
    if os.path.islink(runs):
        return []
    return [path for path in (f"{runs}/{name}" for name in sorted(os.listdir(runs))) if not is_alive(path)]


def rename(before: str, after: str) -> None:
    """Rename a folder that may be gone."""
    try:
        os.rename(before, after)
    except OSError:
        return


class Kept:
    """Where the delivered events of our run are kept until it ends. Runs of one tree, one in the other, share it."""

    def __init__(self, spool: str, tree: str, session: str, limit_bytes: int) -> None:
        self._runs = f"{spool}/runs"
        self._limit_bytes = limit_bytes
        self._lock_name = f"{session}.live"
        self._lock = -1
        self._next_look = 0.0
        self.names = [f"{self._runs}/{tree}", f"{self._runs}/{uuid7()}"]
        self.folder = self.names[0]

    def start(self) -> None:
        """Begin to keep. Raises OSError where that cannot be: then the report lacks what was delivered."""
        forget_earlier(self._runs)
        os.makedirs(self.folder, 0o700, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._lock = os.open(f"{self.folder}/{self._lock_name}", flags, 0o600)
        os.lockf(self._lock, os.F_TLOCK, 0)

    def tend(self) -> float:
        """Now and then delete what is too much; return the milliseconds until the next look."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + TEND_SECONDS
            delete_surplus(self.folder, self._limit_bytes)
        return (self._next_look - now) * 1000

    def stop(self) -> None:
        """Keep no more, and leave what there is to `monitor-auto report`."""
        if not is_alive(self.folder, self._lock_name):
            rename(*self.names)
            self.folder = self.names[1]
        os.unlink(f"{self.folder}/{self._lock_name}")
        os.close(self._lock)


def delete_surplus(folder: str, limit_bytes: int) -> None:
    """Delete of a folder's segments what is beyond the limit. How a session began, which is in its first segment, stays
    longest: without it there is no tree.
    """
    with os.scandir(folder) as entries:
        found = [(entry, entry.stat(follow_symlinks=False)) for entry in entries if entry.name.endswith(".jsonl")]
    surplus = sum(facts.st_size for _, facts in found) - limit_bytes
    for entry, facts in sorted(found, key=lambda one: (one[0].name.endswith(".0.jsonl"), one[1].st_mtime_ns)):
        if surplus <= 0:
            return
        count_missing(folder, Path(entry.path).read_bytes().count(b"\n") - 1)
        os.unlink(entry.path)
        surplus -= facts.st_size


def count_missing(folder: str, events: int) -> None:
    """Add to the number of events that a folder lacks."""
    Path(folder, MARK).write_text(str(missing(Path(folder)) + events), encoding="ascii")


def missing(folder: Path) -> int:
    """Return how many events were deleted from a folder."""
    try:
        return int((folder / MARK).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0

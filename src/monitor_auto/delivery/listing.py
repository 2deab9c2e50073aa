"""What lies in a spool: sessions, what was put aside, what deaths have left behind. Runs where its bounds are kept.

Guarantees: builtin modules only; no link is followed and no segment opened; what is none of ours is not counted and not
touched.
"""

import os

from monitor_auto.boot import guard
from monitor_auto.boot.formats import wall_clock

from .segments import FOLDER, remove, split_name, type_at

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_ENTRIES = 200_000
"""A folder with more files than this is nothing that we made."""
LEFT_OVER_SECONDS = {"sent": 60.0, "tmp": 3600.0, "away": 86400.0}


class Listing:
    """One look: `sessions` are base -> number -> facts of its segments, `lonely` the bases that have none, `aside` the
    (time, size, name) of what was put aside, oldest first, `delivered_parts` sessions of which something was delivered,
    and `bytes` the size of it all.
    """

    def __init__(self, directory: str) -> None:
        self.directory, self.now = directory, wall_clock()
        self.sessions: dict[str, dict[int, os.stat_result]] = {}
        self.lonely: list[str] = []
        self.delivered_parts: set[str] = set()
        self.aside: list[tuple[float, int, str]] = []
        self.bytes = 0

    def look(self) -> None:
        """List the folder, and remove what deaths have left behind."""
        for name, facts in entries(self.directory):
            base, number = split_name(name)
            if number >= 0:
                self.sessions.setdefault(base, {})[number] = facts
            elif base:
                self.lonely.append(base)
            elif self.is_foreign(name) or self.is_left_over(name, facts):
                continue
            self.bytes += facts.st_size
        for name, facts in entries(self.directory + "/aside"):
            self.aside.append((facts.st_mtime, facts.st_size, name))
            self.bytes += facts.st_size
        self.aside.sort()
        self.lonely = [base for base in self.lonely if base not in self.sessions]

    def is_foreign(self, name: str) -> bool:
        """Return whether a file is none of ours: it is not counted and not touched."""
        first = name.partition(".")[0]
        return len(first) != 16 or name.rpartition(".")[2] not in LEFT_OVER_SECONDS

    def is_left_over(self, name: str, facts: os.stat_result) -> bool:
        """Remove a position without its segment, half of a file, an old breaker; return whether it was one."""
        stem, _, ending = name.rpartition(".")
        if ending == "sent":
            self.delivered_parts.add(stem.rpartition(".")[0])
        is_old = facts.st_mtime < self.now - LEFT_OVER_SECONDS[ending]
        if not is_old or (ending == "sent" and type_at(f"{self.directory}/{stem}.jsonl")):
            return False
        try:
            remove(f"{self.directory}/{name}")
        except guard.ours(OSError):  # somebody's folder of such a name
            return False
        return True

    def age(self, base: str) -> float:
        """Return when the oldest segment of a session was last written."""
        return min(facts.st_mtime for facts in self.sessions[base].values())


def entries(path: str) -> "Iterator[tuple[str, os.stat_result]]":
    """Yield the names in a folder with their `lstat`; nothing for a link in its place."""
    if type_at(path) != FOLDER:
        return
    with os.scandir(path) as found:
        for _, entry in zip(range(MAX_ENTRIES), found, strict=False):
            try:
                yield entry.name, entry.stat(follow_symlinks=False)
            except guard.ours(OSError):  # delivered by somebody meanwhile
                continue

"""Checks of the spool: its place, its bounds, what waits too long, what the ledger and the breaker tell."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from monitor_auto.delivery import answers, breaker

from .. import spools
from ..configuration import Configuration
from ..status import away_text, waiting_text
from ..terminal import age_text, counted, size_text
from . import OK, WARNING, WRONG, Check

NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "fuse.sshfs", "fuse.s3fs", "9p", "ceph", "glusterfs", "lustre", "afs")
LONG_SECONDS = 86400.0
FUTURE_SECONDS = 300.0
CHOOSE = "Set MONITOR_SPOOL_DIR to a private folder on a local disk."


def check(configuration: Configuration) -> Iterator[Check]:
    """Yield all findings about spools."""
    place = spools.place_of(configuration.settings)
    yield from location(place)
    for directory in spools.unreadable(configuration.settings):
        what = f"{directory} cannot be read: nobody can deliver what waits there"
        yield Check("spool", WRONG, what, f"chmod 700 {directory}")
    yield from file_system(place)
    backlogs = spools.backlogs(spools.told(configuration.settings, place))
    directories = spools.in_use(configuration.settings)
    yield from waiting(backlogs, place.directory, configuration)
    here = [backlog for backlog in backlogs if backlog.directory == (place.directory or breaker.folder_in_memory())]
    yield from collector(here, spools.key_of(configuration.settings.endpoint))
    yield from rights(directories)
    yield from clock(directories)
    yield from troubles(spools.troubles(directories))


def location(place: spools.Place) -> Iterator[Check]:
    """Check that there is a place to spool, and that it is the one that was asked for."""
    for directory, fault in place.refused.items():
        what = f"{directory} cannot be used: {fault}"
        yield Check("spool", WARNING if place.directory else WRONG, what, CHOOSE)
    if not place.directory:
        yield Check("spool", WRONG, place.why, CHOOSE)
    else:
        yield Check("spool", OK, f"{place.directory}" + (" (the next best)" if place.refused else f" ({place.why})"))


def file_system(place: spools.Place) -> Iterator[Check]:
    """Check that the spool lies on a disk where locks tell who lives."""
    kind = file_system_of(place.directory, mounts()) if place.directory else ""
    if is_network(kind):
        what = f"{place.directory} is on a network file system ({kind}): locks there may not tell which programs live"
        yield Check("file system", WARNING, what, CHOOSE)
    fault = fault_of_locks(place.directory)
    if fault:
        what = f"{place.directory} takes no locks ({fault}): programs record elsewhere, or in memory alone"
        yield Check("file system", WRONG, what, CHOOSE)


def fault_of_locks(directory: str) -> str:
    """Return why a file of this folder cannot be locked; "" where it can, or where the folder is not there yet."""
    try:
        file = tempfile.TemporaryFile(dir=directory or None)
    except OSError:
        return ""
    with file:
        try:
            os.lockf(file.fileno(), os.F_TLOCK, 0)
        except OSError as error:
            return str(error.strerror)
        except AttributeError:  # Windows, where the open file itself has to do
            return ""
    return ""


def is_network(kind: str) -> bool:
    """Return whether a file system's type, as the kernel names it, is one over a network (`nfs4` is a kind of nfs)."""
    return kind.rstrip("0123456789") in [name.rstrip("0123456789") for name in NETWORK_FILE_SYSTEMS] or kind == "9p"


def mounts() -> str:
    """Return the kernel's table of mounts; "" where there is none (not Linux)."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def file_system_of(path: str, table: str) -> str:
    """Return the type of the file system that a path is or would be on, by a table as proc(5) describes it."""
    path = os.path.realpath(path)
    best, kind = "", ""
    for line in table.splitlines():
        words, _, rest = line.partition(" - ")
        fields = words.split(" ")
        if len(fields) < 5 or not rest:
            continue
        point = fields[4].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
        # Of two mounts on one point the later one is what programs see.
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, kind = point, rest.split(" ")[0]
    return kind


def waiting(backlogs: list[spools.Backlog], directory: str, configuration: Configuration) -> Iterator[Check]:
    """Check that the spool is within its limit, and that what waits does not wait for ever."""
    limit = configuration.settings.spool_limit_bytes
    total = sum(backlog.bytes for backlog in backlogs if backlog.directory == directory)
    if total > limit:
        what = f"{size_text(total)} wait, more than the limit of {size_text(limit)}: the oldest events are dropped"
        yield Check("limit", WARNING, what, "monitor-auto flush, or a larger MONITOR_SPOOL_LIMIT.")
    for backlog in backlogs:
        if backlog.events and backlog.oldest_seconds > LONG_SECONDS and backlog.endpoint != "local:":
            remedy = f"MONITOR_ENDPOINT={backlog.endpoint or '…'} monitor-auto flush, or monitor-auto purge."
            yield Check("waiting", WARNING, waiting_text(backlog), remedy)


def collector(backlogs: list[spools.Backlog], own_key: str) -> Iterator[Check]:
    """Tell what the last failures to deliver were. Of another endpoint than the one in use they are only a warning."""
    for backlog in backlogs:
        if backlog.away is None:
            continue
        what = f"{backlog.endpoint or backlog.key} {away_text(backlog.away)}"
        if is_misplaced(backlog.away["status"]):
            level = WRONG if backlog.key == own_key else WARNING
            yield Check("collector", level, what, "Correct address, token or proxy; then monitor-auto flush.")
        else:
            yield Check("collector", WARNING, what, "Look after the collector; monitor-auto flush tries at once.")


def is_misplaced(status: Any) -> bool:
    """Return whether an answer's status tells of a wrong address, token or proxy, which no waiting heals.

    Of a success only one with a web page is ever noted as a failure.
    """
    return isinstance(status, int) and answers.meaning(status, "text/html", b"") == answers.MISPLACED


def rights(directories: list[str]) -> Iterator[Check]:
    """Tell of programs that have given up the rights to read the spool they write to: nobody can deliver for them while
    they live.
    """
    for directory in directories:
        users = {pid: spools.user_of(pid) for pid in spools.living(directory)}
        owner = os.stat(directory).st_uid
        count = sum(user not in (None, 0, owner) for user in users.values())
        if count:
            what = (
                f"{counted(count, 'program')} that now runs as another user writes to {directory}: what it records is "
                "delivered when it has ended, by a program of the spool's owner"
            )
            yield Check("rights", WARNING, what, "Start it as the user that it is to run as; see docs/background.md.")


def clock(directories: list[str]) -> Iterator[Check]:
    """Check that the clock is not far off: ages and back-offs depend on it."""
    now = time.time()
    if time.gmtime(now).tm_year < 2024:
        yield Check("clock", WRONG, f"it is {time.strftime('%Y-%m-%d', time.gmtime(now))} here", "Set the clock.")
    newest = max((_newest(directory) for directory in directories), default=0.0)
    if newest > now + FUTURE_SECONDS:
        what = f"files of the spool are {age_text(newest - now)} in the future: the clock was set back"
        yield Check("clock", WARNING, what, "Check the clock.")


def _newest(directory: str) -> float:
    with os.scandir(directory) as entries:
        return max((entry.stat(follow_symlinks=False).st_mtime for entry in entries), default=0.0)


def troubles(found: spools.Troubles) -> Iterator[Check]:
    """Tell what the ledger holds."""
    for cause, count in spools.by_count(found.internal_errors):
        what = f"internal error, {counted(count, 'time')}: {cause}"
        yield Check("internal error", WARNING, what, "Report it, with the line of ledger.jsonl; programs run on.")
    for cause, count in spools.by_count(found.dropped):
        if cause != "purge":
            yield Check("dropped", WARNING, f"{counted(count, 'event was', 'events were')} dropped: {cause}", "")
    for cause, count in spools.by_count(found.aside):
        what = f"{counted(count, 'file or line was', 'files or lines were')} put aside: {cause}"
        yield Check("aside", WARNING, what, "Look into aside/ of the spool; monitor-auto purge --all deletes it.")
    for cause, count in spools.by_count(found.problems):
        yield Check("problem", WARNING, f"{counted(count, 'time')}: {cause}")

"""`monitor-auto purge`: delete what ended programs have left in the spool.

Guarantees: only the spool that programs started here use is touched, and of it only sessions whose lock we hold: none
that lives and none that is just being delivered. What was deleted is counted in the ledger as dropped.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from monitor_auto.boot import guard, notes
from monitor_auto.delivery.claims import Claim, claim
from monitor_auto.delivery.segments import Segment, Unreadable, remove, sessions, split_name

from . import spools
from .configuration import read_configuration
from .running import runs
from .terminal import complain, counted, print_json, size_text

DESCRIPTION = """\
Delete the events that ended programs have left in the spool, without sending
them. What belongs to programs that still run stays. Asks first; without a
terminal to ask on it needs --yes. Which spool that is says `monitor-auto
status`; set MONITOR_SPOOL_DIR to purge another one.

  monitor-auto purge               ask, then delete
  monitor-auto purge --yes --all   do not ask; also delete what was put aside,
                                   what is kept of earlier `monitor-auto run`,
                                   the ledger, and what is known of failures
  monitor-auto purge --endpoint http://old.example/v1/events
                                   only what waits for that collector

Exit codes: 0 done, or there was nothing; 1 something could not be deleted, or
you said no; 2 wrong call.
`monitor-auto flush` delivers instead.
"""


@dataclass
class Removed:
    """What was deleted; `failed` counts sessions that could not be, `running` those that were left alone."""

    events: int = 0
    bytes: int = 0
    sessions: int = 0
    running: int = 0
    failed: int = 0


def add_arguments(parser: Any) -> None:
    """Add the options."""
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--endpoint", metavar="URL", help="only what waits for this endpoint (or key, see status)")
    parser.add_argument(
        "--all", action="store_true", help="also what was put aside, earlier runs, the ledger and the failures"
    )
    parser.add_argument("--json", action="store_true", help="print what was deleted as one JSON object")


def run(arguments: Any) -> int:
    """Run the command. Returns 0 when all was deleted, 1 when not, 2 when nobody can be asked."""
    if arguments.endpoint is not None and not arguments.endpoint.strip():
        complain("--endpoint names none; without it purge deletes what waits for all of them.")
        return 2
    if arguments.endpoint and arguments.all:
        complain("--all is for the whole spool; it cannot go with --endpoint.")
        return 2
    if not arguments.yes and not sys.stdin.isatty():
        complain("purge deletes events for good. There is no terminal to ask on: say --yes if you mean it.")
        return 2
    try:
        key = spools.key_of(arguments.endpoint) if arguments.endpoint else ""
    except ValueError as error:
        complain(f"{str(error).replace('MONITOR_ENDPOINT', '--endpoint', 1)} (or the key that status shows).")
        return 2
    settings = read_configuration().settings
    directories = spools.in_use(settings)
    if not arguments.yes and not is_confirmed(directories, key, arguments.all):
        complain("nothing was deleted.")
        return 1
    removed = Removed()
    for directory in directories:
        purge(directory, key, arguments.all, removed)
    for directory, fault in spools.place_of(settings).refused.items():
        if directory in spools.existing(settings) and any(sessions(directory, key).values()):
            complain(f"{directory}: {fault}; what waits there is left alone.")
            removed.failed += 1
    for directory in spools.unreadable(settings):
        complain(f"{directory} cannot be read; what waits there is left alone.")
        removed.failed += 1
    report(removed, arguments)
    return 1 if removed.failed else 0


def is_confirmed(directories: list[str], key: str, everything: bool) -> bool:
    """Ask. The question goes to standard error: standard output may be a file."""
    found = spools.backlogs(directories, key)
    events, programs = sum(one.events for one in found), sum(one.ended for one in found)
    more = ", what was put aside, earlier runs and the ledger" if everything else ""
    sys.stderr.write(f"Delete {counted(events, 'event')} of {counted(programs, 'ended program')}{more}? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def purge(directory: str, key: str, everything: bool, removed: Removed) -> None:
    """Delete a spool's dead sessions; of one endpoint's key, or of all."""
    guard.use_directory(directory)
    before = (removed.events, removed.sessions)
    for base, numbers in sessions(directory, key).items():
        held = claim(directory, base, not numbers)
        if held is None:
            removed.running += bool(numbers)
            continue
        try:
            delete(held, removed)
        except OSError as error:
            complain(f"{held.live_path}: {error.strerror}")
            removed.failed += 1
        finally:
            held.release()
    delete_leftovers(directory, key, everything, removed)
    events, programs = removed.events - before[0], removed.sessions - before[1]
    if programs:
        notes.ledger("dropped", reason="purge", count=events, sessions=programs)


def delete(held: Claim, removed: Removed) -> None:
    """Delete a session that we hold: segments first, its lock last."""
    numbers = held.all_numbers([])
    for number in numbers:
        segment = Segment(held.directory, held.base, number)
        removed.bytes += spools.size(segment.path)
        removed.events += drop(segment)
        segment.delete()
    remove(held.live_path)
    removed.sessions += bool(numbers)


def drop(segment: Segment) -> int:
    """Count a segment's events as dropped, for the account; return how many there are."""
    count = 0
    try:
        for line in segment.read(float("inf")):
            line.fate = "dropped"
            segment.tally.add(line)
            count += 1
    except (OSError, Unreadable):  # none of ours, or a bad disk: it goes all the same
        return count
    return count


def delete_leftovers(directory: str, key: str, everything: bool, removed: Removed) -> None:
    """Delete positions without a segment; with `everything` also what was put aside, earlier runs, the ledger and the
    failures.
    """
    for path in leftovers(directory, key, everything):
        try:
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                remove(path)
        except OSError as error:
            complain(f"{path}: {error.strerror}")
            removed.failed += 1


def leftovers(directory: str, key: str, everything: bool) -> Iterator[str]:
    """Yield the paths of a spool's files that belong to no session any more."""
    bases = sessions(directory)
    for name in os.listdir(directory):
        is_position = name.endswith(".sent") and split_name(name[:-4] + "jsonl")[0]
        if is_position and name[:66] not in bases and name.startswith(key):
            yield f"{directory}/{name}"
        elif everything and name == "runs":
            yield from runs.ended(f"{directory}/{name}")
        elif everything and (name in ("aside", "ledger.jsonl") or name.endswith((".away", ".account"))):
            yield f"{directory}/{name}"


def report(removed: Removed, arguments: Any) -> None:
    """Say what was deleted, and what was left alone."""
    if arguments.json:
        print_json(asdict(removed))
        return
    if removed.sessions:
        programs = counted(removed.sessions, "ended program")
        print(f"Deleted {counted(removed.events, 'event')} ({size_text(removed.bytes)}) of {programs}.")
    else:
        print("There was nothing of ended programs to delete.")
    if removed.running:
        print(f"{counted(removed.running, 'program')} still running, or being delivered: left alone.")

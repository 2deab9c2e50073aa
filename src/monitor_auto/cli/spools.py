"""What lies in the spools of this user: where they are and why there, what waits, what went wrong. Changes nothing."""

from __future__ import annotations

import json
import os
import stat
import time
from dataclasses import dataclass, field
from typing import Any

from monitor_auto.boot import handover, parsing, recorder
from monitor_auto.boot.formats import endpoint_key
from monitor_auto.boot.settings import default_directory, endpoint_parts
from monitor_auto.delivery import account, breaker
from monitor_auto.delivery.claims import field as header_field
from monitor_auto.delivery.deaths import began_at
from monitor_auto.delivery.drain import count_events, existing_spools, is_private, is_readable
from monitor_auto.delivery.segments import Segment, Unreadable, open_own, read_header, sessions, split_name

MAX_LEDGER_BYTES = 4 << 20
"""Of a longer ledger the last part counts."""
MAX_RECORD_BYTES = 4096


@dataclass
class Place:
    """Where a program that starts here would spool: `directory` ("" when nowhere: in memory) and why there."""

    directory: str
    why: str
    refused: dict[str, str] = field(default_factory=dict)


@dataclass
class Backlog:
    """What waits for one endpoint in one spool. `away` is what the breaker knows, if anything."""

    key: str
    directory: str
    endpoint: str = ""
    living: int = 0
    ended: int = 0
    events: int = 0
    bytes: int = 0
    oldest_seconds: float = 0.0
    away: dict[str, Any] | None = None


@dataclass
class Account:
    """What became of one endpoint's events since its spool was made; `never_written` were dropped from memory, or
    dropped or sampled out by a session that was killed before it could tell.
    """

    key: str
    directory: str
    endpoint: str
    produced: int
    sent: int
    rejected: int
    dropped: int
    aside: int
    sampled_out: int
    spooled: int
    never_written: int


@dataclass
class Troubles:
    """What the ledger tells, by cause, and what was put aside."""

    dropped: dict[str, int] = field(default_factory=dict)
    aside: dict[str, int] = field(default_factory=dict)
    internal_errors: dict[str, int] = field(default_factory=dict)
    problems: dict[str, int] = field(default_factory=dict)
    files_aside: int = 0


def place_of(settings: Any) -> Place:
    """Return where a program that starts here would spool, found as `repairs.open_anywhere` does, and nothing made."""
    refused: dict[str, str] = {}
    for directory in (settings.spool_directory, *parsing.fallback_directories()):
        path, fault = usable(directory)
        if not fault:
            return Place(path, _why(directory, refused), refused)
        refused[directory] = fault
    return Place("", "no directory can be used: events are kept in memory, and lost when their program dies", refused)


def _why(directory: str, refused: dict[str, str]) -> str:
    if refused:
        return "; ".join(f"{path} cannot be used: {fault}" for path, fault in refused.items())
    return "the default" if directory == os.path.abspath(default_directory()) else "MONITOR_SPOOL_DIR"


def usable(directory: str) -> tuple[str, str]:
    """Return (the path that would be used, "") or (the path, why it cannot be)."""
    if not os.path.isabs(directory):
        return directory, "it is no absolute path"
    try:
        facts = os.lstat(directory)
    except FileNotFoundError:
        return directory, _cannot_be_made(os.path.dirname(directory))
    except OSError as error:
        return directory, str(error.strerror)
    if not stat.S_ISDIR(facts.st_mode):
        return directory, "it is no directory, or a link"
    if hasattr(os, "geteuid") and facts.st_uid != os.geteuid():
        return directory, "it belongs to another user"
    if facts.st_mode & 0o077 and hasattr(os, "geteuid") and os.listdir(directory):
        return usable(directory + "/monitor-spool")
    return directory, "" if os.access(directory, os.W_OK | os.X_OK) else "it cannot be written"


def _cannot_be_made(parent: str) -> str:
    while parent != os.path.dirname(parent) and not os.path.lexists(parent):
        parent = os.path.dirname(parent)
    if not os.path.isdir(parent):
        return f"{parent} is no directory"
    return "" if os.access(parent, os.W_OK | os.X_OK) else f"{parent} cannot be written"


def existing(settings: Any) -> list[str]:
    """Return the spools that there are, also those that are not in use now, the preferred one first; without those that
    cannot be read.
    """
    return [path for path in dict.fromkeys(existing_spools(settings)) if is_readable(path)]


def unreadable(settings: Any) -> list[str]:
    """Return the spools that there are and whose files nobody can see: an owner may forbid it to himself."""
    return [path for path in dict.fromkeys(existing_spools(settings)) if not is_readable(path)]


def in_use(settings: Any) -> list[str]:
    """Return the spool that programs started here use, in a list; none when it does not exist yet."""
    directory = place_of(settings).directory
    return [path for path in existing(settings) if path == directory]


def told(settings: Any, place: Place) -> list[str]:
    """Return where programs say what waits and what failed: the spools, and this system's memory where there is none
    that they could use.
    """
    memory = breaker.folder_in_memory()
    return [*existing(settings), *([memory] if not place.directory and is_private(memory) else [])]


def accounts(directories: list[str], endpoints: dict[str, str]) -> list[Account]:
    """Return the accounts of all endpoints in these spools. `endpoints` has the address of each key that is known."""
    found = []
    for directory in directories:
        names = os.listdir(directory)
        keys = {name[:16] for name in names if name.endswith(".account") or split_name(name)[0]}
        for key in sorted(keys):
            counts = account.counts(directory, key)
            found.append(Account(key, directory, endpoints.get(key, ""), never_written=counts.gaps, **vars(counts)))
    return found


def backlogs(directories: list[str], key: str = "") -> list[Backlog]:
    """Return what waits in these spools, by endpoint; of one endpoint's key, or of all."""
    found: dict[tuple[str, str], Backlog] = {}
    for directory in directories:
        for name in os.listdir(directory):
            if name.endswith(".away") and len(name) == 21 and name.startswith(key):
                found.setdefault((directory, name[:16]), Backlog(name[:16], directory))
        for base, numbers in sessions(directory, key).items():
            if recorder.segment is None or base != recorder.segment.base:  # a look at our own lock would drop it
                _add(found.setdefault((directory, base[:16]), Backlog(base[:16], directory)), base, numbers)
    for backlog in found.values():
        backlog.away = away(backlog.directory, backlog.key)
    return list(found.values())


def _add(backlog: Backlog, base: str, numbers: list[int]) -> None:
    if handover.is_locked(f"{backlog.directory}/{base}.live"):
        backlog.living += 1
    elif numbers:
        backlog.ended += 1
    for number in numbers:
        segment = Segment(backlog.directory, base, number)
        waiting = count_events(segment)
        backlog.events += waiting
        backlog.bytes += size(segment.path)
        if waiting:
            backlog.oldest_seconds = max(backlog.oldest_seconds, time.time() - began_at(base))
        backlog.endpoint = backlog.endpoint or endpoint_of(segment)


def living(directory: str) -> list[int]:
    """Return the pids of the living sessions that write to a spool."""
    pids = []
    for base, numbers in sessions(directory).items():
        is_own = recorder.segment is not None and base == recorder.segment.base  # a look at our own lock would drop it
        if numbers and not is_own and handover.is_locked(f"{directory}/{base}.live"):
            pid = header_value(Segment(directory, base, numbers[-1]), b"pid")
            pids += [pid] if isinstance(pid, int) else []
    return pids


def user_of(pid: int) -> int | None:
    """Return the effective user of a process (proc(5)); None where nobody can know."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            line = next((line for line in file if line.startswith("Uid:")), "")
    except OSError:
        return None
    return int(line.split()[2]) if len(line.split()) > 2 else None


def endpoint_of(segment: Segment) -> str:
    """Return the endpoint that a segment's header names, without its query; "" when it cannot be read."""
    value = header_value(segment, b"endpoint")
    return value if isinstance(value, str) else ""


def header_value(segment: Segment, name: bytes) -> object:
    """Return what a segment's header says under a name; None when it cannot be read."""
    try:
        descriptor, _ = open_own(segment.path)
    except (OSError, Unreadable):
        return None
    try:
        value: object = json.loads(header_field(read_header(descriptor)[0], name))
        return value
    except (OSError, Unreadable, ValueError):
        return None
    finally:
        os.close(descriptor)


def away(directory: str, key: str) -> dict[str, Any] | None:
    """Return what the breaker knows of an endpoint that failed: until, failures, status, error. None: it did not."""
    try:
        descriptor, found = open_own(breaker.path_of(directory, key))
    except (OSError, Unreadable):
        return None
    with open(descriptor, "rb") as file:
        if not found.st_size:
            soon = found.st_mtime + breaker.FIRST_SECONDS
            return {"until": soon, "failures": 1, "status": 0, "error": breaker.NO_ROOM}
        record = _parsed(file.read(MAX_RECORD_BYTES))
    facts = record if isinstance(record, dict) else {}
    until, failures, status = (facts.get(name) for name in ("until", "failures", "status"))
    if not isinstance(until, (int, float)) or not isinstance(failures, int) or not isinstance(status, int):
        return None
    return {"until": until, "failures": failures, "status": status, "error": str(facts.get("error", ""))}


def by_count(counts: dict[str, int]) -> list[tuple[str, int]]:
    """Return causes and counts, the most frequent first."""
    return sorted(counts.items(), key=lambda item: -item[1])


def troubles(directories: list[str]) -> Troubles:
    """Return what the ledgers of these spools tell."""
    found = Troubles()
    for directory in directories:
        for line in ledger_lines(directory):
            _sort(found, line)
        try:
            found.files_aside += len(os.listdir(directory + "/aside"))
        except OSError:  # nothing was ever put aside
            continue
    return found


def _sort(found: Troubles, line: dict[str, Any]) -> None:
    what, count = line.get("what"), line.get("count")
    count = count if isinstance(count, int) else 1
    cause = str(line.get("reason") or line.get("error") or line.get("part") or "unknown")
    if what == "internal_error":
        counts, cause = found.internal_errors, f"{line.get('part')} at {line.get('place')}: {line.get('error')}"
    elif what == "dropped":
        counts = found.dropped
    elif what == "aside":
        counts = found.aside
    else:
        counts, cause = found.problems, cause if what == "problem" else f"{what}: {cause}"
    counts[cause] = counts.get(cause, 0) + count


def ledger_lines(directory: str) -> list[dict[str, Any]]:
    """Return the lines of a spool's ledger; a torn one is left out."""
    try:
        descriptor, facts = open_own(directory + "/ledger.jsonl")
    except (OSError, Unreadable):
        return []
    with open(descriptor, "rb") as file:
        file.seek(max(0, facts.st_size - MAX_LEDGER_BYTES))
        lines = file.read(MAX_LEDGER_BYTES).splitlines()
    return [value for value in map(_parsed, lines) if isinstance(value, dict)]


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def size(path: str) -> int:
    """Return the size of a file; 0 when it is gone."""
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def key_of(endpoint: str) -> str:
    """Return the key of an endpoint, or of what is a key already. Raises ValueError for what is neither."""
    text = endpoint.strip()
    if len(text) == 16 and not text.strip("0123456789abcdef"):
        return text
    endpoint_parts(text)
    return str(endpoint_key(text))

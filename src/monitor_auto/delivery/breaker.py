"""What one process learned about an endpoint that does not answer, told to the others. Runs at exit, around a failure.

Guarantees:
- `<key>.away` is written by rename and is private; half of one, or a hostile one, counts as none. Where the disk has no
  room for it an empty one has to do, which says by its age that somebody has failed.
- Processes that fail at the same time count as one failure: who finds a record that is still valid leaves it.
- When the time is up, whoever looks first tries, and the others wait a few seconds more for what it finds.
- Where no disk takes a spool the record is in a private folder in memory, and counts for 20 s or so: who has his events
  in memory alone loses what he does not deliver.
"""

import os

from monitor_auto.boot import guard, repairs
from monitor_auto.boot.formats import endpoint_key, wall_clock

from .answers import MAX_RETRY_AFTER_SECONDS
from .segments import WRITE, Unreadable, open_own, remove, type_at, write_whole

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from typing import Any

FIRST_SECONDS = 5.0
LONGEST_SECONDS = 300.0
MISPLACED_SECONDS = 300.0
"""A wrong address or token does not heal by itself."""
IN_MEMORY = "/dev/shm"
"""Of Linux; a container with a read-only root has it, too."""
MOST_WITHOUT_DISK = 2
"""So many failures in a row count at the most there: 20 s."""
_JITTER = 0.2
_probe = 0.0
"""Until when the others wait for what this process finds out: such a record is no failure that another has told."""
NO_ROOM = "the disk has no room to say why"
_SAYS_NOTHING = b'0,"error":"%s"}\n' % NO_ROOM.encode()


def place(directory: "str | None", is_to_write: bool = False) -> "str | None":
    """Return the folder of the records: the spool, or where there is none (None) one in memory; None without one."""
    folder = folder_in_memory()
    if directory is not None or not folder:
        return directory
    try:
        return repairs.private_directory(folder) if is_to_write or type_at(folder) else None
    except guard.ours(OSError):  # not this system, or another user's
        return None


def folder_in_memory() -> str:
    """Return the path of this user's folder in memory, which need not be there; "" on a system without users."""
    return f"{IN_MEMORY}/monitor-{os.geteuid()}" if hasattr(os, "geteuid") else ""


def path_of(directory: str, key: str) -> str:
    """Return the path of an endpoint's record."""
    return f"{directory}/{key}.away"


def is_away(directory: str, settings: "Any", probe_seconds: float) -> bool:
    """Return whether nothing should be sent now.

    When the back-off has just passed the answer is False once: the caller has `probe_seconds` to find out, during which
    the others still get True. After a wrong token it is False, too, as soon as there is another.
    """
    until, failures, config, record = read(directory, settings)
    now = wall_clock()
    longest = max(LONGEST_SECONDS, MAX_RETRY_AFTER_SECONDS) * (1 + _JITTER)
    if not failures or until > now + longest + probe_seconds:  # none, or the clock was set back
        return False
    if config != fingerprint(settings):
        return False
    if until > now:
        return True
    global _probe
    _probe = round(now + probe_seconds, 3)
    try:
        _write(directory, settings, _probe, failures, record)
    except guard.ours(OSError):  # a full disk: then everybody tries
        return False
    return False


def fingerprint(settings: "Any") -> str:
    """Return what stands for the part of the configuration that is not in the file's name: the token. A hash of its
    bytes (FNV-1a, 64 bit): the key of an endpoint would show a short token as it is.
    """
    value = 0xCBF29CE484222325
    for byte in (settings.token or "").encode("utf-8", "replace"):
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def read(directory: str, settings: "Any") -> tuple[float, int, str, bytes]:
    """Return (until in Unix seconds, failures in a row, fingerprint, rest of the record); zeros if there is none."""
    try:
        descriptor, facts = open_own(path_of(directory, endpoint_key(settings.endpoint)))
    except guard.ours(OSError, Unreadable):
        return 0.0, 0, "", b""
    try:
        text = os.read(descriptor, 4096)
    finally:
        os.close(descriptor)
    if not text:
        return facts.st_mtime + FIRST_SECONDS, 1, fingerprint(settings), _SAYS_NOTHING
    head, comma, rest = text.partition(b',"status":')
    until, _, failures = head.removeprefix(b'{"until":').partition(b',"failures":')
    failures, _, config = failures.partition(b',"config":"')
    if not comma or not failures.isdigit() or len(failures) > 9 or not until.replace(b".", b"", 1).isdigit():
        return 0.0, 0, "", b""
    return float(until), int(failures), config[:16].decode("latin-1"), rest


def note_failure(
    spool: "str | None",
    settings: "Any",
    status: int,
    error: str,
    is_misplaced: bool,
    retry_after_seconds: float,
) -> None:
    """Tell the others not to wait for this endpoint for a while. `spool` is None where there is none."""
    from monitor_auto.boot import encode, notes

    directory = place(spool, True)
    if directory is None:
        return
    until, failures, config, _ = read(directory, settings)
    now = wall_clock()
    record = b"%d," % status + b'"error":' + encode.encode(error).encode() + b"}\n"
    is_told = failures and until != _probe
    if is_told and until > now + FIRST_SECONDS * (1 + _JITTER) and config == fingerprint(settings):
        return
    if spool is None:
        failures, is_misplaced = min(failures, MOST_WITHOUT_DISK), False
    seconds = pause_seconds(failures, is_misplaced, retry_after_seconds, os.urandom(1)[0] / 255)
    try:
        _write(directory, settings, now + seconds, failures + 1, record)
    except guard.ours(OSError) as problem:  # the spool is gone, or read-only by now
        notes.debug(f"the others are not told of the failure: {problem}")


def pause_seconds(failures: int, is_misplaced: bool, retry_after_seconds: float, chance: float) -> float:
    """Return how long to leave an endpoint alone that has failed again, after so many `failures` before: twice as long
    as the last time, or what it has asked for, if that is longer. `chance` (0 to 1) spreads those that fail together.
    """
    seconds = MISPLACED_SECONDS if is_misplaced else min(FIRST_SECONDS * 2 ** min(failures, 16), LONGEST_SECONDS)
    return max(seconds * (1 - _JITTER + 2 * _JITTER * chance), retry_after_seconds * (1 + _JITTER * chance))


def note_success(directory: str, key: str) -> None:
    """Forget the failures of an endpoint."""
    remove(path_of(directory, key))


def _write(directory: str, settings: "Any", until: float, failures: int, record: bytes) -> None:
    head = b'{"until":%.3f,"failures":%d,"config":"%s","status":'
    data = head % (until, failures, fingerprint(settings).encode()) + record
    path = path_of(directory, endpoint_key(settings.endpoint))
    try:
        write_whole(path, data)
    except guard.ours(OSError):  # a full disk still gives names away
        os.close(os.open(path, WRITE | os.O_TRUNC, 0o600))

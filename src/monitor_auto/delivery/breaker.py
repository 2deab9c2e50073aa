"""What one process learned about an endpoint that does not answer, told to the others. Runs at exit, around a failure.

Guarantees:
- `<key>.away` is written by rename and is private; half of one, or a hostile one, counts as none.
- Processes that fail at the same time count as one failure: who finds a record that is still valid leaves it.
- When the time is up, whoever looks first tries, and the others wait a few seconds more for what it finds.
"""

import os
import time

from .segments import Unreadable, open_own, remove, write_whole

FIRST_SECONDS = 5.0
LONGEST_SECONDS = 300.0
MISPLACED_SECONDS = 300.0
"""A wrong address or token does not heal by itself."""
_JITTER = 0.2


def path_of(directory: str, key: str) -> str:
    """Return the path of an endpoint's record."""
    return f"{directory}/{key}.away"


def is_away(directory: str, key: str, probe_seconds: float) -> bool:
    """Return whether nothing should be sent now.

    When the back-off has just passed the answer is False once: the caller has `probe_seconds` to find out, during which
    the others still get True.
    """
    until, failures, record = read(directory, key)
    now = time.time()
    if not failures or until > now + LONGEST_SECONDS * (1 + _JITTER) + probe_seconds:  # none, or the clock was set back
        return False
    if until > now:
        return True
    try:
        _write(directory, key, now + probe_seconds, failures, record)
    except OSError:  # a full disk: then everybody tries
        return False
    return False


def read(directory: str, key: str) -> tuple[float, int, bytes]:
    """Return (until in Unix seconds, failures in a row, the rest of the record); zeros when there is none."""
    try:
        descriptor, _ = open_own(path_of(directory, key))
    except (OSError, Unreadable):
        return 0.0, 0, b""
    try:
        text = os.read(descriptor, 4096)
    finally:
        os.close(descriptor)
    head, comma, rest = text.partition(b',"status":')
    until, _, failures = head.removeprefix(b'{"until":').partition(b',"failures":')
    if not comma or not failures.isdigit() or len(failures) > 9 or not until.replace(b".", b"", 1).isdigit():
        return 0.0, 0, b""
    return float(until), int(failures), rest


def note_failure(directory: str, key: str, status: int, error: str, is_misplaced: bool = False) -> None:
    """Tell the others not to wait for this endpoint: twice as long as the last time, jittered. Raises OSError."""
    from monitor_auto.boot.encode import encode

    until, failures, _ = read(directory, key)
    now = time.time()
    record = b"%d," % status + b'"error":' + encode(error).encode() + b"}\n"
    if failures and until > now + FIRST_SECONDS * (1 + _JITTER):
        return
    seconds = MISPLACED_SECONDS if is_misplaced else min(FIRST_SECONDS * 2 ** min(failures, 16), LONGEST_SECONDS)
    _write(directory, key, now + seconds * (1 - _JITTER + 2 * _JITTER * os.urandom(1)[0] / 255), failures + 1, record)


def note_success(directory: str, key: str) -> None:
    """Forget the failures of an endpoint."""
    remove(path_of(directory, key))


def _write(directory: str, key: str, until: float, failures: int, record: bytes) -> None:
    head = b'{"until":%.3f,"failures":%d,"status":' % (until, failures)
    write_whole(path_of(directory, key), head + record)

"""What a collector's answer means for the events that were sent. Pure; runs at exit and in commands.

Guarantees: builtin modules only. The table is the one place that knows status codes.
"""

from monitor_auto.boot import guard
from monitor_auto.boot.formats import wall_clock

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from typing import Any

DELIVERED = "delivered"
"""Taken; what a 207 names as rejected will never be."""
MISPLACED = "misplaced"
"""Kept: a wrong address, token or proxy, not a wrong event. Waiting does not help, somebody has to change something."""
REFUSED = "refused"
"""This batch will never be taken as it is; a smaller one may be."""
LATER = "later"
"""Kept: the collector cannot take anything now."""

MAX_RETRY_AFTER_SECONDS = 3600.0
PARTLY = 207
_ACCEPTED = (200, 202, 204, PARTLY)
_WRONG_ADDRESS = (401, 403, 404, 405, 407, 410)
_WRONG_BATCH = (400, 413, 422)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def meaning(status: int, content_type: str, body: bytes) -> str:
    """Return DELIVERED, MISPLACED, REFUSED or LATER for a complete answer."""
    if status in _ACCEPTED:
        # A captive portal or a proxy's log-in page answers 200 to everything.
        is_page = content_type.lower().startswith("text/html") or body.lstrip()[:1] == b"<"
        return MISPLACED if is_page else DELIVERED
    if status in _WRONG_ADDRESS or 300 <= status < 400:
        return MISPLACED
    return REFUSED if status in _WRONG_BATCH else LATER


def explain(verdict: str, status: int) -> str:
    """Return one sentence for a user: what the collector did and what to do about it."""
    if verdict == MISPLACED and status in (401, 403, 407):
        return f"the collector answered {status}: check MONITOR_TOKEN, or the proxy's log-in"
    if verdict == MISPLACED and status in _ACCEPTED:
        return f"something answered {status} with a web page, not a collector: check MONITOR_ENDPOINT and the proxy"
    if verdict == MISPLACED:
        return f"the collector answered {status}: check the address in MONITOR_ENDPOINT"
    if verdict == REFUSED:
        return f"the collector answered {status} and does not take these events as they are"
    return f"the collector answered {status}: try again later"


def rejected(body: bytes) -> "list[tuple[int, str]]":
    """Return (index in the batch, message) of each event that a 207 names as rejected; [] where it makes no sense."""
    errors = _object(body).get("errors")
    found: dict[int, str] = {}
    for error in errors if isinstance(errors, list) else ():
        index = str(error.get("index")) if isinstance(error, dict) else ""
        if index.isascii() and index.isdigit() and len(index) < 6:
            found[int(index)] = str(error.get("message", ""))[:200]
    return sorted(found.items())


def retry_after(header: str, body: bytes) -> float:
    """Return the seconds that the collector asks to wait: `Retry-After` (RFC 9110, 10.2.3), else the body's
    `retry_after`; 0 where it says nothing sensible, an hour at most.
    """
    text = header.strip() or str(_object(body).get("retry_after", ""))
    try:
        seconds = float(text) if text[:1].isdigit() else _seconds_until(text)
    except guard.ours(ValueError):
        return 0.0
    return min(max(0.0, seconds), MAX_RETRY_AFTER_SECONDS)


def _object(body: bytes) -> "dict[str, Any]":
    from . import strict  # most answers have nothing to say

    try:
        text = body.decode()
    except guard.ours(UnicodeDecodeError):
        return {}
    text = text.strip()
    return strict.parse(text) if len(text) <= 1 << 20 and strict.is_json_object(text) else {}


def _seconds_until(date: str) -> float:
    """Return the seconds until an HTTP date of the preferred form. Raises ValueError for anything else."""
    words = date.replace("-", " ").split()
    if len(words) != 6 or words[5] != "GMT" or words[2].lower() not in _MONTHS:
        raise ValueError(date)
    day, month, year = int(words[1]), _MONTHS.index(words[2].lower()) + 1, int(words[3])
    hour, minute, second = map(int, words[4].split(":"))
    # Days since 1970 by the proleptic Gregorian calendar, with the year beginning in March.
    year, month = (year, month - 3) if month > 2 else (year - 1, month + 9)
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5 + day - 719469
    return ((days * 24 + hour) * 60 + minute) * 60 + second - wall_clock()

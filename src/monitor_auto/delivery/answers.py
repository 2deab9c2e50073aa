"""What a collector's answer means for the events that were sent. Pure; runs at exit and in commands.

Guarantees: builtin modules only. The table is the one place that knows status codes.
"""

DELIVERED = "delivered"
MISPLACED = "misplaced"
"""Kept: a wrong address, token or proxy, not a wrong event. Waiting does not help, somebody has to change something."""
REFUSED = "refused"
"""Kept: the collector does not take this batch as it is."""
LATER = "later"
"""Kept: the collector cannot take anything now."""

_ACCEPTED = (200, 202, 204)
_WRONG_ADDRESS = (401, 403, 404, 405, 407, 410)
_WRONG_BATCH = (207, 400, 413, 422)


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

"""Keeps the program's logs free of our own requests: httpx logs each at INFO, httpcore its steps at DEBUG. Runs in
programs, once httpx has been imported for our sake.

Guarantees: what the program's own requests log is untouched; a filter on five loggers is all that is left behind.
"""

from _thread import get_ident

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from typing import Any

LOGGERS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy", "httpcore.socks")

ours: set[int] = set()
"""The threads in which it is our own code that runs now."""


def is_not_ours(record: "Any") -> bool:
    """Let a log record through unless it is of our own doing: a logger's filter."""
    return get_ident() not in ours


def loggers() -> None:
    """Put the filter where it belongs, once. Call it after `import httpx`."""
    import logging  # httpx has loaded it

    for name in LOGGERS:
        logger = logging.getLogger(name)
        if is_not_ours not in logger.filters:
            logger.addFilter(is_not_ours)


def on_thread() -> None:
    """From now on this thread is ours."""
    ours.add(get_ident())

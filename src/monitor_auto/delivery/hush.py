"""Keeps the program's logs free of our own requests: httpx logs each at INFO, httpcore its steps at DEBUG. Runs in
programs, once httpx has been imported for our sake.

Guarantees: what the program's own requests log is untouched; a filter on a few loggers is all that is left behind.
"""

from _thread import get_ident

from monitor_auto.boot import notes

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from typing import Any

LOGGERS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy", "httpcore.socks")

ours: set[int] = set()
"""The threads in which it is our own code that runs now."""


def is_not_ours(record: "Any") -> bool:
    """Let a log record through unless it is of our own doing: a logger's filter."""
    return get_ident() not in ours


def is_no_step_of_ours(record: "Any") -> bool:
    """Let a log record of asyncio's debug mode through unless it says how long a step of our own took: on a machine
    that is busy any step takes long, and this one is not the program's to mend.
    """
    args = record.args
    is_slow_step = str(record.msg).startswith("Executing ") and type(args) is tuple and len(args) == 2
    if is_slow_step and "monitor_auto" in str(args[0]):
        notes.debug(f"a step of ours took {args[1]:.3f} s on the event loop")
        return False
    return True


def loggers() -> None:
    """Put the filters where they belong, once. Call it after `import httpx`."""
    import logging  # httpx has loaded it

    for name in LOGGERS:
        add(logging.getLogger(name), is_not_ours)


def asyncio_logger() -> None:
    """The same for what a loop in debug mode says of the steps that it makes for us."""
    import logging

    add(logging.getLogger("asyncio"), is_no_step_of_ours)


def add(logger: "Any", is_let_through: "Any") -> None:
    """Give a logger a filter, if it has it not."""
    if is_let_through not in logger.filters:
        logger.addFilter(is_let_through)


def on_thread() -> None:
    """From now on this thread is ours."""
    ours.add(get_ident())


def no_more_on_thread() -> None:
    """This thread ends: the number by which it is known will be that of one of the program's."""
    ours.discard(get_ident())

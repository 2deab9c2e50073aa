"""The last call of an exiting root session, and `Monitor.flush()`: own, children's and a few orphans' events.

Guarantees:
- One deadline over everything; nothing is retried; what was not answered with success stays in the spool.
- For plain http to a literal address nothing is imported but builtins and `_socket`, and no thread is started.
"""

from monitor_auto.boot import guard, recorder
from monitor_auto.boot.formats import monotonic

from .call import Call
from .sender import Sender

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from typing import Any


def deliver_at_exit(
    settings: "Any",
    directory: "str | None",
    base: str,
    sealed_through: int,
    memory_lines: list[bytes],
    deadline: float,
    begun: "tuple[Any, bytes] | None" = None,
) -> int:
    """Deliver what an exiting root session has until `deadline` (`time.monotonic()`); return the number of events.

    `directory` is the spool, None when everything is in memory; `base` names the own session, whose segments up to
    `sealed_through` nobody writes any more; `memory_lines` are sent first, and delivered ones are taken off the list.
    `begun`: the own segment was sent over this connection, and so much of the answer has come (boot/express.py), or
    None and nothing where there was no connection in time.
    """
    if settings.exit_timeout_seconds <= 0 or settings.scheme not in ("http", "https"):
        return 0
    sender = Sender(settings, deadline, begun)
    call = Call(settings, directory, base, deadline, sender.post)
    if begun is None and call.is_away():
        return 0
    try:
        is_going = begun is None or call.deliver_begun()
        if is_going and call.deliver_own(sealed_through, memory_lines, True):
            call.deliver_orphans()
    finally:
        sender.close()
        call.release()
    return call.sending.delivered


def deliver_now(
    settings: "Any",
    directory: "str | None",
    base: str,
    sealed_through: int,
    memory_lines: list[bytes],
    timeout_seconds: float,
) -> bool:
    """Deliver own and dead children's events of a session that lives on; return whether all of its own got through."""
    deadline = monotonic() + timeout_seconds
    if timeout_seconds <= 0 or settings.scheme not in ("http", "https"):
        return False
    sender = Sender(settings, deadline)
    call = Call(settings, directory, base, deadline, sender.post)
    try:
        return call.deliver_and_release(sealed_through, memory_lines)
    finally:
        sender.close()
        if recorder.has_report:
            guard.late("selfreport", "record", True)  # for the next one

"""What hooks of logging libraries share: one event `log.error` for each message at ERROR or above. Loads nothing.

Guarantees: a message that passes through two libraries (loguru hands it to logging, or the other way round) is recorded
once, and an exception once, whoever sees it: a message about one that has been recorded is not.
"""

import _thread

from .. import boot
from ..boot import hooked, recorder
from ..boot.formats import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ERROR = 40
SAME_SECONDS = 1.0

_last: "tuple[Any, ...]" = ()
"""Library, thread, message and time of the message that was recorded last."""


def record(
    library: str, logger: str, level: str, message: str, place: "tuple[str, int, str]", error: "Any" = None
) -> None:
    """Record one message; `place` is (file, line, function), `error` the exception that it is about."""
    global _last
    errors: Any = boot.load("errors")
    thread, now = _thread.get_ident(), monotonic()
    if _last and _last[0] != library and _last[1] == thread and now - _last[3] < SAME_SECONDS and _last[2] in message:
        return
    if isinstance(error, BaseException):
        if not errors.first_time(error):
            return
    else:
        error = None
    repeated = boot.load("limits").admit_error("log.error", (logger, *place))
    if repeated is None:
        return
    _last = (library, thread, message, now)
    facts: dict[str, Any] = {
        "library": library,
        "logger": logger,
        "level": "error",
        "log_level": level,
        "message": message,
        "source": "auto",
        "location": f"{place[0]}:{place[1]}:{place[2]}",
    }
    if error is not None:
        text = errors.message(error)
        facts["type"] = errors.type_name(error)
        facts["error"] = errors.Clean(text)
        facts["stack"] = errors.Clean(errors.stack(error, text))
    if repeated:
        facts["repeated"] = repeated
    hooked.add(library)
    recorder.record(recorder.ERROR, "log.error", facts)


def text_of(value: "Any") -> str:
    """Return the text of a message that may be any object."""
    text: str = boot.load("encode").plain(value) if isinstance(value, str) else boot.load("errors").message(value)
    return text

"""logging: every record at ERROR or above that a logger has let through, as `log.error`. No wrapt, no handler.

`Logger.callHandlers` comes after the logger's level and filters and before handlers: so what the program filters out is
not recorded, and what no handler prints is. The real method is called by C: the stack that a failing handler prints,
and what `findCaller` sees, are those of a bare run.
"""

import os

from .. import boot
from ..boot import patches, recorder
from . import logs, methods

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_replaced: "list[tuple[Any, ...]]" = []


def install(module: "Any") -> None:
    """Watch every logger. Called once, after `import logging`."""
    kind = getattr(module, "Logger", None)
    if not _replaced and isinstance(kind, type) and "callHandlers" in vars(kind):
        methods.replace_before(kind, "callHandlers", "logging", before_handlers)
        _replaced.append(patches.replaced[-1])


def uninstall() -> None:
    """Put the original back where nobody has put something on top."""
    while _replaced:
        owner, name, real, ours = _replaced.pop()
        if vars(owner).get(name) is ours:
            setattr(owner, name, real)
        patches.replaced[:] = [patch for patch in patches.replaced if patch[3] is not ours]


def before_handlers(args: "Any", kwargs: "Any") -> None:
    """`Logger.callHandlers(self, record)`. A record of another process has been recorded there."""
    record = args[1] if len(args) == 2 else kwargs.get("record")
    level = getattr(record, "levelno", 0)  # a wrong call, which fails behind us, has none
    if recorder.session is None or not isinstance(level, (int, float)) or level < logs.ERROR:
        return
    if record.process not in (None, os.getpid()):
        return
    info = record.exc_info
    error = info[1] if isinstance(info, tuple) and len(info) == 3 else None
    line = record.lineno if isinstance(record.lineno, int) else 0
    place = str(record.pathname), line, str(record.funcName)
    logs.record("logging", str(record.name), str(record.levelname), message_of(record), place, error)


def message_of(record: "Any") -> str:
    """Return the text of a record; where its arguments do not fit, what it is without them."""
    encode: Any = boot.load("encode")
    text: str
    try:
        text = encode.plain(str(record.getMessage()))
    except BaseException as failure:  # the program's code; its handlers will tell it
        encode.let_through(failure)
        text = encode.plain(record.msg) if isinstance(record.msg, str) else encode.safe_repr(record.msg)
    return text

"""structlog's own loggers, which bypass logging: every message at ERROR or above that they print, as `log.error`.

What is watched is the printing, when all processors have run: one that looks for the caller finds the program's. What
structlog hands to logging is recorded there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from . import logs, passing
from .wrapping import Undo, wrap

KINDS = ("PrintLogger", "WriteLogger", "BytesLogger")
LEVELS = {"err": "ERROR", "error": "ERROR", "failure": "ERROR", "exception": "ERROR"}
LEVELS |= {"critical": "CRITICAL", "fatal": "CRITICAL"}

_undo: list[Undo] = []


def install(module: Any) -> None:
    """Watch the loggers that print. Called once, after `import structlog._output`, which up to 22.1 was `_loggers`."""
    if not _undo:
        for kind in filter(None, (getattr(module, name, None) for name in KINDS)):
            for name, level in LEVELS.items():
                if name in vars(kind):
                    _undo.append(wrap(kind, name, passing.around("structlog", make_begin(level), passing.unwatched)))


def uninstall() -> None:
    """Put the originals back where nobody has put something on top."""
    while _undo:
        _undo.pop()()


def make_begin(level: str) -> Callable[..., None]:
    """Return what is called before the method of one level."""

    def begin(_: Any, args: Any, kwargs: Any) -> None:
        message = args[0] if args else kwargs.get("message")
        if message is not None:  # a wrong call, which fails behind us
            on_print(level, message)

    return begin


def on_print(level: str, message: Any) -> None:
    """Record what is printed, without its colours."""
    text = message.decode("utf-8", "replace") if isinstance(message, bytes) else logs.text_of(message)
    logger, place = caller()
    logs.record("structlog", logger, level, without_colours(text), place, sys.exc_info()[1])


def without_colours(text: str) -> str:
    """Return a text without the escape sequences that set colours."""
    first, *others = text.split("\x1b[")
    return first + "".join(other.partition("m")[2] for other in others)


def caller() -> tuple[str, tuple[str, int, str]]:
    """Return the module of the program that logs, and its (file, line, function).

    Of what is awaited (`aerror`) a thread of a pool does the printing; structlog keeps the frame that has asked for it
    (since 23.3).
    """
    asking: Any = getattr(sys.modules.get("structlog.contextvars"), "_ASYNC_CALLING_STACK", None)
    frame: Any = (asking and asking.get(None)) or sys._getframe(1)
    while frame is not None:
        name = str(frame.f_globals.get("__name__"))
        if name.partition(".")[0] not in ("structlog", "monitor_auto", "wrapt"):
            return name, (frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        frame = frame.f_back
    return "", ("", 0, "")

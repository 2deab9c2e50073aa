"""loguru, which bypasses logging: every message at ERROR or above that a handler takes, as `log.error`, once.

What is watched is the handler and not the logger: a frame between them would be taken for the caller's.
"""

from __future__ import annotations

from typing import Any

from . import logs, passing
from .wrapping import Undo, wrap

_undo: list[Undo] = []
_last: Any = None
"""The time of the message that was seen last, which each has an object of its own of."""


def install(module: Any) -> None:
    """Watch every handler. Called once, after `import loguru._handler`."""
    if not _undo:
        _undo.append(wrap(module.Handler, "emit", passing.around("loguru", on_emit, passing.unwatched)))


def uninstall() -> None:
    """Put the original back where nobody has put something on top."""
    while _undo:
        _undo.pop()()


def on_emit(handler: Any, args: Any, kwargs: Any) -> None:
    """`Handler.emit(record, level_id, from_decorator, is_raw, colored_message)`: record a message, unless another
    handler has had it or this one is for more serious ones.
    """
    global _last
    message = args[0] if args else kwargs.get("record")
    if not isinstance(message, dict) or message["level"].no < max(logs.ERROR, handler.levelno):
        return
    if message["time"] is _last:
        return
    _last = message["time"]
    error = getattr(message["exception"], "value", None)
    place = str(message["file"].path), int(message["line"]), str(message["function"])
    text = logs.text_of(message["message"])
    logs.record("loguru", str(message["name"]), str(message["level"].name), text, place, error)

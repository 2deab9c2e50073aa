"""uvicorn: requests and websocket connections of the application that a `Config` loads, with any of its protocols."""

from __future__ import annotations

from typing import Any

from . import asgi, passing
from .wrapping import Undo, wrap

_undo: list[Undo] = []


def install(module: Any) -> None:
    """Watch what configurations load. Called once, after `import uvicorn.config`; a second call does nothing."""
    if not _undo:
        _undo.append(wrap(module.Config, "load", passing.around("uvicorn", begin, end)))


def uninstall() -> None:
    """Put the original back; what was loaded meanwhile stays watched."""
    while _undo:
        _undo.pop()()


def begin(config: Any, args: Any, kwargs: Any) -> Any:
    """Watch every call."""
    return config


def end(config: Any, result: Any, error: BaseException | None) -> None:
    """Enclose the application, now that all that uvicorn puts around it is in place."""
    if error is None:
        config.loaded_app = asgi.enclose(config.loaded_app, "uvicorn")

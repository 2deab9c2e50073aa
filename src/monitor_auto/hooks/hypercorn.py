"""hypercorn: requests and websocket connections, of ASGI and of WSGI applications."""

from __future__ import annotations

from typing import Any

from . import asgi
from .wrapping import Undo, wrap

_undo: list[Undo] = []


def install(module: Any) -> None:
    """Watch both of its wrappers. Called once, after `import hypercorn.app_wrappers`; a second call does nothing."""
    if not _undo:
        for name in ("ASGIWrapper", "WSGIWrapper"):
            _undo.append(wrap(getattr(module, name), "__call__", asgi.watched("hypercorn")))


def uninstall() -> None:
    """Put the originals back where nobody has put something on top."""
    while _undo:
        _undo.pop()()

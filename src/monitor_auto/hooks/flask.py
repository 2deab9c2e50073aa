"""Flask: by which route a request goes, and what nothing has caught, which Flask makes an answer of; the whole request
where the server has no hook of its own.
"""

from __future__ import annotations

import sys
from typing import Any

from . import passing, serving, wsgi
from .wrapping import Undo, wrap

_undo: list[Undo] = []


def install(module: Any) -> None:
    """Watch every application. Called once, after `import flask.app`; a second call does nothing."""
    if not _undo:
        _undo.append(wrap(module.Flask, "__call__", wsgi.watched("flask")))
        _undo.append(wrap(module.Flask, "full_dispatch_request", passing.around("flask", on_dispatch, serving.nothing)))
        _undo.append(wrap(module.Flask, "handle_exception", passing.around("flask", on_exception, serving.nothing)))


def uninstall() -> None:
    """Put the originals back where nobody has put something on top."""
    while _undo:
        _undo.pop()()


def on_dispatch(app: Any, args: Any, kwargs: Any) -> None:
    """Note the rule that Flask has found."""
    if serving.open_request() is not None:  # else nobody is there to tell, and maybe there is no request
        rule = sys.modules["flask.globals"].request.url_rule
        serving.note_route("flask", getattr(rule, "rule", None))


def on_exception(app: Any, args: Any, kwargs: Any) -> None:
    """Note what no handler of the application has caught."""
    serving.note_error(args[-1] if args else kwargs.get("e"))

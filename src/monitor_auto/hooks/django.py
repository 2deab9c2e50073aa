"""Django: by which route a request goes, and what nothing has caught, which Django makes an answer of; the whole
request where the server has no hook of its own.
"""

from __future__ import annotations

from typing import Any

from . import asgi, passing, serving, wsgi
from .wrapping import Undo, wrap

_undo: list[Undo] = []


def install_wsgi(module: Any) -> None:
    """Watch the WSGI application. Called after `import django.core.handlers.wsgi`."""
    _undo.append(wrap(module.WSGIHandler, "__call__", wsgi.watched("django")))


def install_asgi(module: Any) -> None:
    """Watch the ASGI application. Called after `import django.core.handlers.asgi`."""
    _undo.append(wrap(module.ASGIHandler, "__call__", asgi.watched("django", "asgi")))


def install_base(module: Any) -> None:
    """Watch how requests are resolved. Called after `import django.core.handlers.base`."""
    _undo.append(wrap(module.BaseHandler, "resolve_request", passing.around("django", begin, on_resolved)))


def install_exception(module: Any) -> None:
    """Watch what becomes of exceptions. Called after `import django.core.handlers.exception`."""
    _undo.append(wrap(module, "handle_uncaught_exception", passing.around("django", on_exception, serving.nothing)))


def uninstall() -> None:
    """Put the originals back where nobody has put something on top."""
    while _undo:
        _undo.pop()()


def begin(handler: Any, args: Any, kwargs: Any) -> Any:
    """Watch every call."""
    return handler


def on_resolved(handler: Any, match: Any, error: BaseException | None) -> None:
    """Note the pattern that Django has found; one with a regular expression as it is."""
    route = getattr(match, "route", None)
    if isinstance(route, str):
        serving.note_route("django", route if route.startswith(("/", "^")) else "/" + route)


def on_exception(instance: Any, args: Any, kwargs: Any) -> None:
    """Note what nothing has caught: it stands in the third argument, as `sys.exc_info()` has it."""
    facts = args[2] if len(args) > 2 else kwargs.get("exc_info")
    if isinstance(facts, tuple) and len(facts) == 3:
        serving.note_error(facts[1])

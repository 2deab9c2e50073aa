"""Starlette and FastAPI: by which route a request goes, with the mounts above it; the whole request where the server
has no hook of its own.
"""

from __future__ import annotations

from typing import Any

from . import asgi, passing, serving
from .wrapping import Undo, wrap

_undo: list[Undo] = []


def install(module: Any) -> None:
    """Watch every application. Called after `import starlette.applications`."""
    _undo.append(wrap(module.Starlette, "__call__", asgi.watched("starlette", "asgi")))


def install_routing(module: Any) -> None:
    """Watch what routes hand on. Called after `import starlette.routing`."""
    for name, on_handle in (("Route", on_route), ("WebSocketRoute", on_route), ("Mount", on_mount)):
        _undo.append(wrap(getattr(module, name), "handle", passing.around("starlette", on_handle, serving.nothing)))


def install_fastapi(module: Any) -> None:
    """Watch FastAPI's own routes, where they have a method of their own (0.118 and later). Called after `import
    fastapi.routing`.
    """
    if "handle" in vars(module.APIRoute):
        _undo.append(wrap(module.APIRoute, "handle", passing.around("starlette", on_route, serving.nothing)))


def uninstall() -> None:
    """Put the originals back where nobody has put something on top."""
    while _undo:
        _undo.pop()()


def on_route(route: Any, args: Any, kwargs: Any) -> None:
    """Note the path of a route. FastAPI keeps the one with the prefixes of its routers in the scope."""
    request = serving.open_request()
    if request is not None:
        scope = args[0] if args else kwargs.get("scope")
        serving.note_route("starlette", request.prefix + str(effective_path(scope) or route.path))


def on_mount(route: Any, args: Any, kwargs: Any) -> None:
    """Note the path of a mount: what is below it comes behind."""
    request = serving.open_request()
    if request is not None:
        request.prefix += str(route.path)


def effective_path(scope: Any) -> Any:
    """Return the path of a FastAPI route under its routers, where the scope has it."""
    own = scope.get("fastapi") if isinstance(scope, dict) else None
    found = own.get("effective_route_context") if isinstance(own, dict) else None
    return getattr(found, "path", None)

"""aiohttp.web: one event a request, from the application's first step to the last byte; a websocket is one, too."""

from __future__ import annotations

from typing import Any

from . import coroutines, passing, serving
from .wrapping import Undo, wrap

_undo: list[Undo] = []


def install(module: Any) -> None:
    """Watch every server. Called once, after `import aiohttp.web_protocol`; a second call does nothing."""
    if not _undo:
        kind = module.RequestHandler
        _undo.append(wrap(kind, "_handle_request", coroutines.around("aiohttp", begin, end)))
        _undo.append(wrap(kind, "handle_error", passing.around("aiohttp", on_error, serving.nothing)))


def uninstall() -> None:
    """Put the originals back where nobody has put something on top."""
    while _undo:
        _undo.pop()()


def begin(handler: Any, args: Any, kwargs: Any) -> Any:
    """Begin a request. What is no HTTP, which aiohttp answers itself, has no headers but an empty dict."""
    given = args[0]
    if not hasattr(given.headers, "getall"):
        return None
    path, headers = given.raw_path.partition("?")[0], given.headers
    states = ",".join(headers.getall("tracestate", ()))
    request = serving.Request("aiohttp", given.method, path, headers.get("traceparent"), states)
    return handler, given, request


def end(state: Any, result: Any, error: BaseException | None) -> None:
    """Record a request, with what has come of it."""
    handler, given, request = state
    response: Any = result[0] if isinstance(result, tuple) else None
    request.status = getattr(response, "status", None)
    request.route = route_of(given)
    if hasattr(response, "close_code"):
        request.is_websocket = True
        request.close_code = response.close_code
    elif getattr(handler, "transport", None) is None and not getattr(response, "_eof_sent", False):
        request.has_left = True
    if error is not None and not isinstance(error, ConnectionError):
        request.fail(error)
    if response is None and request.error is not None and is_upgraded(given):
        request.is_websocket, request.status = True, 101
    request.record()
    request.leave()


def is_upgraded(given: Any) -> bool:
    """True for a websocket that has failed behind its handshake: aiohttp then has no response to show."""
    return bool(given.writer.output_size > 0 and given.headers.get("upgrade", "").lower() == "websocket")


def route_of(given: Any) -> Any:
    """Return the pattern of the resource that was found for a request, if there is one."""
    route = getattr(getattr(given, "_match_info", None), "route", None)
    return getattr(getattr(route, "resource", None), "canonical", None)


def on_error(handler: Any, args: Any, kwargs: Any) -> None:
    """Note what nothing has caught; not what only is no HTTP."""
    status = args[1] if len(args) > 1 else kwargs.get("status", 500)
    if status == 500:
        serving.note_error(args[2] if len(args) > 2 else kwargs.get("exc"))

"""WSGI applications, as frameworks define them: for servers that have no hook of their own (uWSGI, mod_wsgi, waitress).

What a hook of the server has seen already is left alone.

Guarantees: a request is recorded when what the application has returned is closed, as every server has to; where it
never is, by a test client for one, when nobody holds it any more, or at the end of the session. Its span is left while
the application does not run.
"""

from __future__ import annotations

import time
from typing import Any

from ..boot import guard, hooked, recorder
from . import passing, serving

ITERATED = ("django.", "flask.", "werkzeug.")
"""Whose results are iterated by every server as they are. Of any other object (what a server's own `wsgi.file_wrapper`
has made, for one) the server may ask more."""
MARKS = {"uwsgi.version": "uwsgi", "mod_wsgi.version": "mod_wsgi"}

_perf_counter = time.perf_counter  # the program may replace that of the module
_unclosed: dict[int, tuple[Any, serving.Request]] = {}
"""Requests whose application has returned what is not closed yet, with the session that they belong to."""


def watched(library: str) -> Any:
    """Return a wrapper for `wrapping.wrap`, around a method that is called as an application is."""
    return passing.bind(passing.Call, (call_application, library))


def call_application(call: Any, given: Any, more: Any) -> Any:
    """What wrapt calls: (wrapped, instance, args, kwargs)."""
    wrapped, _, args, kwargs = given
    is_ours = recorder.session is not None and len(args) == 2 and not kwargs and type(args[0]) is dict
    request = guard.call("wsgi", begin, call[1], args[0]) if is_ours else None
    return wrapped(*args, **kwargs) if request is None else serve(wrapped, request, *args)


def begin(library: str, environ: dict[str, Any]) -> serving.Request | None:
    """Begin a request; None where a hook of the server has."""
    if serving.is_seen():
        return None
    request = request_of(library, environ)
    request.server = server_of(environ)
    return request


def request_of(library: str, environ: dict[str, Any]) -> serving.Request:
    """Return the request that an environ describes, begun."""
    get = environ.get
    path = get("SCRIPT_NAME", "") + get("PATH_INFO", "")
    return serving.Request(library, get("REQUEST_METHOD"), path, get("HTTP_TRACEPARENT"), get("HTTP_TRACESTATE"))


def server_of(environ: dict[str, Any]) -> str:
    """Return the name of the server that has made an environ."""
    for mark, name in MARKS.items():
        if mark in environ:
            return name
    name = str(environ.get("SERVER_SOFTWARE", "")).partition("/")[0].strip().lower()
    return name[:40] or "wsgi"


def serve(app: Any, request: serving.Request, environ: Any, start_response: Any) -> Any:
    """Call the application, and watch what it returns where that is still to be sent."""
    try:
        result = app(environ, passing.bind(passing.Call, (call_start_response, request, start_response)))
    except BaseException as error:
        guard.call("wsgi", end, request, error)
        raise
    module = getattr(type(result), "__module__", None)
    if type(module) is str and (module + ".").startswith(ITERATED) and hasattr(type(result), "__iter__"):
        return guard.call("wsgi", keep, request, result) or result
    guard.call("wsgi", end, request, None)
    return result


def call_start_response(call: Any, args: Any, kwargs: Any) -> Any:
    """What the application calls."""
    _, request, real = call
    result = real(*args, **kwargs)
    request.status = guard.call("wsgi", serving.status_of, args[0] if args else kwargs.get("status"))
    return result


def keep(request: serving.Request, result: Any) -> Any:
    """Return what stands for a result until the server has closed it."""
    request.has_returned = True
    request.returned = _perf_counter()
    request.leave()
    if record_unclosed not in hooked.at_end:
        hooked.at_end.append(record_unclosed)
    _unclosed[id(request)] = recorder.session, request
    return Pieces(request, result)


def end(request: serving.Request, error: BaseException | None) -> None:
    """Record a request, once its last byte is on its way or the application has failed."""
    if not request.is_over:
        finish(request, error)
        request.leave()


def finish(request: serving.Request, error: BaseException | None) -> None:
    """Record a request whose span is left."""
    _unclosed.pop(id(request), None)
    if not request.is_over:
        if error is not None:
            request.fail(error)
            request.status = request.status or 500
        request.record()


def give_up(request: serving.Request) -> None:
    """Record a request that nobody closes: it has taken until the application was asked last. What a parent has not
    closed is no business of a forked child.
    """
    session, _ = _unclosed.pop(id(request), (None, None))
    if session is recorder.session:
        if request.took is None:
            request.took = request.returned - request.started
        finish(request, None)


def record_unclosed() -> None:
    """The session ends: record what nobody has closed."""
    for _, request in list(_unclosed.values()):
        give_up(request)


class Closed:
    """What an application has returned, piece by piece; each step is taken by C, without a frame of ours."""

    def __init__(self, request: serving.Request, result: Any) -> None:
        self._request = request
        self._result = result
        self._next: Any = None

    def __iter__(self) -> Any:
        return self

    __next__: Any = property(lambda self: passing.bind(passing.Call, (next_piece, self)))
    close: Any = property(lambda self: passing.bind(passing.Call, (close_pieces, self)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._result, name)


class Pieces(Closed):
    """The same while it is not closed. Only then it has a `__del__`: what a signal raises in one is lost."""

    def __del__(self) -> None:
        if recorder.session is not None:
            guard.call("wsgi", give_up, self._request)


def next_piece(call: Any, args: Any, kwargs: Any) -> Any:
    """Take the next piece; the request is over with the last one, or where there is an error instead."""
    pieces = call[1]
    request = pieces._request
    token = serving.context.variable.set(request.span)
    try:
        if pieces._next is None:
            pieces._next = iter(pieces._result).__next__
        piece = pieces._next()
        request.returned = _perf_counter()
        return piece
    except StopIteration:
        guard.call("wsgi", request.answer)
        raise
    except BaseException as error:
        guard.call("wsgi", finish, request, error)
        raise
    finally:
        serving.context.variable.reset(token)


def close_pieces(call: Any, args: Any, kwargs: Any) -> Any:
    """Close what the application has returned: a server does that in any case."""
    pieces = call[1]
    request = pieces._request
    pieces.__class__ = Closed
    token = serving.context.variable.set(request.span)
    try:
        close = getattr(pieces._result, "close", None)
        result = close() if close is not None else None
    except BaseException as error:
        guard.call("wsgi", finish, request, error)
        raise
    finally:
        serving.context.variable.reset(token)
    guard.call("wsgi", finish, request, None)
    return result

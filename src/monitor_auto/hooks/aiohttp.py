"""aiohttp's client: one event for each request on the wire, redirects and retries each for themselves.

`ClientSession._request` is a whole call, the only one of its coroutines that is watched; in it each request is begun by
`connect` of the connector, and answered when `ClientResponse.start`, which knows the status by then, sets `_headers`
(3.8 to 3.14). Which call they belong to is a context variable's: a middleware may make calls of its own. How a request
fails is known at the end of the call, where a time-out is no longer the cancellation that it is inside; that of one
which is tried again, when its connection is closed for it.
"""

from __future__ import annotations

import sys
from typing import Any

from ..boot import guard, listening, recorder, stdlib
from . import coroutines, outgoing, passing

LIBRARY = "aiohttp"
HEADERS = "_headers"
KEPT = "_monitor_auto_headers"
"""Where a response has its headers then."""

# Not by `vars`: from then on the interpreter takes twice as long for every attribute of the response (3.11).
_set, _delete = object.__setattr__, object.__delattr__
_undo: list[passing.Undo] = []
_current: Any = None


class Call:
    """A call of a session: the request that is on its way, if there is one, and what it has raised so far."""

    __slots__ = ("added", "begun", "error", "has_middlewares", "request", "token")

    begun: outgoing.Begun
    token: Any
    has_middlewares: bool

    def __init__(self) -> None:
        self.request: Any = None
        self.error: BaseException | None = None
        self.added: tuple[str, ...] = ()

    def finish(self, status: Any, error: BaseException | None) -> None:
        """Record the request that is on its way, and take the headers of the trace off: the program can look at it."""
        request, self.request = self.request, None
        for name in self.added:
            request.headers.popall(name, None)
        outgoing.end(self.begun, status, error)


class Answered:
    """Stands for the headers of responses in their class, and knows by this when a response has some."""

    __slots__ = ("real",)

    def __init__(self, real: Any) -> None:
        self.real = real

    def __get__(self, response: Any, owner: Any = None) -> Any:
        return self.real if response is None else getattr(response, KEPT, self.real)

    def __set__(self, response: Any, headers: Any) -> None:
        _set(response, KEPT, headers)
        if headers is not None and recorder.session is not None:
            guard.call(LIBRARY, on_answer, response)

    def __delete__(self, response: Any) -> None:
        if not hasattr(response, KEPT):
            raise AttributeError(HEADERS)
        _delete(response, KEPT)


def install(module: Any) -> None:
    """Watch every session. Called once, after `import aiohttp`; a second call does nothing."""
    global _current
    if _undo:
        return
    _current = _current or stdlib.load("_contextvars").ContextVar("monitor_auto_aiohttp", default=None)
    _undo.append(passing.replace_around(module.ClientSession, "_request", call_request))
    _undo.append(passing.replace_around(module.BaseConnector, "connect", call_connect))
    response, connection = module.ClientResponse, sys.modules["aiohttp.connector"].Connection
    if HEADERS in vars(response):
        _undo.append(passing.put(response, HEADERS, Answered(vars(response)[HEADERS])))
    if "close" in vars(connection):
        _undo.append(passing.put(connection, "close", listening.Noticed(vars(connection)["close"], on_close)))


def uninstall() -> None:
    """Put the originals back where nobody has put something on top."""
    while _undo:
        _undo.pop()()


def call_request(real: Any, args: Any, kwargs: Any) -> Any:
    """What is called for `_request`."""
    return coroutines.awaiting((LIBRARY, before_call, after_call), real, None, args, kwargs)


def before_call(nobody: Any, args: Any, kwargs: Any) -> Any:
    """Begin a call of a session, the first of the arguments."""
    call = Call()
    call.has_middlewares = bool(kwargs.get("middlewares") or getattr(args[0], "_middlewares", None))
    call.token = _current.set(call)
    return call


def after_call(call: Any, response: Any, error: BaseException | None) -> None:
    """End a call: what is still on its way has failed."""
    try:
        _current.reset(call.token)
    except ValueError:  # closed in another context than it was begun in
        pass
    if call.request is not None:
        call.finish(None, call.error if error is None else error)


def call_connect(real: Any, args: Any, kwargs: Any) -> Any:
    """What is called for `connect`. Its own coroutine is returned, but where somebody in between may catch what it
    raises.
    """
    current = _current.get() if recorder.session is not None else None
    if current is None:
        return real(*args, **kwargs)
    guard.call(LIBRARY, begin, current, args, kwargs)
    if current.has_middlewares:
        return coroutines.awaiting((LIBRARY, current_call, after_connecting), real, None, args, kwargs)
    return real(*args, **kwargs)


def begin(call: Call, args: Any, kwargs: Any) -> None:
    """Begin a request: `connect(request, ...)` of a connector. One that is still on its way has failed, and is tried
    again. The headers of the trace go along, unless the program has given one.
    """
    if call.request is not None:
        call.finish(None, call.error)
    request = args[1] if len(args) > 1 else kwargs["req"]
    url = request.url
    kind = outgoing.kind_of(LIBRARY, request.method, (url.host or "", url.port), url.raw_path)
    begun = call.begun = outgoing.begin(kind)
    call.error, call.added = None, ()
    call.request = request
    if begun[3] is None or "traceparent" in request.headers:
        return
    request.headers["traceparent"] = begun[3].decode()
    call.added = ("traceparent",)
    if begun[4] is not None and "tracestate" not in request.headers:
        request.headers.add("tracestate", begun[4].decode())
        call.added = ("traceparent", "tracestate")


def current_call(nobody: Any, args: Any, kwargs: Any) -> Any:
    """Return the call that a connection is for."""
    return _current.get()


def after_connecting(call: Any, result: Any, error: BaseException | None) -> None:
    """Remember what has gone wrong, in case that the program does not get to see it."""
    if error is not None:
        call.error = error


def on_close(connection: Any) -> None:
    """The same: a connection is closed because of what was raised in sending, or in waiting for the answer."""
    call = _current.get()
    if call is not None and call.request is not None:
        call.error = sys.exc_info()[1] or call.error


def on_answer(response: Any) -> None:
    """Record a request that was answered."""
    call = _current.get()
    if call is not None and call.request is not None:
        call.finish(getattr(response, "status", None), None)

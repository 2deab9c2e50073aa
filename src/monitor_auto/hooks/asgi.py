"""ASGI applications, as servers and frameworks call them: one event a request, one a websocket connection.

The application gets a `send` and a `receive` that look like the server's and hand everything on. What it sends tells
the status and the last byte; what it receives, that the client has hung up. A request is recorded when the application
has sent its last byte and goes on waiting for something, or has ended: so a long background task does not hold it back.
A failing one is recorded when the application has ended and said why.

Guarantees: `send` is called by the application and awaited without anything of ours between; of `receive` and of the
application itself we take the steps, by C (`coroutines.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..boot import guard, recorder
from . import coroutines, passing, serving

KINDS = ("http", "websocket")
MAX_CAUSES = 20


class StandIn:
    """Stands for an object of the server or the program that is called, and is that object to whoever looks at it."""

    __slots__ = ("exchange", "real")

    def __getattribute__(self, name: str) -> Any:
        return getattr(real_of(self), name)

    def __repr__(self) -> str:
        return repr(real_of(self))


real_of: Any = StandIn.real.__get__  # type: ignore[attr-defined]
exchange_of: Any = StandIn.exchange.__get__  # type: ignore[attr-defined]
set_real: Any = StandIn.real.__set__  # type: ignore[attr-defined]
set_exchange: Any = StandIn.exchange.__set__  # type: ignore[attr-defined]
_new: Any = object.__new__


class Entering(passing.Passing):
    """What an Enclosed is called as: `app(scope, receive, send)`."""

    __slots__ = ()

    def __new__(cls, enclosed: Any, /, *args: Any, **kwargs: Any) -> Any:
        try:
            return serve(real_of(enclosed), exchange_of(enclosed), args, kwargs)
        except BaseException as error:  # the program's own: C raises it again, behind our frames
            return passing.failed(cls, error)


class Enclosed(StandIn):
    """Stands for an application that a server has loaded; `exchange` is the server's name."""

    __slots__ = ()
    __call__: Any = passing.called_as(Entering)


def enclose(app: Any, server: str) -> Any:
    """Return an application that is watched."""
    if type(app) is Enclosed:
        return app
    made = _new(Enclosed)
    set_real(made, app)
    set_exchange(made, server)
    return made


def watched(library: str, server: str | None = None) -> Callable[..., Any]:
    """Return a wrapper for `wrapping.wrap`, around a method that is called as an application is. One of a framework
    says which server to name; it leaves a request alone that a hook of the server has seen.
    """
    return passing.bind(passing.Call, (call_watched, library, server))  # type: ignore[no-any-return]


def call_watched(call: Any, given: Any, more: Any) -> Any:
    """What wrapt calls: (wrapped, instance, args, kwargs)."""
    _, library, server = call
    wrapped, _, args, kwargs = given
    if server is not None and recorder.session is not None and guard.call(library, serving.is_seen):
        return wrapped(*args, **kwargs)
    return serve(wrapped, library, args, kwargs, server)


def serve(app: Any, library: str, args: tuple[Any, ...], kwargs: dict[str, Any], server: str | None = None) -> Any:
    """Return the application's coroutine, watched if it serves a request."""
    if recorder.session is None or len(args) < 3 or kwargs or type(args[0]) is not dict:
        return app(*args, **kwargs)
    scope, receive, send, *more = args
    if scope.get("type") not in KINDS:
        return app(*args)
    exchange = _new(Exchange)
    exchange._call, exchange._state, exchange.scope = (library, server or library), None, scope
    exchange.send_real, exchange.request, exchange.is_complete = send, None, False
    receiving, sending = _new(Receiving), _new(Sending)
    set_real(receiving, receive)
    set_exchange(receiving, exchange)
    set_real(sending, send)
    set_exchange(sending, exchange)
    exchange._real = real = app(scope, receiving, sending, *more)
    return exchange if hasattr(real, "send") else real


class Step(passing.Passing):
    """A step of an application: what `await` looks up as the `__next__` of an Exchange."""

    __slots__ = ()

    def __new__(cls, exchange: Exchange) -> Any:
        try:
            if exchange._call is not None:
                guard.call(exchange._call[0], begin, exchange)
            waited = exchange._real.send(None)
            if exchange.is_complete:
                guard.call("asgi", on_pause, exchange)
            return waited
        except StopIteration as stop:
            coroutines.finish(exchange, stop.value, None)
            return passing.failed(cls, stop)
        except BaseException as error:
            coroutines.finish(exchange, None, error)
            return passing.failed(cls, error)


class Exchange(coroutines.Awaiting):
    """One request or connection, from the first step of the application to the last: its coroutine."""

    __slots__ = ("is_complete", "request", "scope", "send_real")
    __next__: Any = passing.called_as(Step)
    is_complete: bool
    request: Any
    scope: dict[str, Any]
    send_real: Any


def begin(exchange: Exchange) -> None:
    """Begin the request, in the context that the application runs in.

    What a server itself calls is no part of another request, though uvicorn begins a pipelined one in the context of
    the one before (on_response_complete of its protocols, 0.54).
    """
    (library, server), exchange._call = exchange._call, None
    scope = exchange.scope
    if library == server and serving.context is not None and serving.context.request() is not None:
        serving.context.variable.set(None)
    traceparent = tracestate = None
    for name, value in scope.get("headers") or ():
        if len(name) == 11 and name.lower() == b"traceparent":
            if traceparent is not None:
                traceparent = b""  # two are none
            else:
                traceparent = value
        elif len(name) == 10 and name.lower() == b"tracestate":
            tracestate = value if tracestate is None else tracestate + b"," + value
    request = serving.Request(library, scope.get("method"), scope.get("path", ""), traceparent, tracestate)
    request.server = server
    request.is_websocket = scope["type"] == "websocket"
    exchange.request = request
    exchange._state = library, end, exchange


def end(exchange: Exchange, result: Any, error: BaseException | None) -> None:
    """The application has ended: what is not recorded yet is now."""
    request = exchange.request
    is_from_send = error is not None and is_raised_by(exchange.send_real, error)
    is_answered = exchange.is_complete and not is_from_send and (request.status or 500) < 500
    if is_answered and not request.is_websocket:
        request.record()
    if error is not None and is_from_send and isinstance(error, OSError):
        request.has_left = not exchange.is_complete  # the server says so: nobody is there any more
    elif error is not None and (isinstance(error, Exception) or not is_done(exchange)):
        request.fail(error)
    if request.is_websocket:
        request.status = request.status or (500 if isinstance(error, Exception) else None)
    elif request.status is None and not request.has_left:
        request.status = 500  # what a server makes of it
    request.record()
    request.leave()


def is_raised_by(function: Any, error: BaseException) -> bool:
    """True where an exception has come out of a function of the server."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    trace = error.__traceback__
    while trace is not None and code is not None:
        if trace.tb_frame.f_code is code:
            return True
        trace = trace.tb_next
    return False


def is_done(exchange: Exchange) -> bool:
    """True when all was said: then a server may cancel the application, and that is no error."""
    return exchange.is_complete or exchange.request.close_code is not None


def on_pause(exchange: Exchange) -> None:
    """The application has sent its last byte and waits for something else: the request is over, unless it is to be said
    why.
    """
    request = exchange.request
    if not request.is_over and not request.is_websocket and (request.status or 500) < 500:
        request.record()


class Sent(passing.Passing):
    """What `send` is called as: what it returns is the server's own."""

    __slots__ = ()

    def __new__(cls, sending: Any, /, *args: Any, **kwargs: Any) -> Any:
        exchange = exchange_of(sending)
        try:
            message = args[0] if args else kwargs.get("message")
            if type(message) is dict and exchange.request is not None:
                try:
                    on_message(exchange, message)
                except Exception as error:  # a message of the program's that answers with an error
                    guard.note("asgi", error)
            return exchange.send_real(*args, **kwargs)
        except BaseException as error:  # the server's own: C raises it again, behind our frames
            return passing.failed(cls, error)


class Sending(StandIn):
    """Stands for `send`."""

    __slots__ = ()
    __call__: Any = passing.called_as(Sent)


def on_message(exchange: Exchange, message: dict[str, Any]) -> None:
    """Note what a message says of the answer."""
    request = exchange.request
    kind = message.get("type")
    if kind == "http.response.start" or kind == "websocket.http.response.start":
        status = message.get("status")
        request.status = int(status) if isinstance(status, int) else None
    elif kind == "http.response.body" or kind == "http.response.pathsend":
        if not message.get("more_body") and not exchange.is_complete:
            exchange.is_complete = True
            request.answer()
    elif kind == "websocket.accept":
        request.status = 101
    elif kind == "websocket.close":
        if request.status is None:
            request.status = 403  # a connection that is closed before it is accepted
        elif request.close_code is None:
            request.close_code = message.get("code", 1000)


class Received(passing.Passing):
    """What `receive` is called as."""

    __slots__ = ()

    def __new__(cls, receiving: Any, /, *args: Any, **kwargs: Any) -> Any:
        exchange = exchange_of(receiving)
        try:
            real = real_of(receiving)(*args, **kwargs)
            if exchange.is_complete or exchange.request is None or not hasattr(real, "send"):
                return real
            made = _new(coroutines.Awaiting)
            made._real, made._call, made._state = real, None, ("asgi", on_received, exchange.request)
            return made
        except BaseException as error:  # the same
            return passing.failed(cls, error)


class Receiving(StandIn):
    """Stands for `receive`."""

    __slots__ = ()
    __call__: Any = passing.called_as(Received)


def on_received(request: Any, message: Any, error: BaseException | None) -> None:
    """A message has come: that the client is gone, for one."""
    if type(message) is not dict:
        return
    kind = message.get("type")
    if kind == "http.disconnect" and request.took is None:
        request.has_left = True
    elif kind == "websocket.disconnect" and request.close_code is None:
        request.close_code = message.get("code", 1005)

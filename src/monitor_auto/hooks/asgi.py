"""ASGI applications, as servers and frameworks call them: one event a request, one a websocket connection.

The application gets a `send` and a `receive` of ours, which hand everything on: what it sends tells the status and the
last byte, what it receives that the client has hung up. A request is recorded when its last byte is sent, so that a
long background task does not hold it back; a failing one when the application has ended and said why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..boot import guard, recorder
from . import passing, serving

KINDS = ("http", "websocket")


class Enclosed:
    """Stands for an application that a server has loaded. Whatever else it is asked for is the application's."""

    def __init__(self, app: Any, server: str) -> None:
        self._monitor_auto_app = app
        self._monitor_auto_server = server

    def __getattr__(self, name: str) -> Any:
        return getattr(self._monitor_auto_app, name)

    @property
    def __call__(self) -> Any:
        return passing.bind(passing.Call, (call_enclosed, self._monitor_auto_app, self._monitor_auto_server))


def call_enclosed(call: Any, args: Any, kwargs: Any) -> Any:
    """What an Enclosed is called as: `app(scope, receive, send)`."""
    _, app, server = call
    return serve(app, server, args, kwargs)


def watched(server: str, is_outermost: bool = True) -> Callable[..., Any]:
    """Return a wrapper for `wrapping.wrap`, around a method that is called as an application is. Unless it is the
    outermost, a request that a hook of the server has seen is left alone.
    """
    return passing.bind(passing.Call, (call_watched, server, is_outermost))  # type: ignore[no-any-return]


def call_watched(call: Any, given: Any, more: Any) -> Any:
    """What wrapt calls: (wrapped, instance, args, kwargs)."""
    _, server, is_outermost = call
    wrapped, _, args, kwargs = given
    if not is_outermost and recorder.session is not None and guard.call(server, serving.is_seen):
        return wrapped(*args, **kwargs)
    return serve(wrapped, server, args, kwargs)


def serve(app: Any, server: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the application's coroutine, watched if it serves a request."""
    exchange = guard.call(server, exchange_of, server, args, kwargs) if recorder.session is not None else None
    if exchange is None:
        return app(*args, **kwargs)
    args = (args[0], exchange.make("receive", args[1], on_received), exchange.make("send", args[2], on_sent), *args[3:])
    return passing.awaiting((server, begin, end), app, exchange, args, {})


def exchange_of(server: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Exchange | None:
    """Return the exchange that a call is about; None for any other call."""
    is_whole = len(args) > 2 and not kwargs and type(args[0]) is dict
    return Exchange(server, args[0]) if is_whole and args[0].get("type") in KINDS else None


class Exchange:
    """One request or connection, from the first step of the application to the last."""

    def __init__(self, server: str, scope: dict[str, Any]) -> None:
        self.server = server
        self.scope = scope
        self.is_websocket = scope["type"] == "websocket"
        self.request: Any = None
        self.broken: BaseException | None = None
        self.is_complete = False

    def make(self, what: str, real: Any, on_end: Any) -> Any:
        """Return what the application gets in the place of `send` or `receive`."""
        return passing.bind(passing.Call, (call_exchange, self, (self.server, begin_message, on_end), real))


def call_exchange(call: Any, args: Any, kwargs: Any) -> Any:
    """What `send` and `receive` are called as."""
    _, exchange, watch, real = call
    return passing.awaiting(watch, real, exchange, args, kwargs)


def begin(exchange: Any, args: Any, kwargs: Any) -> Any:
    """Begin the request, in the context that the application runs in."""
    scope = exchange.scope
    traceparent = [value for name, value in scope.get("headers") or () if bytes(name).lower() == b"traceparent"]
    path = scope.get("path", "")
    given = traceparent[0] if len(traceparent) == 1 else None
    exchange.request = request = serving.Request(exchange.server, scope.get("method"), path, given)
    if exchange.is_websocket:
        request.facts["protocol"] = "websocket"
    return exchange


def end(exchange: Any, result: Any, error: BaseException | None) -> None:
    """The application has ended: what is not recorded yet is now."""
    request = exchange.request
    has_answered = request.took is not None
    if error is not None and error is exchange.broken and isinstance(error, OSError):
        request.has_left = not has_answered  # the server says so: nobody is there any more
    elif error is not None and (isinstance(error, Exception) or not is_done(exchange)):
        request.fail(error)
    if exchange.is_websocket:
        request.status = request.status or (500 if isinstance(error, Exception) else None)
    elif request.status is None and not request.has_left:
        request.status = 500  # what a server makes of it
    request.record()
    request.leave()


def is_done(exchange: Any) -> bool:
    """True when all was said: then a server may cancel the application, and that is no error."""
    return exchange.is_complete or exchange.request.close_code is not None


def begin_message(exchange: Any, args: Any, kwargs: Any) -> Any:
    """Look at a message that is to be sent; there is none where one is awaited."""
    message = args[0] if args else kwargs.get("message")
    if exchange.request is not None and isinstance(message, dict):
        exchange.is_complete = exchange.is_complete or is_last(message)
        on_message(exchange.request, message)
    return exchange, message


def on_message(request: Any, message: dict[str, Any]) -> None:
    """Note what a message says of the answer."""
    kind = message.get("type")
    if kind == "http.response.start" or kind == "websocket.http.response.start":
        request.status = message.get("status")
    elif kind == "websocket.accept":
        request.status = 101
    elif kind == "websocket.close":
        if request.status is None:
            request.status = 403  # a connection that is closed before it is accepted
        elif request.close_code is None:
            request.close_code = message.get("code", 1000)


def on_sent(state: Any, result: Any, error: BaseException | None) -> None:
    """A message has been sent, or could not be. With the last one the request is over, unless it is to be said why."""
    exchange, message = state
    request = exchange.request
    if error is not None:
        exchange.broken = error
    elif request is not None and not exchange.is_websocket and is_last(message):
        request.answer()
        if (request.status or 500) < 500:
            request.record()


def is_last(message: Any) -> bool:
    """True for the message after which there is none."""
    kind = message.get("type") if isinstance(message, dict) else None
    return kind == "http.response.pathsend" or kind == "http.response.body" and not message.get("more_body")


def on_received(state: Any, message: Any, error: BaseException | None) -> None:
    """A message has come: that the client is gone, for one."""
    exchange, _ = state
    request = exchange.request
    if request is None or not isinstance(message, dict):
        return
    if message.get("type") == "http.disconnect" and not exchange.is_complete:
        request.has_left = True
    elif message.get("type") == "websocket.disconnect" and request.close_code is None:
        request.close_code = message.get("code", 1005)

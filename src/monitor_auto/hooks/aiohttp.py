"""aiohttp's client: one event for each request on the wire, redirects and retries each for themselves.

`ClientSession._request` is a whole call; in it each request is begun by `connect` of the connector, sent by
`ClientRequest.send`, and answered by `ClientResponse.start` (3.8 to 3.14). Which call they belong to is a context
variable's: a middleware may make calls of its own. How a request fails is known at the end of the call, where a
time-out is no longer the cancellation that it is inside.
"""

from __future__ import annotations

from typing import Any

from ..boot import stdlib
from . import coroutines, outgoing
from .wrapping import Undo, wrap

LIBRARY = "aiohttp"

_undo: list[Undo] = []
_current: Any = None


class Call:
    """A call of a session: the request that is on its way, if there is one, and what it has raised so far."""

    __slots__ = ("begun", "error", "request", "token")

    begun: outgoing.Begun
    token: Any

    def __init__(self) -> None:
        self.request: Any = None
        self.error: BaseException | None = None

    def finish(self, status: Any, error: BaseException | None) -> None:
        """Record the request that is on its way."""
        request, self.request = self.request, None
        if request is not None:
            outgoing.end(self.begun, status, error)


def install(module: Any) -> None:
    """Watch every session. Called once, after `import aiohttp`; a second call does nothing."""
    global _current
    if _undo:
        return
    _current = _current or stdlib.load("_contextvars").ContextVar("monitor_auto_aiohttp", default=None)
    for kind, name, begin, end in (
        (module.ClientSession, "_request", before_call, after_call),
        (module.BaseConnector, "connect", before_connecting, after_step),
        (module.ClientRequest, "send", before_sending, after_sending),
        (module.ClientResponse, "start", before_answer, after_answer),
    ):
        _undo.append(wrap(kind, name, coroutines.around(LIBRARY, begin, end)))


def uninstall() -> None:
    """Put the originals back where nobody has put something on top."""
    while _undo:
        _undo.pop()()


def before_call(session: Any, args: Any, kwargs: Any) -> Any:
    """Begin a call."""
    call = Call()
    call.token = _current.set(call)
    return call


def after_call(call: Any, response: Any, error: BaseException | None) -> None:
    """End a call: what is still on its way has failed."""
    try:
        _current.reset(call.token)
    except ValueError:  # closed in another context than it was begun in
        pass
    call.finish(None, error or call.error)


def before_connecting(connector: Any, args: Any, kwargs: Any) -> Any:
    """Begin a request: `connect(request, ...)`. One that is still on its way has failed, and is tried again."""
    call = _current.get()
    if call is None:
        return None
    call.finish(None, call.error)
    request = args[0] if args else kwargs["req"]
    url = request.url
    kind = outgoing.kind_of(LIBRARY, request.method, (url.host or "", url.port), url.raw_path)
    call.begun, call.error = outgoing.begin(kind), None
    call.request = request
    return call


def after_step(call: Any, result: Any, error: BaseException | None) -> None:
    """Remember what has gone wrong, in case that the program does not get to see it."""
    if error is not None:
        call.error = error


def before_sending(request: Any, args: Any, kwargs: Any) -> Any:
    """Add the headers of the trace, unless the program has given one."""
    call = _current.get()
    if call is None or call.request is not request:
        return None
    is_given = "traceparent" in request.headers
    added = [] if is_given else [(name.decode(), value.decode()) for name, value in outgoing.headers_of(call.begun)]
    request.headers.extend(added)
    return call, request.headers, added


def after_sending(state: Any, result: Any, error: BaseException | None) -> None:
    """Take them away again: the program can look at the request of its response."""
    call, headers, added = state
    for name, _ in added:
        headers.popall(name, None)
    after_step(call, result, error)


def before_answer(response: Any, args: Any, kwargs: Any) -> Any:
    """Wait for the answer."""
    return _current.get()


def after_answer(call: Any, response: Any, error: BaseException | None) -> None:
    """Record a request that was answered."""
    if error is None:
        call.finish(getattr(response, "status", None), None)
    else:
        call.error = error

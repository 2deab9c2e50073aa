"""httpx clients: one event for each request on the wire, redirects and authentication each for themselves.

`_send_single_request` of both clients asks `_transport_for_url` for a transport and gives the request to its
`handle_request` or `handle_async_request` (0.24 to 0.28). What it gets from us hands the request on and is thrown away.
So the request has the header of the trace only while the transport has it: not what the program may look at afterwards,
and not what its cookies are looked up for, which would cost as much as the event.
"""

from __future__ import annotations

import sys
from typing import Any

from ..boot import recorder
from . import beginnings, coroutines, outgoing, passing

LIBRARY = "httpx"
OWN_CLIENT = "_monitor_auto_own"
"""Set on the clients of our own delivery: the monitor does not watch itself."""

_new: Any = object.__new__
_known = beginnings.known
_undo: list[passing.Undo] = []


def install(module: Any) -> None:
    """Watch both clients. Called once, after `import httpx`; a second call does nothing."""
    if not _undo:
        for kind in (module.Client, module.AsyncClient):
            _undo.append(passing.replace_around(kind, "_transport_for_url", transport_for_url))


def uninstall() -> None:
    """Put the originals back where nobody has put something on top."""
    while _undo:
        _undo.pop()()


def transport_for_url(real: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`_transport_for_url` of a client; whoever else asks gets the real transport."""
    transport = real(*args, **kwargs)
    if recorder.session is None or not args or hasattr(args[0], OWN_CLIENT):
        return transport
    caller = sys._getframe(2)  # behind the one in `passing`
    if caller.f_code.co_name != "_send_single_request":
        return transport
    handing = _new(Handing)
    handing.transport = transport
    return handing


class Sending(passing.Passing):
    """What the `handle_request` of a Handing is called as."""

    __slots__ = ()

    def __new__(cls, handing: Any, request: Any) -> Any:
        try:
            real = handing.transport.handle_request
        except BaseException as error:  # no transport
            return passing.failed(cls, error)
        return passing.AroundOne.__new__(
            cls, WATCH_MOCK if is_mock(handing.transport, "handle_request") else WATCH, real, request
        )


class SendingLater(passing.Passing):
    """What the `handle_async_request` of a Handing is called as."""

    __slots__ = ()

    def __new__(cls, handing: Any, request: Any) -> Any:
        try:
            real = handing.transport.handle_async_request
            watch = WATCH_ASYNC_MOCK if is_mock(handing.transport, "handle_async_request") else WATCH_ASYNC
            return coroutines.awaiting(watch, real, None, (request,), {})
        except BaseException as error:  # as in Passing: no transport, for one
            return passing.failed(cls, error)


class Handing:
    """Stands for a transport in one request."""

    __slots__ = ("transport",)
    transport: Any
    handle_request: Any = passing.called_as(Sending)
    handle_async_request: Any = passing.called_as(SendingLater)


def is_mock(transport: Any, name: str) -> bool:
    """True for what stands in the place of the network, or lets others do so (respx, vcr). It gets no trace: it shows
    the program what it is given, compares that with what a test expects, and keeps it.
    """
    kind = type(transport)
    if kind.__name__ == "MockTransport" or is_patched(kind, "httpx", name):
        return True
    return is_patched(type(getattr(transport, "_pool", None)), "httpcore", name)


def is_patched(kind: Any, library: str, name: str) -> bool:
    """True where a method of a class of a library is not the library's. A wrapper of wrapt's is transparent."""
    if not kind.__module__.startswith(library):
        return False
    home = getattr(getattr(kind, name, None), "__globals__", None)
    return type(home) is dict and not str(home.get("__name__")).startswith(library)


def before_mock(request: Any) -> Any:
    """Begin one request that no network will see."""
    key = request.method, request.url._uri_reference[:5]
    return outgoing.begin(_known.get(key) or make_kind(key, request.url)), request, None


def before_async_mock(instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The same of `handle_async_request(request)`."""
    return before_mock(args[0])


def before_async_request(instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Begin one request: `handle_async_request(request)`."""
    return before_request(args[0])


def before_request(request: Any) -> Any:
    """Begin one request: `handle_request(request)`."""
    key = request.method, request.url._uri_reference[:5]  # scheme, userinfo, host, port, path: 0.24 to 0.28
    begun = outgoing.begin(_known.get(key) or make_kind(key, request.url))
    if begun[3] is None:
        return begun, request, None
    entries = getattr(request.headers, "_list", None)  # (as given, in lower case, value): 0.18 to 0.28
    if type(entries) is not list:  # the program has put something else there
        return begun, request, None
    for entry in entries:
        if entry[1] == NAME:
            return begun, request, None
    entries.append((NAME, NAME, begun[3]))
    if begun[4] is not None:
        entries.append((STATE, STATE, begun[4]))
    return begun, request, entries


def make_kind(key: tuple[Any, ...], url: Any) -> outgoing.Kind:
    """Return what all requests to this address have in common."""
    address = url.host, url.port or outgoing.PORTS.get(url.scheme)
    path = url.raw_path.partition(b"?")[0].decode("ascii", "replace")
    return beginnings.keep(key, *outgoing.make_kind(LIBRARY, key[0], address, path))  # type: ignore[no-any-return]


def after_request(state: Any, response: Any, error: BaseException | None) -> None:
    """Record one request, and take away what was added to its headers."""
    begun, request, entries = state
    if entries is not None:
        found = getattr(request.headers, "_list", None)  # a transport may have put others there, or none
        if found is entries and begun[4] is None and entries and entries[-1][0] is NAME:
            entries.pop()
        elif found:
            found[:] = [entry for entry in found if entry[0] is not NAME and entry[0] is not STATE]
    outgoing.end(begun, None if response is None else response.status_code, error)


NAME, STATE = b"traceparent", b"tracestate"
"""Known by their identity: what we have added."""
WATCH = LIBRARY, before_request, after_request
WATCH_ASYNC: passing.Watch = LIBRARY, before_async_request, after_request
WATCH_MOCK = LIBRARY, before_mock, after_request
WATCH_ASYNC_MOCK: passing.Watch = LIBRARY, before_async_mock, after_request

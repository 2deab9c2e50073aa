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
from . import outgoing, passing
from .wrapping import Undo, wrap

LIBRARY = "httpx"
OWN_CLIENT = "_monitor_auto_own"
"""Set on the clients of our own delivery: the monitor does not watch itself."""

_undo: list[Undo] = []


class Handing:
    """Stands for a transport in one request."""

    __slots__ = ("_transport",)
    handle_request: Any = property(lambda self: passing.watched(self._transport.handle_request, WATCH))
    handle_async_request: Any = property(
        lambda self: passing.watched_coroutine(self._transport.handle_async_request, WATCH)
    )

    def __init__(self, transport: Any) -> None:
        self._transport = transport


def install(module: Any) -> None:
    """Watch both clients. Called once, after `import httpx`; a second call does nothing."""
    if not _undo:
        for kind in (module.Client, module.AsyncClient):
            _undo.append(wrap(kind, "_transport_for_url", monitored_transport_for_url))


def uninstall() -> None:
    """Put the originals back where nobody has put something on top."""
    while _undo:
        _undo.pop()()


def monitored_transport_for_url(wrapped: Any, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`_transport_for_url`; whoever else asks gets the real transport."""
    transport = wrapped(*args, **kwargs)
    if recorder.session is None or sys._getframe(1).f_code.co_name != "_send_single_request":
        return transport
    return transport if hasattr(client, OWN_CLIENT) else Handing(transport)


def before_request(instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Begin one request: `handle_request(request)`."""
    request = args[0]
    url = request.url
    address = url.host, url.port or outgoing.PORTS.get(url.scheme)
    path = url.raw_path.partition(b"?")[0].decode("ascii", "replace")
    method = request.method
    begun = outgoing.begin(address[0])
    return begun, method, address, path, request, add_headers(request, begun[2]) if begun[2] else ()


def add_headers(request: Any, headers: outgoing.Headers) -> Any:
    """Add the headers of the trace, unless the program has given one; return what to take away again."""
    entries = request.headers._list  # (as given, in lower case, value): 0.18 to 0.28
    for entry in entries:
        if entry[1] == b"traceparent":
            return ()
    added = [(name, name, value) for name, value in headers]
    entries += added
    return added


def after_request(state: Any, response: Any, error: BaseException | None) -> None:
    """Record one request."""
    begun, method, address, path, request, added = state
    if added:
        entries = request.headers._list
        if entries[-1] is added[-1]:
            del entries[-len(added) :]
        else:
            entries[:] = [entry for entry in entries if entry not in added]
    outgoing.end(begun, LIBRARY, method, address, path, getattr(response, "status_code", None), error)


WATCH: passing.Watch = LIBRARY, before_request, after_request

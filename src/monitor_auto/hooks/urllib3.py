"""urllib3, and so requests: one event for each request on the wire, redirects and retries each for themselves.

`HTTPConnectionPool._make_request` makes one attempt, connecting included; everything passes through it (1.26 to 2.8).
The trace goes into the connection's buffer, so that no mapping of headers is copied or changed.
"""

from __future__ import annotations

from typing import Any

from ..boot import guard
from . import beginnings, outgoing, passing
from .wrapping import Undo, wrap

LIBRARY = "urllib3"
ASKED = "self", "conn", "method", "url"
"""What is asked for of the arguments of `_make_request`."""

_undo: list[Undo] = []
_known = beginnings.known
# Not by `vars`: from then on the interpreter takes twice as long for every attribute of the connection (3.11).
_set, _delete = object.__setattr__, object.__delattr__


class Sending:
    """Stands for a connection's `endheaders` until that is called: then all headers are there, and none is sent."""

    __slots__ = ("begun", "connection")

    def __init__(self, connection: Any, begun: outgoing.Begun) -> None:
        self.connection, self.begun = connection, begun

    @property
    def __call__(self) -> Any:
        guard.call(LIBRARY, add_headers, self)
        return self.connection.endheaders  # called by C: no frame of ours is in the way of what it raises


def add_headers(sending: Sending) -> None:
    """Add the headers of the trace, and have the connection's `endheaders` be its class's again."""
    connection = sending.connection
    if connection.endheaders is sending:  # nobody has put something on top
        _delete(connection, "endheaders")
    outgoing.add_to_buffer(connection._buffer, sending.begun)


def put_back(connection: Any) -> None:
    """Have a connection's `endheaders` be its class's again."""
    if type(connection.endheaders) is Sending:
        _delete(connection, "endheaders")


def install(module: Any) -> None:
    """Watch every pool. Called once, after `import urllib3.connectionpool`; a second call does nothing."""
    if not _undo:
        # Not by wrapt: amid a library as big as this one each call costs several times what it costs in a loop.
        pool, watch = module.HTTPConnectionPool, passing.replace_call
        _undo.append(watch(pool, "_make_request", LIBRARY, before_request, after_request))
        wrapper = passing.around(LIBRARY, before_tunnel, after_tunnel)
        _undo.append(wrap(module.HTTPSConnectionPool, "_prepare_proxy", wrapper))


def uninstall() -> None:
    """Put the originals back where nobody has put something on top."""
    while _undo:
        _undo.pop()()


def before_request(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Begin one attempt: `_make_request(connection, method, url, ...)`; the first is the pool."""
    if len(args) < len(ASKED):
        args += tuple(map(kwargs.get, ASKED[len(args) :]))
    pool, connection, method, url = args[:4]
    if not isinstance(method, str) or not isinstance(url, str):
        return None  # the call is wrong, and what it raises says so
    key = method, url.partition("?")[0], pool.scheme, pool.host, pool.port
    begun = outgoing.begin(_known.get(key) or make_kind(pool, key))
    if begun[3] is not None and hasattr(connection, "_buffer"):  # not HTTP/2
        _set(connection, "endheaders", Sending(connection, begun))
    return begun, connection


def make_kind(pool: Any, key: tuple[Any, ...]) -> outgoing.Kind:
    """Return what all requests to this address have in common."""
    address, path = outgoing.where(key[1], *address_of(pool))
    return beginnings.keep(key, *outgoing.make_kind(LIBRARY, key[0], address, path))  # type: ignore[no-any-return]


def after_request(state: Any, response: Any, error: BaseException | None) -> None:
    """Record one attempt."""
    begun, connection = state
    if error is not None and connection is not None:
        put_back(connection)
    outgoing.end(begun, getattr(response, "status", None), error)


def before_tunnel(pool: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Begin to have a proxy make a tunnel. It gets no trace: that is for whoever is behind it."""
    return outgoing.begin(outgoing.kind_of(LIBRARY, "CONNECT", address_of(pool), None))


def after_tunnel(state: Any, result: Any, error: BaseException | None) -> None:
    """Record a tunnel that could not be made; one that was made is part of the request that goes through it."""
    if error is not None:
        outgoing.end(state, None, error)


def address_of(pool: Any) -> tuple[str, int | None]:
    """Return whom the connections of a pool lead to."""
    return str(pool.host).strip("[]"), pool.port or outgoing.PORTS.get(pool.scheme)

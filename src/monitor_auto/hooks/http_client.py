"""http.client, and so urllib.request and whatever else is built on it: one event a request. Needs no wrapt.

A request is begun by `endheaders`, which every way of sending one ends with, and over with `getresponse`, or with
`close` where nobody asks for the answer. Connections of urllib3 are left to its own hook, which also sees how they are
made.
"""

import sys

from ..boot import recorder
from . import passing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

outgoing: "Any" = None
"""What requests need, from the first one on: many programs import http.client and send nothing (pip, for one), and are
spared 2 M instructions.
"""

LIBRARY = "http.client"
BEGUN = "_monitor_auto_begun"
"""What a connection carries while its answer is awaited: the request, its session, and the id of what is handled."""

_undo: "list[passing.Undo]" = []
_own: "set[type]" = set()
_foreign: "set[type]" = set()
"""Which classes of connections are urllib3's, and which are not."""
# Not by `vars`: from then on the interpreter takes twice as long for every attribute of the connection (3.11).
_set: "Any" = object.__setattr__
_delete: "Any" = object.__delattr__


class Method(passing.Method):
    """Steps aside where there is nothing to watch."""

    __slots__ = ()

    def __get__(self, instance: "Any", owner: "Any" = None) -> "Any":
        if instance is None:
            return self
        return passing.bind(passing.real_of(self) if type(instance) in _foreign else self, instance)

    __doc__ = vars(passing.Method)["__doc__"]


def install(module: "Any") -> None:
    """Watch every HTTPConnection. Called after `import http.client`; a second call does nothing."""
    kind = getattr(module, "HTTPConnection", None)
    if not _undo and isinstance(kind, type) and {"endheaders", "getresponse", "close"} <= set(vars(kind)):
        watch = passing.replace_method
        _undo.append(watch(kind, "endheaders", LIBRARY, before_sending, after_sending, None, Method))
        _undo.append(watch(kind, "getresponse", LIBRARY, before_answer, after_answer, None, Method))
        _undo.append(watch(kind, "close", LIBRARY, before_close, None, None, Method))


def uninstall() -> None:
    """Put the originals back where nobody has put something on top."""
    while _undo:
        _undo.pop()()


def load() -> None:
    """Load what requests need."""
    global outgoing
    from . import outgoing as loaded

    outgoing = loaded


def is_own(kind: type) -> bool:
    """True for a class of connections that is not urllib3's; remember which it is."""
    is_foreign = any(base.__module__.partition(".")[0] == "urllib3" for base in kind.__mro__)
    (_foreign if is_foreign else _own).add(kind)
    return not is_foreign


def before_sending(connection: "Any") -> "Any":
    """Begin a request: its line and its headers wait in the connection's buffer."""
    kind = type(connection)
    lines = getattr(connection, "_buffer", None)
    if not lines or not (kind in _own or is_own(kind)):  # without: the call is wrong, and what it raises says so
        return None
    if outgoing is None:
        load()
    # The line as far as its query; what is common to all requests that begin so is made once.
    key = (
        lines[0].partition(b"?")[0],
        connection.host,
        connection.port,
        connection._tunnel_host,
        connection._tunnel_port,
    )
    begun = outgoing.begin(outgoing.known.get(key) or make_kind(connection, lines[0], key))
    outgoing.add_to_buffer(lines, begun)
    return connection, begun


def make_kind(connection: "Any", line: bytes, key: "tuple[Any, ...]") -> "Any":
    """Return what all requests with this line have in common."""
    method = connection._method
    target = line.decode("latin-1")[len(method) + 1 :].rpartition(" ")[0]
    tunnel = connection._tunnel_host
    host, port = (tunnel, connection._tunnel_port) if tunnel else (connection.host, connection.port)
    address, path = outgoing.where(target, host, port)
    return outgoing.beginnings.keep(key, *outgoing.make_kind(LIBRARY, method, address, path))


def after_sending(state: "Any", result: "Any", error: "BaseException | None") -> None:
    """Have the connection carry the request until it is answered; record one that could not be sent."""
    connection, request = state
    if error is None:
        _set(connection, BEGUN, (request, recorder.session, id(sys.exc_info()[1])))
    else:
        outgoing.end(request, None, error)


def before_answer(connection: "Any") -> "Any":
    """Take the request whose answer is asked for."""
    waiting = getattr(connection, BEGUN, None)
    if waiting is None:
        return None
    _delete(connection, BEGUN)
    return connection, waiting


def after_answer(state: "Any", response: "Any", error: "BaseException | None") -> None:
    """Record a request that was answered, or was not; one that is asked about too early may still be."""
    connection, waiting = state
    if error is not None and type(error).__name__ == "ResponseNotReady":
        _set(connection, BEGUN, waiting)
    else:
        outgoing.end(waiting[0], getattr(response, "status", None), error)


def before_close(connection: "Any") -> None:
    """Record a request that nobody has asked the answer of: with what is raised, unless that was there before it was
    sent. A connection that a forked child has inherited is its parent's.
    """
    waiting = getattr(connection, BEGUN, None)
    if waiting is None:
        return
    request, session, handled = waiting
    _delete(connection, BEGUN)
    if session is recorder.session:
        error = sys.exc_info()[1]
        outgoing.end(request, None, None if id(error) == handled else error)

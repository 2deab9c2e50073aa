"""http.client, and so urllib.request and whatever else is built on it: one event a request. Needs no wrapt.

A request is begun by `endheaders`, which every way of sending one ends with, and over with `getresponse`. Connections
of urllib3 are left to its own hook, which also sees how they are made.
"""

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
"""What a connection carries while its answer is awaited."""

_undo: "list[passing.Undo]" = []
_foreign: "dict[type, bool]" = {}
"""Which classes of connections are urllib3's."""


def install(module: "Any") -> None:
    """Watch every HTTPConnection. Called after `import http.client`; a second call does nothing."""
    kind = getattr(module, "HTTPConnection", None)
    if not _undo and isinstance(kind, type) and {"endheaders", "getresponse"} <= set(vars(kind)):
        _undo.append(passing.replace_method(kind, "endheaders", LIBRARY, before_sending, after_sending))
        _undo.append(passing.replace_method(kind, "getresponse", LIBRARY, before_answer, after_answer))


def uninstall() -> None:
    """Put the originals back where nobody has put something on top."""
    while _undo:
        _undo.pop()()


def load() -> None:
    """Load what requests need."""
    global outgoing
    from . import outgoing as loaded

    outgoing = loaded


def before_sending(connection: "Any", args: "Any", kwargs: "Any") -> "Any":
    """Begin a request: its line and its headers wait in the connection's buffer."""
    kind = type(connection)
    if kind not in _foreign:
        _foreign[kind] = any(base.__module__.partition(".")[0] == "urllib3" for base in kind.__mro__)
    lines = getattr(connection, "_buffer", None)
    if _foreign[kind] or not lines:  # the call is wrong, and what it raises says so
        return None
    if outgoing is None:
        load()
    method = connection._method
    target = lines[0].decode("latin-1")[len(method) + 1 :].rpartition(" ")[0]
    host, port = connection._tunnel_host or connection.host, connection.port
    address, path = outgoing.where(target, host, connection._tunnel_port if connection._tunnel_host else port)
    state = vars(connection)[BEGUN] = outgoing.begin(outgoing.kind_of(LIBRARY, method, address, path))
    outgoing.add_to_buffer(lines, state)
    return connection, state


def after_sending(state: "Any", result: "Any", error: "BaseException | None") -> None:
    """Record a request that could not be sent."""
    connection, request = state
    if error is not None and vars(connection).pop(BEGUN, None) is request:
        outgoing.end(request, None, error)


def before_answer(connection: "Any", args: "Any", kwargs: "Any") -> "Any":
    """Find the request whose answer is asked for."""
    request = getattr(connection, BEGUN, None)
    return None if request is None else (connection, request)


def after_answer(state: "Any", response: "Any", error: "BaseException | None") -> None:
    """Record a request that was answered, or was not; one that is asked about too early may still be."""
    connection, request = state
    if type(error).__name__ != "ResponseNotReady" and vars(connection).pop(BEGUN, None) is request:
        outgoing.end(request, getattr(response, "status", None), error)

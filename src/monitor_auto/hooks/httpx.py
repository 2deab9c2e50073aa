"""httpx clients: one event for each request on the wire, redirects and authentication each for themselves.

`_send_single_request` of both clients makes one request, by whatever transport (0.13 to 0.28). The request that the
program may look at is after the call what it would be without us.
"""

from __future__ import annotations

from typing import Any

from . import outgoing, passing
from .wrapping import Undo, wrap

LIBRARY = "httpx"
OWN_CLIENT = "_monitor_auto_own"
"""Set on the clients of our own delivery: the monitor does not watch itself."""

_undo: list[Undo] = []


def install(module: Any) -> None:
    """Watch both clients. Called once, after `import httpx`; a second call does nothing."""
    if not _undo:
        wrapper = passing.around(LIBRARY, before_request, after_request)
        _undo.append(wrap(module.Client, "_send_single_request", wrapper))
        wrapper = passing.around_coroutine(LIBRARY, before_request, after_request)
        _undo.append(wrap(module.AsyncClient, "_send_single_request", wrapper))


def uninstall() -> None:
    """Put the originals back where nobody has put something on top."""
    while _undo:
        _undo.pop()()


def before_request(client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Begin one request: `_send_single_request(request)`."""
    if hasattr(client, OWN_CLIENT):
        return None
    request = args[0] if args else kwargs["request"]
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
    for entry in added:
        entries = request.headers._list
        if entry in entries:
            entries.remove(entry)
    outgoing.end(begun, LIBRARY, method, address, path, getattr(response, "status_code", None), error)

"""wsgiref, and so `make_server`, Django's `runserver` and CGI scripts: one event a request. Needs no wrapt.

`BaseHandler.run` is the whole of a request: it calls the application, sends what that returns, and catches what it
raises. What it has caught we see when it looks up `handle_error`; the status, which it forgets at its end, when it is
set.
"""

import sys

from ..boot import guard, listening, recorder
from . import passing, serving

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

REQUEST = "_monitor_auto_request"
"""What a handler carries while it serves one."""

_undo: "list[passing.Undo]" = []


def install(module: "Any") -> None:
    """Watch every handler. Called after `import wsgiref.handlers`; a second call does nothing."""
    kind = getattr(module, "BaseHandler", None)
    if not _undo and isinstance(kind, type) and {"run", "handle_error", "status"} <= set(vars(kind)):
        _undo.append(passing.replace_method(kind, "run", "wsgiref", begin, end))
        noticed = listening.Noticed(vars(kind)["handle_error"], on_error)
        _undo.append(passing.put(kind, "handle_error", noticed))
        _undo.append(passing.put(kind, "status", property(get_status, set_status)))


def uninstall() -> None:
    """Put the originals back where nobody has put something on top."""
    while _undo:
        _undo.pop()()


def begin(handler: "Any") -> "Any":
    """Begin a request: what is known of it lies in what its environment will be made of."""
    known = getattr(handler, "base_env", None) or getattr(handler, "os_environ", None)
    if known is None:  # a wrong call, which fails behind us
        return None
    get = known.get
    path = get("SCRIPT_NAME", "") + get("PATH_INFO", "")
    given = get("HTTP_TRACEPARENT"), get("HTTP_TRACESTATE")
    request = serving.Request("wsgiref", get("REQUEST_METHOD"), path, *given)
    vars(handler)[REQUEST] = request
    return handler, request


def end(state: "Any", result: "Any", error: "BaseException | None") -> None:
    """Record a request. A handler that has come to its end has forgotten its environment; one whose client has hung up
    has not.
    """
    handler, request = state
    vars(handler).pop(REQUEST, None)
    if error is not None:
        request.fail(error)
    elif request.error is None and handler.environ is not None:
        request.has_left = True
    request.record()
    request.leave()


def on_error(handler: "Any") -> None:
    """Record what the handler has caught: it is about to make an answer of it."""
    request = vars(handler).get(REQUEST)
    error = sys.exc_info()[1]
    if request is not None and error is not None:
        request.fail(error)


def get_status(handler: "Any") -> "Any":
    """Return the status, which is None as long as there is none."""
    return vars(handler).get("status")


def set_status(handler: "Any", status: "Any") -> None:
    """Keep the status where it is without us, and know it."""
    vars(handler)["status"] = status
    if status is not None and recorder.session is not None:
        guard.call("wsgiref", on_status, handler, status)


def on_status(handler: "Any", status: "Any") -> None:
    """Note the status that is about to be sent."""
    request = vars(handler).get(REQUEST)
    if request is not None:
        request.status = serving.status_of(status)

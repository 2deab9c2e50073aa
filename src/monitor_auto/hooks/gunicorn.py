"""gunicorn: one event a request, of its sync, threaded and greenlet workers, and of its own ASGI worker.

`handle_request` is the whole of a request: it calls the application, sends what that returns and writes the access log.
Workers of other projects (uvicorn's) are watched where those are.
"""

from __future__ import annotations

import errno
from typing import Any

from . import asgi, passing, serving
from .wrapping import Undo, wrap

WORKERS = ("SyncWorker", "ThreadWorker", "AsyncWorker")
GONE = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN)
"""What gunicorn takes for a client that has hung up (workers/sync.py, 19.0 to 27.0)."""

_undo: list[Undo] = []


def install_worker(module: Any) -> None:
    """Watch a kind of worker. Called after the import of `gunicorn.workers.sync` and its kin."""
    for name in WORKERS:
        kind = vars(module).get(name)
        if kind is not None and kind.__module__ == module.__name__:
            _undo.append(wrap(kind, "handle_request", passing.around("gunicorn", begin, end)))


def install_create(module: Any) -> None:
    """Watch what makes the response of a request. Called after `import gunicorn.http.wsgi`."""
    _undo.append(wrap(module, "create", passing.around("gunicorn", begin_create, end_create)))


def install_asgi(module: Any) -> None:
    """Watch the ASGI worker. Called after `import gunicorn.workers.gasgi`."""
    _undo.append(wrap(module.ASGIWorker, "load_wsgi", passing.around("gunicorn", begin_create, end_load)))


def uninstall() -> None:
    """Put the originals back where nobody has put something on top."""
    while _undo:
        _undo.pop()()


def begin(worker: Any, args: Any, kwargs: Any) -> Any:
    """Begin a request: it is the argument that has been parsed."""
    found = [given for given in (*args, *kwargs.values()) if hasattr(given, "uri") and hasattr(given, "headers")]
    if len(found) != 1:  # a wrong call, which fails behind us
        return None
    (parsed,) = found
    traces = [value for name, value in parsed.headers if name == "TRACEPARENT"]
    states = [value for name, value in parsed.headers if name == "TRACESTATE"]
    traceparent = traces[0] if len(traces) == 1 else None
    return serving.Request("gunicorn", parsed.method, parsed.path, traceparent, ",".join(states))


def end(request: Any, result: Any, error: BaseException | None) -> None:
    """Record a request. StopIteration is how gunicorn ends a connection, also after an error that it has logged."""
    if isinstance(error, StopIteration):
        error = error.__context__
    response = request.response
    request.status = getattr(response, "status_code", None)
    if isinstance(error, OSError) and error.errno in GONE:
        request.has_left = True
    elif error is not None:
        request.fail(error)
        if not getattr(response, "headers_sent", False):
            request.status = 500
    request.record()
    request.leave()


def begin_create(instance: Any, args: Any, kwargs: Any) -> Any:
    """Watch every call."""
    return instance or True


def end_create(state: Any, result: Any, error: BaseException | None) -> None:
    """Keep the response of the request that is being served: it knows its status."""
    request = serving.open_request()
    if error is None and request is not None and isinstance(result, tuple):
        request.response = result[0]


def end_load(worker: Any, result: Any, error: BaseException | None) -> None:
    """Enclose the application of an ASGI worker."""
    if error is None and getattr(worker, "asgi", None) is not None:
        worker.asgi = asgi.enclose(worker.asgi, "gunicorn")

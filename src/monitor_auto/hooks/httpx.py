"""httpx clients: one event `http.client.request` for each request: method, host, path without query, status, duration.

Headers, queries and bodies are never read. Works for every released httpx from 0.24: `Client.send` and
`AsyncClient.send` have been what all requests pass through since 0.13.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from ..boot import guard, recorder
from ..boot.recorder import EVENT
from .wrapping import Undo, wrap

OWN_CLIENT = "_monitor_auto_own"
"""Set on the clients of our own delivery: the monitor does not watch itself."""

_undo: list[Undo] = []


def install(module: Any) -> None:
    """Wrap both clients. Called once, after `import httpx`; a second call does nothing."""
    if not _undo:
        _undo.append(wrap(module.Client, "send", monitored_send))
        _undo.append(wrap(module.AsyncClient, "send", monitored_async_send))


def uninstall() -> None:
    """Put the originals back where nobody has put something on top."""
    while _undo:
        _undo.pop()()


def monitored_send(wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`Client.send`, timed."""
    if recorder.session is None or hasattr(client, OWN_CLIENT):
        return wrapped(*args, **kwargs)
    started = time.perf_counter()
    try:
        response = wrapped(*args, **kwargs)
    except BaseException as error:
        guard.call("httpx", on_request, args, kwargs, started, None, error)
        raise
    guard.call("httpx", on_request, args, kwargs, started, response, None)
    return response


def monitored_async_send(
    wrapped: Callable[..., Awaitable[Any]], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Awaitable[Any]:
    """`AsyncClient.send`, timed from the await to the answer."""
    if recorder.session is None or hasattr(client, OWN_CLIENT):
        return wrapped(*args, **kwargs)
    return _timed(wrapped, args, kwargs)


async def _timed(wrapped: Callable[..., Awaitable[Any]], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    started = time.perf_counter()
    try:
        response = await wrapped(*args, **kwargs)
    except BaseException as error:
        guard.call("httpx", on_request, args, kwargs, started, None, error)
        raise
    guard.call("httpx", on_request, args, kwargs, started, response, None)
    return response


def on_request(
    args: tuple[Any, ...], kwargs: dict[str, Any], started: float, response: Any, error: BaseException | None
) -> None:
    """Record one request."""
    request = args[0] if args else kwargs.get("request")
    if not hasattr(getattr(request, "url", None), "host"):  # the call was wrong, and what it raised says so
        return
    facts = describe(request, response, error)
    facts["duration_ms"] = round((time.perf_counter() - started) * 1000, 3)
    recorder.record(EVENT, "http.client.request", facts)


def describe(request: Any, response: Any, error: BaseException | None) -> dict[str, Any]:
    """Say what was called, from the request alone: no header, no query, no body."""
    url = request.url
    facts: dict[str, Any] = {"library": "httpx", "method": request.method, "host": url.host, "path": url.path}
    if url.port is not None:
        facts["port"] = url.port
    if response is not None:
        facts["status"] = response.status_code
    if error is not None:
        facts["error"] = type(error).__name__
    return facts

"""What hooks of servers and frameworks share: one `http.server.request` for each request, and the span that it is.

Loads nothing, so that the hook of the standard library costs no import.

Guarantees: headers, queries and bodies are never recorded; of the headers only `traceparent` is looked at. A request
that several hooks see is one event: what runs inside it finds it by `open_request`.
"""

import time

from ..boot import context, encode, exits, inherited, recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAME = "http.server.request"
MAX_CHARS = 1000
_perf_counter = time.perf_counter  # the program may replace that of the module


class Request:
    """One request that is being served."""

    __slots__ = (
        *("_token", "close_code", "error", "facts", "has_left", "has_returned", "is_over", "prefix", "response"),
        *("route", "span", "started", "status", "took"),
    )

    def __init__(self, server: str, method: "Any", path: "Any", traceparent: "Any") -> None:
        self.facts: dict[str, Any] = {"server": server}
        if method is not None:
            self.facts["method"] = text_of(method)
        self.facts["path"] = text_of(path).partition("?")[0][:MAX_CHARS]
        self.route: str | None = None
        self.prefix = ""
        self.status: int | None = None
        self.error: BaseException | None = None
        self.close_code: Any = None
        self.response: Any = None
        self.took: float | None = None
        self.has_left = self.has_returned = self.is_over = False
        remote = inherited.context_of(text_of(traceparent)) if traceparent else None
        self.started = _perf_counter()
        self.span, self._token = context.enter(remote, self)

    def fail(self, error: BaseException) -> None:
        """Record what nothing has caught, once, as part of this request; not what only ends it (CancelledError)."""
        self.error = error
        if isinstance(error, Exception):
            context.record_within(self.span, exits.record_error, error, "error", {})

    def answer(self) -> None:
        """The last byte is on its way: the request has taken until now."""
        if self.took is None:
            self.took = _perf_counter() - self.started

    def record(self) -> None:
        """Record the request, once."""
        if self.is_over:
            return
        self.is_over = True
        self.answer()
        facts = self.facts
        for name, value in (("route", self.route), ("status", self.status), ("close_code", self.close_code)):
            if value is not None:
                facts[name] = value
        if self.error is not None:
            facts["error"] = encode.class_name(self.error)
        if self.has_left:
            facts["disconnected"] = True
        facts["duration_ms"] = round((self.took or 0.0) * 1000, 3)
        context.record(recorder.EVENT, NAME, facts, self.span)

    def leave(self) -> None:
        """End the span: nothing of the program runs in it any more."""
        context.leave(self.span, self._token)


def text_of(value: "Any") -> str:
    """Return what a server has read as text: it comes as bytes from some."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def status_of(text: "Any") -> "int | None":
    """Return the number of a status line ("200 OK"), or of what a server keeps as a number."""
    first = str(text).partition(" ")[0]
    return int(first) if first.isdigit() else None


def open_request() -> "Request | None":
    """Return the request that is being served here, if a hook has seen it."""
    request: Any = context.request()
    return request if request is not None and not request.is_over else None


def is_seen() -> bool:
    """True where the request that comes now is the one that a hook has seen: not one whose application has returned,
    and whose server never closed what it has returned.
    """
    request = open_request()
    return request is not None and not request.has_returned


def nothing(state: "Any", result: "Any", error: "BaseException | None") -> None:
    """The end of what is only watched at its beginning."""


def note_route(route: "Any") -> None:
    """Say by which route of the application the request goes."""
    request = open_request()
    if request is not None and route is not None:
        request.route = str(route)[:MAX_CHARS]


def note_error(error: "Any") -> None:
    """Say that nothing has caught this: the framework makes an answer of it, and the server never sees it."""
    request = open_request()
    if request is not None and isinstance(error, BaseException):
        request.fail(error)

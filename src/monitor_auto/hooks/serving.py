"""What hooks of servers and frameworks share: one `http.server.request` for each request, and the span that it is.

Loads nothing, so that the hook of the standard library costs no import, and before the first request nothing of ours:
many programs import a server or a framework and serve nothing.

Guarantees: headers, queries and bodies are never recorded; of the headers only `traceparent` and `tracestate` are
looked at. A request that several hooks see is one event: what runs inside it finds it by `open_request`.
"""

import time

from .. import boot
from ..boot import hooked, recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAME = "http.server.request"
MAX_CHARS = 1000
_perf_counter = time.perf_counter  # the program may replace that of the module
_boot = vars(boot)
beginnings: "Any" = None
context: "Any" = None
"""What requests need, from the first one on."""
_known: "dict[Any, str]"
_write_own: "Any"


def load() -> None:
    """Load what requests need."""
    global beginnings, context, _known, _write_own
    from . import beginnings as loaded

    beginnings, _known = loaded, loaded.known
    made = boot.load("context")
    _write_own = made.write_own
    context = made  # last: another thread asks for this one


class Request:
    """One request that is being served: `seen_by` is whose hook has seen it first, `server` what is told of it."""

    __slots__ = (
        *("_token", "close_code", "error", "has_left", "has_returned", "is_over", "is_websocket", "method", "seen_by"),
        *("path", "prefix", "response", "returned", "route", "server", "span", "started", "status", "took"),
    )
    _token: "Any"
    span: "Any"
    returned: float

    def __init__(
        self, library: str, method: "Any", path: "Any", traceparent: "Any" = None, tracestate: "Any" = None
    ) -> None:
        if context is None:
            load()
        self.seen_by = self.server = library
        self.method = method
        self.path = path
        self.close_code: Any = None
        self.error: BaseException | None = None
        self.prefix = ""
        self.response: Any = None
        self.route: str | None = None
        self.status: int | None = None
        self.took: float | None = None
        self.has_left = self.has_returned = self.is_over = self.is_websocket = False
        self.started = _perf_counter()
        # Below the span that has come with the request: what is recorded from now on is part of this one.
        remote = boot.load("inherited").context_of(text_of(traceparent)) if traceparent else None
        state = text_of(tracestate) if remote is not None and tracestate else None
        self.span, self._token = context.enter(remote, self, state)

    def fail(self, error: BaseException) -> None:
        """Record what nothing has caught, once, as part of this request; not what only ends it (CancelledError)."""
        self.error = error
        self.record_error(error)

    def record_error(self, error: BaseException) -> None:
        """Record an exception as part of this request."""
        if isinstance(error, Exception):
            context.record_within(self.span, boot.load("exits").record_error, error, "error", {})

    def answer(self) -> None:
        """The last byte is on its way: the request has taken until now."""
        if self.took is None:
            self.took = _perf_counter() - self.started

    def record(self) -> None:
        """Record the request, once."""
        if self.is_over:
            return
        self.is_over = True
        took = _perf_counter() - self.started if self.took is None else self.took
        settings: Any = recorder.settings
        if recorder.session is None or (settings.sample or "sampling" in _boot) and beginnings.is_left_out(NAME):
            return
        hooked.add(self.seen_by)
        key = self.server, self.method, self.path, self.route
        text: str = _known.get(key) or beginning(*key)
        status = self.status
        if type(status) is int and self.error is None and not (self.has_left or self.is_websocket):
            end = f',"status":{status}'
        else:
            end = self.outcome()
        _write_own(recorder.EVENT, NAME, f'{text}{end},"duration_ms":{took * 1000:.3f}}}', self.span)

    def outcome(self) -> str:
        """Return the JSON of how a request has ended that is no plain number, to be put behind its beginning."""
        encode = boot.load("encode")
        facts: dict[str, Any] = {"protocol": "websocket"} if self.is_websocket else {}
        for name, value in (("status", self.status), ("close_code", self.close_code)):
            if value is not None:
                facts[name] = value
        if self.error is not None:
            facts["error"] = encode.class_name(self.error)
        if self.has_left:
            facts["disconnected"] = True
        text: str = encode.encode(facts)
        return "," + text[1:-1] if facts else ""

    def leave(self) -> None:
        """End the span: nothing of the program runs in it any more."""
        context.leave(self.span, self._token)


def beginning(server: str, method: "Any", path: "Any", route: "str | None") -> str:
    """Return the JSON that all requests of a kind begin with."""
    facts = {"server": server}
    if method is not None:
        facts["method"] = text_of(method)
    facts["path"] = text_of(path).partition("?")[0][:MAX_CHARS]
    if route is not None:
        facts["route"] = route
    text = beginnings.text_of(facts)
    return str(beginnings.keep((server, method, path, route), text, text))


def text_of(value: "Any") -> str:
    """Return what a server has read as text: it comes as bytes from some."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def status_of(text: "Any") -> "int | None":
    """Return the number of a status line ("200 OK"), or of what a server keeps as a number."""
    first = str(text).partition(" ")[0]
    return int(first) if first.isdigit() else None


def open_request() -> "Request | None":
    """Return the request that is being served here, if a hook has seen it."""
    request: Any = None if context is None else context.request()
    return request if request is not None and not request.is_over else None


def is_seen() -> bool:
    """True where the request that comes now is the one that a hook has seen: not one whose application has returned."""
    request = open_request()
    return request is not None and not request.has_returned


def nothing(state: "Any", result: "Any", error: "BaseException | None") -> None:
    """The end of what is only watched at its beginning."""


def note_route(library: str, route: "Any") -> None:
    """Say by which route of the application the request goes; the library that knows it has a part in the event. The
    first one counts: a later one is of what the application asks itself meanwhile, without a server.
    """
    request = open_request()
    if request is not None and request.route is None and route is not None:
        if request.seen_by != library:
            hooked.add(library)
        request.route = str(route)[:MAX_CHARS]


def note_error(error: "Any") -> None:
    """Say that nothing has caught this: the framework makes an answer of it, and the server never sees it."""
    request = open_request()
    if request is not None and isinstance(error, BaseException):
        request.fail(error)

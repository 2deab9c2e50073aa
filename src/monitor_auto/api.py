"""Monitor: the API for programs that want to say more. Imported by the program; builtin modules only, so that
`from monitor_auto import Monitor` stays cheap and works where files of the program hide the standard library's.

Recording calls return the event's id, or None where nothing was recorded, and never raise. They are safe from any
thread, task, signal handler, `__del__` and `atexit` function, and never wait for the network.
"""

from __future__ import annotations

import sys
from time import perf_counter  # the program may replace that of the module

from . import boot
from .boot import arrivals, cleaning, context, encode, errors, guard, notes, parsing, recorder, recording
from .boot.recorder import ERROR, EVENT, METRIC
from .boot.session import describe
from .boot.settings import OFF, SITE_FILE, endpoint_parts, monitor_values

OURS = ("monitor_auto", "monitor_auto.boot")
CO_COROUTINE = 0x80
"""Of `code.co_flags`: inspect.CO_COROUTINE, 3.10 to 3.15."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType
    from typing import Any, TypeVar, cast

    Function = TypeVar("Function", bound=Callable[..., Any])
    Child = TypeVar("Child", bound=subprocess.Popen[Any])
else:

    def cast(kind, value):
        """Do what typing.cast does, which is nothing, without importing typing."""
        return value


class SessionFacts:
    """Who this process is, for your own logs.

    Attributes: `id` (UUIDv7), `trace_id` (32 hex digits), `span_id` (16 hex digits), `parent` (a session id or None),
    `app`, `started` (ISO 8601 with offset), `traceparent` (W3C: for a request, or a process, that belongs to this
    session).
    """

    __slots__ = ("app", "id", "parent", "span_id", "started", "trace_id", "traceparent")

    id: str
    trace_id: str
    span_id: str
    parent: str | None
    app: str
    started: str
    traceparent: str

    def __init__(self, session: Any) -> None:
        self.id = session.id
        self.trace_id = session.trace_id
        self.span_id = session.span_id
        self.parent = session.parent
        self.app = session.app or session.program
        self.started = session.started
        self.traceparent = f"00-{session.trace_id}-{session.span_id}-{session.trace_flags}"

    def __repr__(self) -> str:
        return f"<Session {self.id} of {self.app}, trace {self.trace_id}, started {self.started}>"


class _MonitorType(type):
    """Gives the class Monitor its read-only attribute `session`."""

    @property
    def session(cls) -> SessionFacts | None:
        """The session of this process, or None while the monitor is dormant or closed."""
        session = recorder.session
        return None if session is None else SessionFacts(session)


class Monitor(metaclass=_MonitorType):
    """Record events of your own. All calls do nothing, and return None, where no monitor is configured."""

    def __new__(cls) -> Monitor:
        raise TypeError("Monitor is used as it is: Monitor.event(…), without an instance")

    @staticmethod
    def init(
        *,
        endpoint: str | None = None,
        app: str | None = None,
        app_version: str | None = None,
        redact: Iterable[str] = (),
        strict: bool = False,
    ) -> bool:
        """Start the monitor where the environment has not, or refine what it has started.

        `endpoint` is `http(s)://host[:port]/v1/events` or `local:`; the environment's MONITOR_ENDPOINT and
        MONITOR_DISABLE win over it. `app`, `app_version` and `redact` (key patterns, or `email`, `ip`) are the
        program's to set at any time. Returns True when a session runs. The network is not touched.

        Raises TypeError for an argument of the wrong type; ValueError for an endpoint that cannot be used and, with
        `strict`, where no session runs; its text says why.
        """
        patterns = _check(endpoint, app, app_version, redact)
        _start(endpoint, app, app_version, patterns)
        guard.call("init", _refine, app, app_version, patterns)
        if recorder.session is None:
            reason: str = _why_dormant()
            if strict:
                raise ValueError(reason)
            notes.debug(f"Monitor.init: {reason}; the monitor stays dormant")
        return recorder.session is not None

    @staticmethod
    def event(name: str, data: Mapping[str, Any] | None = None) -> str | None:
        """Record an event named `namespace.action`. Returns its id after it is on disk, or None if nothing was
        recorded.
        """
        try:
            return recorder.record(EVENT, name, data)
        except RecursionError:  # the program is so deep that not even our shield has room
            return None

    @staticmethod
    def error(error: BaseException | str, data: Mapping[str, Any] | None = None) -> str | None:
        """Record an exception, with its stack and causes, or an error text. Returns the event's id or None."""
        if recorder.session is None:
            return None
        try:
            return guard.call("Monitor.error", _record_error, error, data)
        except RecursionError:
            return None

    @staticmethod
    def metric(name: str, value: float, data: Mapping[str, Any] | None = None) -> str | None:
        """Record a number; put the unit into the name (`connect.duration_ms`). Returns the event's id or None."""
        if recorder.session is None:
            return None
        try:
            return guard.call("Monitor.metric", _record_metric, name, value, data)
        except RecursionError:
            return None

    @staticmethod
    def span(name: str, data: Mapping[str, Any] | None = None) -> Span:
        """Return what times a piece of work, and records one event with `duration_ms` when it is over, and the error if
        it ended with an Exception: a context manager, sync and async, and a decorator of functions and coroutine
        functions. Of a generator function the decorator times the call, which runs nothing of it yet: use `with`
        inside.
        """
        return Span(name, data)

    @staticmethod
    def relay(popen: Child) -> Child:
        """Take the lines `monitor-event: {…}` off the captured output of a `subprocess.Popen` and record them as
        events; the program reads everything else unchanged. Returns the same object.

        Call it before you read. Streams that are not captured (no `PIPE`) are left alone. The lines are taken off, too,
        where no monitor is configured, so that the program reads the same everywhere. Raises TypeError for what is no
        Popen (an asyncio subprocess, for one).
        """
        for name in ("stdout", "stderr"):
            stream = getattr(popen, name, 0)
            if stream is not None and not hasattr(stream, "fileno"):
                raise TypeError(f"relay takes a subprocess.Popen, not {type(popen).__name__}")
        guard.late("relaying", "relay", popen)
        return popen

    @staticmethod
    def flush(timeout: float = 3.0) -> bool:
        """Deliver now, in this thread, for at most `timeout` seconds. True if everything of this session that was
        recorded before the call has reached the collector; True, too, where nothing is recorded: dormant, or after
        `close`."""
        if recorder.session is None:
            return True
        return bool(guard.late("flushing", "flush", _seconds(timeout)))

    @staticmethod
    async def aflush(timeout: float = 3.0) -> bool:
        """Deliver now as `flush` does, on a thread of its own, so that the event loop goes on. asyncio and trio."""
        if recorder.session is None:
            return True
        from .awaiting import on_a_thread

        return bool(await on_a_thread(lambda: Monitor.flush(timeout)))

    @staticmethod
    def close() -> None:
        """End the session and deliver it, in this thread, under MONITOR_EXIT_TIMEOUT. Later calls are ignored."""
        if recorder.session is not None:
            guard.late("flushing", "close")


class Span:
    """What `Monitor.span` returns; every entry is timed for itself, also where several threads or tasks are inside."""

    __slots__ = ("_begun", "_data", "_name")

    def __init__(self, name: str, data: Mapping[str, Any] | None) -> None:
        self._name = name
        self._data = data
        self._begun: list[Any] = []

    def __enter__(self) -> Span:
        try:
            span = guard.call("Monitor.span", context.enter) if recorder.session is not None else None
        except RecursionError:
            span = None
        self._begun.append((perf_counter(), span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if recorder.session is not None or self._begun:
            try:
                guard.call("Monitor.span", self._leave, error)
            except RecursionError:
                return

    def __call__(self, function: Function) -> Function:
        """Decorate a function: every call is timed for itself. A coroutine function stays one."""
        if getattr(getattr(function, "__code__", None), "co_flags", 0) & CO_COROUTINE:

            async def spanned(*args: Any, **kwargs: Any) -> Any:
                with Span(self._name, self._data):
                    return await function(*args, **kwargs)

        else:

            def spanned(*args: Any, **kwargs: Any) -> Any:  # type: ignore[misc]
                with Span(self._name, self._data):
                    return function(*args, **kwargs)

        _resemble(spanned, function)
        return cast("Function", spanned)

    async def __aenter__(self) -> Span:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _leave(self, error: BaseException | None) -> None:
        started, begun = self._take()
        own = {"duration_ms": round((perf_counter() - started) * 1000, 3)}
        if error is not None:
            own["error"] = encode.class_name(error)
        if isinstance(error, Exception):  # not SystemExit, GeneratorExit, a task's CancelledError
            _record_error(error, {"span": self._name})
        facts = _joined(own, self._data)
        if begun is None:
            recorder.record(EVENT, self._name, facts)
            return
        span, token = begun
        context.leave(span, token)
        context.record(EVENT, self._name, facts, span)

    def _take(self) -> Any:
        """Take back what was begun here: of several entries the one whose span is the current one, else the last."""
        own = context.variable.get() if context.variable else None
        for entry in reversed(self._begun):
            if entry[1] is not None and entry[1][0] is own:
                self._begun.remove(entry)
                return entry
        return self._begun.pop() if self._begun else (perf_counter(), None)


def _resemble(spanned: Any, function: Any) -> None:
    """Make the decorated function what functools.wraps makes: attributes and annotations are what other decorators,
    typing.get_type_hints and singledispatch look at."""
    vars(spanned).update(getattr(function, "__dict__", ()))
    # From 3.14 on annotations are evaluated when they are asked for; a name in them may not exist yet.
    for name in ("__annotate__" if getattr(function, "__annotate__", None) else "__annotations__", "__type_params__"):
        if hasattr(function, name):
            setattr(spanned, name, getattr(function, name))
    arrivals.disguise(spanned, function)


def _check(endpoint: Any, app: Any, app_version: Any, given_patterns: Any) -> list[str]:
    for name, value in (("endpoint", endpoint), ("app", app), ("app_version", app_version)):
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} must be a str or None, not {type(value).__name__}")
    if isinstance(given_patterns, str) or not hasattr(type(given_patterns), "__iter__"):
        raise TypeError(f"redact must be a list of patterns, not {type(given_patterns).__name__}")
    patterns = list(given_patterns)
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise TypeError("redact must hold str only")
    if endpoint is not None:
        try:
            endpoint_parts(endpoint.strip())
        except ValueError as error:  # whose text is for those who have set the variable
            raise ValueError(str(error).replace("MONITOR_ENDPOINT", "endpoint", 1)) from None
    return patterns


def _start(endpoint: str | None, app: str | None, app_version: str | None, patterns: list[str]) -> None:
    if recorder.session is not None or recorder.is_closed:
        return
    overrides = {"MONITOR_ENDPOINT": endpoint, "MONITOR_APP": app, "MONITOR_APP_VERSION": app_version}
    if endpoint is None or _is_disabled_by_site():
        overrides = {}
    guard.call("init", cleaning.add_rules, patterns)
    boot.start({name: value for name, value in overrides.items() if value})


def _why_dormant() -> str:
    """Return why no session runs, and what helps."""
    if recorder.is_closed:
        return "the session of this process was closed, and it has but one"
    given: dict[str, str] = parsing.read_site_file(sys.prefix + "/" + SITE_FILE)
    for where, values in (("the environment", monitor_values(sys.modules["os"].environ)), (SITE_FILE, given)):
        if values.get("MONITOR_DISABLE", "").strip().lower() not in OFF:
            return f"MONITOR_DISABLE is set in {where}"
        if values.get("MONITOR_ENDPOINT"):
            return (
                f"an endpoint is set in {where}, but nothing was started: run monitor-auto doctor, or set MONITOR_DEBUG"
            )
    return "no endpoint: set MONITOR_ENDPOINT or pass endpoint="


def _is_disabled_by_site() -> bool:
    """True when the operator's site file switches the monitor off: it is not read where we name the endpoint."""
    values: dict[str, str] = parsing.read_site_file(sys.prefix + "/" + SITE_FILE)
    return values.get("MONITOR_DISABLE", "").strip().lower() not in OFF


def _refine(app: str | None, app_version: str | None, patterns: list[str]) -> None:
    if patterns:
        cleaning.add_rules(patterns)
        recording.forget_keys()
    session = recorder.session
    if session is not None and (app or app_version):
        session.app = app or session.app
        session.app_version = app_version or session.app_version
        describe(session, recorder.settings)


def _seconds(timeout: Any) -> float:
    """Return a time that a lock and a socket take; what is none counts as the default: recording never raises."""
    try:
        return min(max(0.0, float(timeout)), 86400.0)  # in this order: what is no number (nan) counts as 0
    except Exception as error:  # anything may have been given
        encode.let_through(error)
        return 3.0


def _joined(own: dict[str, Any], data: Any) -> dict[str, Any]:
    """Return our facts and the caller's; what the caller has under the same name is kept under `_given`."""
    if data is None:
        return own
    facts: dict[str, Any] = encode.facts(data)
    given = {name: facts.pop(name) for name in own if name in facts}
    return {**own, **facts, "_given": given} if given else {**own, **facts}


def _record_error(error: Any, data: Any) -> str | None:
    if not issubclass(type(error), BaseException):
        text = encode.plain(error) if issubclass(type(error), str) else encode.safe_repr(error)
        own = {"message": text, "source": "manual", "level": "error"}
        repeated = boot.cold("limits").admit_error("error.message", _caller())
        return _record_admitted("error.message", repeated, own, data)
    if not errors.first_time(error):
        return None
    name = "error." + encode.class_name(error)
    repeated = errors.admit(error, name)
    own = {} if repeated is None else errors.describe(error, "manual", "error")
    return _record_admitted(name, repeated, own, data)


def _record_admitted(name: str, repeated: int | None, own: dict[str, Any], data: Any) -> str | None:
    """Record an error, unless it was one too many of its kind; with how many were left out before it."""
    if repeated is None:
        return None
    if repeated:
        own["repeated"] = repeated
    return recorder.record(ERROR, name, _joined(own, data))


def _caller() -> tuple[str, int] | None:
    """Return the file and line of the program that has called us."""
    frame = sys._getframe(1)
    while frame is not None and _is_ours(dict.get(frame.f_globals, "__package__")):
        frame = frame.f_back  # type: ignore[assignment]
    return (frame.f_code.co_filename, frame.f_lineno) if frame is not None else None


def _is_ours(package: Any) -> bool:
    """Return whether a frame's package is ours; a program may have put anything there."""
    return type(package) is str and package in OURS


def _record_metric(name: Any, value: Any, data: Any) -> str | None:
    return recorder.record(METRIC, name, _joined({"value": value}, data))

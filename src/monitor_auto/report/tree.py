"""The model: events -> runs, and of each the tree of its processes with what went wrong in them. Pure.

Guarantees: any events make a model, in whatever order, twice or in part, with parents that are missing or their own
descendants. Every session is in one run, once, and every child process of a session too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from . import facts
from .fingerprints import fingerprint

PASSING = ("passed", "skipped", "xfailed")
CALLS = ("http.client.request", "db.query", "http.server.request", "task.run")
"""What takes time elsewhere: the slowest are shown."""
RUNNER = "monitor-auto run"
"""What `monitor-auto run` calls itself in its `session.start`."""
SLACK_MS = 2000.0
"""How far the clocks of two processes of one machine, and the start of an interpreter, may be apart."""


@dataclass
class Error:
    """One error of a process. `at_ms` is Unix ms, as all times here."""

    name: str
    message: str
    location: str
    stack: str
    level: str
    at_ms: float
    fingerprint: str
    process: Process = field(repr=False)


@dataclass
class Test:
    """The result of one test."""

    name: str
    outcome: str
    duration_ms: float
    message: str
    at_ms: float
    process: Process = field(repr=False)


@dataclass
class Call:
    """Something that took time: `name` is the event's, `what` says which."""

    name: str
    what: str
    duration_ms: float
    status: str
    at_ms: float
    process: Process = field(repr=False)


@dataclass
class Process:
    """A process: a session, or a child that its parent has told of, or both in one.

    `outcome` is ok, failed (a status that is not 0, an uncaught exception), killed (by a signal), lost (gone without an
    end, nobody knows how) or open (nobody has said yet that it ended).
    """

    session: str | None = None
    parent: Process | None = field(default=None, repr=False)
    children: list[Process] = field(default_factory=list, repr=False)
    label: str = ""
    command: str = ""
    worker: str = ""
    pid: int | None = None
    ppid: int | None = None
    app: str | None = None
    host: str | None = None
    method: str = ""
    started_ms: float | None = None
    ended_ms: float | None = None
    last_ms: float = 0.0
    duration_ms: float | None = None
    exit_code: int | None = None
    signal: str | None = None
    reason: str = ""
    is_lost: bool = False
    is_fatal: bool = False
    has_ended: bool = False
    waited: bool = True
    max_rss_bytes: int | None = None
    lost: dict[str, Any] = field(default_factory=dict, repr=False)
    facts: dict[str, Any] = field(default_factory=dict, repr=False)
    events: list[dict[str, Any]] = field(default_factory=list, repr=False)
    errors: list[Error] = field(default_factory=list, repr=False)

    @property
    def outcome(self) -> str:
        """How it ended."""
        if self.signal is not None:
            return "killed"
        if self.is_lost:
            return "lost"
        if self.exit_code or self.is_fatal or self.reason == "exception":
            return "failed"
        return "ok" if self.has_ended else "open"

    @property
    def result(self) -> str:
        """How it ended, in a word or two."""
        if self.signal is not None:
            return self.signal
        if self.exit_code is not None:
            return f"exit {self.exit_code}"
        return {"lost": "vanished", "failed": "exception", "open": "no end", "ok": self.reason or "ended"}[self.outcome]

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Process]]:
        """Yield this process and those below it with their depths, parents first. Not recursive: a tree may be deep."""
        waiting = [(depth, self)]
        while waiting:
            level, process = waiting.pop()
            yield level, process
            waiting += [(level + 1, child) for child in reversed(process.children)]


@dataclass
class Group:
    """Errors that are one error."""

    fingerprint: str
    errors: list[Error]

    @property
    def last(self) -> Error:
        """The newest of them."""
        return max(self.errors, key=lambda error: error.at_ms)


@dataclass
class Run:
    """One tree of processes; `roots` are several when what joins them has not been recorded.

    It is not changed once it is made: what is asked of it is looked up once.
    """

    key: str
    roots: list[Process]
    tests: list[Test] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)

    @cached_property
    def processes(self) -> list[Process]:
        """All processes, parents before their children."""
        return [process for root in self.roots for _, process in root.walk()]

    @cached_property
    def started_ms(self) -> float:
        """When the first thing happened."""
        return min((p.started_ms for p in self.processes if p.started_ms is not None), default=self.ended_ms)

    @cached_property
    def ended_ms(self) -> float:
        """When the last thing happened."""
        return max((max(p.ended_ms or 0.0, p.last_ms) for p in self.processes), default=0.0)

    @cached_property
    def errors(self) -> list[Group]:
        """All errors, grouped; the group with a fatal one, and then the newest, first."""
        groups: dict[str, Group] = {}
        for process in self.processes:
            for error in process.errors:
                groups.setdefault(error.fingerprint, Group(error.fingerprint, [])).errors.append(error)
        return sorted(groups.values(), key=lambda group: (-has_fatal(group), -group.last.at_ms))

    @cached_property
    def failed_tests(self) -> list[Test]:
        """Tests that did not pass, in their order."""
        return sorted((t for t in self.tests if t.outcome not in PASSING), key=lambda test: test.at_ms)

    @cached_property
    def slow_tests(self) -> list[Test]:
        """All tests, the slowest first."""
        return sorted(self.tests, key=lambda test: -test.duration_ms)

    @cached_property
    def slow_calls(self) -> list[Call]:
        """All calls, the slowest first."""
        return sorted(self.calls, key=lambda call: -call.duration_ms)

    @cached_property
    def gone(self) -> list[Process]:
        """Processes that were killed or vanished."""
        return [process for process in self.processes if process.outcome in ("killed", "lost")]

    @cached_property
    def outcome(self) -> str:
        """How its first root ended."""
        return self.roots[0].outcome if self.roots else "open"

    @cached_property
    def event_count(self) -> int:
        """How many events there are."""
        return sum(len(process.events) for process in self.processes)


def has_fatal(group: Group) -> bool:
    """True when a process died of one of these errors."""
    return any(error.level == "fatal" for error in group.errors)


def build(events: Iterable[dict[str, Any]]) -> list[Run]:
    """Return the runs that the events tell of, the newest last."""
    builder = Builder()
    for event in events:
        if isinstance(event, dict):
            builder.add(event)
    return builder.finish()


def part(runs: list[Run], session: str) -> Run | None:
    """Return the run that begins with this session, cut out of the one that it is in; None where it is in none."""
    for run in runs:
        if run.key == session:
            return run
        for process in run.processes:
            if process.session == session:
                return build(event for _, below in process.walk() for event in below.events)[0]
    return None


def without_runner(run: Run) -> Run:
    """Return a run of `monitor-auto run` with the command itself as its root: the runner is of no interest, and what it
    took off the output stays with the command.
    """
    if len(run.roots) == 1 and run.roots[0].facts.get("program") == RUNNER and run.roots[0].children:
        runner = run.roots[0]
        command = runner.children[0]
        command.events = [*runner.events, *command.events]
        command.errors += runner.errors
        return Run(run.key, runner.children, run.tests, run.calls, run.dropped)
    return run


class Builder:
    """Takes events one by one, in any order, and makes runs of them."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._sessions: dict[str, Process] = {}
        self._parents: dict[str, str] = {}
        self._started: dict[tuple[str, int], Process] = {}
        self._tests: dict[str, list[Test]] = {}
        self._calls: dict[str, list[Call]] = {}
        self._dropped: dict[str, Counter[str]] = {}

    def add(self, event: dict[str, Any]) -> None:
        """Take one event; a repeat, by `event_id`, counts once."""
        given, name = event.get("session"), event.get("name")
        header: dict[str, Any] = given if isinstance(given, dict) else {}
        session = header.get("id")
        if not isinstance(session, str) or not isinstance(name, str) or self._is_repeat(event):
            return
        process = self._sessions.setdefault(session, Process(session))
        parent = header.get("parent")
        if isinstance(parent, str) and parent != session:
            self._parents.setdefault(session, parent)
        at = facts.milliseconds(event.get("timestamp")) or 0.0
        process.last_ms = max(process.last_ms, at)
        began = facts.milliseconds(header.get("started"))
        if began is not None:
            process.started_ms = began if process.started_ms is None else min(began, process.started_ms)
        process.events.append(event)
        data = event.get("data")
        self._take(process, event, name, at, data if isinstance(data, dict) else {})

    def _is_repeat(self, event: dict[str, Any]) -> bool:
        event_id = event.get("event_id")
        if not isinstance(event_id, str):
            return False
        is_known = event_id in self._seen
        self._seen.add(event_id)
        return is_known

    def _take(self, process: Process, event: dict[str, Any], name: str, at: float, data: dict[str, Any]) -> None:
        session = process.session or ""
        if name.startswith("session."):
            take_session(process, name, at, data, event)
        elif name in ("process.start", "process.exit"):
            self._take_child(session, name, at, data)
        elif event.get("type") == "error":
            process.errors.append(error_of(process, name, at, data))
            process.is_fatal |= data.get("level") == "fatal"
        elif name == "test.result":
            self._tests.setdefault(session, []).append(test_of(process, at, data))
        elif name in CALLS or (facts.number(data.get("duration_ms")) is not None and event.get("type") == "event"):
            self._calls.setdefault(session, []).append(call_of(process, name, at, data))
        elif name == "sdk.events.dropped":
            count = facts.whole(data.get("value")) or 0
            self._dropped.setdefault(session, Counter())[facts.clean(data.get("reason"), 80)] += count

    def _take_child(self, session: str, name: str, at: float, data: dict[str, Any]) -> None:
        pid, number = facts.whole(data.get("pid")), facts.whole(data.get("child"))
        number = number if number is not None else pid
        if number is None:
            return
        child = self._started.setdefault((session, number), Process())
        child.pid = facts.whole(data.get("pid")) or child.pid
        child.last_ms = max(child.last_ms, at)
        if name == "process.start":
            child.started_ms = at
            child.worker = facts.clean(data.get("worker"), 100)
            child.label = facts.command_text(data.get("argv"), is_short=True) or child.worker
            child.command = facts.command_text(data.get("argv"))
            child.method = facts.clean(data.get("method"), 60)
        elif name == "process.exit":
            take_exit(child, at, data)

    def finish(self) -> list[Run]:
        """Join what belongs together and return the runs."""
        for (session, _), child in sorted(
            self._started.items(), key=lambda item: item[1].started_ms or item[1].last_ms
        ):
            attach(child, self._sessions[session])
        self._join()
        self._attach_rest()
        return self._runs()

    def _join(self) -> None:
        """Make one of a session and what its parent has told of the same process."""
        by_parent: dict[str, list[Process]] = {}
        for session, parent in self._parents.items():
            if parent in self._sessions:
                by_parent.setdefault(parent, []).append(self._sessions[session])
        for name, sessions in by_parent.items():
            told: dict[int | None, list[Process]] = {}
            for child in self._sessions[name].children:
                told.setdefault(child.pid, []).append(child)
            for process in sorted(sessions, key=lambda one: one.started_ms or 0.0):
                match = nearest(told.get(process.pid, []), process)
                if match is not None:
                    told[process.pid].remove(match)
                    merge(match, process)

    def _attach_rest(self) -> None:
        """Attach the sessions that nobody has told of: below the process that started them if it is known (a shell),
        else below the session that they name.
        """
        for session, parent in self._parents.items():
            process, above = self._sessions[session], self._sessions.get(parent)
            if process.parent is None and above is not None and not is_below(above, process):
                shells = [child for child in above.children if child.session is None and child.pid == process.ppid]
                attach(process, shells[-1] if shells and process.ppid is not None else above)

    def _runs(self) -> list[Run]:
        groups: dict[str, list[Process]] = {}
        for process in self._sessions.values():
            if process.parent is None:
                # Children of a session that is not among the events belong together all the same.
                key = self._parents.get(process.session or "", process.session or "")
                groups.setdefault(key, []).append(process)
        runs = [self._run(key, roots) for key, roots in groups.items()]
        return sorted(runs, key=lambda run: run.started_ms)

    def _run(self, key: str, roots: list[Process]) -> Run:
        run = Run(key, sorted(roots, key=lambda root: root.started_ms or 0.0))
        for process in run.processes:
            process.children.sort(key=lambda child: child.started_ms or child.last_ms)
            name_it(process)
            session = process.session or ""
            run.tests += self._tests.get(session, [])
            run.calls += self._calls.get(session, [])
            run.dropped += self._dropped.get(session, Counter())
        return without_runner(run)


def take_session(process: Process, name: str, at: float, data: dict[str, Any], event: dict[str, Any]) -> None:
    """Enter what `session.start`, `.exit`, `.end`, `.resume` and `.lost` say."""
    if name == "session.start":
        process.facts = data
        process.pid, process.ppid = facts.whole(data.get("pid")), facts.whole(data.get("ppid"))
        process.command = facts.command_text(data.get("argv"))
        process.label = facts.command_text(data.get("argv"), is_short=True) or facts.clean(data.get("program"), 100)
        process.host = facts.clean(data.get("host"), 100) or None
        process.method = process.method or facts.clean(data.get("start_method"), 60)
        source = event.get("source")
        process.app = facts.clean(source.get("app"), 100) if isinstance(source, dict) else None
    elif name == "session.end":
        process.has_ended, process.ended_ms = True, at
        process.reason = facts.clean(data.get("reason"), 60)
        process.duration_ms = facts.number(data.get("duration_ms"))
        process.max_rss_bytes = facts.whole(data.get("max_rss_bytes"))
        code = facts.whole(data.get("exit_code"))
        process.exit_code = code if process.exit_code is None else process.exit_code
    elif name == "session.resume":
        process.has_ended, process.ended_ms = False, None
    elif name == "session.lost":
        process.is_lost, process.lost = True, data
        process.signal = process.signal or facts.signal_name(data.get("signal"))


def take_exit(child: Process, at: float, data: dict[str, Any]) -> None:
    """Enter what `process.exit` says of a child."""
    child.waited = data.get("waited") is not False
    if data.get("running") is True:
        return
    child.has_ended, child.ended_ms = True, at
    child.duration_ms = facts.number(data.get("duration_ms"))
    child.exit_code = facts.whole(data.get("exit_code"))
    child.signal = facts.signal_name(data.get("signal"))


def error_of(process: Process, name: str, at: float, data: dict[str, Any]) -> Error:
    """Return one error."""
    return Error(
        name=facts.clean(name, 200),
        message=facts.clean(data.get("message")),
        location=facts.clean(data.get("location"), 400),
        stack=facts.clean_lines(data.get("stack")),
        level=facts.clean(data.get("level"), 20) or "error",
        at_ms=at,
        fingerprint=fingerprint(name, data),
        process=process,
    )


def test_of(process: Process, at: float, data: dict[str, Any]) -> Test:
    """Return one test's result."""
    error = data.get("error")
    message = error.get("message") if isinstance(error, dict) else data.get("message") or error
    return Test(
        name=facts.clean(data.get("nodeid") or data.get("test"), 400),
        outcome=facts.clean(data.get("outcome"), 20),
        duration_ms=facts.number(data.get("duration_ms")) or 0.0,
        message=facts.clean(message),
        at_ms=at,
        process=process,
    )


def call_of(process: Process, name: str, at: float, data: dict[str, Any]) -> Call:
    """Return one call."""
    url = f"{data.get('host') or ''}{data.get('route') or data.get('path') or ''}"
    words = [data.get("method"), url, data.get("statement") or data.get("operation") or data.get("task")]
    what = " ".join(facts.clean(word, 300) for word in words if isinstance(word, str) and word)
    status = data.get("error") or data.get("status")
    return Call(
        name=facts.clean(name, 200),
        what=what,
        duration_ms=facts.number(data.get("duration_ms")) or 0.0,
        status=facts.clean(status, 60),
        at_ms=at,
        process=process,
    )


def attach(child: Process, parent: Process) -> None:
    """Put a process below another."""
    child.parent = parent
    parent.children.append(child)


def is_below(process: Process, other: Process) -> bool:
    """True when a process is the other one or below it."""
    above: Process | None = process
    while above is not None:
        if above is other:
            return True
        above = above.parent
    return False


def nearest(told: list[Process], session: Process) -> Process | None:
    """Return the told child that this session can be: the last that was started before it, within the clocks' slack."""
    start = session.started_ms
    if start is None:
        return told[0] if told else None
    fitting = [
        child
        for child in told
        if child.session is None
        and (child.started_ms is None or child.started_ms <= start + SLACK_MS)
        and (child.ended_ms is None or child.ended_ms >= start - SLACK_MS)
    ]
    return max(fitting, key=lambda child: child.started_ms or 0.0, default=None)


def merge(told: Process, session: Process) -> None:
    """Put the session in the place of what its parent has told of it. How it ended, the parent knows better."""
    parent = told.parent
    if parent is None or is_below(parent, session):
        return
    parent.children[parent.children.index(told)] = session
    session.parent = parent
    session.children += told.children
    for child in told.children:
        child.parent = session
    session.method = told.method or session.method
    session.waited, session.worker = told.waited, told.worker
    if told.started_ms is not None and session.started_ms is not None:
        session.started_ms = min(told.started_ms, session.started_ms)
    if told.has_ended:
        session.ended_ms, session.duration_ms = told.ended_ms, told.duration_ms or session.duration_ms
        session.has_ended = True
        session.signal = told.signal or session.signal
        if told.signal is None and told.exit_code is not None:
            session.exit_code = told.exit_code


def name_it(process: Process) -> None:
    """Give a process without a name one, and a duration where its times tell."""
    if process.duration_ms is None and process.started_ms is not None and process.ended_ms is not None:
        process.duration_ms = max(0.0, process.ended_ms - process.started_ms)
    if process.method in ("fork", "os.fork") and process.session and process.parent is not None:
        process.label = process.label or process.parent.label
    if process.worker and process.label and process.worker != process.label:
        process.label = f"{process.label} [{process.worker}]"
    process.label = process.label or (process.method and f"({process.method})") or "(unknown program)"

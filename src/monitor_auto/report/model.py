"""What a report is made of: a run, its processes, and what went wrong in them. Made by tree.py. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any


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
    attempt: int = 1
    is_failure: bool = False


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
    """One tree of processes; `roots` are several when what joins them has not been recorded. Of a test that was run
    again the last result is in `tests`, and in `flaky`, too, where it passed in the end.

    It is not changed once it is made: what is asked of it is looked up once.
    """

    key: str
    roots: list[Process]
    tests: list[Test] = field(default_factory=list)
    flaky: list[Test] = field(default_factory=list)
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
        return sorted((test for test in self.tests if test.is_failure), key=lambda test: test.at_ms)

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

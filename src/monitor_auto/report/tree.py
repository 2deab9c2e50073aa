"""From events to runs, and of each the tree of its processes with what went wrong in them. Pure.

Guarantees: any events make a model, in whatever order, twice or in part, with parents that are missing or their own
descendants. Every session is in one run, once, and every child process of a session too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from . import facts
from .entries import call_of, error_of, last_results, take_exit, take_session, test_of
from .joining import attach, is_below, merge, name_it, nearest
from .model import Call, Process, Run, Test

CALLS = ("http.client.request", "db.query", "http.server.request", "task.run")
"""What takes time elsewhere: the slowest are shown."""
RUNNER = "monitor-auto run"
"""What `monitor-auto run` calls itself in its `session.start`."""


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
                return build(own_events(process))[0]
    return None


def own_events(top: Process) -> Iterator[dict[str, Any]]:
    """Yield the events of a process and those below it; not what `without_runner` has added from above."""
    for _, process in top.walk():
        for event in process.events:
            if event["session"]["id"] == process.session:
                yield event


def without_runner(run: Run) -> Run:
    """Return a run of `monitor-auto run` with the command itself as its root: the runner is of no interest, and what it
    took off the output stays with the command.
    """
    if len(run.roots) == 1 and run.roots[0].facts.get("program") == RUNNER and run.roots[0].children:
        runner = run.roots[0]
        command = runner.children[0]
        command.events = [*runner.events, *command.events]
        command.errors += runner.errors
        return Run(run.key, runner.children, run.tests, run.flaky, run.calls, run.dropped)
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
            if not data.get("within"):  # what a test of a pytest plugin runs, and lets fail on purpose
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
            tests, flaky = last_results(self._tests.get(session, []))
            run.tests += tests
            run.flaky += flaky
            run.calls += self._calls.get(session, [])
            run.dropped += self._dropped.get(session, Counter())
        return without_runner(run)

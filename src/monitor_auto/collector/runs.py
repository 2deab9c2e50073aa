"""Sessions and the trees they make: what events say of them, kept beside the events. Runs in the writer's transaction.

Guarantees: a session's `root` is its parent's root where the parent is known, else the parent's id, else its own id. So
all of a tree share one root in whatever order they arrive.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ..report.facts import is_failure
from ..report.fingerprints import text_of
from .moments import milliseconds
from .rows import Row, text_or_none

PLAIN = ("program", "host", "start_method")
"""Fields of `session.start` that are taken as they are."""

UPSERT = """
INSERT INTO sessions (id, parent, root, trace, app, program, host, pid, start_method, started_ms, ended_ms, last_ms,
    reason, exit_code, signal, lost, events, errors, fatal, tests, failed_tests)
VALUES (:id, :parent, :root, :trace, :app, :program, :host, :pid, :start_method, :started_ms, :ended_ms, :last_ms,
    :reason, :exit_code, :signal, :lost, :events, :errors, :fatal, :tests, :failed_tests)
ON CONFLICT (id) DO UPDATE SET
    parent = coalesce(parent, excluded.parent), trace = coalesce(trace, excluded.trace),
    app = coalesce(excluded.app, app), program = coalesce(excluded.program, program),
    host = coalesce(excluded.host, host), pid = coalesce(excluded.pid, pid),
    start_method = coalesce(excluded.start_method, start_method),
    started_ms = min(coalesce(started_ms, excluded.started_ms), coalesce(excluded.started_ms, started_ms)),
    ended_ms = coalesce(excluded.ended_ms, ended_ms), last_ms = max(last_ms, excluded.last_ms),
    reason = coalesce(excluded.reason, reason), exit_code = coalesce(excluded.exit_code, exit_code),
    signal = coalesce(excluded.signal, signal), lost = max(lost, excluded.lost),
    events = events + excluded.events, errors = errors + excluded.errors, fatal = max(fatal, excluded.fatal),
    tests = tests + excluded.tests, failed_tests = failed_tests + excluded.failed_tests
"""


@dataclass
class Session:
    """What the events of one transaction say of a session."""

    id: str
    last_ms: int
    facts: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    said: dict[str, Any] = field(default_factory=dict)
    has_reruns: bool = False

    def know(self, facts: dict[str, Any]) -> None:
        """Take what is known of these."""
        self.facts.update({name: value for name, value in facts.items() if value is not None})

    def count(self, name: str, by: int = 1) -> None:
        """Add to one of the counters."""
        self.counts[name] = self.counts.get(name, 0) + by


def update(connection: sqlite3.Connection, rows: Iterable[Row]) -> set[str]:
    """Enter new events into the sessions; return the roots of the trees that have changed."""
    sessions: dict[str, Session] = {}
    for row in rows:
        if row.session is not None:
            take(sessions.setdefault(row.session, Session(row.session, row.at_ms)), row)
    return {save(connection, session) for session in sessions.values()}


def take(session: Session, row: Row) -> None:
    """Add one event to what is known of its session."""
    data = row.event.get("data") or {}
    session.last_ms = max(session.last_ms, row.at_ms)
    session.count("events")
    said = row.event["session"]
    if said != session.said or row.app != session.facts.get("app"):  # most events of a session say the same of it
        session.said = said
        session.know(of_header(row, said))
    if row.type == "error":
        session.count("errors")
        session.counts["fatal"] = max(session.counts.get("fatal", 0), int(row.level == "fatal"))
    elif row.name.startswith("session."):
        session.know(of_lifecycle(row, data))
    elif row.name == "test.result" and not data.get("within"):
        session.count("tests")
        session.count("failed_tests", int(is_failure(data)))
        session.has_reruns |= "attempt" in data


def of_header(row: Row, said: dict[str, Any]) -> dict[str, Any]:
    """Return what every event says of its session."""
    return {
        "parent": text_or_none(said.get("parent")),
        "trace": text_or_none(said.get("trace_id")),
        "app": row.app,
        "started_ms": milliseconds(said.get("started")),
    }


def of_lifecycle(row: Row, data: dict[str, Any]) -> dict[str, Any]:
    """Return what `session.start`, `.exit`, `.end` and `.lost` say."""
    if row.name == "session.start":
        return {name: text_or_none(data.get(name)) for name in PLAIN} | {"pid": whole(data.get("pid"))}
    if row.name == "session.end":
        return {"ended_ms": row.at_ms, "reason": text_of(data, "reason") or None} | code_of(data)
    if row.name == "session.lost":
        return {"lost": 1, "signal": text_or_none(data.get("signal")), "reason": "lost"}
    return {}


def code_of(data: dict[str, Any]) -> dict[str, Any]:
    """Return the exit code and the signal of an end, where it knows them."""
    return {"exit_code": whole(data.get("exit_code")), "signal": text_or_none(data.get("signal"))}


def whole(value: Any) -> int | None:
    """Return a number that SQLite can hold, or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63 else None


def save(connection: sqlite3.Connection, session: Session) -> str:
    """Write one session and return its root."""
    parent = session.facts.get("parent")
    own = connection.execute("SELECT root, parent FROM sessions WHERE id = ?", (session.id,)).fetchone()
    root = own["root"] if own and (own["parent"] or not parent) else root_below(connection, session.id, parent)
    empty = dict.fromkeys(("parent", "trace", "app", "pid", "started_ms", "ended_ms", "reason", "exit_code", "signal"))
    zero = dict.fromkeys(("lost", "events", "errors", "fatal", "tests", "failed_tests"), 0)
    names = dict.fromkeys(PLAIN)
    values = empty | names | zero | session.facts | session.counts
    connection.execute(UPSERT, values | {"id": session.id, "root": root, "last_ms": session.last_ms})
    if own is None or own["root"] != root:
        connection.execute("UPDATE sessions SET root = ? WHERE id = ?", (root, session.id))
        connection.execute("UPDATE sessions SET root = ? WHERE root = ? AND id != ?", (root, session.id, session.id))
    if session.has_reruns:
        count_tests(connection, session.id)
    return root


def count_tests(connection: sqlite3.Connection, session: str) -> None:
    """Count the tests of a session anew: of one that was run again the last result counts."""
    stored = connection.execute(
        "SELECT body FROM events WHERE session = ? AND name = 'test.result' ORDER BY seq", (session,)
    )
    last: dict[tuple[str, int], dict[str, Any]] = {}
    runs: Counter[str] = Counter()
    for (body,) in stored:
        data = json.loads(body).get("data") or {}
        if not data.get("within"):
            name = text_of(data, "nodeid")
            runs[name] += "attempt" not in data  # a test that is run twice on purpose is two results
            last[name, runs[name]] = data
    counts = (len(last), sum(map(is_failure, last.values())), session)
    connection.execute("UPDATE sessions SET tests = ?, failed_tests = ? WHERE id = ?", counts)


def root_below(connection: sqlite3.Connection, session: str, parent: str | None) -> str:
    """Return the root for a session with this parent."""
    if parent is None or parent == session:
        return session
    found = connection.execute("SELECT root FROM sessions WHERE id = ?", (parent,)).fetchone()
    root = found["root"] if found else parent
    return session if root == session else str(root)

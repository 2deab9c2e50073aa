"""Stored rows as they are told. Pure, but for looking up what belongs to a row."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from .moments import time_text


def event_of(row: sqlite3.Row) -> dict[str, Any]:
    """Return a stored event with what we know beside it."""
    event: dict[str, Any] = json.loads(row["body"])
    event["seq"] = row["seq"]
    event["received_at"] = time_text(row["received_ms"])
    if row["drift_ms"] is not None:
        event["clock_drift_ms"] = row["drift_ms"]
    return event


def session_of(row: sqlite3.Row) -> dict[str, Any]:
    """Return a session with its outcome."""
    facts = with_texts(dict(row), "started", "ended", "last", source="_ms")
    facts["outcome"] = outcome_of(row)
    return facts


def outcome_of(row: sqlite3.Row) -> str:
    """Return how a session ended: ok, failed, lost, or open (it runs, or nobody has said yet that it ended)."""
    if row["lost"]:
        return "lost"
    if row["ended_ms"] is None:
        return "open"
    return "failed" if row["exit_code"] or row["signal"] or row["fatal"] or row["reason"] == "exception" else "ok"


def run_of(connection: sqlite3.Connection, row: sqlite3.Row) -> dict[str, Any]:
    """Return one line of the list of runs: the root session's own facts and the sums over the tree."""
    facts = with_texts(dict(row), "started", "last", source="_ms")
    root = connection.execute(
        "SELECT * FROM sessions WHERE root = ? ORDER BY id = ? DESC, started_ms LIMIT 1", (row["root"], row["root"])
    ).fetchone()
    facts["failed"] = connection.execute(
        """SELECT count(*) FROM sessions WHERE root = ? AND (lost OR fatal OR exit_code != 0 OR signal IS NOT NULL
        OR reason = 'exception')""",
        (row["root"],),
    ).fetchone()[0]
    own = {name: root[name] for name in ("app", "program", "host", "pid", "exit_code", "signal", "reason", "trace")}
    return {**facts, **own, "outcome": outcome_of(root), "duration_ms": row["last_ms"] - row["started_ms"]}


def error_of(row: sqlite3.Row) -> dict[str, Any]:
    """Return a group of errors."""
    facts = with_texts(dict(row), "first", "last", source="_ms")
    facts["first_seen"], facts["last_seen"] = facts.pop("first"), facts.pop("last")
    del facts["sessions"]
    return facts


def last_named(connection: sqlite3.Connection, session: str, name: str) -> dict[str, Any] | None:
    """Return the last event of a name in a session."""
    row = connection.execute(
        "SELECT seq, body, received_ms, drift_ms FROM events WHERE session = ? AND name = ? ORDER BY seq DESC LIMIT 1",
        (session, name),
    ).fetchone()
    return event_of(row) if row else None


def with_texts(facts: dict[str, Any], *names: str, source: str = "") -> dict[str, Any]:
    """Return the facts with these times as texts beside the milliseconds (`source` is the suffix of those)."""
    return {**facts, **{name: time_text(facts[name + source]) for name in names}}

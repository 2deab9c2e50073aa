"""The questions that are asked of the tables. Runs on the server's worker threads, each question on a connection of its
own that cannot write and is stopped when it takes too long.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from ..report.facts import PASSING
from . import schema
from .facts import error_of, event_of, last_named, run_of, session_of, with_texts
from .pruning import size_in_use
from .questions import BadQuestion, filter_of, limit_of, runs_wanted
from .rows import TYPES

MAX_SECONDS = 5.0
"""For one question. A search through everything takes longer when there are millions of events."""
STEPS = 20_000
"""Virtual machine steps of SQLite between two looks at the clock."""
MAX_TREE_EVENTS = 5_000
MAX_POINTS = 2_000
TEST = "json_extract(body, '$.data.{}')"
TOOK = TEST.format("duration_ms")
FAILED = f"""coalesce({TEST.format("outcome")}, '') NOT IN ({", ".join(map(repr, PASSING))})
    AND NOT ({TEST.format("outcome")} = 'xpassed' AND coalesce({TEST.format("library")}, '') = 'pytest')"""
"""`report.facts.is_failure` as SQL."""
LAST_ATTEMPTS = f"""WITH again AS (
    SELECT session AS whose, {TEST.format("nodeid")} AS test, max({TEST.format("attempt")}) AS attempts
    FROM events{{clause}} AND {TEST.format("attempt")} > 1 GROUP BY 1, 2
) SELECT seq, body, received_ms, drift_ms FROM events"""
COUNTS = f"""{TEST.format("within")} IS NULL AND NOT EXISTS (SELECT 1 FROM again WHERE whose = session
    AND test = {TEST.format("nodeid")} AND attempts > coalesce({TEST.format("attempt")}, 1))"""
GROUPS = {"name": "name", "type": "type", "app": "app", "fingerprint": "fingerprint"}


class TooSlow(Exception):
    """The question took longer than MAX_SECONDS."""


class Reader:
    """Answers questions; may be used from several threads at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: SimpleQueue[sqlite3.Connection] = SimpleQueue()

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection for one question. Raises TooSlow when its time is over."""
        try:
            lent = self._idle.get_nowait()
        except Empty:
            lent = schema.connect(self._path, is_reader=True)
        deadline = time.monotonic() + MAX_SECONDS
        lent.set_progress_handler(lambda: int(time.monotonic() > deadline), STEPS)
        try:
            lent.execute("BEGIN")  # one state of the tables for all parts of the answer
            yield lent
        except sqlite3.OperationalError as error:
            if "interrupted" in str(error):
                raise TooSlow(
                    f"No answer within {MAX_SECONDS:.0f} s; ask for less, e.g. with from, type or name."
                ) from None
            raise
        finally:
            lent.set_progress_handler(None, 0)
            lent.execute("ROLLBACK")
            self._idle.put(lent)

    def close(self) -> None:
        """Close what is not lent."""
        while True:
            try:
                self._idle.get_nowait().close()
            except Empty:
                return

    def events(self, asked: dict[str, str]) -> dict[str, Any]:
        """Return a page of events, newest first, and where the next page begins (None: there is none)."""
        limit = limit_of(asked, 100)
        wanted = filter_of(asked)
        values = [*wanted.values, limit + 1]
        with self.connection() as connection:
            rows = connection.execute(
                f"SELECT seq, body, received_ms, drift_ms FROM events{wanted.clause} ORDER BY seq DESC LIMIT ?", values
            ).fetchall()
        more = len(rows) > limit
        return {
            "events": [event_of(row) for row in rows[:limit]],
            "next_cursor": str(rows[limit - 1]["seq"]) if more else None,
        }

    def summary(self, asked: dict[str, str]) -> dict[str, Any]:
        """Count events by one of their properties, the most frequent first."""
        by = asked.get("group_by", "name")
        if by not in GROUPS:
            raise BadQuestion("group_by", f"group_by is one of {', '.join(GROUPS)}.")
        wanted = filter_of(asked)
        with self.connection() as connection:
            rows = connection.execute(
                f"SELECT {GROUPS[by]} AS key, count(*) AS count, min(at_ms) AS first, max(at_ms) AS last"
                f" FROM events{wanted.clause} GROUP BY 1 ORDER BY count DESC, key LIMIT ?",
                [*wanted.values, limit_of(asked, 100)],
            ).fetchall()
        groups = [{by: row["key"], "count": row["count"], "first": row["first"], "last": row["last"]} for row in rows]
        return {"group_by": by, "groups": [with_texts(group, "first", "last") for group in groups]}

    def runs(self, asked: dict[str, str]) -> dict[str, Any]:
        """Return a page of runs (trees of sessions), the newest first. `q` looks for a program, an app or a host of any
        session of the run, `outcome` is that of the run.
        """
        limit, having, values = limit_of(asked, 50), *runs_wanted(asked)
        with self.connection() as connection:
            rows = connection.execute(
                f"""SELECT root, min(coalesce(started_ms, last_ms)) AS started_ms, max(last_ms) AS last_ms,
                    count(*) AS sessions, sum(events) AS events, sum(errors) AS errors, sum(lost) AS lost,
                    sum(tests) AS tests, sum(failed_tests) AS failed_tests,
                    sum(ended_ms IS NULL AND lost = 0) AS open
                FROM sessions GROUP BY root {having} ORDER BY 2 DESC, root DESC LIMIT ?""",
                [*values, limit + 1],
            ).fetchall()
            runs = [run_of(connection, row) for row in rows[:limit]]
        last = rows[limit - 1] if len(rows) > limit else None
        return {"runs": runs, "next_cursor": f"{last['started_ms']}-{last['root']}" if last else None}

    def run(self, session: str) -> dict[str, Any] | None:
        """Return the whole tree that a session belongs to: its sessions, its processes, and the events beside them.

        Of more events than MAX_TREE_EVENTS the errors and the lifecycle come first: without them there is no tree.
        """
        with self.connection() as connection:
            found = connection.execute("SELECT root FROM sessions WHERE id = ?", (session,)).fetchone()
            root = found["root"] if found else session
            sessions = connection.execute(
                "SELECT * FROM sessions WHERE root = ? ORDER BY started_ms", (root,)
            ).fetchall()
            if not sessions:
                return None
            events = connection.execute(
                """SELECT seq, at_ms, body, received_ms, drift_ms FROM events
                WHERE session IN (SELECT id FROM sessions WHERE root = ?)
                ORDER BY type NOT IN ('error', 'lifecycle'), at_ms, seq LIMIT ?""",
                (root, MAX_TREE_EVENTS + 1),
            ).fetchall()
        shown = sorted(events[:MAX_TREE_EVENTS], key=lambda row: (row["at_ms"], row["seq"]))
        return {
            "root": root,
            "sessions": [session_of(row) for row in sessions],
            "events": [event_of(row) for row in shown],
            "is_complete": len(events) <= MAX_TREE_EVENTS,
        }

    def errors(self, asked: dict[str, str]) -> dict[str, Any]:
        """Return errors grouped by fingerprint, those seen last first."""
        text = asked.get("q", "")
        with self.connection() as connection:
            rows = connection.execute(
                """SELECT * FROM errors
                WHERE ? = '' OR instr(lower(name || ' ' || message || ' ' || location), lower(?))
                ORDER BY last_ms DESC LIMIT ?""",
                (text, text, limit_of(asked, 100)),
            ).fetchall()
        return {"errors": [error_of(row) for row in rows]}

    def error(self, fingerprint: str) -> dict[str, Any] | None:
        """Return one group of errors with its last occurrences, the newest first."""
        with self.connection() as connection:
            row = connection.execute("SELECT * FROM errors WHERE fingerprint = ?", (fingerprint,)).fetchone()
            if row is None:
                return None
            events = connection.execute(
                """SELECT seq, at_ms, body, received_ms, drift_ms FROM events WHERE fingerprint = ?
                ORDER BY seq DESC LIMIT 20""",
                (fingerprint,),
            ).fetchall()
        last_first = sorted(events, key=lambda event: (event["at_ms"], event["seq"]), reverse=True)
        return {**error_of(row), "occurrences": [event_of(event) for event in last_first]}

    def lost(self, asked: dict[str, str]) -> dict[str, Any]:
        """Return sessions that vanished without an end, the newest first."""
        with self.connection() as connection:
            rows = connection.execute(
                "SELECT * FROM sessions WHERE lost = 1 ORDER BY last_ms DESC LIMIT ?", (limit_of(asked, 100),)
            ).fetchall()
            reports = {row["id"]: last_named(connection, row["id"], "session.lost") for row in rows}
        return {"sessions": [{**session_of(row), "report": reports[row["id"]]} for row in rows]}

    def metric_names(self, asked: dict[str, str]) -> dict[str, Any]:
        """Return which metrics there are, for which sessions; the most measured first."""
        with self.connection() as connection:
            rows = connection.execute(
                """SELECT measured.*, program, app, host, pid FROM (
                    SELECT name, session, count(*) AS count, min(at_ms) AS first, max(at_ms) AS last FROM events
                    WHERE type = 'metric' AND (? = '' OR session = ?) GROUP BY name, session
                ) AS measured LEFT JOIN sessions ON sessions.id = session
                ORDER BY last DESC, name LIMIT ?""",
                (asked.get("session", ""), asked.get("session", ""), limit_of(asked, 200)),
            ).fetchall()
        return {"metrics": [with_texts(dict(row), "first", "last") for row in rows]}

    def metric(self, name: str, asked: dict[str, str]) -> dict[str, Any]:
        """Return the numbers of one metric over time: every numeric field of its data is a series."""
        wanted = filter_of({**asked, "name": name, "type": "metric"})
        with self.connection() as connection:
            rows = connection.execute(
                f"SELECT at_ms, body FROM events{wanted.clause} ORDER BY seq DESC LIMIT ?", [*wanted.values, MAX_POINTS]
            ).fetchall()
        series: dict[str, list[list[float]]] = {}
        for row in reversed(rows):
            for field, value in (json.loads(row["body"]).get("data") or {}).items():
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    series.setdefault(field, []).append([row["at_ms"], value])
        return {"name": name, "series": series}

    def tests(self, asked: dict[str, str]) -> dict[str, Any]:
        """Return test results: those that failed, and the slowest, each newest or slowest first. Of a test that was run
        again the last result, and none of tests that run within a test.
        """
        wanted = filter_of({**asked, "name": "test.result"})
        counting = f"{LAST_ATTEMPTS.format(clause=wanted.clause)} {wanted.clause} AND {COUNTS}"
        values = [*wanted.values, *wanted.values, limit_of(asked, 100)]
        with self.connection() as connection:
            failed = connection.execute(f"{counting} AND {FAILED} ORDER BY seq DESC LIMIT ?", values).fetchall()
            slow = connection.execute(
                f"{counting} ORDER BY {TEST.format('duration_ms')} DESC LIMIT ?", values
            ).fetchall()
        return {"failed": [event_of(row) for row in failed], "slow": [event_of(row) for row in slow]}

    def totals(self) -> dict[str, int]:
        """Return how many events there are and how many bytes they take; both from the database's own bookkeeping."""
        with self.connection() as connection:
            first, last = connection.execute(
                "SELECT (SELECT min(seq) FROM events), (SELECT max(seq) FROM events)"
            ).fetchone()
            return {
                "total_events": 0 if last is None else last - first + 1,
                "storage_bytes": size_in_use(connection),
            }

    def by_type(self) -> dict[str, int]:
        """Count the events of each type."""
        with self.connection() as connection:
            counted = dict(connection.execute("SELECT type, count(*) FROM events GROUP BY type").fetchall())
        return {name: counted.get(name, 0) for name in TYPES}

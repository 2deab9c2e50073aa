"""The one writer. Requests hand it their events and get their answer when those are committed.

Guarantees:
- What was answered with success is committed; a `kill -9` loses none of it.
- One thread writes, all that waits goes into one transaction, so that many small batches cost one commit.
- A repeat, by `event_id`, is stored once and answered like a new one.
- What waits is bounded (Busy beyond that), and deleting the oldest is done in small steps between the commits.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from pathlib import Path

from ..report.fingerprints import text_of
from . import runs, schema
from .pruning import Retention, delete_until, last_to_go
from .rows import Row

MAX_WAITING_EVENTS = 100_000
MAX_WAITING_BYTES = 64 << 20
MAX_COMMIT_EVENTS = 20_000
PRUNE_SECONDS = 5.0
"""How often age and size are looked at."""
RECENT_DELETIONS_PAGES = 500

INSERT_ROWS = 200
"""In one statement: SQLite takes the interpreter's lock once for it instead of once a row, so that requests are read
meanwhile (12,000 events a second instead of 6,500 on two busy cores)."""
COLUMNS = (
    "event_id", "type", "name", "app", "at_ms", "received_ms", "drift_ms", "session", "trace", "level", "fingerprint",
    "body",
)  # fmt: skip
values_of = attrgetter(*COLUMNS)
UPSERT_ERROR = """
INSERT INTO errors (fingerprint, name, message, location, level, count, first_ms, last_ms, last_seq)
VALUES (?, ?, ?, ?, ?, 1, ?, ?, ?)
ON CONFLICT (fingerprint) DO UPDATE SET
    count = count + 1, first_ms = min(first_ms, excluded.first_ms),
    message = CASE WHEN excluded.last_ms >= last_ms THEN excluded.message ELSE message END,
    location = CASE WHEN excluded.last_ms >= last_ms THEN excluded.location ELSE location END,
    last_seq = CASE WHEN excluded.last_ms >= last_ms THEN excluded.last_seq ELSE last_seq END,
    last_ms = max(last_ms, excluded.last_ms)
"""


class Busy(Exception):
    """More waits than the writer can take now; try again in a moment."""


class Failed(Exception):
    """The events could not be committed (a full disk, a locked or damaged database); the message says why."""


@dataclass(frozen=True)
class Committed:
    """What a transaction has changed: new events (with their `seq`), and the trees that they belong to."""

    events: list[tuple[int, Row]]
    roots: set[str]


@dataclass
class Counters:
    """What the writer has done since the start; for /metrics."""

    stored: int = 0
    repeated: int = 0
    pruned: int = 0
    commits: int = 0
    failures: int = 0


class Store:
    """The database, and the thread that writes to it. `on_commit` is called in that thread after each commit."""

    def __init__(self, path: Path, retention: Retention, on_commit: Callable[[Committed], None]) -> None:
        schema.create(path)
        self.path = path
        self.counters = Counters()
        self._retention = retention
        self._on_commit = on_commit
        self._queue: queue.SimpleQueue[tuple[list[Row], Future[int]] | None] = queue.SimpleQueue()
        self._waiting = self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._next_prune = time.monotonic() + PRUNE_SECONDS
        self._connection = schema.connect(path)
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
        self._thread.start()

    def submit(self, rows: list[Row]) -> Future[int]:
        """Hand over events. The future gives how many were new, once they are committed. Raises Busy."""
        future: Future[int] = Future()
        size = size_of(rows)
        with self._lock:
            is_much = self._waiting + len(rows) > MAX_WAITING_EVENTS or self._waiting_bytes + size > MAX_WAITING_BYTES
            if self._waiting and is_much:
                raise Busy
            self._waiting += len(rows)
            self._waiting_bytes += size
        self._queue.put((rows, future))
        return future

    def close(self) -> None:
        """Commit what waits and end the thread."""
        self._queue.put(None)
        self._thread.join()
        self._connection.close()

    def _work(self) -> None:
        while True:
            wanted = self._next()
            if wanted is None:
                return
            if wanted:
                self._commit(wanted)
            if time.monotonic() >= self._next_prune:
                self._prune()

    def _next(self) -> list[tuple[list[Row], Future[int]]] | None:
        """Wait for work and return all of it, up to one transaction's worth; None at the end, [] when there is none."""
        taken: list[tuple[list[Row], Future[int]]] = []
        count = 0
        try:
            item = self._queue.get(timeout=max(0.0, self._next_prune - time.monotonic()))
            while item is not None:
                taken.append(item)
                count += len(item[0])
                if count >= MAX_COMMIT_EVENTS:
                    return taken
                item = self._queue.get_nowait()
        except queue.Empty:
            return taken
        if taken:
            self._queue.put(None)  # the end comes after what was before it
            return taken
        return None

    def _commit(self, taken: list[tuple[list[Row], Future[int]]]) -> None:
        rows = [row for part, _ in taken for row in part]
        try:
            committed = self._write(rows)
        except sqlite3.Error as error:
            self.counters.failures += 1
            failure = Failed(str(error))
            for _, future in taken:
                future.set_exception(failure)
        else:
            new = {id(row) for _, row in committed.events}
            for part, future in taken:
                future.set_result(sum(id(row) in new for row in part))
            self._on_commit(committed)
        finally:
            with self._lock:
                self._waiting -= len(rows)
                self._waiting_bytes -= size_of(rows)

    def _write(self, rows: list[Row]) -> Committed:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            stored = insert(connection, rows)
            for seq, row in stored:
                if row.fingerprint is not None:
                    count_error(connection, seq, row)
            roots = runs.update(connection, [row for _, row in stored])
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self.counters.commits += 1
        self.counters.stored += len(stored)
        self.counters.repeated += len(rows) - len(stored)
        return Committed(stored, roots)

    def _prune(self) -> None:
        """Delete a step's worth of what is too old or too much. Where there is more, the next step comes at once."""
        self._next_prune = time.monotonic() + PRUNE_SECONDS
        try:
            seq = last_to_go(self._connection, self._retention, time.time() * 1000)
            if seq:
                self.counters.pruned += delete_until(self._connection, seq)
                self._next_prune = time.monotonic() + 0.05
            self._connection.execute(f"PRAGMA incremental_vacuum({RECENT_DELETIONS_PAGES})").fetchall()
        except sqlite3.Error:
            self.counters.failures += 1


def size_of(rows: list[Row]) -> int:
    """Return the bytes of events."""
    return sum([len(row.body) for row in rows])


def insert(connection: sqlite3.Connection, rows: list[Row]) -> list[tuple[int, Row]]:
    """Store events; return those that were new with their `seq`."""
    stored: list[tuple[int, Row]] = []
    for start in range(0, len(rows), INSERT_ROWS):
        part = rows[start : start + INSERT_ROWS]
        before = connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0]
        cursor = connection.execute(insertion(len(part)), list(chain.from_iterable(map(values_of, part))))
        if cursor.rowcount == len(part):
            found = connection.execute("SELECT max(seq) FROM events").fetchone()[0]
            stored += zip(range(found - len(part) + 1, found + 1), part, strict=True)
        else:
            stored += matched(connection.execute("SELECT seq, event_id FROM events WHERE seq > ?", (before,)), part)
    return stored


@lru_cache(INSERT_ROWS)
def insertion(count: int) -> str:
    """Return the statement that stores so many events and passes over repeats."""
    values = ", ".join([f"({', '.join('?' * len(COLUMNS))})"] * count)
    return f"INSERT OR IGNORE INTO events ({', '.join(COLUMNS)}) VALUES {values}"


def matched(new: Iterable[tuple[int, str | None]], rows: list[Row]) -> Iterator[tuple[int, Row]]:
    """Yield the rows that were stored, with their `seq`: they were numbered in their order, repeats left out."""
    stored = iter(new)
    seq, event_id = next(stored, (0, ""))
    for row in rows:
        if seq and row.event_id == event_id:
            yield seq, row
            seq, event_id = next(stored, (0, ""))


def count_error(connection: sqlite3.Connection, seq: int, row: Row) -> None:
    """Enter one error into its group."""
    data = row.event.get("data") or {}
    message, location = text_of(data, "message")[:2000], text_of(data, "location")[:500]
    texts = [text.encode("utf-8", "replace").decode() for text in (message, location)]
    connection.execute(UPSERT_ERROR, (row.fingerprint, row.name, *texts, row.level, row.at_ms, row.at_ms, seq))

"""Deleting what is too old or too much, in steps between which the writer stores what has come meanwhile."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

PRUNE_EVENTS = 2_000
PRUNE_BYTES = 4 << 20
"""Deleted in one step, whichever comes first: about 20 ms, in which nobody is answered."""


@dataclass(frozen=True)
class Retention:
    """How long and how much is kept. 0: no limit."""

    seconds: float
    size_bytes: int


def last_to_go(connection: sqlite3.Connection, retention: Retention, now_ms: float) -> int:
    """Return the `seq` up to which events are to be deleted in this step; 0 for none."""
    surplus = size_in_use(connection) - retention.size_bytes
    if retention.size_bytes and surplus > 0:
        return last_of_surplus(connection, surplus)
    return last_of_age(connection, now_ms - retention.seconds * 1000) if retention.seconds else 0


def last_of_surplus(connection: sqlite3.Connection, surplus: int) -> int:
    """Return the last of the oldest events that make up so many bytes, or one step."""
    last = size = 0
    for seq, length in connection.execute("SELECT seq, length(body) FROM events ORDER BY seq LIMIT ?", (PRUNE_EVENTS,)):
        last, size = seq, size + length
        if size >= min(surplus, PRUNE_BYTES):
            break
    return int(last)


def last_of_age(connection: sqlite3.Connection, limit_ms: float) -> int:
    """Return the last of the oldest events that were received before a time, at most one step."""
    last = size = 0
    for seq, received_ms, length in connection.execute(
        "SELECT seq, received_ms, length(body) FROM events ORDER BY seq LIMIT ?", (PRUNE_EVENTS,)
    ):
        if received_ms >= limit_ms or size >= PRUNE_BYTES:
            break
        last, size = seq, size + length
    return int(last)


def size_in_use(connection: sqlite3.Connection) -> int:
    """Return the bytes of pages that hold something."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def delete_until(connection: sqlite3.Connection, seq: int) -> int:
    """Delete the events up to `seq`, and the sessions and errors of which nothing is left. Returns how many events."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        touched = connection.execute(
            "SELECT DISTINCT session, fingerprint FROM events WHERE seq <= ?",
            (seq,),
        ).fetchall()
        count = connection.execute("DELETE FROM events WHERE seq <= ?", (seq,)).rowcount
        for session, fingerprint in touched:
            forget_empty(connection, session, fingerprint)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return int(count)


def forget_empty(connection: sqlite3.Connection, session: str | None, fingerprint: str | None) -> None:
    """Delete a session and an error group that have no event left."""
    for table, key, column, value in (
        ("sessions", "id", "session", session),
        ("errors", "fingerprint", "fingerprint", fingerprint),
    ):
        connection.execute(
            f"DELETE FROM {table} WHERE {key} = ? AND NOT EXISTS (SELECT 1 FROM events WHERE {column} = ?)",
            (value, value),
        )

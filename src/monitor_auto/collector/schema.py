"""The tables, and how a connection to them is made.

Guarantees: the file is the user's alone (0600 in a folder of 0700). Write-ahead logging with `synchronous=NORMAL`: what
is committed survives any death of the process; a power cut may lose the last commits (sqlite.org/pragma.html).
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

VERSION = 1

TABLES = """
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT UNIQUE,
    type TEXT NOT NULL, name TEXT NOT NULL, app TEXT,
    at_ms INTEGER NOT NULL, received_ms INTEGER NOT NULL, drift_ms INTEGER,
    session TEXT, trace TEXT, level TEXT, fingerprint TEXT,
    body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_session ON events (session, seq) WHERE session IS NOT NULL;
CREATE INDEX IF NOT EXISTS events_name ON events (name, seq);
CREATE INDEX IF NOT EXISTS events_trace ON events (trace, seq) WHERE trace IS NOT NULL;
CREATE INDEX IF NOT EXISTS events_fingerprint ON events (fingerprint, seq) WHERE fingerprint IS NOT NULL;
CREATE INDEX IF NOT EXISTS events_at ON events (at_ms);
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY,
    parent TEXT, root TEXT NOT NULL, trace TEXT,
    app TEXT, program TEXT, host TEXT, pid INTEGER, start_method TEXT,
    started_ms INTEGER, ended_ms INTEGER, last_ms INTEGER NOT NULL,
    reason TEXT, exit_code INTEGER, signal TEXT, lost INTEGER NOT NULL DEFAULT 0,
    events INTEGER NOT NULL DEFAULT 0, errors INTEGER NOT NULL DEFAULT 0, fatal INTEGER NOT NULL DEFAULT 0,
    tests INTEGER NOT NULL DEFAULT 0, failed_tests INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS sessions_root ON sessions (root);
CREATE INDEX IF NOT EXISTS sessions_parent ON sessions (parent) WHERE parent IS NOT NULL;
CREATE INDEX IF NOT EXISTS sessions_started ON sessions (started_ms);
CREATE TABLE IF NOT EXISTS errors (
    fingerprint TEXT PRIMARY KEY,
    name TEXT NOT NULL, message TEXT, location TEXT, level TEXT,
    count INTEGER NOT NULL, sessions INTEGER NOT NULL DEFAULT 0,
    first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, last_seq INTEGER
);
CREATE INDEX IF NOT EXISTS errors_last ON errors (last_ms);
"""


class Unusable(Exception):
    """The database cannot be used; the message says why and what to do."""


def create(path: Path) -> None:
    """Make the database, or check that it is one of ours. Raises Unusable."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = connect(path)
    except (OSError, sqlite3.Error) as error:
        raise Unusable(f"{path} cannot be opened: {error}. Name another place with --database.") from None
    try:
        set_up(connection, path)
    except sqlite3.Error as error:
        raise Unusable(f"{path} is not a database of this collector: {error}. Move it away and start again.") from None
    finally:
        connection.close()


def set_up(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables of an empty database. Raises Unusable for one of another version."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if version not in (0, VERSION) or (version == 0 and tables):
        raise Unusable(f"{path} was made by something else (version {version}). Name another place with --database.")
    if not tables:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # has to be said before the first table
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(TABLES)
    connection.execute(f"PRAGMA user_version = {VERSION}")


def connect(path: Path, is_reader: bool = False) -> sqlite3.Connection:
    """Open a connection; a reader's cannot write. It may be handed from thread to thread, one at a time."""
    connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA cache_size = -{16_000 if is_reader else 64_000}")  # KiB
    if is_reader:
        connection.execute("PRAGMA query_only = ON")
    return connection

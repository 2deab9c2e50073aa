"""Makes spools of the kinds that machines really have: full, old, crowded, left by the dead, copied."""

import json
import os
import re
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SOURCE = {"sdk": "python", "app": "made.py", "platform": "linux"}


def key_of(endpoint: str) -> str:
    """Return the 16 hex digits that an endpoint's files begin with: its bytes as a number, modulo a prime."""
    return f"{int(endpoint.encode().hex(), 16) % (2**64 - 59):016x}"


def session_id(at: float | None = None) -> str:
    """Return a new UUIDv7 of a time in Unix seconds (default: now)."""
    noise = uuid.uuid4().hex
    clock = f"{int((time.time() if at is None else at) * 1000):012x}"
    return f"{clock[:8]}-{clock[8:]}-7{noise[13:16]}-{noise[16:20]}-{noise[20:]}"


def event(session: str, number: int, name: str = "work.number", kind: str = "event", **data: Any) -> dict[str, Any]:
    """Return an event as a session writes it."""
    return {
        "v": 1,
        "type": kind,
        "name": name,
        "timestamp": "2026-11-23T18:16:00.123+08:00",
        "event_id": f"{session}-{number}",
        "source": SOURCE,
        "session": {"id": session, "started": "2026-11-23T18:15:59.871+08:00"},
        "data": {"number": number, **data},
    }


def ended(session: str, number: int) -> dict[str, Any]:
    """Return the event that ends a session."""
    return event(session, number, "session.end", "lifecycle", reason="return")


def lines(events: Iterable[dict[str, Any]]) -> bytes:
    """Return events as the lines of a segment."""
    return b"".join(json.dumps(item, separators=(",", ":")).encode() + b"\n" for item in events)


def header(endpoint: str, session: str, inode: int, number: int = 0, **more: Any) -> bytes:
    """Return the first line of a segment."""
    facts: dict[str, Any] = {"monitor_auto_segment": 1, "endpoint": endpoint, "session": session, "parent": None}
    facts.update(tree=session[-12:], number=number, inode=inode, machine="", boot="", pid=4242, started="")
    return json.dumps({**facts, **more}, separators=(",", ":")).encode() + b"\n"


def write_segment(
    spool: Path, endpoint: str, session: str, body: bytes, number: int = 0, tree: str = "", **more: Any
) -> Path:
    """Write a segment of a dead session, with its lock file, and return its path."""
    base = f"{key_of(endpoint)}.{tree or session[-12:]}.{session}"
    (spool / f"{base}.live").touch(0o600)
    path = spool / f"{base}.{number}.jsonl"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as segment:
        segment.write(header(endpoint, session, os.fstat(segment.fileno()).st_ino, number, **more) + body)
    return path


def write_session(spool: Path, endpoint: str, count: int = 3, at: float | None = None, is_ended: bool = True) -> str:
    """Write a dead session with `count` numbered events and return its id."""
    session = session_id(at)
    events = [event(session, number) for number in range(count)]
    write_segment(spool, endpoint, session, lines([*events, ended(session, count)] if is_ended else events))
    return session


def forget_boot(spool: Path) -> None:
    """Make all segments look as of another boot of the machine: what is of this one is no older than that."""
    for path in spool.glob("*.*.jsonl"):
        facts = path.stat()
        with path.open("r+b") as file:
            header = file.readline()
            file.seek(0)
            file.write(re.sub(rb'"boot":"[^"]{36}"', b'"boot":"%s"' % str(uuid.uuid4()).encode(), header))
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))

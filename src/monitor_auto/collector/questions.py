"""What is asked: the parameters of a question, checked, as parts of an SQL statement. Pure.

Guarantees: no text of a request becomes SQL; it is bound as a value.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from .moments import milliseconds
from .rows import TYPES

MAX_LIMIT = 1000
OUTCOMES = ("ok", "failed", "lost", "open")
OUTCOME = """CASE WHEN lost THEN 'lost' WHEN ended_ms IS NULL THEN 'open'
    WHEN coalesce(exit_code, 0) != 0 OR signal IS NOT NULL OR fatal OR reason = 'exception' THEN 'failed'
    ELSE 'ok' END"""
"""`outcome_of` as SQL."""


class BadQuestion(Exception):
    """A parameter cannot be used. `field` is its name."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


@dataclass(frozen=True)
class Filter:
    """A WHERE clause and its values."""

    clause: str
    values: list[Any]


def filter_of(asked: dict[str, str]) -> Filter:
    """Return what the parameters of a question select. Raises BadQuestion."""
    parts: list[str] = []
    values: list[Any] = []

    def add(part: str, *given: Any) -> None:
        parts.append(part)
        values.extend(given)

    if asked.get("type"):
        if asked["type"] not in TYPES:
            raise BadQuestion("type", f"type is one of {', '.join(TYPES)}.")
        add("type = ?", asked["type"])
    if asked.get("name"):
        add("name GLOB ?" if "*" in asked["name"] else "name = ?", glob_of(asked["name"]))
    for field in ("session", "trace", "app", "fingerprint"):
        if asked.get(field):
            add(f"{field} = ?", asked[field])
    for field, sign in (("from", ">="), ("to", "<")):
        if asked.get(field):
            add(f"at_ms {sign} ?", moment_of(asked, field))
    if asked.get("q"):
        add("instr(lower(body), lower(?))", escaped(asked["q"]))
    cursor = number_of(asked, "cursor")
    if cursor is not None:
        add("seq < ?", cursor)
    after = number_of(asked, "after")
    if after is not None:
        add("seq > ?", after)
    return Filter(f" WHERE {' AND '.join(parts)}" if parts else "", values)


def runs_wanted(asked: dict[str, str]) -> tuple[str, list[Any]]:
    """Return a HAVING clause over the sessions of a root, and its values. Raises BadQuestion."""
    parts: list[str] = []
    values: list[Any] = []
    if asked.get("q"):
        parts.append(
            "max(instr(lower(coalesce(program, '') || ' ' || coalesce(app, '') || ' ' || coalesce(host, '')), ?))"
        )
        values.append(asked["q"].lower())
    if asked.get("outcome"):
        if asked["outcome"] not in OUTCOMES:
            raise BadQuestion("outcome", f"outcome is one of {', '.join(OUTCOMES)}.")
        # The root's own; where nothing is known of it, that of its first child, as in the list.
        own = f"max(CASE WHEN id = root THEN {OUTCOME} END)"
        first = f"(SELECT {OUTCOME} FROM sessions AS one WHERE one.root = sessions.root ORDER BY started_ms LIMIT 1)"
        parts.append(f"coalesce({own}, {first}) = ?")
        values.append(asked["outcome"])
    if asked.get("cursor"):
        started, _, root = asked["cursor"].partition("-")
        number_of({"cursor": started}, "cursor")
        parts.append("(min(coalesce(started_ms, last_ms)), root) < (?, ?)")
        values += [int(started or 0), root]
    return f"HAVING {' AND '.join(parts)}" if parts else "", values


def glob_of(pattern: str) -> str:
    """Return a pattern in which only `*` is special, as SQLite's GLOB reads it; as it is when there is no `*`."""
    if "*" not in pattern:
        return pattern
    return "".join(f"[{sign}]" if sign in "?[" else sign for sign in pattern)


def escaped(text: str) -> str:
    """Return a text as it stands in stored JSON, which is ASCII."""
    return json.dumps(text)[1:-1]


def moment_of(asked: dict[str, str], field: str) -> int:
    """Return a time (ISO 8601 with an offset, or Unix milliseconds). Raises BadQuestion."""
    text = asked[field].replace(" ", "+")  # an offset's + that was not encoded
    found = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else milliseconds(text)
    if found is None:
        raise BadQuestion(field, f"{field} is a time like 2026-11-23T18:00:00+08:00, or Unix milliseconds.")
    return found


def number_of(asked: dict[str, str], field: str) -> int | None:
    """Return a cursor; None where none is given. Raises BadQuestion."""
    text = asked.get(field)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise BadQuestion(field, f"{field} is what next_cursor said in the answer before.")
    return int(text)


def limit_of(asked: dict[str, str], default: int) -> int:
    """Return how many are wanted, 1 to MAX_LIMIT. Raises BadQuestion."""
    text = asked.get("limit") or str(default)
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_LIMIT):
        raise BadQuestion("limit", f"limit is a number from 1 to {MAX_LIMIT}.")
    return int(text)

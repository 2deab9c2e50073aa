"""Reads a spool folder as the design page describes it, with nothing imported from the code under test."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LEDGER = "ledger.jsonl"


def read_events(spool: Path) -> list[dict[str, Any]]:
    """Return the events of all segments, by session and number; a line that is no event fails the test."""
    return [line for segment in segments(spool) for line in _lines(segment) if "monitor_auto_segment" not in line]


def read_headers(spool: Path) -> list[dict[str, Any]]:
    """Return the header line of every segment, in the order of `segments`."""
    return [line for segment in segments(spool) for line in _lines(segment) if "monitor_auto_segment" in line]


def read_ledger(spool: Path) -> list[dict[str, Any]]:
    """Return the lines of the ledger; an absent one is empty."""
    ledger = spool / LEDGER
    return list(_lines(ledger)) if ledger.exists() else []


def segments(spool: Path) -> list[Path]:
    """Return the segment files, oldest session first (a session id begins with its time), then by number."""
    found = [path for path in spool.glob("*.jsonl") if path.name != LEDGER]
    return sorted(found, key=lambda path: (path.name.split(".")[2:3], _number(path)))


def _number(segment: Path) -> int:
    number = segment.name.split(".")[-2]
    return int(number) if number.isdigit() else 0


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise AssertionError(f"{path.name}, line {number} is not JSON ({error}): {line[:200]!r}") from None
        assert line.endswith(b"\n"), f"{path.name}, line {number} is torn: {line[-200:]!r}"
        assert isinstance(value, dict), f"{path.name}, line {number} is no object: {line[:200]!r}"
        yield value

"""Where the events of a report are read: a spool, a file of JSON lines, or a collector of ours. Changes nothing there.

A spool is read while programs write to it and others deliver from it: what is gone in between is passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .lines import read

MAX_PAGES = 200


class Unreadable(Exception):
    """There is nothing to be read; the message says why and what to do."""


def of_spool(directory: Path, tree: str = "") -> Iterator[dict[str, Any]]:
    """Yield the events that lie in a spool; with `tree` those of one tree of sessions. Raises Unreadable."""
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise Unreadable(f"{directory} cannot be read: {error.strerror}.") from None
    for name in names:
        parts = name.split(".")
        if name.endswith(".jsonl") and len(parts) == 5 and (not tree or parts[1] == tree):
            yield from of_segment(directory / name)


def of_segment(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a segment; none when it is gone meanwhile, or no file."""
    try:
        descriptor = os.open(
            path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        )
    except OSError:
        return
    with open(descriptor, "rb") as file:
        yield from read(file)


def of_file(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of an exported file. Raises Unreadable."""
    try:
        with path.open("rb") as file:
            yield from read(file)
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}.") from None

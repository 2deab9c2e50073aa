"""Puts aside what cannot be delivered and is not ours to delete. Runs where a deliverer meets such a thing.

Guarantees: what is put aside is moved into `aside/` of the spool, never followed or opened, and counted in the ledger.
"""

from __future__ import annotations

import os

from monitor_auto.boot import guard, notes

from .segments import FOLDER, Line, type_at

MAX_LINES_BYTES = 1 << 20
"""How large one session's file of damaged lines becomes; after that they are only counted."""


def put_file(directory: str, name: str, reason: str) -> None:
    """Move a file of the spool (or whatever bears its name) into `aside/`. Raises OSError."""
    target = f"{folder(directory)}/{name}"
    if type_at(target):
        target = f"{target}.{os.urandom(4).hex()}"
    try:
        os.rename(f"{directory}/{name}", target)
    except guard.ours(FileNotFoundError):  # another process was quicker
        return
    notes.ledger("aside", reason=reason, file=name, count=1)


def put_lines(lines: list[Line]) -> None:
    """Append damaged lines to a file beside their segment's name. Where the disk has no room they are only counted."""
    for segment in {line.segment for line in lines if line.segment is not None}:
        texts = [line.text for line in lines if line.segment is segment]
        data = b"".join(text + b"\n" for text in texts)
        try:
            path = f"{folder(segment.directory)}/{segment.base}.lines"
            if _size(path) + len(data) <= MAX_LINES_BYTES:
                notes.append_private(path, data)
        except guard.ours(OSError) as error:  # most damaged lines come from a full disk
            notes.debug(f"damaged lines of {segment.base} are only counted: {error}")
        notes.ledger("aside", reason=lines[0].fault, file=os.path.basename(segment.path), count=len(texts))


def folder(directory: str) -> str:
    """Return the path of `aside/`, made if need be. Raises OSError when something else is there."""
    path = directory + "/aside"
    try:
        os.mkdir(path, 0o700)
    except guard.ours(FileExistsError):
        if type_at(path) != FOLDER:
            raise
    return path


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except guard.ours(OSError):
        return 0

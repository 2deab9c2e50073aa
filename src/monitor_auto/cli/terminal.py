"""How the commands talk: lines of at most 80 columns, colour only where somebody looks, sizes and ages in words.

Guarantees: of what a file, an event or a collector says no control character reaches the terminal.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import textwrap
from typing import Any, TextIO

COLOURS = {"ok": "32", "warning": "33", "wrong": "31", "bold": "1"}
MAX_COLUMNS = 80
_CONTROLS = re.compile(
    r"\x1b(?!\[(?:0|1|3[1-3])m)|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
"""What moves the cursor, hides text or gives orders to a terminal; our own colours pass."""


def print_json(value: Any) -> None:
    """Print one JSON object on one line, in ASCII: what reads it may know no more."""
    print(json.dumps(value))


def complain(message: str) -> None:
    """Print one message on standard error, wrapped."""
    sys.stderr.write(wrapped(f"monitor-auto: {message}", "", sys.stderr) + "\n")


def coloured(text: str, colour: str) -> str:
    """Return the text in a colour, if standard output is a terminal that has any and nobody said NO_COLOR."""
    is_shown = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if is_shown else text


def wrapped(text: str, indent: str = "", stream: TextIO | None = None) -> str:
    """Return a paragraph whose further lines are indented. Paths and URLs are never cut."""
    text = _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    width = columns(stream or sys.stdout)
    return textwrap.fill(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    )


def columns(stream: TextIO) -> int:
    """Return how wide the output may be."""
    return min(MAX_COLUMNS, max(40, shutil.get_terminal_size().columns)) if stream.isatty() else MAX_COLUMNS


def row(label: str, text: str, width: int = 12) -> str:
    """Return `label  text`, the text wrapped beside the label."""
    return wrapped(f"{label:<{width}}{text}", " " * width)


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return "1 event", "2 events"."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def size_text(size: int) -> str:
    """Return a number of bytes for people."""
    if size < 1024:
        return counted(size, "byte")
    return f"{size / 1024:,.1f} KiB" if size < 1 << 20 else f"{size / (1 << 20):,.1f} MiB"


def age_text(seconds: float) -> str:
    """Return a number of seconds for people."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return counted(int(seconds // length), unit)
    return counted(max(0, int(seconds)), "second")

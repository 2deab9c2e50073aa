"""Times, names and outcomes as words. Pure.

Guarantees: what `clean` returns has no control character, no line break and no sign that turns the writing direction:
of an event's texts nothing else reaches a terminal.
"""

from __future__ import annotations

import re
import signal
import unicodedata
from collections.abc import Iterable
from datetime import datetime
from typing import Any

PASSING = ("passed", "skipped", "xfailed")
MAX_LABEL = 200
MAX_PATH = 12
"""A longer one hides in a label what matters."""
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def clean(text: Any, most: int = 2000) -> str:
    """Return a text of an event on one line, in which what cannot be seen is written out; cut at `most` characters."""
    given = text if isinstance(text, str) else "" if text is None else repr(text)
    shown = _UNSEEN.sub(_written_out, given[: most + 1])
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def clean_lines(text: Any, most: int = 20_000) -> str:
    """The same for a text of several lines, a stack for instance; the end of a longer one counts."""
    given = text if isinstance(text, str) else ""
    lines = given[-most:].replace("\r\n", "\n").replace("\t", "    ").split("\n")
    return "\n".join(_UNSEEN.sub(_written_out, line) for line in lines)


def _written_out(found: re.Match[str]) -> str:
    code = ord(found[0])
    return " " if found[0] in "\n\t" else f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def command_text(words: Any, is_short: bool = False) -> str:
    """Return a command line as people write it: without the folder of the program, quoted where a shell needs it.
    When it is to be short, of the folders of long paths, too, nothing but dots is left.
    """
    if not isinstance(words, (list, tuple)) or not words:
        return ""
    shown = [clean(word, MAX_LABEL) for word in words[:30]]
    shown[0] = shown[0].replace("\\", "/").rpartition("/")[2] or shown[0]
    if is_short:
        shown = [_shortened(word) for word in shown]
    text = " ".join(word if re.fullmatch(r"[\w@%+=:,./~\[\]*?{}…-]+", word) else _quoted(word) for word in shown)
    return clean(text, MAX_LABEL)


def _shortened(word: str) -> str:
    name = word.rstrip("/").rpartition("/")[2]
    return f"…/{name}" if word.startswith("/") and len(word) > MAX_PATH and name else word


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\"'\"'") + "'"


def duration_text(milliseconds: float | None) -> str:
    """Return a duration for people; empty where it is not known."""
    if milliseconds is None:
        return ""
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms" if milliseconds >= 1 else f"{milliseconds:.1f} ms"
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def signal_name(value: Any) -> str | None:
    """Return SIGKILL for 9, -9, "9", "SIGKILL"; None for what names no signal."""
    if isinstance(value, str) and re.fullmatch(r"SIG[A-Z0-9+]{1,12}", value):
        return value
    try:
        number = abs(int(value))
        return signal.Signals(number).name
    except (TypeError, ValueError, OverflowError):
        return None


def milliseconds(text: Any) -> float | None:
    """Return an event's timestamp as Unix milliseconds; None for what is none."""
    if not isinstance(text, str) or len(text) > 40:
        return None
    try:
        moment = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
        return moment.timestamp() * 1000
    except (ValueError, OverflowError, OSError):
        return None


def number(value: Any) -> float | None:
    """Return a finite number, or None."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e18 else None


def is_failure(test: dict[str, Any]) -> bool:
    """True for the data of a `test.result` that its runner calls a failure. A test that passes unexpectedly fails for
    unittest always, for pytest where that is strict, and then it says `failed`.
    """
    outcome = test.get("outcome")
    is_fine = outcome == "xpassed" and test.get("library") == "pytest"
    return not is_fine and outcome not in PASSING


def whole(value: Any) -> int | None:
    """Return a whole number, or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def width(text: str) -> int:
    """Return how many columns of a terminal a clean text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text
    )


def fitted(text: str, columns: int) -> str:
    """Return a clean text cut to so many columns."""
    if width(text) <= columns:
        return text
    kept = ""
    for sign in text:
        if width(kept + sign) > columns - 1:
            break
        kept += sign
    return kept + "…"


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return "1 error", "2 errors"."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def joined(parts: Iterable[str]) -> str:
    """Return what is not empty, with dots between."""
    return " · ".join(part for part in parts if part)

"""Times as events have them, ISO 8601 with an offset, and as they are compared: Unix milliseconds."""

from __future__ import annotations

import re
import time
from datetime import datetime
from functools import lru_cache
from typing import Any

_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|z|[+-]\d\d:?\d\d)")


def milliseconds(text: Any) -> int | None:
    """Return a timestamp (ISO 8601 with an offset) as Unix ms; None for anything else."""
    return _milliseconds(text) if isinstance(text, str) and len(text) <= 40 else None


@lru_cache(4096)  # one flush holds many events of one moment, and each names the start of its session
def _milliseconds(text: str) -> int | None:
    if not _TIMESTAMP.fullmatch(text):
        return None
    try:
        return round(datetime.fromisoformat(_for_every_python(text)).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):  # the 30th of February; an offset that leads out of the calendar
        return None


def _for_every_python(text: str) -> str:
    """Python 3.10 reads neither Z nor a fraction of other than 3 or 6 digits nor an offset without a colon."""
    text = text.replace(",", ".")
    offset = "+00:00" if text[-1] in "Zz" else text[-6:] if text[-3] == ":" else f"{text[-5:-2]}:{text[-2:]}"
    seconds, _, fraction = text[:-1].partition("+")[0][:29].partition(".")
    digits = re.match(r"\d*", fraction)
    return f"{seconds[:19]}.{(digits[0] if digits else '')[:6]:0<6}{offset}"


def time_text(milliseconds: int | None) -> str | None:
    """Return Unix milliseconds as ISO 8601 in UTC."""
    if milliseconds is None:
        return None
    days = time.gmtime(milliseconds // 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', days)}.{milliseconds % 1000:03d}Z"

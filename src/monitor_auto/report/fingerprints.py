"""Which errors are the same one: the type, the message without what varies, and the innermost frames."""

from __future__ import annotations

import hashlib
import re
from typing import Any

TOP_FRAMES = 3
"""Innermost frames that count. More would tell apart the same error reached by two ways."""
MAX_TEXT = 20_000
"""Of a longer message or stack the end counts: there the raising frame is."""

_FRAME = re.compile(r'^\s*File "([^"\n]*)", line \d+(?:,)? in (\S+)', re.MULTILINE)
_VARYING = re.compile(
    r"""(?P<quoted>'[^'\n]*'|"[^"\n]*")"""
    r"|(?P<address>0x[0-9a-fA-F]+)"
    r"|(?P<id>\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b)"
    r"|(?P<path>(?:~|\.{0,2})?(?:/[^\s/:'\"]+){2,}/?)"
    r"|(?P<hash>\b(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{12,}\b)"
    r"|(?P<number>\d+(?:\.\d+)?)"
)


def fingerprint(name: str, data: dict[str, Any]) -> str:
    """Return 16 hex digits that are equal for errors with one cause, whatever ids, numbers and paths they mention."""
    kind = data.get("type")
    parts = [kind if isinstance(kind, str) else name, normal(text_of(data, "message"))]
    parts += frames(text_of(data, "stack")) or [text_of(data, "location").rpartition(":")[2]]
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def normal(message: str) -> str:
    """Return a message in which each quoted text, address, id, path and number is a placeholder."""
    return _VARYING.sub(lambda found: f"<{found.lastgroup}>", message[:2000])


def frames(stack: str) -> list[str]:
    """Return the innermost frames of a Python traceback as `file:function`, the raising one last. No line numbers: an
    edit above must not make a new error.
    """
    found = _FRAME.findall(stack[-MAX_TEXT:])
    return [f"{path.replace(chr(92), '/').rpartition('/')[2]}:{function}" for path, function in found[-TOP_FRAMES:]]


def text_of(data: dict[str, Any], key: str) -> str:
    """Return a text of an event's data; empty for whatever else is there."""
    value = data.get(key)
    return value if isinstance(value, str) else ""

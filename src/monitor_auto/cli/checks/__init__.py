"""The checks of `monitor-auto doctor`, by what they look at. Each yields what it found; none changes anything."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARNING, WRONG = "ok", "warning", "wrong"


@dataclass(frozen=True)
class Check:
    """One finding. `level` is OK, WARNING (works, but not as it could) or WRONG (something is lost or never starts)."""

    name: str
    level: str
    what: str
    remedy: str = ""

"""What a row of the budget is, and how a measurement is held against its limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

from bench.lab import Lab
from bench.verdicts import Failed, NoResult


@dataclass(frozen=True)
class Limit:
    """The most that one measured number may be (`inf`: there is no limit), and the form in which it is shown."""

    most: float
    form: str


@dataclass(frozen=True)
class Measured:
    """One number for each limit of the row, and what helps to understand them."""

    values: tuple[float, ...]
    details: str = ""


@dataclass(frozen=True)
class Row:
    """One line of the budget. `measure` returns as many numbers as there are limits, or raises NoResult."""

    name: str
    what: str
    limits: tuple[Limit, ...]
    measure: Callable[[Lab], Measured]

    @property
    def limit_text(self) -> str:
        return ", ".join("none" if limit.most == inf else limit.form.format(limit.most) for limit in self.limits)

    def show(self, values: tuple[float, ...]) -> str:
        """Write numbers the way this row shows them."""
        return ", ".join(limit.form.format(value) for limit, value in zip(self.limits, values, strict=True))


@dataclass(frozen=True)
class Result:
    """What became of a row: `verdict` is ok, MISSED, or that of a NoResult, and then `why` says more."""

    row: Row
    verdict: str
    values: tuple[float, ...] = ()
    details: str = ""
    why: str = ""

    @property
    def is_miss(self) -> bool:
        return self.verdict in ("MISSED", Failed.verdict)

    def as_json(self) -> dict[str, Any]:
        """The same for machines."""
        return {
            "name": self.row.name,
            "what": self.row.what,
            "values": list(self.values),
            "limits": [None if limit.most == inf else limit.most for limit in self.row.limits],
            "measured": self.row.show(self.values) if self.values else "",
            "limit": self.row.limit_text,
            "verdict": self.verdict,
            "why": self.why,
            "details": self.details,
        }


def judge(row: Row, lab: Lab) -> Result:
    """Measure a row and hold it against its limits."""
    try:
        measured = row.measure(lab)
    except NoResult as reason:
        return Result(row, reason.verdict, why=str(reason))
    limits = zip(measured.values, row.limits, strict=True)
    verdict = "ok" if all(value <= limit.most for value, limit in limits) else "MISSED"
    if all(limit.most == inf for limit in row.limits):
        verdict = "no limit"
    return Result(row, verdict, measured.values, measured.details)

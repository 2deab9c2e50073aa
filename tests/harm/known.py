"""Read the differences that docs/differences.md explains. A known difference is marked as such, and still counts."""

from __future__ import annotations

import fnmatch
from pathlib import Path


def read_known(page: Path) -> dict[str, str]:
    """The table's rows, as test (a pattern with `*` is one) -> reason. A row is `| test | versions | reason |`."""
    rows = [row for line in page.read_text(encoding="utf-8").splitlines() if (row := cells(line))]
    return {row[0].strip("`"): row[-1] for row in rows if row[0].startswith("`")}


def cells(line: str) -> list[str]:
    """The cells of a table's line; none for any other line."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")] if line.lstrip().startswith("|") else []


def reason_for(test: str, known: dict[str, str]) -> str:
    """The reason on record for this test, or nothing."""
    return next((reason for pattern, reason in known.items() if fnmatch.fnmatchcase(test, pattern)), "")

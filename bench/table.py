"""Prints results as an aligned table, line by line as they come: a full run takes minutes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from time import monotonic
from typing import TextIO

from bench.rows import Result, Row

HEAD = ("row", "what", "measured", "limit", "verdict")


class Table:
    """A table of these rows, on `out`."""

    def __init__(self, rows: Sequence[Row], out: TextIO) -> None:
        self._out = out
        cells = [(row.name, row.what, row.limit_text, row.limit_text) for row in rows]
        self._widths = [max(map(len, column)) for column in zip(HEAD[:-1], *cells, strict=True)]
        # Measured numbers may have a digit more than their limits.
        self._widths[2] += 2
        self.print_line(HEAD)
        self.print_line(["-" * width for width in (*self._widths, len(HEAD[-1]))])

    def print_result(self, result: Result) -> None:
        """Print one line."""
        row = result.row
        measured = row.show(result.values) if result.values else "-"
        verdict = f"{result.verdict}: {result.why}" if result.why else result.verdict
        self.print_line((row.name, row.what, measured, row.limit_text, verdict))

    def print_line(self, cells: Sequence[str]) -> None:
        padded = [cell.ljust(width) for cell, width in zip(cells[:-1], self._widths, strict=True)]
        print("  ".join([*padded, cells[-1]]), file=self._out, flush=True)


class Progress:
    """Says on standard error, where that is a terminal, which row is measured, and since when the run lasts."""

    def __init__(self, in_all: int) -> None:
        self._in_all = in_all
        self._done = 0
        self._started = monotonic()
        self._is_shown = sys.stderr.isatty()

    def show(self, text: str) -> None:
        """Replace the line by what is done now."""
        if self._is_shown:
            seconds = monotonic() - self._started
            sys.stderr.write(f"\r\x1b[K[{self._done}/{self._in_all}, {seconds:.0f} s] {text} …")
            sys.stderr.flush()

    def finish_row(self) -> None:
        """Count one more, and leave an empty line to whoever prints next."""
        self._done += 1
        self.clear()

    def clear(self) -> None:
        if self._is_shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def warn_if_busy(out: TextIO) -> None:
    """Say so when others use the machine: medians of whole processes then mean little, instructions as much as ever."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load >= cores:
        print(f"The machine is busy (load {load:.1f} on {cores} cores): distrust times.\n", file=out)


def print_details(results: Sequence[Result], out: TextIO) -> None:
    """Print what helps to understand the numbers, below the table."""
    explained = [result for result in results if result.details]
    if explained:
        width = max(len(result.row.name) for result in explained)
        print("\nDetails:", file=out)
        for result in explained:
            print(f"  {result.row.name.ljust(width)}  {result.details}", file=out)


def print_summary(results: Sequence[Result], out: TextIO) -> None:
    """Say in one line how it went."""
    missed = [result.row.name for result in results if result.is_miss]
    other = sum(result.verdict not in ("ok", "no limit", "MISSED", "FAILED") for result in results)
    text = f"{len(missed)} of {len(results)} rows miss their limit" if missed else "No row misses its limit"
    names = f": {', '.join(missed)}" if missed else ""
    print(f"\n{text}{names}; {other} could not be measured." if other else f"\n{text}{names}.", file=out)

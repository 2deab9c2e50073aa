"""`python -m bench`: see `--help`. Exit status: 0 no row misses its limit, 1 one does or broke, 2 wrong usage."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.budget import ROWS
from bench.lab import make_lab
from bench.rows import Result, Row, judge
from bench.table import Progress, Table, print_details, print_summary, warn_if_busy
from support.sandbox import CommandFailed

OVERVIEW = """\
Measures what the monitor costs, row by row, and prints each number beside its limit.

The wheel of this tree is built and installed into a scratch environment ("off" without an endpoint, "on" with one);
"bare" is another one with the same packages but the monitor. Both are measured in turns, in the same run: believe
differences and ratios, not times, and leave the machine alone meanwhile. A full run takes about ten minutes.
"""
EXAMPLES = """\
examples:
  python -m bench                          all rows
  python -m bench --list                   what there is
  python -m bench --only on,event --quick  two rows, with few repetitions
  python -m bench --json costs.json        numbers for a comparison later

verdicts:
  ok       within the limit
  MISSED   not within the limit
  no limit a number to compare: the budget has no row for it
  FAILED   a program broke, or the monitor did not do what was to be measured; counts as a miss
  not yet  the monitor cannot do this so far
  skipped  the machine lacks what it takes, for instance the Debian packages valgrind or openssl
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line `words` (default: sys.argv's) and return the exit status."""
    options = parse(words)
    if options.list:
        print_rows()
        return 0
    try:
        results = measure(options)
    except CommandFailed as error:
        print(f"bench: the environments could not be made: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print_details(results, sys.stdout)
    print_summary(results, sys.stdout)
    if options.json:
        options.json.write_text(json.dumps([result.as_json() for result in results], indent=1), encoding="utf-8")
    return 1 if any(result.is_miss for result in results) else 0


def measure(options: argparse.Namespace) -> list[Result]:
    """Measure the rows that were asked for, and print each as soon as it is there."""
    rows: list[Row] = options.only
    results: list[Result] = []
    progress = Progress(len(rows))
    progress.show("making two environments")
    try:
        with make_lab(options.quick, options.bare, options.monitored) as lab:
            progress.clear()
            warn_if_busy(sys.stdout)
            table = Table(rows, sys.stdout)
            for row in rows:
                progress.show(row.what)
                results.append(judge(row, lab))
                progress.finish_row()
                table.print_result(results[-1])
    finally:
        progress.clear()
    return results


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m bench", description=OVERVIEW, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="list the rows and their limits, and measure nothing")
    parser.add_argument(
        "--only", type=chosen, default=list(ROWS), metavar="NAME[,NAME]", help="measure only these rows"
    )
    parser.add_argument("--quick", action="store_true", help="few repetitions: a first look, not a verdict")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, too")
    parser.add_argument("--bare", type=interpreter, metavar="PYTHON", help="an interpreter without the monitor ...")
    parser.add_argument(
        "--monitored", type=interpreter, metavar="PYTHON", help="... and one with it, instead of scratch ones"
    )
    options = parser.parse_args(words)
    if (options.bare is None) != (options.monitored is None):
        parser.error("--bare and --monitored belong together")
    return options


def interpreter(name: str) -> Path:
    """Return an absolute path, links as they are: an environment is known by its link. Raises ArgumentTypeError."""
    path = Path(name).absolute()
    if not os.access(path, os.X_OK) or path.is_dir():
        raise argparse.ArgumentTypeError(f"{name} is no interpreter")
    return path


def chosen(names: str) -> list[Row]:
    """Return the rows of these names, in the budget's order. Raises ArgumentTypeError for a name that is none."""
    wanted = {name.strip() for name in names.split(",")}
    unknown = wanted - {row.name for row in ROWS}
    if unknown:
        known = ", ".join(row.name for row in ROWS)
        raise argparse.ArgumentTypeError(f"no row is called {', '.join(sorted(unknown))}; there are {known}")
    return [row for row in ROWS if row.name in wanted]


def print_rows() -> None:
    """Print name, meaning and limit of every row."""
    names, whats = (max(map(len, column)) for column in zip(*((row.name, row.what) for row in ROWS), strict=True))
    for row in ROWS:
        print(f"{row.name.ljust(names)}  {row.what.ljust(whats)}  {row.limit_text}")


if __name__ == "__main__":
    sys.exit(main())

"""`monitor-auto doctor`: check everything that can keep events from arriving, and say what helps."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from . import current_folder
from .checks import OK, WRONG, Check
from .configuration import Configuration, read_configuration
from .terminal import coloured, complain, counted, print_json, row

DESCRIPTION = """\
Check everything that can keep a program of this environment from being
monitored, or its events from arriving, and say what to do about each finding.
Nothing is changed and nothing is sent.

  monitor-auto doctor              all checks but the network
  monitor-auto doctor --connect    also whether something listens at the
                                   endpoint (takes 3 seconds at most)
  monitor-auto doctor --folder /srv/jobs
                                   also whether files beside the programs
                                   there get in the way

Exit codes: 0 nothing is wrong (there may be warnings), 1 something is wrong,
2 wrong call.
"""
LABEL_COLUMNS = 10


def add_arguments(parser: Any) -> None:
    """Add the options."""
    parser.add_argument("--json", action="store_true", help="print all findings as one JSON object")
    parser.add_argument("--connect", action="store_true", help="try to connect to the endpoint")
    parser.add_argument("--quiet", action="store_true", help="print warnings and what is wrong only")
    parser.add_argument("--folder", metavar="DIR", help="a folder that holds programs (default: the current one)")


def run(arguments: Any) -> int:
    """Run the command. Returns 1 when something is wrong, else 0."""
    if arguments.folder and not os.path.exists(arguments.folder):
        complain(f"--folder: there is no {arguments.folder}.")
        return 2
    findings = list(examine(read_configuration(), arguments))
    wrong = sum(check.level == WRONG for check in findings)
    if arguments.json:
        warnings = sum(check.level not in (OK, WRONG) for check in findings)
        print_json({"wrong": wrong, "warnings": warnings, "checks": [asdict(check) for check in findings]})
    else:
        shown = [check for check in findings if check.level != OK or not arguments.quiet]
        shown_lines = [line for check in shown for line in lines(check)]
        print("\n".join(shown_lines if arguments.quiet else [*shown_lines, summary(findings)]))
    return 1 if wrong else 0


def examine(configuration: Configuration, arguments: Any) -> Iterator[Check]:
    """Yield the findings of all checks."""
    from .checks import connection, installation, machine, settings, spool

    yield from settings.check(configuration)
    yield from installation.check()
    yield from spool.check(configuration)
    yield from machine.check(os.path.abspath(arguments.folder) if arguments.folder else current_folder())
    if arguments.connect:
        yield from connection.check(configuration)


def lines(check: Check) -> list[str]:
    """Return one finding, and below it what helps."""
    text = row(check.level, f"{check.name}: {check.what}", LABEL_COLUMNS)
    found = [coloured(check.level, check.level) + text[len(check.level) :]]
    if check.remedy:
        found.append(row("", f"→ {check.remedy}", LABEL_COLUMNS + 2)[2:])
    return found


def summary(findings: list[Check]) -> str:
    """Return the last line."""
    wrong = sum(check.level == WRONG for check in findings)
    warnings = sum(check.level not in (OK, WRONG) for check in findings)
    if not wrong and not warnings:
        return coloured("All is well.", "ok")
    return f"{counted(wrong, 'thing is', 'things are')} wrong, {counted(warnings, 'warning')}."

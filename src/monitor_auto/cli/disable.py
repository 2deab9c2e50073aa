"""`monitor-auto disable`: take back what `monitor-auto enable` wrote."""

from __future__ import annotations

import os
from typing import Any

from .enable import add_prefix, site_file_of
from .terminal import complain, print_json

DESCRIPTION = """\
Take back what `monitor-auto enable` did: removes etc/monitor-auto.env below
the environment's folder. Programs that already run go on as they are. What
waits in the spool stays there; run `monitor-auto flush` first to deliver it.

  monitor-auto disable
  monitor-auto disable --prefix /srv/jobs/.venv

Exit codes: 0 removed, or there was none; 1 the file cannot be removed;
2 wrong call.
"""


def add_arguments(parser: Any) -> None:
    """Add the options."""
    add_prefix(parser)
    parser.add_argument("--json", action="store_true", help="print the outcome as one JSON object")


def run(arguments: Any) -> int:
    """Run the command. Returns 0, 1 when the file cannot be removed, 2 when there is no such environment."""
    try:
        path = site_file_of(arguments.prefix)
    except ValueError as error:
        complain(f"{error}.")
        return 2
    try:
        os.unlink(path)
        was_there = True
    except FileNotFoundError:
        was_there = False
    except OSError as error:
        complain(f"{path} cannot be removed: {error.strerror}. Run this as the owner of {arguments.prefix}.")
        return 1
    report(path, was_there, arguments)
    return 0


def report(path: str, was_there: bool, arguments: Any) -> None:
    """Say what was done, and what still switches monitoring on."""
    warnings = []
    if os.environ.get("MONITOR_ENDPOINT"):
        warnings.append("MONITOR_ENDPOINT is set here: programs that inherit it are monitored all the same.")
    if arguments.json:
        print_json({"path": path, "removed": was_there, "warnings": warnings})
        return
    print(f"Removed {path}" if was_there else f"Nothing to do: there is no {path}")
    for warning in warnings:
        complain(warning)

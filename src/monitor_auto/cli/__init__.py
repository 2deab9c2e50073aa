"""The commands: `monitor-auto COMMAND` and `python -m monitor_auto COMMAND`. Runs in a process of its own.

Each command is a short module beside this one, imported when it is called.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence

OVERVIEW = """\
monitor_auto watches every Python program of this environment, with no change to any of them.

  1. Name a collector:    export MONITOR_ENDPOINT=http://127.0.0.1:9090/v1/events
  2. Run any program:     python nightly.py
  3. Its start, its end, its errors and its children are at the collector.

What a collector did not take waits in a spool on disk; a later program delivers it, or you do:

  monitor-auto flush      deliver now what ended programs have left
"""
ENDING = """\
Settings are environment variables: MONITOR_ENDPOINT switches monitoring on, MONITOR_DISABLE=1 off.
MONITOR_TOKEN is sent to the collector as a bearer token; MONITOR_SPOOL_DIR says where events wait.
"""


def main(argv: "Sequence[str] | None" = None) -> int:
    """Run one command; `argv` are the words behind the program's name (default: sys.argv's). Return the exit status:
    0 done, 1 something is left to do, 2 it was not called as it has to be.
    """
    forget_folder()
    parser = make_parser()
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as stop:  # argparse prints help, version and usage errors, and raises
        return int(stop.code or 0)
    if arguments.run is None:
        parser.print_help()
        return 2
    status: int = arguments.run(arguments)
    return status


def forget_folder() -> None:
    """Take the current folder off the path that `python -m` put it on: a `token.py` there is no library of ours."""
    first = sys.path[0] if sys.path else None
    ours = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if first is not None and first in ("", _current_folder()) and os.path.realpath(first) != os.path.realpath(ours):
        del sys.path[0]


def _current_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # deleted under us
        return ""


def make_parser() -> "ArgumentParser":
    """Return the parser of all commands."""
    from argparse import ArgumentParser, RawDescriptionHelpFormatter

    from monitor_auto import __version__

    parser = ArgumentParser(
        "monitor-auto", description=OVERVIEW, epilog=ENDING, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"monitor-auto {__version__}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    flush = commands.add_parser("flush", help="deliver now what ended programs have left in the spool")
    flush.add_argument("--json", action="store_true", help="print the outcome as one JSON object")
    flush.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="stop after so many seconds")
    flush.add_argument("--quiet", action="store_true", help="print nothing but errors")
    flush.set_defaults(run=_flush)
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError("not a positive number of seconds")
    return seconds


def _flush(arguments: object) -> int:
    from .flush import flush

    return flush(arguments)

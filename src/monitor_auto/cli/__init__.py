"""The commands: `monitor-auto COMMAND` and `python -m monitor_auto COMMAND`. Runs in a process of its own.

Each command is a short module beside this one, imported when it is called.
"""

import errno
import io
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

OVERVIEW = """\
monitor_auto watches every Python program of this environment, with no change
to any of them.

  1. Name a collector:  export MONITOR_ENDPOINT=http://127.0.0.1:9090/v1/events
  2. Run any program:   python nightly.py
  3. Its start, its end, its errors and its children are at the collector.

What a collector did not take waits in a spool on disk; a later program
delivers it, or `monitor-auto flush` does. Where nothing arrives,
`monitor-auto status` says what is going on and `monitor-auto doctor` what to
do about it.
"""
ENDING = """\
Settings are environment variables: MONITOR_ENDPOINT switches monitoring on,
MONITOR_DISABLE=1 off. MONITOR_TOKEN is sent to the collector as a bearer
token; MONITOR_SPOOL_DIR says where events wait.

`monitor-auto COMMAND --help` explains a command.
Exit codes: 0 fine, 1 something is wrong or left, 2 wrong call.
"""
COMMANDS = {
    "run": "run any command with the monitor on",
    "report": "show what was recorded of a run",
    "tail": "show events as they are recorded",
    "status": "say whether programs are monitored here, and what waits in the spool",
    "doctor": "check everything, and say what to do about what is wrong",
    "collect": "collect events on this machine and show them on a page",
    "purge": "delete what ended programs have left in the spool",
    "event": "record an event from a shell script",
    "enable": "switch monitoring on for all programs of this environment",
    "disable": "take back what enable did",
}
"""The commands that are modules with `DESCRIPTION`, `add_arguments(parser)` and `run(arguments)`."""


def main(argv: "Sequence[str] | None" = None) -> int:
    """Run one command; `argv` are the words behind the program's name (default: sys.argv's). Return the exit status:
    0 done, 1 something is left to do, 2 it was not called as it has to be, 130 somebody has interrupted it.
    """
    try:
        return start(argv)
    except KeyboardInterrupt:  # while the command is still being imported, too
        sys.stderr.write("\nmonitor-auto: interrupted\n")
        return 130


def start(argv: "Sequence[str] | None") -> int:
    """Find out which command it is and run it; return the exit status."""
    forget_folder()
    replace_closed_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    words, command = separate(words)
    parser = make_parser(words)
    try:
        arguments = parse(parser, words)
        arguments.command = command
    except SystemExit as stop:  # argparse prints help, version and usage errors, and raises
        return int(stop.code or 0)
    if arguments.run is None:
        parser.print_help()
        return 2
    return call(arguments)


def separate(words: "list[str]") -> "tuple[list[str], list[str]]":
    """Return our own words, and those of the command that `run` is to run, which no parser of ours shall look at."""
    if words[:1] != ["run"]:
        return words, []
    from .run import separate as separate_run

    return separate_run(words)


def call(arguments: "Namespace") -> int:
    """Run the command; a reader who has gone (`| head`) ends it without a traceback."""
    if hasattr(sys.stdout, "reconfigure"):  # a terminal that knows only ASCII shall not break a report
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Or the interpreter would try again to write what is left, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:
        if error.filename is not None or error.errno != errno.ENOSPC:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stderr.write(f"monitor-auto: the output cannot be written: {error.strerror}\n")
        return 1
    return status


def parse(parser: "ArgumentParser", words: "list[str]") -> "Namespace":
    """Parse the words; `key=value` may stand before, between and behind the options, which argparse alone refuses."""
    arguments, rest = parser.parse_known_args(words)
    if rest and (not hasattr(arguments, "values") or any(word.startswith("-") for word in rest)):
        arguments.parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        arguments.values += rest
    return arguments


def forget_folder() -> None:
    """Take the current folder off the path that `python -m` put it on: a `token.py` there is no library of ours."""
    first = sys.path[0] if sys.path else None
    ours = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if first is not None and first in ("", current_folder()) and os.path.realpath(first) != os.path.realpath(ours):
        del sys.path[0]


def replace_closed_streams() -> None:
    """Let what we say go nowhere where our caller has closed a standard stream, for which Python has None. Nothing is
    opened for it: the command of `run` finds closed what was closed.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, io.TextIOWrapper(io.BytesIO(), "utf-8"))


def current_folder() -> str:
    """Return the current folder; "" when it was deleted under us."""
    try:
        return os.getcwd()
    except OSError:
        return ""


FLUSH = """\
Send what ended programs have left in the spool to the collector that
MONITOR_ENDPOINT names: all of it, at once, whether the collector has failed a
moment ago or not. Programs that still run are left alone; they deliver when
they end. It can be interrupted and started again, also several times at once:
nothing is lost, and nothing comes twice.
"""
FLUSH_ENDING = """\
The exit status is 0 when nothing is left, 1 when something is (the message says
why), 2 when no collector is known. HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and
NO_PROXY count, but never for a collector on this machine itself.

  monitor-auto flush                      in a terminal: a bar, then a report
  monitor-auto flush --quiet              in a cron job: speaks up on failure
  monitor-auto flush --json --timeout 60  in a script
"""


def make_parser(words: "Sequence[str]" = ()) -> "ArgumentParser":
    """Return the parser of all commands; those that the words do not name are listed and not loaded."""
    from argparse import ArgumentParser, RawDescriptionHelpFormatter
    from importlib import import_module

    from monitor_auto import __version__

    parser = ArgumentParser(
        "monitor-auto", description=OVERVIEW, epilog=ENDING, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"monitor-auto {__version__}")
    parser.set_defaults(run=None, parser=parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    flush = commands.add_parser(
        "flush",
        help="deliver now what ended programs have left in the spool",
        description=FLUSH,
        epilog=FLUSH_ENDING,
        formatter_class=RawDescriptionHelpFormatter,
    )
    flush.add_argument("--json", action="store_true", help="print the outcome as one JSON object")
    flush.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="stop after so many seconds")
    flush.add_argument("--quiet", action="store_true", help="print nothing but errors")
    flush.set_defaults(run=_flush, parser=flush)
    for name, purpose in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, formatter_class=RawDescriptionHelpFormatter)
        if name in words:
            module = import_module(f"{__name__}.{name}")
            command.description = module.DESCRIPTION
            module.add_arguments(command)
            command.set_defaults(run=module.run, parser=command)
    return parser


def _seconds(text: str) -> float:
    from argparse import ArgumentTypeError

    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ArgumentTypeError(f"{text!r} is no positive number of seconds")
    return seconds


def _flush(arguments: object) -> int:
    from .flush import flush

    return flush(arguments)

"""`monitor-auto run -- COMMAND …`: runs any command with the monitor on, and takes its events off its output.

The command's own session is this process: its `process.start` and `process.exit` are recorded here, and every Python
program below it is linked to it. `running/` does the work.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from monitor_auto.boot import settings

from .configuration import Configuration, read_configuration
from .running import guardian, runs
from .running.command import Running, tell_failure
from .running.session import OwnSession
from .terminal import complain

DESCRIPTION = """\
Run any command with the monitor on: every Python program that it starts is
recorded, and what other programs say on a line of their own becomes an event:

  monitor-event: {"name": "backup.done", "data": {"files": 120}}

  monitor-auto run -- make test
  monitor-auto run -- sh nightly.sh
  monitor-auto run --html report.html --trace trace.json -- pytest -q
  monitor-auto run --endpoint http://127.0.0.1:9090/v1/events -- node job.js

All else is as without it. Every other byte of the output passes through, at
once; a terminal stays one, so that colours, editors, pagers and password
prompts work; Ctrl-C, Ctrl-Z and any other signal reach the command.

When it has ended, a report is printed on standard error: the processes as a
tree, with times and ends, errors, failed tests, slow calls, what was killed.
In GitHub Actions it goes to the job's summary too, in GitLab it can be folded.
`monitor-auto report` shows it again.

With an endpoint (--endpoint, MONITOR_ENDPOINT or `monitor-auto enable`) the
events are delivered there, too, also while the command runs; they are kept
for the report.
Without one they stay on this machine, in a folder of this run's own below
runs/ of the spool.
MONITOR_DISABLE=1 runs the command alone.

Exit codes: 0 to 255 as the command's own. A command that a signal killed
kills us by the same signal (128 + number, for a shell). 127: there is no such
command; 126: it cannot be executed; 125: `run` itself failed; 2: wrong call.
"""
VALUED = ("--endpoint", "--html", "--trace", "--json")
"""The options that have a value behind them."""


def separate(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return our own words and the command's: what is behind `--`, or from the first word that is no option."""
    own = 1
    while own < len(words) and words[own].startswith("-") and words[own] != "--":
        own += 2 if words[own] in VALUED else 1
    rest = list(words[own:])
    return list(words[:own]), rest[1:] if rest[:1] == ["--"] else rest


def add_arguments(parser: Any) -> None:
    """Add the options. The command is taken off before: what it is given is not ours to understand."""
    parser.usage = "monitor-auto run [options] [--] COMMAND [ARGUMENT ...]"
    from . import showing

    parser.add_argument("--endpoint", metavar="URL", help="deliver to this collector")
    parser.add_argument("--quiet", action="store_true", help="do not print the report at the end")
    showing.add_arguments(parser)


def run(arguments: Any) -> int:
    """Run the command and return its exit status; does not return where a signal has killed it."""
    if not arguments.command:
        complain("name a command, e.g. monitor-auto run -- make test")
        return 2
    try:
        configuration = configure(arguments)
    except ValueError as error:
        complain(str(error))
        return 2
    if not configuration.is_on and not configuration.problem:
        return run_alone(arguments.command)
    keeps = configuration.endpoint not in ("", "local:") and wants_report(arguments)
    return Running(arguments.command, OwnSession(partial(report, arguments), keeps)).work()


def configure(arguments: Any) -> Configuration:
    """Decide where the events go, and let the environment say so. Raises ValueError for an endpoint of no use."""
    if arguments.endpoint is not None:
        settings.endpoint_parts(arguments.endpoint.strip())
        os.environ["MONITOR_ENDPOINT"] = arguments.endpoint.strip()
    configuration = read_configuration()
    if not configuration.has_endpoint and not configuration.problem:
        os.environ["MONITOR_ENDPOINT"] = "local:"
        configuration = read_configuration()
        if configuration.is_on:
            os.environ["MONITOR_SPOOL_DIR"] = runs.private_spool(configuration.settings.spool_directory)
    return configuration


def wants_report(arguments: Any) -> bool:
    """True when what happened is to be shown at the end, or written."""
    return not arguments.quiet or any(getattr(arguments, form) for form in ("html", "trace", "json"))


def run_alone(command: Sequence[str]) -> int:
    """Become the command: the monitor is switched off."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        guardian.execute(list(command), dict(os.environ))
    except (OSError, ValueError) as error:
        return tell_failure(command, error)


def report(arguments: Any, folders: list[Path], tree: str, session: str) -> None:
    """Show what happened. Called once the command has ended and its session with it, before the rest is delivered.

    `folders` are where the events of the run lie: those of `session` and of what is below it, which are all of one
    `tree` (the second part of a segment's name). The terminal is the user's again by now.
    """
    from monitor_auto.report import sources
    from monitor_auto.report.tree import build, part

    from . import showing

    events = (event for folder in folders if folder.is_dir() for event in sources.of_spool(folder, tree))
    done = part(build(showing.counting(events, sys.stderr)), session)
    if done is None:
        return
    left_out = sum(map(runs.missing, folders))
    if left_out:
        done.dropped["delivered, and too many to be kept for this report"] += left_out
    showing.write_files(done, arguments)
    showing.append_github_summary(done, os.environ)
    if not arguments.quiet:
        showing.show_in_log(done, os.environ, sys.stderr)

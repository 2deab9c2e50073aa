"""`monitor-auto report`: show what was recorded of a run, from the spool, a file or a collector."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from monitor_auto.report import sources, text
from monitor_auto.report.model import Run
from monitor_auto.report.sources import Unreadable
from monitor_auto.report.tree import build

from . import showing, spools
from .configuration import read_configuration
from .terminal import complain, print_json

DESCRIPTION = """\
Show what was recorded of a run: its processes as a tree with their times and
ends, its errors with their place, tests that failed, what took longest, what
was killed or vanished.

  monitor-auto report                     the last run
  monitor-auto report --list              which runs there are
  monitor-auto report 01a20f39            one of them, by its id's beginning
  monitor-auto report events.jsonl        what `--json FILE` has written
  monitor-auto report --from http://127.0.0.1:9090
                                          from `monitor-auto collect`
  monitor-auto report --html run.html --trace run.json

Without --from it reads the spool: runs of `monitor-auto run`, programs with
the endpoint local:, and whatever no collector has taken yet. What else was
delivered is at the collector.

Exit codes: 0 shown, 1 there is no such run or a file cannot be written,
2 wrong call.
"""


def add_arguments(parser: Any) -> None:
    """Add the options."""
    parser.add_argument("run_name", nargs="?", metavar="RUN | FILE", help="an id's beginning, or a file of JSON lines")
    parser.add_argument("--last", action="store_true", help="the last run (which is what is shown anyhow)")
    parser.add_argument("--list", action="store_true", help="list the runs, the newest first")
    parser.add_argument("--from", dest="source", metavar="URL | FOLDER", help="a collector's page, or a spool")
    parser.add_argument("--summary", action="store_true", help="print the run's numbers as one JSON object")
    showing.add_arguments(parser)


def run(arguments: Any) -> int:
    """Run the command. Returns 0 shown, 1 nothing to show or not written, 2 wrong call."""
    if arguments.last and arguments.run_name:
        complain("--last and a run's name cannot go together.")
        return 2
    try:
        runs = read(arguments)
    except Unreadable as error:
        complain(str(error))
        return 1
    if arguments.list:
        sys.stdout.write(text.listing(runs, showing.paper(sys.stdout)) if runs else "")
        return 0 if runs else nothing()
    chosen = choose(runs, arguments.run_name)
    if chosen is None:
        return nothing(arguments.run_name)
    is_written = showing.write_files(chosen, arguments)
    if arguments.summary:
        print_json(numbers(chosen))
    elif not any(getattr(arguments, form) for form in showing.FORMS):
        showing.show(chosen, sys.stdout)
    return 0 if is_written else 1


def nothing(name: str | None = None) -> int:
    """Say that there is nothing to show, and how to get something."""
    if name:
        complain(f"no run's id begins with {name[:40]!r}; monitor-auto report --list shows which there are.")
    else:
        complain("nothing is recorded here. Try: monitor-auto run -- python -c 'print(1)'")
    return 1


def read(arguments: Any) -> list[Run]:
    """Return the runs that the source holds, the newest last. Raises Unreadable."""
    return build(showing.counting(events_of(arguments), sys.stderr))


def events_of(arguments: Any) -> Iterable[dict[str, Any]]:
    """Yield the events that the source holds. Raises Unreadable."""
    name, source = arguments.run_name, arguments.source
    if name and os.path.isfile(name):
        return sources.of_file(Path(name))
    if source and source.startswith(("http://", "https://")):
        key = None if arguments.list else name
        return sources.of_collector(source, key, os.environ.get("MONITOR_COLLECT_TOKEN"))
    if source:
        return sources.of_spool(Path(source))
    return (event for directory in directories() for event in sources.of_spool(Path(directory)))


def directories() -> Iterable[str]:
    """Return the spools of this user, and those of the runs of `monitor-auto run`."""
    settings = read_configuration().settings
    for directory in dict.fromkeys([settings.spool_directory, *spools.existing(settings)]):
        if not os.path.isdir(directory):
            continue
        yield directory
        runs = f"{directory}/runs"
        if os.path.isdir(runs) and not os.path.islink(runs):
            yield from (f"{runs}/{name}" for name in sorted(os.listdir(runs)))


def choose(runs: list[Run], name: str | None) -> Run | None:
    """Return the run of a name, or the last one; a file's events are one run in most cases, and then its last."""
    if name is None or os.path.isfile(name):
        return runs[-1] if runs else None
    matching = [run for run in runs if run.key.startswith(name) or has_session(run, name)]
    return matching[-1] if matching else None


def has_session(run: Run, name: str) -> bool:
    """True when one of a run's sessions is of that name."""
    return any(process.session and process.session.startswith(name) for process in run.processes)


def numbers(run: Run) -> dict[str, Any]:
    """Return a run in numbers, for scripts."""
    return {
        "run": run.key,
        "outcome": run.outcome,
        "duration_ms": round(run.ended_ms - run.started_ms, 3),
        "processes": len(run.processes),
        "events": run.event_count,
        "errors": sum(len(group.errors) for group in run.errors),
        "failed_tests": len(run.failed_tests),
        "tests": len(run.tests),
        "killed": sum(process.outcome == "killed" for process in run.processes),
        "lost": sum(process.outcome == "lost" for process in run.processes),
        "dropped": dict(run.dropped),
    }

"""`monitor-auto tail`: shows events as they are recorded, until Ctrl-C."""

from __future__ import annotations

import os
import sys
import time
from fnmatch import fnmatchcase
from typing import Any

from monitor_auto.report import following, text
from monitor_auto.report.sources import Unreadable

from . import showing
from .report import directories
from .terminal import complain

DESCRIPTION = """\
Show events as they are recorded, one line each, until Ctrl-C.

  monitor-auto tail                       what programs of this user record
  monitor-auto tail --name 'error.*'      errors
  monitor-auto tail --name 'hook.*' --json | jq .data
  monitor-auto tail --from http://127.0.0.1:9090
                                          what `monitor-auto collect` gets

Without --from it reads the spool, where every event is before it is delivered.
A program that delivers and ends within a blink may have left nothing to see:
where there is a collector, follow that.

Exit codes: 0 ended by Ctrl-C or because nobody reads on, 1 the source cannot
be read, 2 wrong call.
"""
LOOK_SECONDS, ASK_SECONDS = 0.2, 0.5
"""Between two looks at files, and two questions to a collector."""


def add_arguments(parser: Any) -> None:
    """Add the options."""
    parser.add_argument("--from", dest="source", metavar="URL | FOLDER", help="a collector's page, or a spool")
    parser.add_argument("--name", metavar="GLOB", default="*", help="only events of such a name, e.g. 'error.*'")
    parser.add_argument("--lines", "-n", type=int, default=10, metavar="N", help="earlier events to begin with (10)")
    parser.add_argument("--json", action="store_true", help="print each event as one JSON object")


def run(arguments: Any) -> int:
    """Run the command until somebody ends it. Returns 0, or 1 where the source cannot be read."""
    if arguments.source and not is_url(arguments.source) and not os.path.isdir(arguments.source):
        complain(f"{arguments.source} is no folder and no address of a collector.")
        return 1
    try:
        follow(arguments, source_of(arguments.source))
    except Unreadable as error:
        complain(str(error))
        return 1
    except (KeyboardInterrupt, BrokenPipeError):
        return leave()
    return 0


def is_url(text: str) -> bool:
    """True for the address of a collector."""
    return text.startswith(("http://", "https://"))


def source_of(name: str | None) -> following.Spools | following.Collector:
    """Return what is followed."""
    if name and is_url(name):
        return following.Collector(name, os.environ.get("MONITOR_COLLECT_TOKEN"))
    return following.Spools((lambda: [name]) if name else directories)


def follow(arguments: Any, source: following.Spools | following.Collector) -> None:
    """Print what is there, then what comes."""
    wait = ASK_SECONDS if isinstance(source, following.Collector) else LOOK_SECONDS
    earlier = wanted(source.new(), arguments.name)
    show(earlier[len(earlier) - max(0, arguments.lines) :] if arguments.lines < len(earlier) else earlier, arguments)
    while True:
        time.sleep(wait)
        show(wanted(source.new(), arguments.name), arguments)


def wanted(events: list[dict[str, Any]], pattern: str) -> list[dict[str, Any]]:
    """Return the events of such a name."""
    return [event for event in events if fnmatchcase(str(event.get("name")), pattern)]


def show(events: list[dict[str, Any]], arguments: Any) -> None:
    """Print events."""
    paper = showing.paper(sys.stdout)
    for event in events:
        line = following.as_line(event) if arguments.json else text.event_line(event, paper)
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


def leave() -> int:
    """End without a word, also where nobody reads any more."""
    showing.quieten(sys.stdout)
    return 0

"""`monitor-auto event`: an event from a shell script, recorded and delivered as those of any program.

The command is a session of its own, below the program that called the script (MONITOR_PARENT). What it is given is data
and never part of the command line that `session.start` shows.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable
from typing import Any

from .terminal import complain, print_json

DESCRIPTION = """\
Record an event from a shell script. It is on disk when the command returns,
and sent as those of any program are; where no collector is configured, or it
is away, the script does not notice.

  monitor-auto event backup.done files=120 seconds=3.5 complete=true
  monitor-auto event backup.failed --type error message="disk full"
  monitor-auto event backup.size --type metric value=1024
  monitor-auto event deploy.done version==1.10 hosts:='["a", "b"]'
  jq -c '{name: "row.read", data: .}' rows | monitor-auto event --stdin

  key=value    a whole number, a decimal number, true, false or null where it
               looks like one; anything else is text
  key==value   text, whatever it looks like
  key:=JSON    any JSON value

Standard input (--stdin, or - as the name) is one JSON object a line:
  {"name": "row.read", "type": "event", "data": {"row": 1}}

Exit codes: 0 recorded, or nothing is monitored here; 1 with --strict: not
recorded; 2 wrong call (the good lines of standard input are recorded).
"""
TYPES = ("event", "metric", "error")
WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")
DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,17})\.[0-9]+([eE][+-]?[0-9]{1,3})?")
WORDS = {"true": True, "false": False, "null": None}


def add_arguments(parser: Any) -> None:
    """Add the options."""
    parser.usage = "monitor-auto event NAME [options] [key=value ...]\n       monitor-auto event --stdin [options]"
    parser.add_argument("name", metavar="NAME", nargs="?", help="namespace.action in lower case, e.g. backup.done")
    parser.add_argument("values", metavar="key=value", nargs="*", default=[], help="the event's data, see above")
    parser.add_argument("--type", choices=TYPES, default="event", help="event (default), metric or error")
    parser.add_argument("--data", metavar="JSON", help="a JSON object with data; key=value wins over it")
    parser.add_argument("--stdin", action="store_true", help="read events from standard input, one JSON object a line")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when nothing was recorded")
    parser.add_argument("--json", action="store_true", help="print the ids of what was recorded")


def run(arguments: Any) -> int:
    """Run the command. Returns 0, 1 with --strict when something was not recorded, 2 for what makes no event."""
    is_stream = arguments.stdin or arguments.name == "-"
    faults: list[str] = []
    if is_stream and (arguments.values or arguments.data or arguments.name not in (None, "-")):
        faults = ["with --stdin each line has its own name and data; give none here"]
        events: Iterable[tuple[str, str, dict[str, Any]]] = ()
    else:
        events = read_lines(sys.stdin.buffer, faults) if is_stream else one_event(arguments, faults)
    recorded, missed = record(events, arguments.name or "-")
    if arguments.json:
        print_json({"recorded": recorded, "missed": missed})
    for fault in faults:
        complain(fault)
    if faults:
        return 2
    if missed and arguments.strict:
        complain("nothing was recorded: see monitor-auto status.")
    return 1 if missed and arguments.strict else 0


def one_event(arguments: Any, faults: list[str]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return the event of the command line, or none and what is wrong with it."""
    try:
        if not arguments.name or "=" in arguments.name:
            raise ValueError("an event needs a name first, e.g. monitor-auto event backup.done files=120")
        data = parse_object(arguments.data, "--data") if arguments.data is not None else {}
        for word in arguments.values:
            key, value = parse_pair(word)
            data[key] = value
        return [checked(arguments.name, arguments.type, data)]
    except ValueError as error:
        faults.append(str(error))
        return []


def read_lines(lines: Iterable[bytes], faults: list[str]) -> Iterable[tuple[str, str, dict[str, Any]]]:
    """Yield the events of standard input as they come; say of every other line what is wrong with it."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            event = parse_object(line.decode(), "the line")
            name, kind, data = event.get("name"), event.get("type", "event"), event.get("data", {})
            if not isinstance(name, str) or not name or kind not in TYPES or not isinstance(data, dict):
                raise ValueError('an event is {"name": "a.b", "type": "event", "data": {}}, the name at least')
            yield checked(name, kind, data)
        except ValueError as error:  # UnicodeDecodeError is one
            faults.append(f"line {number}: {error}")


def parse_object(text: str, what: str) -> dict[str, Any]:
    """Return the object that a JSON text holds. Raises ValueError."""
    value = parse_json(text, what)
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be a JSON object")
    return value


def parse_json(text: str, what: str) -> Any:
    """Return a JSON value. Raises ValueError with a sentence for the user."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{what} is no JSON ({error})") from None
    except RecursionError:
        raise ValueError(f"{what} is nested too deep") from None


def parse_pair(word: str) -> tuple[str, Any]:
    """Return the key and the value of key=value, key==text or key:=JSON. Raises ValueError."""
    key, sign, text = word.partition("=")
    if key.endswith(":"):
        key = key[:-1]
        value = parse_json(text, f"the value of {key}")
    else:
        value = text[1:] if text.startswith("=") else parse_value(text)
    if not sign or not key:
        raise ValueError(f"{word!r} is no key=value" if sign else f"{key!r} is no key=value")
    return key, value


def parse_value(text: str) -> Any:
    """Return what a text looks like: a number, true, false or null; else itself. 007, 1e5 and 1.2.3 are text."""
    if text in WORDS:
        return WORDS[text]
    if WHOLE.fullmatch(text):
        return int(text)
    if DECIMAL.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return text


def checked(name: str, kind: str, data: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Return an event as it is recorded. Raises ValueError for a metric without a number."""
    value = data.get("value")
    if kind == "metric" and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise ValueError(f"a metric needs value=NUMBER, e.g. monitor-auto event {name} --type metric value=3")
    if kind == "error":
        data = {"message": name, "source": "manual", "level": "error", **data}
    return name, kind, data


def record(events: Iterable[tuple[str, str, dict[str, Any]]], name: str) -> tuple[list[str], int]:
    """Record the events in a session of our own and end it; return their ids and how many were not recorded."""
    from monitor_auto import Monitor
    from monitor_auto.boot import recorder

    # Our commands are no sessions; this one becomes one from here on, under its own name and without what it was given.
    sys.orig_argv = [sys.executable, "monitor-auto event", name]
    kinds = {"event": recorder.EVENT, "metric": recorder.METRIC, "error": recorder.ERROR}
    recorded, missed, is_started = [], 0, False
    try:
        for event_name, kind, data in events:
            is_started = is_started or Monitor.init()
            event_id = recorder.record(kinds[kind], event_name, data)
            recorded += [event_id] if event_id else []
            missed += not event_id
    finally:
        Monitor.close()
    return recorded, missed

"""What was hooked in fact, in running and finished sessions whose events still wait: read from `session.end` and
`sdk.hooks`. A running session says so for the first time with its first report, after half a minute; until then, and
after each report, its events tell which hook has recorded them. So do those of one that was killed.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

from monitor_auto.boot import hooked, targets
from monitor_auto.delivery.segments import Unreadable, open_own

MARK = b'"hooks":{'
BY_HOOKS = re.compile(
    rb'"name":"(?:http\.client\.request|http\.server\.request|log\.error|test\.result)",.*?'
    rb'"session":\{"id":"([^"\\]+)".*?"data":\{"(?:library|server)":"([^"\\]+)"'
)
"""An event of a hook: its session, and which library, or server, it is about."""
KNOWN = {hooked.name_of(name) for name in (*targets.LIBRARY, *targets.THIRD_PARTY)}
MAX_BYTES = 50 << 20
MAX_HOOKS = 100


def seen(directories: list[str]) -> dict[str, dict[str, Any]]:
    """Return hook -> in how many sessions it was, how many events it recorded there, and what switched it off."""
    latest: dict[str, dict[str, Any]] = {}
    for directory in directories:
        for name in sorted(os.listdir(directory)):
            if name.endswith(".jsonl") and name != "ledger.jsonl":
                read(directory + "/" + name, latest)
    found: dict[str, dict[str, Any]] = {}
    for hooks in latest.values():
        for hook, value in list(hooks.items())[:MAX_HOOKS]:
            add(found.setdefault(hook, {"sessions": 0, "events": 0}), value)
    return dict(sorted(found.items()))


def add(facts: dict[str, Any], value: Any) -> None:
    """Add what one session says of a hook: a count, "on", or why it is off."""
    facts["sessions"] += 1
    if isinstance(value, int):
        facts["events"] += value
    elif value != "on":
        facts["off"] = str(value)


def read(path: str, latest: dict[str, dict[str, Any]]) -> None:
    """Take the last word of each session in a segment, and count what comes behind it."""
    try:
        descriptor, _ = open_own(path)
    except (OSError, Unreadable):  # delivered meanwhile, or not ours
        return
    with open(descriptor, "rb") as file:
        for line in file.read(MAX_BYTES).splitlines():
            if MARK in line:
                take(line, latest)
            else:
                count(line, latest)


def take(line: bytes, latest: dict[str, dict[str, Any]]) -> None:
    """Take one event, if it is one of those."""
    try:
        event = json.loads(line)
        hooks, session = event["data"]["hooks"], event["session"]["id"]
        if event["name"] in ("session.end", "sdk.hooks") and isinstance(hooks, dict) and isinstance(session, str):
            latest[session] = hooks
    except (ValueError, KeyError, TypeError, RecursionError):  # damaged, or an event of the program that looks like it
        return


def count(line: bytes, latest: dict[str, dict[str, Any]]) -> None:
    """Count one event, if a hook of ours has recorded it."""
    found = BY_HOOKS.search(line)
    session, hook = (text.decode("utf-8", "replace") for text in found.groups()) if found else ("", "")
    if hook in KNOWN:
        hooks = latest.setdefault(session, {})
        number = hooks.get(hook, 0)
        hooks[hook] = number + 1 if isinstance(number, int) else 1

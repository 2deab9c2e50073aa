"""`monitor-auto flush`: deliver now what ended programs have left in the spool."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import Any

from monitor_auto.boot import cleaning, guard
from monitor_auto.boot.settings import read_settings
from monitor_auto.delivery.drain import Drain, Outcome
from monitor_auto.delivery.exchange import is_sendable

NO_ENDPOINT = """\
monitor-auto: no collector is known, so there is nowhere to deliver to.
Name it, for example:  export MONITOR_ENDPOINT=http://127.0.0.1:9090/v1/events
"""
BAD_TOKEN = "monitor-auto: MONITOR_TOKEN holds characters that no header may hold; a newline at its end, perhaps?\n"
LOCAL = "monitor-auto: the endpoint is local:, whose events stay on this machine; there is nothing to deliver.\n"
BAR_CELLS = 30


def flush(arguments: Any) -> int:
    """Run the command. Returns 0 when nothing of ended programs is left, 1 when something is, 2 without a collector
    or with a token that cannot be sent.
    """
    try:
        settings = settings_of_environment()
    except ValueError as error:
        sys.stderr.write(f"monitor-auto: {error}\n")
        return 2
    if settings is None or settings.scheme == "local":
        sys.stderr.write(NO_ENDPOINT if settings is None else LOCAL)
        return 2
    if not is_sendable(settings.token):
        sys.stderr.write(BAD_TOKEN)
        return 2
    guard.debug_target = settings.debug
    cleaning.add_rules(settings.redact)
    cleaning.use_home(os.path.expanduser("~"))
    is_shown = sys.stderr.isatty() and not arguments.quiet and not arguments.json
    outcome = Drain(settings, arguments.timeout or float("inf"), show_progress if is_shown else None).run()
    if is_shown:
        sys.stderr.write("\r\x1b[K")
    report(outcome, arguments)
    return 1 if outcome.left or outcome.why else 0


def settings_of_environment() -> Any:
    """Return the settings that programs started here have, the kill switch aside: who calls flush wants it now."""
    environment = {name: value for name, value in os.environ.items() if name != "MONITOR_DISABLE"}
    return read_settings(environment, sys.prefix)


def report(outcome: Outcome, arguments: Any) -> None:
    """Print what was done, and for what is left why and what helps."""
    if arguments.json:
        print(json.dumps(asdict(outcome)))
        return
    if not arguments.quiet:
        print("\n".join(sentences(outcome)))
    if outcome.left or outcome.why:
        left = f"{outcome.left} {_events(outcome.left)} left: " if outcome.left else ""
        sys.stderr.write(f"monitor-auto: {left}{outcome.why}.\n")
        sys.stderr.write("They stay in the spool. Run `monitor-auto flush` again when the cause is gone.\n")


def sentences(outcome: Outcome) -> list[str]:
    """Return the report of what went well, one fact a line."""
    if outcome.delivered:
        lines = [f"Delivered {outcome.delivered} {_events(outcome.delivered)} in {outcome.seconds:.1f} s."]
    else:
        lines = ["Nothing was delivered." if outcome.left or outcome.why else "There was nothing to deliver."]
    if outcome.rejected:
        lines.append(f"{outcome.rejected} {_events(outcome.rejected)} the collector has rejected, one by one.")
    if outcome.dropped:
        lines.append(f"{outcome.dropped} {_events(outcome.dropped)} dropped: the collector will never take them.")
    if outcome.aside:
        lines.append(f"{outcome.aside} damaged lines were put aside (folder aside/ of the spool).")
    if outcome.running:
        is_one = outcome.running == 1
        run = "program still runs, or delivers" if is_one else "programs still run, or deliver"
        follow = "its events follow when it ends" if is_one else "their events follow when they end"
        lines.append(f"{outcome.running} {run} just now; {follow}.")
    return lines


def _events(count: int) -> str:
    return "event" if count == 1 else "events"


def show_progress(done: int, in_all: int) -> None:
    """Draw a bar on standard error; sizes in bytes."""
    share = min(1.0, done / in_all) if in_all else 1.0
    cells = round(share * BAR_CELLS)
    bar = "#" * cells + "." * (BAR_CELLS - cells)
    sys.stderr.write(f"\r\x1b[K[{bar}] {share:4.0%} of {in_all / (1 << 20):.1f} MiB")
    sys.stderr.flush()

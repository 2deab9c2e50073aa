"""`monitor-auto status`: whether programs are monitored here, where events go and wait, what went wrong."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from monitor_auto.boot import arrivals, targets
from monitor_auto.boot.formats import endpoint_key

from . import installation, seen_hooks, spools
from .configuration import Configuration, programs_text, read_configuration
from .terminal import age_text, coloured, counted, print_json, row, size_text

DESCRIPTION = """\
Say whether programs that start in this environment are monitored, and why;
where their events go, where they wait, and how many; and what went wrong so
far. Nothing is changed and nothing is sent.

  monitor-auto status          a page to read
  monitor-auto status --json   one JSON object, e.g. to count what waits

Exit codes: 0 programs are monitored here, 1 they are not, 2 wrong call.
`monitor-auto doctor` looks closer, and says what to do.
"""
NAMES = (*targets.STDLIB, *targets.LIBRARY, *targets.THIRD_PARTY)
SHOWN = 5
"""Causes of each kind that the page names; --json names all."""


@dataclass
class Status:
    """What the command has found; `on` needs an endpoint and a start line."""

    on: bool
    why: str
    endpoint: str
    endpoint_from: str
    has_token: bool
    site_file: str | None
    programs: str
    start_lines: list[installation.StartLine]
    spool: spools.Place
    unreadable: list[str]
    backlog: list[spools.Backlog]
    accounts: list[spools.Account]
    troubles: spools.Troubles
    hooks: dict[str, bool]
    hooked: dict[str, dict[str, Any]]


def add_arguments(parser: Any) -> None:
    """Add the options."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: Any) -> int:
    """Run the command. Returns 0 when programs are monitored here, else 1."""
    status = look(read_configuration())
    if arguments.json:
        print_json(asdict(status))
    else:
        print("\n".join(page(status)))
    return 0 if status.on else 1


def look(configuration: Configuration) -> Status:
    """Collect everything."""
    settings = configuration.settings
    lines = installation.start_lines()
    why = configuration.why
    if configuration.is_on and not lines:
        why = f"{why}, but no start line is there: install monitor-auto again"
    place = spools.place_of(settings)
    backlog = spools.backlogs(spools.told(settings, place))
    endpoints = {endpoint_key(settings.endpoint): configuration.endpoint}
    endpoints |= {one.key: one.endpoint for one in backlog if one.endpoint}
    for one in backlog:  # where nothing waits and something failed
        one.endpoint = endpoints.get(one.key, "")
    return Status(
        on=configuration.is_on and bool(lines),
        why=why,
        endpoint=configuration.endpoint,
        endpoint_from=configuration.origin,
        has_token=configuration.has_endpoint and bool(settings.token),
        site_file=configuration.site_file if configuration.has_site_file else None,
        programs=programs_text(settings),
        start_lines=lines,
        spool=place,
        unreadable=spools.unreadable(settings),
        backlog=backlog,
        accounts=spools.accounts(spools.in_use(settings), endpoints),
        troubles=spools.troubles(spools.in_use(settings)),
        hooks={
            **{name: arrivals.is_wanted(settings, name) for name in NAMES},
            **{name: name in settings.instrument and arrivals.is_wanted(settings, name) for name in targets.ASKED},
        },
        hooked=seen_hooks.seen(spools.existing(settings)),
    )


def page(status: Status) -> list[str]:
    """Return the page, line by line."""
    state = coloured("on", "ok") if status.on else coloured("off", "warning")
    lines = [row("monitoring", f"{state}: {status.why}")]
    if status.endpoint:
        token = "with a token" if status.has_token else "without a token"
        lines.append(row("endpoint", f"{status.endpoint}, {token}"))
    if status.programs:
        lines.append(row("programs", status.programs))
    lines += [row("start line", f"{line.path} ({line.state})") for line in status.start_lines] or [
        row("start line", "none: no program of this environment is monitored")
    ]
    lines.append(row("spool", f"{status.spool.directory or 'memory'} ({status.spool.why})"))
    lines += [row("", coloured(f"{path} cannot be read", "wrong")) for path in status.unreadable]
    lines += _waiting(status.backlog)
    lines += [row("events", account_text(account)) for account in status.accounts if account.produced]
    lines += _troubles(status.troubles)
    lines.append(row("libraries", libraries_text(status.hooks)))
    lines += [row("hooked", hooked_text(name, facts)) for name, facts in status.hooked.items()]
    return lines


def libraries_text(hooks: dict[str, bool]) -> str:
    """Return each library once whose use is recorded, or would be; what shows how programs end is no library."""
    libraries: dict[str, bool] = {}
    for module, is_on in hooks.items():
        if module not in targets.STDLIB:
            name = module.partition(".")[0].lstrip("_")
            libraries[name] = libraries.get(name, False) or is_on
    return (
        ", ".join(name + ("" if libraries[name] else " (off)") for name in sorted(libraries, key=str.lower)) or "none"
    )


def hooked_text(name: str, facts: dict[str, Any]) -> str:
    """Return what one hook did in the sessions whose events still wait."""
    if "off" in facts:
        return coloured(f"{name}: {facts['off']}", "wrong")
    return f"{name}: {counted(facts['events'], 'event')} in {counted(facts['sessions'], 'session')}"


def _waiting(backlogs: list[spools.Backlog]) -> list[str]:
    lines = []
    for backlog in backlogs:
        if backlog.events or backlog.living or backlog.away:
            lines.append(row("waiting", waiting_text(backlog)))
        if backlog.away:
            lines.append(row("", coloured(away_text(backlog.away), "wrong")))
    return lines or [row("waiting", "nothing")]


def waiting_text(backlog: spools.Backlog) -> str:
    """Return what waits for one endpoint."""
    oldest = f", the oldest for {age_text(backlog.oldest_seconds)}" if backlog.events else ""
    running = f" and {counted(backlog.living, 'running one')}" if backlog.living else ""
    return (
        f"{counted(backlog.events, 'event')} ({size_text(backlog.bytes)}) of "
        f"{counted(backlog.ended, 'ended program')}{running}{oldest}, "
        f"for {backlog.endpoint or backlog.key} in {backlog.directory}"
    )


def account_text(account: spools.Account) -> str:
    """Return what became of one endpoint's events."""
    facts = vars(account)
    fates = [
        (facts[name], name.replace("_", " "))
        for name in ("sent", "spooled", "rejected", "dropped", "sampled_out", "never_written")
    ]
    told = ", ".join(f"{count:,} {fate}" for count, fate in fates if count or fate == "sent")
    return f"{account.produced:,} recorded so far for {account.endpoint or account.key}: {told}"


def away_text(away: dict[str, Any]) -> str:
    """Return what the last failure of an endpoint was, and when it will be tried again."""
    seconds = away["until"] - time.time()
    then = f"the next try is in {age_text(seconds)}" if seconds > 0 else "the next program tries again"
    return f"failed {counted(away['failures'], 'time')} in a row ({away['error'] or away['status']}); {then}"


def _troubles(troubles: spools.Troubles) -> list[str]:
    lines = []
    for label, counts in (
        ("dropped", troubles.dropped),
        ("put aside", troubles.aside),
        ("errors", troubles.internal_errors),
        ("problems", troubles.problems),
    ):
        lines += [row(label, f"{count:,} × {cause}") for cause, count in spools.by_count(counts)[:SHOWN]]
    return lines

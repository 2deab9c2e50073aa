"""Which processes are one, and which is below which. Pure."""

from __future__ import annotations

from .model import Process

SLACK_MS = 2000.0
"""How far the clocks of two processes of one machine, and the start of an interpreter, may be apart."""


def attach(child: Process, parent: Process) -> None:
    """Put a process below another."""
    child.parent = parent
    parent.children.append(child)


def is_below(process: Process, other: Process) -> bool:
    """True when a process is the other one or below it."""
    above: Process | None = process
    while above is not None:
        if above is other:
            return True
        above = above.parent
    return False


def nearest(told: list[Process], session: Process) -> Process | None:
    """Return the told child that this session can be: the last that was started before it, within the clocks' slack."""
    start = session.started_ms
    if start is None:
        return told[0] if told else None
    fitting = [
        child
        for child in told
        if child.session is None
        and (child.started_ms is None or child.started_ms <= start + SLACK_MS)
        and (child.ended_ms is None or child.ended_ms >= start - SLACK_MS)
    ]
    return max(fitting, key=lambda child: child.started_ms or 0.0, default=None)


def merge(told: Process, session: Process) -> None:
    """Put the session in the place of what its parent has told of it. How it ended, the parent knows better."""
    parent = told.parent
    if parent is None or is_below(parent, session):
        return
    parent.children[parent.children.index(told)] = session
    session.parent = parent
    session.children += told.children
    for child in told.children:
        child.parent = session
    session.method = told.method or session.method
    session.waited, session.worker = told.waited, told.worker
    if told.started_ms is not None and session.started_ms is not None:
        session.started_ms = min(told.started_ms, session.started_ms)
    if told.has_ended:
        session.ended_ms, session.duration_ms = told.ended_ms, told.duration_ms or session.duration_ms
        session.has_ended = True
        session.signal = told.signal or session.signal
        if told.signal is None and told.exit_code is not None:
            session.exit_code = told.exit_code


def name_it(process: Process) -> None:
    """Give a process without a name one, and a duration where its times tell."""
    if process.duration_ms is None and process.started_ms is not None and process.ended_ms is not None:
        process.duration_ms = max(0.0, process.ended_ms - process.started_ms)
    if process.method in ("fork", "os.fork") and process.session and process.parent is not None:
        process.label = process.label or process.parent.label
    if process.worker and process.label and process.worker != process.label:
        process.label = f"{process.label} [{process.worker}]"
    process.label = process.label or (process.method and f"({process.method})") or "(unknown program)"

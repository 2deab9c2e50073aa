"""The session of a command that `monitor-auto run` runs: it is this process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from monitor_auto.boot import endings, guard, inherited, recorder

from .runs import Kept

Show = Callable[[list[Path], str, str], None]
"""Shows what happened: from which folders, of which tree, below which session."""


class OwnSession:
    """Our session. With `keeps`, what is delivered while the command runs is kept until it has been shown."""

    def __init__(self, show: Show, keeps: bool) -> None:
        self._show = show
        self._keeps = keeps
        self._kept: Kept | None = None

    def begin(self, command: Sequence[str]) -> None:
        """Become the command's session: our commands are none by themselves."""
        from monitor_auto import Monitor

        sys.orig_argv = [sys.executable, "monitor-auto run", os.path.basename(command[0])]
        Monitor.init()
        own, rules = recorder.session, recorder.settings
        if self._keeps and own is not None and rules is not None and guard.directory:
            self._kept = keep(Kept(guard.directory, own.tree, own.id, rules.spool_limit_bytes))

    @property
    def leftover(self) -> list[str]:
        """What the guardian is to rename should we be killed: from, to."""
        return self._kept.names if self._kept is not None else []

    def tend(self) -> float | None:
        """Look after what is kept; return the milliseconds until the next look, None where there is none to be had."""
        if self._kept is None:
            return None
        left: float | None = guard.call("report", self._kept.tend)
        return left

    def end(self, status: int) -> None:
        """End the session, report, and deliver."""
        from monitor_auto import Monitor

        own = recorder.session
        if own is None:
            return
        if status < 0:
            endings.end("signal", None, signal=signal_name(-status))
        else:
            endings.end("exit", status)
        # The spool first: what is moved from there between the two looks is found in the other.
        folders = [Path(guard.directory or ""), *([Path(self._kept.folder)] if self._kept is not None else [])]
        guard.call("report", self._show, folders, own.tree, own.id)
        Monitor.close()
        if self._kept is not None:
            guard.call("report", self._kept.stop)


def keep(kept: Kept) -> Kept | None:
    """Begin to keep; None where that cannot be (a full disk): the report then lacks what was delivered."""
    try:
        kept.start()
    except OSError:
        return None
    return kept


def child_environment() -> dict[str, str]:
    """Return the environment of the command: ours, and whose child it is."""
    environment = dict(os.environ)
    own, rules = recorder.session, recorder.settings
    if own is not None and rules is not None:
        environment.update(inherited.handed_down(own))
        if rules.propagate:
            environment["TRACEPARENT"] = "00-" + "-".join(own.lineage[2:5])
    return environment


def signal_name(number: int) -> str:
    """Return SIGTERM for 15."""
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"SIG{number}"

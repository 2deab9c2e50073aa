"""Runs commands under `monitor-auto run`, beside the same command bare, on pipes or on a terminal."""

import fcntl
import os
import pty
import select
import struct
import termios
import time
from collections.abc import Sequence
from typing import Any

import pytest

from support.children import Child, Children, Run
from support.commands import WORDS

RUN = (*WORDS, "run", "--quiet", "--")


def twin(children: Children, *command: str, **how: Any) -> Run:
    """Run a command bare, then under `monitor-auto run`: status and output must be equal. Return the second."""
    before = children.run(list(command), bare=True, **how)
    after = children.run([*RUN, *command], **how)
    assert (after.status, after.stdout, after.stderr) == (before.status, before.stdout, before.stderr)
    return after


def said(run: Run) -> list[tuple[str, dict[str, Any]]]:
    """Return name and data of what the command itself has said."""
    return [(event["name"], without_pid(event)) for event in run.events if event["type"] != "lifecycle"]


def without_pid(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event's data without whose child said it."""
    return {name: value for name, value in event["data"].items() if name != "_pid"}


def relayed(run: Run) -> dict[str, int]:
    """Return what the ledger counts of lines that were no events."""
    found: dict[str, int] = {}
    for line in run.ledger:
        if line["what"] == "relay":
            reason = line["reason"].rpartition(" was ")[2]
            found[reason] = found.get(reason, 0) + line["count"]
    return found


class Terminal:
    """A terminal with a command on it, which is its session's leader, as a login shell would be."""

    def __init__(self, children: Children, command: Sequence[str], rows: int = 24, columns: int = 80, **how: Any):
        self.ours, theirs = pty.openpty()
        self.resize(rows, columns, theirs)
        self.settings = termios.tcgetattr(theirs)
        streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs, **how}

        def take() -> None:
            fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

        self.child: Child = children.start(list(command), preexec_fn=take, pass_fds=(theirs,), **streams)
        self.theirs = theirs
        self.shown = b""

    def resize(self, rows: int, columns: int, descriptor: int | None = None) -> None:
        """Change the size of the window."""
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.ours if descriptor is None else descriptor, termios.TIOCSWINSZ, size)

    def type(self, text: bytes) -> None:
        """Type."""
        os.write(self.ours, text)

    def wait_for(self, mark: bytes, timeout: float = 60) -> None:
        """Read until something new is shown that has the mark in it, and forget what was before its end."""
        deadline = time.monotonic() + timeout
        while mark not in self.shown:
            ready, _, _ = select.select([self.ours], [], [], max(deadline - time.monotonic(), 0))
            piece = os.read(self.ours, 65536) if ready else b""
            if not piece:
                pytest.fail(f"no {mark!r} within {timeout} s in {self.shown!r}")
            self.shown += piece
        self.shown = self.shown.partition(mark)[2]

    def read_all(self, timeout: float = 60) -> bytes:
        """Wait for the command's end; return what was shown and not waited for."""
        deadline = time.monotonic() + timeout
        while self.child.process.poll() is None or select.select([self.ours], [], [], 0)[0]:
            if time.monotonic() > deadline:
                self.child.kill()
                pytest.fail(f"still running after {timeout} s; the terminal shows {self.shown!r}")
            if select.select([self.ours], [], [], 0.05)[0]:
                self.shown += os.read(self.ours, 65536)
        return self.shown

    def is_as_before(self) -> bool:
        """True when the settings are those of the beginning."""
        return termios.tcgetattr(self.theirs) == self.settings

    def finish(self) -> Run:
        """Wait for the end and close."""
        self.read_all()
        run = self.child.finish()
        return Run(run.status, self.shown, run.stderr, run.spool)

    def close(self) -> None:
        """Take the terminal away."""
        for descriptor in (self.ours, self.theirs):
            try:
                os.close(descriptor)
            except OSError:
                continue

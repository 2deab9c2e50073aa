"""Runs `monitor-auto` commands as users do: by `python -m monitor_auto`, piped or on a terminal."""

import json
import os
import pty
import select
import time
from typing import Any

import pytest

from support.children import Children, Run

WORDS = ("python", "-m", "monitor_auto")


def command(children: Children, *words: str, **how: Any) -> Run:
    """Run a command in the sandbox; `how` goes to Children.start."""
    return children.run([*WORDS, *words], **how)


def facts(children: Children, *words: str, **how: Any) -> dict[str, Any]:
    """Run a command with --json and return its one object."""
    done = command(children, *words, "--json", **how)
    assert done.stderr == b"", done.stderr.decode()
    (line,) = done.stdout.decode("ascii").splitlines()
    value = json.loads(line)
    assert isinstance(value, dict)
    return value


def on_terminal(children: Children, *words: str, typed: str = "", **how: Any) -> tuple[int, str]:
    """Run a command on a terminal of its own; return its status and all that the terminal shows."""
    ours, theirs = pty.openpty()
    try:
        child = children.start([*WORDS, *words], stdin=theirs, stdout=theirs, stderr=theirs, **how)
        os.close(theirs)
        os.write(ours, typed.encode())
        shown = _read_all(ours)
        return child.finish().status, shown
    finally:
        os.close(ours)


def _read_all(descriptor: int, timeout: float = 60) -> str:
    shown, deadline = b"", time.monotonic() + timeout
    while select.select([descriptor], [], [], max(0, deadline - time.monotonic()))[0]:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:  # EIO: the other end is closed
            piece = b""
        if not piece:
            return shown.decode()
        shown += piece
    pytest.fail(f"the command still runs; the terminal shows {shown.decode()!r}")

"""`monitor-auto tail` shows what is recorded while it is recorded."""

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from support.children import Child, Children
from support.commands import WORDS, command
from support.local_collector import REQUIREMENTS, running_local_collector
from support.sandbox import Sandboxes

STEP = "from monitor_auto import Monitor; Monitor.event('hook.run', {'step': %d})"


@contextmanager
def tail(children: Children, *words: str) -> Iterator[tuple[Child, IO[bytes]]]:
    """Start it on the test's spool; end it by Ctrl-C, which is no failure."""
    child = children.start([*WORDS, "tail", *words])
    assert child.process.stdout is not None
    yield child, child.process.stdout
    child.process.send_signal(signal.SIGINT)
    done = child.finish()
    assert (done.status, done.stderr) == (0, b"")


def test_events_are_shown_as_they_come(children: Children) -> None:
    """Who looks for a fault watches while it happens."""
    children.run(STEP % 1)
    with tail(children, "--name", "hook.*", "--json") as (_, shown):
        first = json.loads(shown.readline())
        assert first["data"]["step"] == 1
        for step in (2, 3):  # each a new program, and so a new file
            children.run(STEP % step)
            assert json.loads(shown.readline())["data"]["step"] == step


def test_a_line_says_when_who_and_what(children: Children) -> None:
    """It is read by people."""
    children.run("raise ValueError('such a day')")
    with tail(children) as (_, shown):
        lines = [shown.readline().decode() for _ in range(3)]
    assert all(re.match(r"\d\d:\d\d:\d\d\.\d{3}  script\.py +(session|error)\.", line) for line in lines)
    assert "such a day" in lines[1] and "script.py:1:<module>" in lines[1]
    assert "exception · exit 1" in lines[2]


def test_a_growing_file_is_read_once_and_by_whole_lines(children: Children) -> None:
    """An event is one write, but a reader may come in the middle of one."""
    spool = children.folder / "theirs"
    spool.mkdir()
    line = json.dumps({"type": "event", "name": "a.b", "data": {"n": 1}}).encode() + b"\n"
    with (
        (spool / "k.t.s.0.jsonl").open("ab", buffering=0) as file,
        tail(children, "--from", str(spool), "--json") as (_, shown),
    ):
        file.write(b'{"monitor_auto_segment":1}\n' + line[:10])
        os.write(file.fileno(), line[10:])
        assert json.loads(shown.readline())["data"]["n"] == 1
        file.write(line.replace(b"1", b"2"))
        assert json.loads(shown.readline())["data"]["n"] == 2


def test_nobody_reads_on(children: Children) -> None:
    """`monitor-auto tail | head -1` ends."""
    for step in range(3):
        children.run(STEP % step)
    read, write = os.pipe()
    os.close(read)
    child = children.start([*WORDS, "tail"], stdout=write)
    os.close(write)
    done = child.finish()
    assert (done.status, done.stderr) == (0, b"")


def test_a_collector_is_followed(children: Children, sandboxes: Sandboxes) -> None:
    """What is delivered at once is there and not in the spool."""
    with running_local_collector(sandboxes.get(sys.executable, *REQUIREMENTS), children.folder) as local:
        children.run(STEP % 1, endpoint=local.endpoint)
        with tail(children, "--from", local.base, "--name", "hook.run", "--json") as (_, shown):
            assert json.loads(shown.readline())["data"]["step"] == 1
            children.run(STEP % 2, endpoint=local.endpoint)
            assert json.loads(shown.readline())["data"]["step"] == 2
    gone = command(children, "tail", "--from", local.base)
    assert gone.status == 1 and b"cannot be reached" in gone.stderr
    nowhere = command(children, "tail", "--from", str(children.folder / "nowhere"))
    assert nowhere.status == 1 and b"no address of a collector" in nowhere.stderr

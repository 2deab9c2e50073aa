"""`monitor-auto purge`: empties the spool of what ended programs left, asks first, and touches nobody who lives."""

import subprocess
from pathlib import Path

import pytest

from support.children import Child, Children
from support.collector import Collector
from support.commands import command, facts, on_terminal
from support.spool import read_events, read_ledger, segments

HERE = "http://127.0.0.1:9/v1/events"
THERE = "http://127.0.0.1:10/v1/events"
SPOOL_ONLY = {"MONITOR_EXIT_TIMEOUT": "0"}
WAITING = """
    import sys
    from monitor_auto import Monitor
    Monitor.event("before.purge")
    sys.stdout.write("up"); sys.stdout.flush()
    sys.stdin.read()
    Monitor.event("after.purge")
"""


def left(spool: Path) -> list[str]:
    """Return the names of the spool's files but the ledger, and the lock that is nobody's."""
    kept = ("ledger.jsonl", "bounds.lock")
    return sorted(path.name for path in spool.iterdir() if path.name not in kept and path.suffix != ".account")


def running(children: Children, endpoint: str = HERE) -> Child:
    """Return a program that has recorded something and waits."""
    child = children.start(WAITING, endpoint=endpoint, env=SPOOL_ONLY, stdin=subprocess.PIPE)
    assert child.process.stdout is not None
    assert child.process.stdout.read(2) == b"up"
    return child


def test_ended_programs_go_and_running_ones_stay(children: Children) -> None:
    """Purging is housekeeping: it must not cost a service the events that it still writes."""
    for _ in range(3):
        children.run("pass", endpoint=HERE, env=SPOOL_ONLY)
    size = sum(path.stat().st_size for path in segments(children.spool))
    child = running(children)
    removed = facts(children, "purge", "--yes", endpoint=HERE)
    assert removed == {"events": 6, "bytes": size, "sessions": 3, "running": 1, "failed": 0}
    assert len(left(child.spool)) == 2
    (line,) = child.finish(b"").ledger
    assert (line["what"], line["reason"], line["count"], line["sessions"]) == ("dropped", "purge", 6, 3)
    names = [event["name"] for event in read_events(child.spool)]
    assert names == ["session.start", "before.purge", "after.purge", "session.end"]
    done = command(children, "purge", "--yes", endpoint=HERE)
    assert done.status == 0
    assert b"Deleted 4 events (" in done.stdout
    assert left(child.spool) == []


def test_killed_program_counts_as_ended(children: Children) -> None:
    """Its lock is free, whatever its files look like."""
    child = running(children)
    child.kill()
    assert facts(children, "purge", "--yes", endpoint=HERE)["sessions"] == 1
    assert left(child.spool) == []


def test_nothing_is_deleted_without_a_yes(children: Children) -> None:
    """Cron jobs and pipes have nobody to ask, and events are gone for good."""
    run = children.run("pass")
    before = left(run.spool)
    done = command(children, "purge")
    assert (done.status, done.stdout) == (2, b"")
    assert b"--yes" in done.stderr
    assert left(run.spool) == before


def test_purge_asks_on_a_terminal(children: Children) -> None:
    """One glance at the number is the last chance."""
    run = children.run("pass")
    before = left(run.spool)
    for typed in ("\n", "n\n", "\x04", "yesterday\n"):
        status, shown = on_terminal(children, "purge", typed=typed)
        assert status == 1
        assert "Delete 2 events of 1 ended program? [y/N]" in shown
        assert "nothing was deleted" in shown
        assert left(run.spool) == before
    status, shown = on_terminal(children, "purge", typed="y\n")
    assert status == 0
    assert "Deleted 2 events (" in shown
    assert left(run.spool) == []


def test_only_one_endpoint_is_purged(children: Children) -> None:
    """After a move to another collector the old one's events are what nobody will ever fetch."""
    children.run("pass", endpoint=HERE, env=SPOOL_ONLY)
    run = children.run("pass", endpoint=THERE, env=SPOOL_ONLY)
    assert facts(children, "purge", "--yes", "--endpoint", "http://127.0.0.1:11/v1/events")["sessions"] == 0
    assert facts(children, "purge", "--yes", "--endpoint", HERE, bare=False)["sessions"] == 1
    found = [one for one in facts(children, "status", endpoint=THERE)["backlog"] if one["directory"] == str(run.spool)]
    assert [(one["endpoint"], one["events"]) for one in found] == [(THERE, 2)]
    assert facts(children, "purge", "--yes", "--endpoint", found[0]["key"])["sessions"] == 1
    assert left(run.spool) == []


def test_all_takes_what_was_put_aside_too(children: Children, collector: Collector) -> None:
    """Copies and failures on record are kept for somebody to look at; afterwards they are in the way."""
    collector.go_away()
    run = children.run("pass", endpoint=collector.url)
    (segment,) = segments(run.spool)
    (run.spool / "copy").write_bytes(segment.read_bytes())
    (run.spool / "copy").replace(segment)
    collector.come_back()
    command(children, "flush", endpoint=collector.url)
    command(children, "purge", "--yes", endpoint=collector.url)
    assert "aside" in left(run.spool)
    assert [line["what"] for line in read_ledger(run.spool)] == ["aside"]
    assert command(children, "purge", "--yes", "--all", endpoint=collector.url).status == 0
    assert [path.name for path in run.spool.iterdir() if path.name != "bounds.lock"] == []


def test_all_leaves_the_running_alone(children: Children) -> None:
    """--all is about kinds of files, not about killing."""
    child = running(children)
    removed = facts(children, "purge", "--yes", "--all", endpoint=HERE)
    assert (removed["sessions"], removed["running"]) == (0, 1)
    assert child.finish(b"").names == ["session.start", "before.purge", "after.purge", "session.end"]


def test_nothing_to_purge_is_fine(children: Children) -> None:
    """A scheduled purge must not fail on a quiet machine, nor make a spool."""
    children.folder.joinpath("spool").mkdir(mode=0o700)
    done = command(children, "purge", "--yes")
    assert (done.status, done.stdout, done.stderr) == (0, b"There was nothing of ended programs to delete.\n", b"")
    env = {"MONITOR_SPOOL_DIR": str(children.folder / "none")}
    assert command(children, "purge", "--yes", env=env).status == 0
    assert not (children.folder / "none").exists()


def test_all_and_one_endpoint_contradict_each_other(children: Children) -> None:
    """What was put aside belongs to no endpoint."""
    assert command(children, "purge", "--yes", "--all", "--endpoint", HERE).status == 2


@pytest.mark.parametrize("endpoint", ["", " "])
def test_empty_endpoint_is_not_all_endpoints(endpoint: str, children: Children) -> None:
    """A shell writes it where a variable is not set."""
    children.run("pass")
    done = command(children, "purge", "--yes", "--endpoint", endpoint)
    assert (done.status, done.stdout) == (2, b"")
    assert done.names == ["session.start", "session.end"]

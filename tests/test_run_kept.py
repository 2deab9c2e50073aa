"""`monitor-auto run` with a collector: what was delivered while the command ran is in the report all the same."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.children import Child, Children
from support.collector import Collector

RUN = [sys.executable, "-m", "monitor_auto", "run"]
SERVICE = """
import sys, time
from monitor_auto import Monitor
for number in range(20):
    Monitor.event("early.step", {"number": number, "filler": "x" * 1000})
time.sleep(1.1)  # the background thread comes with the first sign of life after a second
Monitor.event("sign.of_life")
assert Monitor.flush(timeout=60)
print("delivered", flush=True)
sys.stdin.read()
Monitor.event("late.step")
raise SystemExit(3)
"""


def service(children: Children) -> str:
    """Write the service and return its path."""
    path = children.folder / "service.py"
    path.write_text(SERVICE)
    return str(path)


def started(children: Children, collector: Collector, *words: str, **how: Any) -> Child:
    """Start a run and wait until its command has delivered; more is to come."""
    command = [*RUN, *words, "--", "python", service(children)]
    environment = {"MONITOR_FLUSH_INTERVAL": "0.5", **how.pop("env", {})}
    child = children.start(command, stdin=subprocess.PIPE, endpoint=collector.url, env=environment, **how)
    assert child.process.stdout is not None and child.process.stdout.readline() == b"delivered\n"
    assert "early.step" in collector.names()
    return child


def kept(children: Children) -> Path:
    """Return the folder of the one run that is kept."""
    (folder,) = (children.spool / "runs").iterdir()
    return folder


def test_what_was_delivered_meanwhile_is_in_the_report(children: Children, collector: Collector) -> None:
    """A service that runs for hours is watched from elsewhere, and whoever ends it sees what it did."""
    written = children.folder / "run.jsonl"
    done = started(children, collector, "--json", str(written)).finish(b"")
    assert done.status == 3 and b"exit 3" in done.stderr
    events = [json.loads(line) for line in written.read_text().splitlines()]
    names = [event["name"] for event in events]
    assert names.count("early.step") == 20 and names.count("late.step") == 1
    assert {"session.start", "session.end", "process.start", "process.exit"} <= set(names)
    assert {event["event_id"] for event in events} <= {event["event_id"] for event in collector.unique()}
    assert collector.names().count("early.step") == 20, "nothing was sent twice"
    assert [path for path in children.spool.iterdir() if path.suffix == ".jsonl" and "ledger" not in path.name] == []


def test_report_shows_a_run_again_that_was_delivered(children: Children, collector: Collector) -> None:
    """The terminal was closed; the collector is one that only stores."""
    first = started(children, collector).finish(b"")
    assert len(kept(children).name) == 36 and not list(kept(children).glob("*.live"))
    again = children.run([sys.executable, "-m", "monitor_auto", "report"], endpoint=collector.url)
    assert again.status == 0
    tree = [line.split() for line in again.stdout.decode().splitlines() if "exit 3" in line]
    assert tree and tree == [line.split() for line in first.stderr.decode().splitlines() if "exit 3" in line]


def test_quiet_run_keeps_nothing(children: Children, collector: Collector) -> None:
    """Without a report there is nothing to keep it for."""
    done = started(children, collector, "--quiet").finish(b"")
    assert (done.status, done.stderr) == (3, b"")
    assert not (children.spool / "runs").exists()


def test_run_that_is_killed_leaves_no_folder_that_grows(children: Children, collector: Collector) -> None:
    """What survives of the command delivers for days; nobody would ever look after what is kept."""
    child = started(children, collector)
    assert len(kept(children).name) == 12, "while it runs the folder bears the name of the tree"
    os.kill(child.pid, signal.SIGKILL)
    child.finish(b"")
    assert len(kept(children).name) == 36
    assert list(kept(children).glob("*.jsonl"))


def test_of_too_much_the_newest_goes_and_is_counted(children: Children, collector: Collector) -> None:
    """A disk that fills up is worse than a report that says what it lacks; the tree is never lacking."""
    big = children.folder / "big.py"
    big.write_text(SERVICE.replace("range(20)", "range(4000)"))
    command = [*RUN, "--", "python", str(big)]
    environment = {"MONITOR_FLUSH_INTERVAL": "0.5", "MONITOR_SPOOL_LIMIT": "1MiB", "MONITOR_RATE_LIMIT": "0"}
    child = children.start(command, stdin=subprocess.PIPE, endpoint=collector.url, env=environment)
    assert child.process.stdout is not None and child.process.stdout.readline() == b"delivered\n"
    done = child.finish(b"")
    assert done.status == 3 and b"exit 3" in done.stderr


def test_runs_in_each_other_are_both_complete(children: Children, collector: Collector) -> None:
    """A make target under `run` that uses `run` itself."""
    inner, outer = children.folder / "inner.jsonl", children.folder / "outer.jsonl"
    command = [*RUN, "--json", str(outer), "--", *RUN, "--json", str(inner), "--", "python", service(children)]
    child = children.start(
        command, stdin=subprocess.PIPE, endpoint=collector.url, env={"MONITOR_FLUSH_INTERVAL": "0.5"}
    )
    assert child.process.stdout is not None and child.process.stdout.readline() == b"delivered\n"
    assert child.finish(b"").status == 3
    for written, sessions in ((inner, 2), (outer, 3)):
        names = [json.loads(line)["name"] for line in written.read_text().splitlines()]
        assert names.count("early.step") == 20 and names.count("late.step") == 1
        assert names.count("session.start") == names.count("session.end") == sessions
    assert len(kept(children).name) == 36


def test_purge_takes_what_is_kept_of_ended_runs_and_of_no_other(children: Children, collector: Collector) -> None:
    """Whoever wants nothing left of what was recorded gets that; who looks at a service that runs keeps it."""
    purge = [sys.executable, "-m", "monitor_auto", "purge", "--yes"]
    child = started(children, collector)
    assert children.run([*purge, "--all"], endpoint=collector.url).status == 0
    assert kept(children).is_dir(), "it is still running"
    done = child.finish(b"")
    assert done.status == 3 and b"exit 3" in done.stderr
    assert children.run(purge, endpoint=collector.url).status == 0
    assert list(kept(children).glob("*.jsonl"))
    assert children.run([*purge, "--all"], endpoint=collector.url).status == 0
    assert list((children.spool / "runs").iterdir()) == []

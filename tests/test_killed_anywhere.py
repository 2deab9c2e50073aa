"""Deaths at one step after the other of a delivery: whatever a kill leaves behind, the next one makes whole."""

import os
from pathlib import Path

import pytest

from support.account import accounts
from support.children import Children
from support.collector import OK, Answer, Collector
from support.spool import read_ledger

KILL_AT = """
    import os, posix, signal, sys

    def kill_at(number):
        left = [number]  # calls that change something
        def counted(real):
            def call(*args, **kwargs):
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **kwargs)
            return call
        for name in ("write", "unlink", "rename", "replace", "utime"):
            call = counted(getattr(os, name))
            setattr(os, name, call)
            setattr(posix, name, call)
"""
RECORD = """
    import os, sys
    from monitor_auto import Monitor
    for number in range(COUNT):
        Monitor.event("work.step", {"number": number})
"""
EXIT = KILL_AT + RECORD + "    kill_at(int(sys.argv[1]))\n"
LIVING = (
    EXIT
    + """
    Monitor.flush(20)
    Monitor.event("work.step")
    Monitor.flush(20)
"""
)
FLUSH = (
    KILL_AT
    + """
    import runpy
    import monitor_auto.cli, monitor_auto.delivery.drain
    number = int(sys.argv[1])
    sys.argv[1:] = ["flush"]
    kill_at(number)
    runpy.run_module("monitor_auto", run_name="__main__", alter_sys=True)
"""
)
PATIENT = {"MONITOR_EXIT_TIMEOUT": "30", "MONITOR_FLUSH_INTERVAL": "0"}


def deliver_the_rest(children: Children, collector: Collector, spool: Path, steps: int) -> None:
    """Have the next process deliver, and assert that all has come, is gone, and is counted once."""
    children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url, env=PATIENT, spool=spool)
    found = collector.unique()
    assert sum(event["name"] == "work.step" for event in found) >= steps
    (counts,) = accounts(spool).values()
    assert (counts.produced, counts.sent, counts.spooled) == (len(found), len(found), 0)
    # What a death has left before its first line, an empty file, is put aside like all that has no header.
    assert [line for line in read_ledger(spool) if "no header" not in line.get("reason", "")] == []
    assert not [path.name for path in spool.glob("*.*.jsonl")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "count", "answer", "stride"),
    [(EXIT, 3, OK, 1), (EXIT, 3, Answer(207, b'{"accepted": 1}'), 2), (EXIT, 250, OK, 3), (LIVING, 60, OK, 3)],
    ids=["usual exit", "unusual exit", "long exit", "living"],
)
def test_program_killed_at_any_step_of_its_delivery_loses_and_repeats_nothing_in_the_account(
    source: str, count: int, answer: Answer, stride: int, children: Children, collector: Collector
) -> None:
    """A kill chooses no moment: time limits, operators and a machine without memory strike amid a delivery, too."""
    collector.answer = answer
    source = source.replace("COUNT", str(count))
    env = PATIENT | ({"MONITOR_BATCH_SIZE": "20"} if "flush" in source else {})
    number, status = 1, -9
    while status == -9:
        spool = children.folder / f"spool-{number}"
        os.mkdir(spool, 0o700)
        collector.requests.clear()
        done = children.run(source, argv=[str(number)], endpoint=collector.url, env=env, spool=spool)
        deliver_the_rest(children, collector, spool, count)
        status, number = done.status, number + stride
    assert status == 0 and number > 2 * stride


@pytest.mark.slow
def test_flush_killed_at_any_step_loses_and_repeats_nothing_in_the_account(
    children: Children, collector: Collector
) -> None:
    """A nightly flush has a time limit of its own."""
    number, status = 1, -9
    while status == -9:
        spool = children.folder / f"spool-{number}"
        os.mkdir(spool, 0o700)
        collector.requests.clear()
        for count in (120, 3):
            source = RECORD.replace("COUNT", str(count)) + "    os.kill(os.getpid(), 9)\n"
            children.run(source, endpoint=collector.url, env=PATIENT, spool=spool)
        done = children.run(FLUSH, argv=[str(number)], endpoint=collector.url, env=PATIENT, spool=spool)
        deliver_the_rest(children, collector, spool, 123)
        status, number = done.status, number + 5
    assert status == 0 and number > 10

"""Clocks that jump between programs, or while one runs: nothing is lost, dropped for its age, or told twice."""

import os
import time
from datetime import datetime

import pytest

from support.account import accounts
from support.children import Children
from support.clock import make_clock
from support.collector import Answer, Collector
from support.commands import facts
from support.spool import segments

FLUSH = ["python", "-m", "monitor_auto", "flush"]
YEAR = 365 * 86400
JUMPS = {
    "ahead and back": (0, YEAR, 0),
    "behind and right": (-YEAR, 0, 0),
    "to and fro": (YEAR, -YEAR, YEAR),
    "an hour": (3700, 0, -3700),
}


def run_at(children: Children, collector: Collector, seconds: int) -> None:
    """Run a short program whose clock is wrong, and date its files by that clock."""
    known = {path.name for path in children.spool.glob("*")}
    env = {**make_clock(children.folder, seconds), "MONITOR_EXIT_TIMEOUT": "30"}
    done = children.twin("import sys; print('out'); sys.exit(3)", endpoint=collector.url, env=env)
    assert (done.status, done.stdout) == (3, b"out\n")
    for path in children.spool.glob("*"):
        if path.name not in known:
            os.utime(path, (time.time() + seconds,) * 2)


@pytest.mark.parametrize("how", JUMPS)
def test_clock_that_jumps_between_programs_loses_nothing(children: Children, collector: Collector, how: str) -> None:
    """A laptop wakes up, a board learns the year, a container has the clock of a host that was repaired."""
    for seconds in JUMPS[how]:
        collector.answer = Answer(503)
        run_at(children, collector, seconds)
        run_at(children, collector, seconds)
    collector.answer = Answer()
    for seconds in JUMPS[how]:
        run_at(children, collector, seconds)
    flushed = children.run(FLUSH, endpoint=collector.url, env=make_clock(children.folder, JUMPS[how][0]))
    assert flushed.status == 0, flushed.stderr
    names = collector.names()
    assert {name: names.count(name) for name in set(names)} == dict.fromkeys(
        ("session.start", "session.exit", "session.end"), 9
    )
    assert len(collector.events()) == len(names)
    assert segments(children.spool) == []
    (counts,) = accounts(children.spool).values()
    assert (counts.produced, counts.sent) == (27, 27)


def test_clock_that_jumps_while_a_program_runs_loses_nothing(children: Children, collector: Collector) -> None:
    """The time service steps in when a program has been running for a minute; what it measures must not jump along."""
    source = f"""
        import os
        from monitor_auto import Monitor
        flushed = []
        for seconds in (0, {YEAR}, -{YEAR}, 0):
            os.environ["CLOCK_OFFSET"] = str(seconds)
            Monitor.event("work.step", {{"seconds": seconds}})
            flushed.append(Monitor.flush(30))
        print(Monitor.session is None or flushed == [False, True, True, True])
    """
    collector.answer_next(Answer(503))
    env = {**make_clock(children.folder, 0), "MONITOR_EXIT_TIMEOUT": "30"}
    done = children.twin(source, endpoint=collector.url, env=env)
    assert done.stdout == b"True\n"
    steps = [event for event in collector.unique() if event["name"] == "work.step"]
    times = [datetime.fromisoformat(step["timestamp"]) for step in steps]
    assert [round((at - times[0]).days / 365) for at in times] == [0, 1, -1, 0]
    (end,) = [event for event in collector.unique() if event["name"] == "session.end"]
    assert 0 <= end["data"]["duration_ms"] < 600_000
    assert len(collector.events()) == len(collector.unique())
    assert (segments(children.spool), done.names) == ([], [])


def test_clock_that_was_never_set_is_told(children: Children) -> None:
    """Events of 2006 are looked for by nobody, and certificates are not valid yet: it is worth a word."""
    report = facts(children, "doctor", env=make_clock(children.folder, -20 * YEAR))
    (clock,) = [check for check in report["checks"] if check["name"] == "clock"]
    assert (clock["level"], clock["remedy"], clock["what"][:6]) == ("wrong", "Set the clock.", "it is ")

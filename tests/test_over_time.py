"""What must not grow: the spool while the collector is away for a week, memory and descriptors of a process that lives
long.
"""

import os
import time
from collections import Counter
from pathlib import Path

import pytest

from support.account import accounts, assert_adds_up
from support.children import Children
from support.collector import OK, UNAVAILABLE, Collector
from support.remains import forget_boot, write_session
from support.spool import read_events, read_ledger, segments

DAY = 86400
WORK = """
    import sys
    from monitor_auto import Monitor
    for number in range(60):
        Monitor.metric("load.number", number, {"pad": "m" * 300})
        Monitor.event("work.number", {"number": number, "pad": "e" * 300})
    Monitor.error("trouble of day " + sys.argv[1])
"""
LIMIT = 200 << 10


def size_of(spool: Path) -> int:
    """Return the bytes of all segments in a spool."""
    return sum(path.stat().st_size for path in segments(spool))


def let_a_day_pass(spool: Path) -> None:
    """Make everything in a spool a day older, and let the machine be started anew."""
    forget_boot(spool)
    for path in [*spool.iterdir(), *spool.glob("aside/*")]:
        then = path.lstat().st_mtime - DAY
        os.utime(path, (then, then), follow_symlinks=False)


@pytest.mark.slow
def test_a_week_without_a_collector_stays_within_the_bounds_and_keeps_what_matters(
    children: Children, collector: Collector
) -> None:
    """After a week somebody repairs the collector, and wants to know what has failed since; not Tuesday's load."""
    collector.answer = UNAVAILABLE
    env = {"MONITOR_SPOOL_LIMIT": str(LIMIT), "MONITOR_SPOOL_AGE": "5d", "MONITOR_EXIT_TIMEOUT": "0"}
    most = 0
    for day in range(7):
        for _ in range(4):
            children.run(WORK, argv=[str(day)], endpoint=collector.url, env=env)
        children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url, env=env)
        most = max(most, size_of(children.spool))
        assert_adds_up(children.spool)
        let_a_day_pass(children.spool)
    assert most <= LIMIT
    kept = Counter(event["name"] for event in read_events(children.spool))
    assert kept["error.message"] == 4 * 5, "the errors of five days; what is older has passed its age"
    assert kept["load.number"] == 0, "metrics go before events"
    assert 0 < kept["work.number"] < 4 * 5 * 60
    reasons = Counter[tuple[str, str]]()
    for line in read_ledger(children.spool):
        if line["what"] == "dropped":
            reasons[line["reason"], line["type"]] += line["count"]
    assert reasons["bytes", "metric"] + reasons["age", "metric"] == 7 * 4 * 60
    assert reasons["age", "error"] == 4 * 2
    assert ("bytes", "error") not in reasons

    collector.answer = OK
    children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url, env=env)
    assert not segments(children.spool)
    (counts,) = accounts(children.spool).values()
    assert counts.produced == counts.sent + counts.dropped
    assert Counter(event["name"] for event in collector.unique())["error.message"] == 20


LONG_LIFE = """
    import importlib, os, sys
    from monitor_auto import Monitor
    def measure():
        with open("/proc/self/status") as status:
            rss = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
        # The background thread has a file open for a moment; what leaks is there at every look.
        print(rss, min(len(os.listdir("/proc/self/fd")) for _ in range(20)), flush=True)
    def work(turn):
        for number in range({events}):
            Monitor.event("work.step", {{"turn": turn, "number": number}})
        for number in range({errors}):
            Monitor.error("trouble %d" % number)
        for _ in range({forks}):
            if os.fork() == 0:
                Monitor.event("child.step")
                os._exit(0)
            os.wait()
        import json
        for _ in range({reloads}):
            importlib.reload(json)
    for turn in range({turns}):
        work(turn)
        measure()
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["0", "1000"])
def test_memory_and_descriptors_of_a_long_life_stay_as_they_were(children: Children, limit: str) -> None:
    """A service that leaks a kilobyte an event is killed on a Sunday; what watches it must not be why."""
    source = LONG_LIFE.format(events=25_000, errors=200, forks=20, reloads=20, turns=12)
    env = {"MONITOR_RATE_LIMIT": limit, "MONITOR_SPOOL_LIMIT": "2MiB"}
    done = children.run(source, env=env, timeout=240)
    assert done.status == 0
    rows = [tuple(map(int, row.split())) for row in done.stdout.splitlines()]
    assert len({descriptors for _, descriptors in rows}) == 1
    settled = max(rss for rss, _ in rows[:8])  # parts are still loaded, and the first full spool is trimmed
    # Trimming the spool makes it go up and down by a megabyte; over a million events it goes nowhere. After it has
    # settled come a hundred thousand events: a leak of 20 bytes each would show.
    assert max(rss for rss, _ in rows[8:]) - settled < 2048, f"kilobytes after each turn: {[rss for rss, _ in rows]}"
    assert done.named("session.end")
    assert size_of(children.spool) < 3 << 20


@pytest.mark.slow
def test_a_spool_of_more_than_five_thousand_files_is_merged(children: Children) -> None:
    """A build machine whose collector was away for a night; every program that lists the folder would pay for it."""
    children.spool.mkdir(0o700, exist_ok=True)
    begin = time.time() - 20_000
    nowhere = "http://127.0.0.1:1/v1/events"
    for number in range(5100):
        write_session(children.spool, nowhere, 1, begin + number)
    before = {event["event_id"] for event in read_events(children.spool)}
    children.run(["python", "-m", "monitor_auto", "flush"], endpoint=nowhere, timeout=120)
    assert len(segments(children.spool)) <= 5000
    assert before <= {event["event_id"] for event in read_events(children.spool)}

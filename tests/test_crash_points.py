"""A deliverer is killed before each single thing that it does to the disk: nothing is lost, and the account adds up."""

import json
import textwrap
from pathlib import Path

import pytest

from support.account import accounts
from support.children import Children
from support.collector import Answer, Collector
from support.remains import ended, event, lines, session_id, write_segment
from support.spool import read_events, segments

MOST = 60
WATCH = """
import os, posix, sys

CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
steps = 0

def counted(real, point, is_change=lambda *args: True):
    def call(*args, **more):
        global steps
        if is_change(*args):
            steps += 1
            if steps == point:
                os.kill(os.getpid(), 9)
        return real(*args, **more)
    return call

def replace(name, ours):
    setattr(os, name, ours)
    setattr(posix, name, ours)  # where what runs at every end takes it from

def watch(point):
    replace("write", counted(os.write, point, lambda fd, data: b'"session.end"' not in data))  # that comes before
    for name in ("unlink", "replace", "rename", "utime", "ftruncate", "mkdir"):
        replace(name, counted(getattr(os, name), point))
    replace("open", counted(os.open, point, lambda path, flags, *more: flags & CHANGES))
"""
DRIVER = """
    from monitor_auto.delivery import bounds
    from monitor_auto.delivery.drain import Drain
    from monitor_auto.cli.flush import settings_of_environment

    def deliver(settings):
        Drain(settings).run()

    def keep(settings):
        bounds.MAX_SEGMENTS = int(os.environ.get("MOST_SEGMENTS", "5000"))
        bounds.enforce(settings, settings.spool_directory, "", 60.0)

    def is_killed(work, spool, point):
        pid = os.fork()
        if not pid:
            os.environ["MONITOR_SPOOL_DIR"] = spool
            settings = settings_of_environment()
            watch(point)
            work(settings)
            os._exit(0)
        return os.waitpid(pid, 0)[1] == 9

    name, *spools = sys.argv[1:]
    for point, spool in enumerate(spools, 1):
        if not is_killed({"deliver": deliver, "keep": keep}[name], spool, point):
            break
    print(point)
    for spool in spools[:point]:
        is_killed(deliver, spool, 0)
"""


def fill(spool: Path, endpoint: str) -> set[str]:
    """Leave two sessions there, one of which was killed; return the ids of their events."""
    spool.mkdir(mode=0o700, parents=True)
    for is_ended in (True, False):
        session = session_id()
        events = [event(session, number, poison=number == 2) for number in range(4)]
        write_segment(spool, endpoint, session, lines([*events, ended(session, 4)] if is_ended else events))
    return {item["event_id"] for item in read_events(spool)}


class Points:
    """Spools that are all alike, of which one is left at each point of what a process does."""

    def __init__(self, children: Children, collector: Collector, **env: str) -> None:
        self.children, self.collector, self.env = children, collector, env
        self.spools = [children.folder / "points" / str(number) for number in range(MOST)]
        self.ids = [fill(spool, collector.url) for spool in self.spools]

    def run(self, work: str) -> int:
        """Kill the work at each point, then deliver what is left everywhere; return how many points there are."""
        words = [work, *map(str, self.spools)]
        env = {"MONITOR_DISABLE": "1", "MONITOR_BATCH_SIZE": "4", **self.env}
        done = self.children.run(
            WATCH + textwrap.dedent(DRIVER), argv=words, endpoint=self.collector.url, env=env, timeout=300
        )
        assert (done.status, done.stderr) == (0, b"")
        return int(done.stdout)

    def check(self, count: int) -> list[dict[str, int]]:
        """Hold every account against what has arrived; return the accounts."""
        assert 10 < count < MOST
        arrived = {item["event_id"] for item in self.collector.events()}
        found = []
        for point, spool in enumerate(self.spools[:count], 1):
            (counts,) = accounts(spool).values()
            facts = {**vars(counts), "gaps": counts.gaps}
            assert (facts["gaps"], facts["spooled"]) == (0, 0), f"killed at point {point}: {facts}"
            assert facts["produced"] == 10, "four each, an end and a session.lost"
            missing = len(self.ids[point - 1] - arrived)
            assert missing <= facts["dropped"] + facts["rejected"], f"killed at point {point}: {missing} are missing"
            assert segments(spool) == []
            found.append(facts)
        return found


@pytest.mark.slow
def test_killed_delivery_adds_up(children: Children, collector: Collector) -> None:
    """A machine is switched off by people who do not ask what runs there."""
    points = Points(children, collector)
    for facts in points.check(points.run("deliver")):
        assert facts["sent"] == facts["produced"]


@pytest.mark.slow
def test_killed_delivery_to_a_collector_that_refuses_adds_up(children: Children, collector: Collector) -> None:
    """What was refused, or named in a 207, is given up once."""

    def answer(body: bytes) -> Answer | None:
        events = json.loads(body)["events"]
        bad = [index for index, item in enumerate(events) if item["data"].get("poison")]
        if not bad:
            return None
        if any(item["event_id"][-1] == "3" for item in events):
            return Answer(207, json.dumps({"errors": [{"index": index, "message": "no"} for index in bad]}).encode())
        return Answer(400)

    collector.refuse_when = answer
    points = Points(children, collector)
    for facts in points.check(points.run("deliver")):
        assert facts["dropped"] + facts["rejected"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", ["100", "2"], ids=["usual", "any"])
def test_killed_last_call_adds_up(children: Children, collector: Collector, batch_size: str) -> None:
    """Ctrl-C, and a second later the kill: people do that to programs that are just ending."""
    source = """
        from monitor_auto import Monitor
        for number in range(3):
            Monitor.event("work.step", {"number": number})
        watch(int(sys.argv[1]))
    """
    env = {"MONITOR_BATCH_SIZE": batch_size, "MONITOR_EXIT_TIMEOUT": "30"}
    status, point = -9, 0
    while status == -9:
        point += 1
        spool = children.folder / "points" / str(point)
        spool.mkdir(mode=0o700, parents=True)
        program = WATCH + textwrap.dedent(source)
        status = children.run(program, argv=[str(point)], endpoint=collector.url, env=env, spool=spool).status
        children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url, spool=spool)
        (counts,) = accounts(spool).values()
        expected = {"produced": 5, "sent": 5}
        assert {name: count for name, count in vars(counts).items() if count} == expected, f"killed at point {point}"
        assert segments(spool) == []
    assert (status, point > 4) == (0, True)
    assert len(collector.unique()) == 5 * point
    assert "session.lost" not in collector.names()


@pytest.mark.slow
def test_killed_merging_adds_up(children: Children, collector: Collector) -> None:
    """A crowded spool is put in order by whoever comes by, and that may be a program that is just being killed."""
    points = Points(children, collector, MOST_SEGMENTS="1")
    for facts in points.check(points.run("keep")):
        assert facts["sent"] == facts["produced"]


@pytest.mark.slow
def test_killed_trimming_adds_up(children: Children, collector: Collector) -> None:
    """A full spool drops what is oldest; what is there after a death in between was either dropped or is delivered."""
    points = Points(children, collector, MONITOR_SPOOL_LIMIT="2000")
    found = points.check(points.run("keep"))
    assert found[-1]["dropped"] > 0

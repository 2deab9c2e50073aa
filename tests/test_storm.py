"""The storm: processes that are killed at any moment, in crowds, while the collector comes and goes. What a program was
told is recorded arrives, once, and everybody who died is reported, once.
"""

import gzip
import itertools
import json
import os
import random
import signal
import subprocess
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from support.account import accounts, assert_adds_up
from support.children import Child, Children
from support.collector import DRIP, GARBAGE, HALF, PAGE, STALL, UNAVAILABLE, Answer, Collector

KILLED = 200
AT_A_TIME = 4
WITNESSES = 2
MADLY_KILLED = 100
TURN = 12
"""After so many programs the collector goes away, or comes back."""

PROGRAM = """
    import os, select, signal, sys
    from monitor_auto import Monitor
    name, count, fate = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    if fate == "family" and os.fork() == 0:
        name += "-child"
    printed = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in range(count):
        is_kept = Monitor.event("storm.number", {"program": name, "number": number}) is not None
        os.write(printed, b"%d\\n" % number if is_kept else b"sampled out\\n")
        if fate == "witness":
            select.select([], [], [], 0.005)
    if fate != "end":
        signal.pause()
"""


class Storm:
    """One storm; every random choice follows from the seed."""

    def __init__(
        self, children: Children, collector: Collector, seed: int, kills: int = KILLED, faults: "Faults | None" = None
    ) -> None:
        self.children, self.collector, self.seed, self.kills, self.faults = children, collector, seed, kills, faults
        self.folder = children.folder / "printed"
        self.folder.mkdir()
        self.program = children.folder / "storm.py"
        self.program.write_text(textwrap.dedent(PROGRAM))
        self.turning = threading.Lock()
        self.done = 0
        self.killed: set[int] = set()

    def run(self) -> None:
        """Let all programs run and die. Two see it all: they live while the others come and go, and die last."""
        witnesses = [self.start([f"witness-{number}", "1000000", "witness"]) for number in range(WITNESSES)]
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            for result in [pool.submit(self.one, number) for number in range(self.kills)]:
                result.result()
        self.turn(0)
        for witness in witnesses:
            self.kill(witness)

    def one(self, number: int) -> None:
        """Kill one program at a random moment; now and then let one end, turn the collector, flush."""
        choice = random.Random(f"{self.seed}-{number}")
        argv = [str(number), str(choice.choice((3, 100, 500))), choice.choice(("alone", "alone", "family"))]
        child = self.start(argv)
        if choice.random() < 0.8:  # most of them after their first event
            deadline = time.monotonic() + 30
            while not (self.folder / argv[0]).exists() and time.monotonic() < deadline:
                wait(child.process, 0.002)
            wait(child.process, choice.uniform(0, 0.01))
        else:
            wait(child.process, choice.uniform(0, 0.05))
        self.kill(child)
        if number % 5 == 0:
            ending = self.start([f"{number}-ends", "20", "end"])
            assert ending.finish().status == 0
        with self.turning:
            self.done += 1
            turn = self.done // TURN if self.done % TURN == 0 else 0
            if turn:
                self.turn(turn)
        if self.faults and number % 3 == 0:
            self.meet_faults(number, choice)
        if turn and not turn % 2:
            flush = self.children.start(["python", "-m", "monitor_auto", "flush"], **self.how())
            if turn % 4:
                wait(flush.process, choice.uniform(0.1, 0.4))
                flush.process.kill()
            flush.finish()

    def turn(self, turn: int) -> None:
        """Let the collector go away with odd turns, or be mad, and come back with even ones."""
        if self.faults:
            self.faults.are_on = bool(turn % 2)
        if turn % 2 and (not self.faults or turn == 3):
            self.collector.go_away()
        else:
            self.collector.come_back()

    def meet_faults(self, number: int, choice: random.Random) -> None:
        """Deliver although somebody has just failed: by an exit, which may be killed on its way, or by a flush."""
        for record in self.children.spool.glob("*.away"):
            record.unlink(missing_ok=True)  # as if the back-off had passed
        if number % 2:
            flush = ["python", "-m", "monitor_auto", "flush", "--timeout", "2"]
            self.children.run(flush, **self.how())
            return
        ending = self.start([f"{number}-hasty", "30", "end"])
        if choice.random() < 0.5:
            wait(ending.process, choice.uniform(0, 0.3))
            ending.process.kill()
            assert ending.finish().status in (0, -signal.SIGKILL)
        else:
            assert ending.finish().status == 0

    def start(self, argv: list[str]) -> Child:
        """Start a program."""
        return self.children.start(self.program, argv=argv, **self.how())

    def kill(self, child: Child) -> None:
        """Kill a program with its family."""
        os.killpg(child.pid, signal.SIGKILL)
        assert child.finish().status == -signal.SIGKILL
        self.killed.add(child.pid)

    def how(self) -> dict[str, Any]:
        """Return how every process is started."""
        return {
            "endpoint": self.collector.url,
            "env": {"MONITOR_RATE_LIMIT": "0", "MONITOR_EXIT_TIMEOUT": "1"},
            "cwd": self.folder,
        }

    def printed(self) -> Counter[tuple[str, int]]:
        """Return the program and number of every event that a program was told is recorded."""
        return Counter((name, int(line)) for name, line in self.lines() if line != b"sampled out")

    def sampled_out(self) -> Counter[str]:
        """Return how many events each program was told are not recorded, since the collector wants fewer (429)."""
        return Counter(name for name, line in self.lines() if line == b"sampled out")

    def known_to_be_sampled_out(self) -> int:
        """Return how many of them have a later event that was kept: of what came after the last one nobody knows."""
        known = 0
        waiting: Counter[str] = Counter()
        for name, line in self.lines():
            if line == b"sampled out":
                waiting[name] += 1
            else:
                known += waiting.pop(name, 0)
        return known

    def lines(self) -> Iterator[tuple[str, bytes]]:
        """Yield what every program has printed."""
        for file in self.folder.iterdir():
            for line in file.read_bytes().split(b"\n")[:-1]:
                yield file.name, line


class Faults:
    """While they are on, every request is answered in another one of the ways in which collectors fail.

    `taken` and `refused` are the events, by id, of which the collector has said so.
    """

    def __init__(self, seed: int) -> None:
        self.choice = random.Random(f"{seed}-faults")
        self.names = itertools.cycle(["207", *self.choice.sample(sorted(WAYS_TO_FAIL), len(WAYS_TO_FAIL))])
        self.are_on = False
        self.taken: dict[str, dict[str, Any]] = {}
        self.refused: dict[str, dict[str, Any]] = {}
        self.refusals = 0
        self.given: Counter[str] = Counter()

    def answer(self, body: bytes) -> Answer:
        """Choose an answer; called with the collector's lock held."""
        batch = json.loads(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)["events"]
        events = {event["event_id"]: event for event in batch}
        name = next(self.names) if self.are_on else "200"
        self.given[name] += self.are_on
        if name in ("200", "207"):
            self.taken |= events
        if name == "207":
            index = self.choice.randrange(len(batch))
            self.refuse(batch[index])
            return Answer(207, json.dumps({"errors": [{"index": index, "message": "not today"}]}).encode())
        if name == "400" and len(batch) == 1:
            self.refuse(batch[0])
        return WAYS_TO_FAIL[name]

    def refuse(self, event: dict[str, Any]) -> None:
        """Note an event that the monitor is told to give up."""
        self.refused[event["event_id"]] = event
        self.refusals += 1


WAYS_TO_FAIL = {
    "200": Answer(),
    "207": Answer(207),  # and one event is named in it
    "400": Answer(400),
    "401": Answer(401),
    "429": Answer(429, headers=(("Retry-After", "1"),)),
    "503": UNAVAILABLE,
    "half": HALF,
    "garbage": GARBAGE,
    "drip": DRIP,
    "page": PAGE,
    "stall": STALL,
}


def wait(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """Give a process some time; it does not have to end."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def chosen_seed() -> int:
    """Return a random seed, or the one of a storm that is to come again, as far as a machine does the same twice."""
    seed = int(os.environ.get("STORM_SEED") or random.randrange(1 << 32))
    print(f"the storm's seed is {seed}")
    return seed


@pytest.mark.slow
def test_what_was_recorded_arrives_and_who_died_is_reported(children: Children, collector: Collector) -> None:
    """The promise to everybody who looks for the last words of a process that something killed."""
    seed = chosen_seed()
    storm = Storm(children, collector, seed)
    storm.run()
    flushed = children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url, timeout=120)
    assert flushed.status == 0, flushed.stderr

    events = collector.unique()
    arrived = arrived_numbers(events)
    printed = storm.printed()
    assert len(printed) > 5000
    assert not printed - arrived, "recorded, and never arrived"
    assert set(arrived.values()) == {1}, "one event under several ids"
    ended, lost = assert_every_death_is_told(storm, events)
    assert len(lost) > KILLED // 2, "on a busy machine some die before they have begun"
    assert len(ended) == KILLED // 5
    assert_nothing_is_left(children)


def arrived_numbers(events: list[dict[str, Any]]) -> Counter[tuple[str, int]]:
    """Return the program and number of what the storm's programs have recorded."""
    return Counter(
        (item["data"]["program"], item["data"]["number"]) for item in events if item["name"] == "storm.number"
    )


def assert_every_death_is_told(storm: Storm, events: list[dict[str, Any]]) -> tuple[Counter[str], Counter[str]]:
    """Hold what arrived against who was killed; return the sessions that ended, and those that were lost."""
    by_pid = {item["data"]["pid"]: item["session"]["id"] for item in events if item["name"] == "session.start"}
    lost = Counter(item["session"]["id"] for item in events if item["name"] == "session.lost")
    ended = Counter(item["session"]["id"] for item in events if item["name"] == "session.end")
    assert set(lost.values()) == {1}, "one death reported several times"
    assert not set(lost) & set(ended), "who has ended is not lost"
    assert {by_pid[pid] for pid in storm.killed if pid in by_pid} <= set(lost)
    assert set(ended) | set(lost) == {item["session"]["id"] for item in events}, (
        "a session of which nobody says what became of it"
    )
    return ended, lost


def assert_nothing_is_left(children: Children) -> None:
    """Everything was delivered and is accounted for."""
    assert_adds_up(children.spool, children.untold)
    assert [path.name for path in children.spool.glob("*.jsonl") if path.name != "ledger.jsonl"] == []


@pytest.mark.slow
def test_a_mad_collector_costs_only_what_it_refuses(children: Children, collector: Collector) -> None:
    """Outages are not clean: while processes die in crowds a proxy answers half of the time, and nonsense."""
    seed = chosen_seed()
    faults = Faults(seed)
    collector.refuse_when = faults.answer
    storm = Storm(children, collector, seed, MADLY_KILLED, faults)
    storm.run()
    flushed = children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url, timeout=120)
    assert flushed.status == 0, flushed.stderr

    print(faults.given)
    assert len(faults.given) > len(WAYS_TO_FAIL) // 2
    events = list({**faults.taken, **faults.refused}.values())
    arrived = arrived_numbers(events)
    printed = storm.printed()
    assert len(printed) > 2000
    assert not printed - arrived, "recorded, and neither taken nor refused"
    assert set(arrived.values()) == {1}, "one event under several ids"
    ended, lost = assert_every_death_is_told(storm, events)
    assert len(lost) > MADLY_KILLED // 2, "on a busy machine some die before they have begun"
    assert len(ended) >= MADLY_KILLED // 5
    (account,) = accounts(children.spool).values()
    # Who lives on while the collector wants fewer may be killed between an event and its line.
    sampled_out = storm.sampled_out()
    most = sampled_out.total() + len(sampled_out)
    assert storm.known_to_be_sampled_out() <= account.sampled_out + account.gaps <= most
    children.untold = account.gaps
    assert_nothing_is_left(children)
    given_up = account.rejected + account.dropped
    # Less where somebody died between the answer and its note: the next one asks again, and may hear another one.
    assert 0 < given_up <= faults.refusals, "more was given up than was refused, or nothing was noted"

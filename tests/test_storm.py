"""The storm: processes that are killed at any moment, in crowds, while the collector comes and goes. What a program was
told is recorded arrives, once, and everybody who died is reported, once.
"""

import os
import random
import signal
import subprocess
import textwrap
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.account import assert_adds_up
from support.children import Child, Children
from support.collector import Collector

KILLED = 200
AT_A_TIME = 4
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
        if Monitor.event("storm.number", {"program": name, "number": number}) is not None:
            os.write(printed, b"%d\\n" % number)
        if fate == "witness":
            select.select([], [], [], 0.005)
    if fate != "end":
        signal.pause()
"""


class Storm:
    """One storm; every random choice follows from the seed."""

    def __init__(self, children: Children, collector: Collector, seed: int) -> None:
        self.children, self.collector, self.seed = children, collector, seed
        self.folder = children.folder / "printed"
        self.folder.mkdir()
        self.program = children.folder / "storm.py"
        self.program.write_text(textwrap.dedent(PROGRAM))
        self.turning = threading.Lock()
        self.done = 0
        self.killed: set[int] = set()

    def run(self) -> None:
        """Let all programs run and die. Two see it all: they live while the others come and go, and die last."""
        witnesses = [self.start([f"witness-{number}", "1000000", "witness"]) for number in range(2)]
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            for result in [pool.submit(self.one, number) for number in range(KILLED)]:
                result.result()
        self.collector.come_back()
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
            if turn % 2:
                self.collector.go_away()
            elif turn:
                self.collector.come_back()
        if turn and not turn % 2:
            flush = self.children.start(["python", "-m", "monitor_auto", "flush"], **self.how())
            if turn % 4:
                wait(flush.process, choice.uniform(0.1, 0.4))
                flush.process.kill()
            flush.finish()

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
        return {"endpoint": self.collector.url, "env": {"MONITOR_RATE_LIMIT": "0"}, "cwd": self.folder}

    def printed(self) -> Counter[tuple[str, int]]:
        """Return the program and number of every event that a program was told is recorded."""
        files: list[Path] = list(self.folder.iterdir())
        return Counter((file.name, int(line)) for file in files for line in file.read_bytes().split(b"\n")[:-1])


def wait(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """Give a process some time; it does not have to end."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


@pytest.mark.slow
def test_what_was_recorded_arrives_and_who_died_is_reported(children: Children, collector: Collector) -> None:
    """The promise to everybody who looks for the last words of a process that something killed."""
    seed = random.randrange(1 << 32)
    print(f"the storm's seed is {seed}")
    storm = Storm(children, collector, seed)
    storm.run()
    flushed = children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url, timeout=120)
    assert flushed.status == 0, flushed.stderr

    events = collector.unique()
    arrived = Counter(
        (item["data"]["program"], item["data"]["number"]) for item in events if item["name"] == "storm.number"
    )
    printed = storm.printed()
    assert len(printed) > 5000
    assert not printed - arrived, "recorded, and never arrived"
    assert set(arrived.values()) == {1}, "one event under several ids"

    by_pid = {item["data"]["pid"]: item["session"]["id"] for item in events if item["name"] == "session.start"}
    lost = Counter(item["session"]["id"] for item in events if item["name"] == "session.lost")
    ended = Counter(item["session"]["id"] for item in events if item["name"] == "session.end")
    assert set(lost.values()) == {1}, "one death reported several times"
    assert not set(lost) & set(ended), "who has ended is not lost"
    assert set(ended) | set(lost) == {item["session"]["id"] for item in events}, (
        "a session of which nobody says what became of it"
    )
    assert {by_pid[pid] for pid in storm.killed if pid in by_pid} <= set(lost)
    assert len(lost) > KILLED // 2, "on a busy machine some die before they have begun"
    assert_adds_up(children.spool)
    assert len(ended) == KILLED // 5
    assert not list(children.spool.glob("*.jsonl")) or [path.name for path in children.spool.glob("*.jsonl")] == [
        "ledger.jsonl"
    ]

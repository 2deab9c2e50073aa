"""Programs and commands of one spool in a crowd, some of them killed or stopped for a moment: the account adds up."""

import os
import random
import signal
import subprocess
import textwrap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from support.account import accounts
from support.children import Child, Children, Run
from support.collector import Collector

ACTORS = 35
AT_A_TIME = 4
PROGRAM = """
    import os, sys
    from monitor_auto import Monitor
    for number in range(int(sys.argv[1])):
        Monitor.event("work.step", {"number": number})
    if sys.argv[2] == "dies":
        os.kill(os.getpid(), 9)
"""
KEEPER = """
    from monitor_auto.boot import recorder
    from monitor_auto.delivery import bounds
    bounds.MAX_SEGMENTS = 3
    bounds.enforce(recorder.settings, recorder.segment.directory, recorder.segment.base, 60.0)
"""
COMMANDS = {"flush": ["flush"], "purge": ["purge", "--yes"], "status": ["status"], "doctor": ["doctor"]}
CHOICES = ("ends", "ends", "ends", "spools", "dies", "keeps", "flush", "flush", "purge", "status", "doctor")


@dataclass
class Crowd:
    """Starts what comes by; every random choice follows from the seed."""

    children: Children
    collector: Collector
    seed: int

    def __post_init__(self) -> None:
        self.program, self.keeper = (self.children.folder / name for name in ("program.py", "keeper.py"))
        self.program.write_text(textwrap.dedent(PROGRAM))
        self.keeper.write_text(textwrap.dedent(KEEPER))

    def act(self, number: int) -> Run:
        """Let one of them do its work; disturb some."""
        choice = random.Random(f"{self.seed}-{number}")
        child = self.start(choice.choice(CHOICES), choice)
        if choice.random() < 0.3:
            disturb(child, choice)
        return child.finish(timeout=120)

    def start(self, name: str, choice: random.Random) -> Child:
        """Start a program, what keeps the bounds, or a command."""
        env = {
            "MONITOR_EXIT_TIMEOUT": "0" if name == "spools" else "30",
            "MONITOR_BATCH_SIZE": choice.choice(["3", "100"]),
            "MONITOR_SPOOL_LIMIT": choice.choice(["100KiB", "50MiB"]),
        }
        if name in COMMANDS:
            words = ["python", "-m", "monitor_auto", *COMMANDS[name]]
            return self.children.start(words, endpoint=self.collector.url, env=env)
        if name == "keeps":
            return self.children.start(self.keeper, endpoint=self.collector.url, env=env)
        argv = [choice.choice(["1", "20", "300"]), name]
        return self.children.start(self.program, argv=argv, endpoint=self.collector.url, env=env)


def disturb(child: Child, choice: random.Random) -> None:
    """Kill it at a random moment, or have it stand still for one."""
    try:
        child.process.wait(choice.uniform(0, 0.4))
    except subprocess.TimeoutExpired:
        if choice.random() < 0.6:
            child.process.kill()
            return
        os.kill(child.pid, signal.SIGSTOP)
        try:
            child.process.wait(0.05)
        except subprocess.TimeoutExpired:
            os.kill(child.pid, signal.SIGCONT)


@pytest.mark.slow
def test_crowd_around_one_spool_loses_count_of_nothing(children: Children, collector: Collector) -> None:
    """A build machine has jobs, a nightly flush, somebody at a terminal and the kernel's killer, all at once."""
    seed = int(os.environ.get("CROWD_SEED") or random.randrange(1 << 32))
    print(f"the crowd's seed is {seed}")
    crowd = Crowd(children, collector, seed)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        done = list(pool.map(crowd.act, range(ACTORS)))
    assert not [run.stderr for run in done if b"Traceback" in run.stderr]
    flushed = children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url, timeout=120)
    assert flushed.status == 0, flushed.stderr
    (counts,) = accounts(children.spool).values()
    arrived = len(collector.unique())
    assert (counts.gaps, counts.spooled) == (0, 0)
    assert counts.produced > 100
    # Dropped by one who did not hear that it had been taken, or sent by two of whom one was killed.
    assert counts.sent <= arrived <= counts.sent + counts.dropped

"""What the tests of programs that are delivered while they run share."""

import time

from support.children import Children
from support.collector import Collector

OFTEN = {"MONITOR_FLUSH_INTERVAL": "0.5"}

# What the programs below share: waiting for the test to allow the next step, with a deadline.
UNTIL = """
import os, sys, threading, time
def until(path, seconds=300):
    end = time.monotonic() + seconds
    while not os.path.exists(path):
        if time.monotonic() > end:
            sys.exit("never came: " + path)
        time.sleep(0.02)
"""


def go_on(children: Children, step: str = "stop") -> None:
    """Let the program take its next step."""
    (children.folder / "cwd" / step).touch()


def numbers(collector: Collector) -> list[int]:
    """Return the numbers of the events `work.done`, in the order in which they came."""
    return [event["data"]["number"] for event in collector.unique() if event["name"] == "work.done"]


def wait_for_numbers(collector: Collector, count: int, timeout: float = 60) -> None:
    """Wait until so many events `work.done` have come: beside forks they come in small batches, with others between."""
    end = time.monotonic() + timeout
    while len(numbers(collector)) < count:
        collector.wait_for(len(collector.unique()) + 1, end - time.monotonic())

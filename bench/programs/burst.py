"""A program that records a burst and then has work of its own: `burst.py EVENTS STEPS`.

Prints, as JSON, `began`: when the work began, on the clock of `time.monotonic()`; `work`: how many seconds of the wall
clock so many steps of it took, and `processor`: how many of processor time the whole process took meanwhile.
"""

import json
import sys
import time

SECONDS_WITHOUT_THREAD = 1.2

try:
    from monitor_auto import Monitor

    event = Monitor.event
except ImportError:  # the bare side

    def event(name: str, data: dict[str, object]) -> None:  # type: ignore[misc]
        """Record nothing."""


def work(steps: int) -> None:
    """Compute, and never wait."""
    for _ in range(steps):
        sum(range(3000))


events, steps = int(sys.argv[1]), int(sys.argv[2])
time.sleep(SECONDS_WITHOUT_THREAD)
for number in range(events):
    event("bench.burst", {"number": number, "kind": "burst", "step": "load", "ok": True})
began, used = time.monotonic(), time.process_time()
work(steps)
print(json.dumps({"began": began, "work": time.monotonic() - began, "processor": time.process_time() - used}))

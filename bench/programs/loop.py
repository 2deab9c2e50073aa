"""An asyncio program that records something every millisecond: `loop.py lag SECONDS...` or `loop.py work STEPS`.

`lag` prints, for each stretch of seconds, the 99th percentile of how late a sleep of a millisecond was, in ms; `work`
prints how many seconds of processor time, in all threads, so many small steps took after WARM_UP_SECONDS of them.
"""

import asyncio
import json
import sys
import time

WARM_UP_SECONDS = 2.5
"""In it the thread starts, and all that it needs is imported: once in the life of a program."""

try:
    from monitor_auto import Monitor

    event = Monitor.event
except ImportError:  # the bare side

    def event(name: str, data: dict[str, object]) -> None:  # type: ignore[misc]
        """Record nothing."""


async def lag(stretches: list[float]) -> list[float]:
    """Return the 99th percentile of each stretch."""
    found = []
    for seconds in stretches:
        late: list[float] = []
        end = time.perf_counter() + seconds
        while (now := time.perf_counter()) < end:
            event("bench.tick", {"number": len(late), "kind": "tick"})
            await asyncio.sleep(0.001)
            late.append(time.perf_counter() - now - 0.001)
        found.append(sorted(late)[int(len(late) * 0.99)] * 1000)
    return found


async def work(steps: int) -> float:
    """Return the processor time that small steps of work take; every twentieth records an event."""
    end, number = time.perf_counter() + WARM_UP_SECONDS, 0
    while time.perf_counter() < end:
        await step(number)
        number += 1
    begin = time.process_time()
    for number in range(steps):
        await step(number)
    return time.process_time() - begin


async def step(number: int) -> None:
    """Do a little, and let the loop turn."""
    sum(range(3000))
    if not number % 20:
        event("bench.step", {"number": number, "kind": "step"})
    await asyncio.sleep(0)


if sys.argv[1] == "lag":
    print(json.dumps(asyncio.run(lag([float(word) for word in sys.argv[2:]]))))
else:
    print(json.dumps(asyncio.run(work(int(sys.argv[2])))))

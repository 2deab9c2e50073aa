"""An asyncio program that records something every millisecond: `loop.py lag SECONDS...` or `loop.py work STEPS`.

`lag` prints, for each stretch of seconds, the 99th percentile of how late a sleep of a millisecond was, in ms; `work`
prints how many seconds so many small steps took.
"""

import asyncio
import json
import sys
import time

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
    """Return the seconds that small steps of work take; every twentieth records an event."""
    begin = time.perf_counter()
    for number in range(steps):
        sum(range(3000))
        if not number % 20:
            event("bench.step", {"number": number, "kind": "step"})
        await asyncio.sleep(0)
    return time.perf_counter() - begin


if sys.argv[1] == "lag":
    print(json.dumps(asyncio.run(lag([float(word) for word in sys.argv[2:]]))))
else:
    print(json.dumps(asyncio.run(work(int(sys.argv[2])))))

"""Times Monitor.event, in turns with one bare os.write of the line that it wrote: `events.py FILE ROUNDS CALLS`.

Prints microseconds of one call, `{"event": …, "write": …}`; without a session (dormant) `write` is 0.
"""

import json
import os
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

from monitor_auto import Monitor


def time_events(calls: int) -> float:
    started = perf_counter()
    for number in range(calls):
        Monitor.event("bench.event", {"hook": "branch-check", "attempt": number, "passed": True, "took_ms": 12.5})
    return (perf_counter() - started) / calls * 1e6


def time_dormant(calls: int) -> float:
    # The dict is the program's: making one costs as much as the call.
    data = {"hook": "branch-check", "attempt": 1, "passed": True, "took_ms": 12.5}
    started = perf_counter()
    for _ in range(calls):
        Monitor.event("bench.event", data)
    return (perf_counter() - started) / calls * 1e6


def time_writes(fd: int, line: bytes, calls: int) -> float:
    started = perf_counter()
    for _ in range(calls):
        os.write(fd, line)
    return (perf_counter() - started) / calls * 1e6


def last_line() -> bytes:
    spool = Path(os.environ["MONITOR_SPOOL_DIR"])
    newest = max(spool.glob("*.[0-9]*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    return newest.read_bytes().splitlines(keepends=True)[-1]


def main() -> None:
    file, rounds, calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if Monitor.session is None:
        print(json.dumps({"event": median(time_dormant(calls) for _ in range(rounds)), "write": 0}))
        return
    Monitor.event("bench.warm_up", {"hook": "branch-check", "attempt": 1, "passed": True, "took_ms": 12.5})
    line = last_line()
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    times = [(time_events(calls), time_writes(fd, line, calls)) for _ in range(rounds)]
    os.close(fd)
    os.unlink(file)
    print(json.dumps({"event": median(pair[0] for pair in times), "write": median(pair[1] for pair in times)}))


main()

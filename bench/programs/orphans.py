"""Records events and is killed: `orphans.py EVENTS`."""

import os
import signal
import sys

from monitor_auto import Monitor


def main() -> None:
    for number in range(int(sys.argv[1])):
        Monitor.event("bench.orphan", {"hook": "branch-check", "attempt": number, "passed": True, "took_ms": 12.5})


main()
os.kill(os.getpid(), signal.SIGKILL)

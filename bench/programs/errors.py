"""Times Monitor.error for exceptions with a stack of ten frames: `errors.py ROUNDS CALLS`. Prints microseconds a call.

Each exception is a new object, since one object is recorded once; they are made before the clock runs.
"""

import sys
from statistics import median
from time import perf_counter

from monitor_auto import Monitor

FRAMES = 10


def fail(depth: int) -> None:
    if depth > 1:
        fail(depth - 1)
    else:
        raise ValueError("quito.csv has no such column")


def make_error() -> ValueError:
    try:
        # This frame is the tenth.
        fail(FRAMES - 1)
    except ValueError as error:
        return error
    raise AssertionError


def time_errors(calls: int) -> float:
    errors = [make_error() for _ in range(calls)]
    started = perf_counter()
    for error in errors:
        Monitor.error(error)
    return (perf_counter() - started) / calls * 1e6


def main() -> None:
    rounds, calls = int(sys.argv[1]), int(sys.argv[2])
    print(median(time_errors(calls) for _ in range(rounds)))


main()

"""Times one httpx call that is answered within the process: `http_calls.py ROUNDS CALLS`. Prints µs a call."""

import sys
from statistics import median
from time import perf_counter

import httpx


def answer(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, content=b"{}")


def time_calls(client: httpx.Client, calls: int) -> float:
    started = perf_counter()
    for _ in range(calls):
        client.get("http://inventory.example/items")
    return (perf_counter() - started) / calls * 1e6


def main() -> None:
    rounds, calls = int(sys.argv[1]), int(sys.argv[2])
    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        print(median(time_calls(client, calls) for _ in range(rounds)))


main()

"""How many events a second `monitor-auto collect` stores: four connections send batches of 100 as monitors do. They are
made beforehand, so that the sending takes little of the processors that are measured.

The best of several rounds counts: what else the machine does makes a round longer, and nothing makes it shorter. The
processor time of the collector, which hardly depends on that, is told beside it.
"""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from bench.lab import Lab
from bench.rows import Measured
from bench.verdicts import Failed
from support.local_collector import event, new_id

CONNECTIONS = 4
BATCH = 100
BATCHES = 50
"""Of one connection in one round."""
EVENTS = CONNECTIONS * BATCHES * BATCH


def ingest(lab: Lab) -> Measured:
    """Return the microseconds that an event takes, all connections together, until the last one is answered for."""
    rounds = lab.times(6, 2)
    lanes = [[request(new_id(), number) for number in range(rounds * BATCHES)] for _ in range(CONNECTIONS)]
    before = processor_seconds()
    with running(lab) as address:
        took = [one_round(address, lanes, number) for number in range(rounds)]
    # Start and end of the collector included.
    used = (processor_seconds() - before) / (rounds * EVENTS) * 1e6
    told = ", ".join(f"{EVENTS / seconds:,.0f}" for seconds in took)
    return Measured(
        (min(took) / EVENTS * 1e6,),
        f"{told} events a second in rounds of {EVENTS:,}; {used:.0f} µs of the collector's processor time each",
    )


def one_round(address: tuple[str, int], lanes: list[list[bytes]], number: int) -> float:
    """Send the requests of one round on all connections at once; return the seconds until all are answered."""
    failures: list[str] = []
    parts = [lane[number * BATCHES : (number + 1) * BATCHES] for lane in lanes]
    threads = [threading.Thread(target=send, args=(*address, part, failures)) for part in parts]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - begin
    if failures:
        raise Failed(failures[0])
    return took


def processor_seconds() -> float:
    """Return the processor time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def request(session: str, number: int) -> bytes:
    """Return one POST as it goes over the wire."""
    events = [made(session, number * BATCH + place) for place in range(BATCH)]
    body = json.dumps({"batch_id": new_id(), "events": events}, separators=(",", ":")).encode()
    head = (
        f"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    )
    return f"{head}\r\n\r\n".encode() + body


def made(session: str, number: int) -> dict[str, object]:
    """Return an event like most are; one in fifty is an error with a stack."""
    if number % 50:
        data = {"step": "copy", "path": f"/srv/in/{number}.csv", "rows": number, "ok": True}
        return event("file.copied", session, number, data=data)
    stack = "Traceback (most recent call last):\n" + '  File "/app/copy.py", line 12, in copy\n' * 10
    error = {"type": "ValueError", "message": f"row {number} is empty", "stack": stack, "level": "error"}
    return event("error.ValueError", session, number, type="error", data=error)


def send(host: str, port: int, requests: list[bytes], failures: list[str]) -> None:
    """Send one after the other on one connection, each when the one before was answered."""
    with socket.create_connection((host, port), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as monitors and httpx do
        for one in requests:
            connection.sendall(one)
            answer = b""
            while b"}" not in answer.partition(b"\r\n\r\n")[2]:
                piece = connection.recv(65536)
                if not piece:
                    failures.append("the collector closed the connection")
                    return
                answer += piece
            if not answer.startswith(b"HTTP/1.1 200"):
                failures.append(f"the collector answered {answer[:200]!r}")
                return


@contextmanager
def running(lab: Lab) -> Iterator[tuple[str, int]]:
    """Run a collector of this interpreter, which has the extra `local`, with an empty database."""
    database = lab.folder / f"{new_id()}.sqlite3"
    command = [sys.executable, "-m", "monitor_auto", "collect", "--json", "--port", "0", "--database", str(database)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=lab.off.environment) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise Failed("the collector did not start; it says why on standard error")
            address = urlsplit(json.loads(line)["page"])
            yield str(address.hostname), int(address.port or 0)
        finally:
            process.terminate()
            process.wait()

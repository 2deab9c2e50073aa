"""Server programs as people run them: put under load, reloaded, stopped, their workers killed, bare and monitored.

What a program was, the kernel and the program's own answers say; nothing here asks the monitor.
"""

import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from support.children import Child, Children
from support.network import free_port, wait_until_open
from support.sandbox import Sandbox

REQUIREMENTS = ("gunicorn", "uvicorn", "hypercorn[trio]", "uvloop", "gevent", "packaging", "celery", "redis", "pyuwsgi")
"""What the servers of the tests are made of; trio comes with hypercorn."""
SECONDS = 120.0
"""Patience with everything, for machines that are five times slower and busy."""

WSGI = """
import os

def application(environ, start_response):
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""

ASGI = """
import os

async def application(scope, receive, send):
    while scope["type"] == "lifespan":
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
    body = str(os.getpid()).encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""
"""Both answer with the number of the process that did."""


class Serving:
    """A running server. `seen` are all processes that have answered, `main` is the one that was started."""

    def __init__(self, child: Child, port: int, log: Path) -> None:
        self.child, self.port, self.log = child, port, log
        self.main = child.pid
        self.seen: set[int] = set()

    def get(self, path: str = "/") -> str:
        """Make one request on a connection of its own and return the body of the answer, which has to be a 200."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            text = answer.read().decode()
            assert answer.status == 200, text
            return text
        finally:
            connection.close()

    def load(self, requests: int = 200, threads: int = 4) -> set[int]:
        """Make so many requests, some at a time, which must all succeed; return which processes have answered."""
        with ThreadPoolExecutor(threads) as pool:
            pids = {int(text) for text in pool.map(lambda _: self.get(), range(requests))}
        self.seen |= pids
        return pids

    def wait_for_workers(self, count: int, besides: set[int] = frozenset()) -> set[int]:  # type: ignore[assignment]
        """Make requests until so many processes have answered that are not these; return them.

        One that is made while workers come and go may fail, with or without a monitor.
        """
        found: set[int] = set()
        until = time.monotonic() + SECONDS
        while len(found) < count:
            assert time.monotonic() < until, f"only {found} answer: {self.text()}"
            try:
                found |= self.load(10 * count) - besides
            except OSError:
                continue
        return found

    def wait_for_end_of(self, pids: set[int]) -> None:
        """Wait until these processes are gone, and reaped."""
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), f"the end of {pids}", self.text)

    def wait_for_text(self, pattern: str, count: int = 1) -> list[str]:
        """Wait until the output has so many matches, and return them."""
        wait_until(lambda: len(re.findall(pattern, self.text())) >= count, pattern, self.text)
        return re.findall(pattern, self.text())

    def text(self) -> str:
        """Return what the program has printed."""
        return self.log.read_text(errors="replace")

    def send(self, number: int, pid: int | None = None) -> None:
        """Send a signal to the main process, or to another one."""
        os.kill(self.main if pid is None else pid, number)

    def finish(self, number: int = signal.SIGTERM) -> int:
        """Send a signal to the main process and return its status; nothing of the program may be left."""
        self.send(number)
        return self.end()

    def end(self) -> int:
        """Wait for the end of the main process and return its status; nothing of the program may be left."""
        status = self.child.finish(timeout=SECONDS).status
        wait_until(lambda: not processes_of(self.main), f"left over: {processes_of(self.main)}", self.text)
        return status


def serve(
    children: Children,
    environment: Sandbox,
    words: Sequence[str],
    files: Mapping[str, str],
    port: int | None = None,
    **how: Any,
) -> Serving:
    """Start a server and wait until it listens. In `words`, {port} is a free one; `files` lie in its working folder."""
    folder = children.folder / "cwd"
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    port = port or free_port()
    log = children.folder / "server.log"
    with log.open("wb") as output:
        child = children.start(
            [word.format(port=port) for word in words],
            python=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT, **how
        )  # fmt: skip
    wait_until_open(port, child.process, log, SECONDS)
    return Serving(child, port, log)


def masked(text: str) -> Counter[str]:
    """Return the lines of an output without what differs from run to run: numbers, and the order of processes."""
    return Counter(re.sub(r"0x[0-9a-f]+|\d+(\.\d+)?", "#", line) for line in text.splitlines())


def processes_of(session: int) -> list[int]:
    """Return the processes of a session of the operating system's: all of a program that stays on its terminal."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            facts = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # gone meanwhile
            continue
        if int(facts[3]) == session and facts[0] != "Z":
            found.append(int(entry.name))
    return found


def threads_of(pid: int) -> int:
    """Return how many threads a process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def descriptors_of(pid: int) -> int:
    """Return how many files a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def resident_kib(pid: int) -> int:
    """Return the memory of a process."""
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0])


def wait_until(is_so: Callable[[], bool], what: str, more: Callable[[], str] = str, seconds: float = SECONDS) -> None:
    """Wait for something; fail with what was waited for, and more, when it does not come."""
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, f"never came: {what}\n{more()}"
        time.sleep(0.01)

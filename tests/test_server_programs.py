"""Real server programs with nothing of ours in the application: every process of theirs is a session, and ends as one.

Each is run bare and monitored through the same life: load, a reload, a worker that is killed, a stop.
"""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from support.account import accounts
from support.children import Children
from support.collector import Collector
from support.needs import miss, need_command
from support.sandbox import Sandbox
from support.spool import segments
from support.workers import ASGI, REQUIREMENTS, WSGI, masked, serve

pytestmark = pytest.mark.slow

WORKERS = 2
OFTEN = {"MONITOR_FLUSH_INTERVAL": "1"}


@pytest.fixture(scope="module")
def environment(sandbox_for: Callable[..., Sandbox]) -> Sandbox:
    """An environment with the servers."""
    return sandbox_for(sys.executable, *REQUIREMENTS)


@dataclass
class Life:
    """What a server has lived through. `ends` are all processes that were to be sessions, with how each has ended:
    "end", or of one that could not say it the signal, "exec" or "lost".
    """

    status: int
    output: Counter[str]
    ends: dict[int, list[str]]


def twin(children: Children, collector: Collector, life: Callable[..., Life]) -> Life:
    """Let a server live bare, then monitored; return the second life. All that it shows must be equal."""
    bare = life(bare=True)
    for path in (children.folder / "cwd").iterdir():
        if path.is_file():
            path.unlink()
    monitored = life(endpoint=collector.url, env=OFTEN)
    assert monitored.status == bare.status
    assert monitored.output == bare.output, (monitored.output - bare.output, bare.output - monitored.output)
    return monitored


def assert_told(children: Children, collector: Collector, life: Life) -> list[dict[str, Any]]:
    """Every process was a session, each with one end, and the collector has all of it; return all events."""
    children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url, timeout=120)
    assert not segments(children.spool)
    events = collector.unique()
    pids = {event["session"]["id"]: event["data"]["pid"] for event in events if event["name"] == "session.start"}
    assert {event["session"]["id"] for event in events} == set(pids)
    told: dict[int, list[str]] = {pid: [] for pid in pids.values()}
    for event in sorted(events, key=lambda event: event["session"]["id"]):
        if event["name"] in ("session.end", "session.lost"):
            told[pids[event["session"]["id"]]].append(how_ended(event))
    assert told == life.ends
    (counts,) = accounts(children.spool).values()
    assert counts.produced == counts.sent == len(events)
    return events


def how_ended(event: dict[str, Any]) -> str:
    """Return what the last event of a session says of its end."""
    if event["name"] == "session.end":
        return "end"
    return str(event["data"].get("signal") or event["data"].get("reason") or "lost")


# gunicorn: an arbiter forks workers, and forks others when it is told to reload

GUNICORN = {
    "sync": ["--worker-class", "sync"],
    "gthread": ["--worker-class", "gthread", "--threads", "4"],
    "preload": ["--preload"],
    "gevent": ["--worker-class", "gevent"],
}


def live_gunicorn(children: Children, environment: Sandbox, options: list[str], **how: Any) -> Life:
    """Load, reload, load, kill a worker, load, stop."""
    words = ["python", "-m", "gunicorn", "--workers", str(WORKERS), "--bind", "127.0.0.1:{port}", *options]
    server = serve(children, environment, [*words, "application"], {"application.py": WSGI}, **how)
    first = server.wait_for_workers(WORKERS)
    server.load()
    server.send(signal.SIGHUP)
    second = server.wait_for_workers(WORKERS, first)
    server.wait_for_end_of(first)
    server.load()
    victim = min(second)
    server.send(signal.SIGKILL, victim)
    server.wait_for_workers(WORKERS, first | {victim})
    server.load()
    status = server.finish()
    booted = {int(pid) for pid in server.wait_for_text(r"Booting worker with pid: (\d+)")}
    assert server.seen == booted
    ends = {pid: ["SIGKILL" if pid == victim else "end"] for pid in [server.main, *booted]}
    return Life(status, masked(server.text()), ends)


@pytest.mark.parametrize("kind", GUNICORN)
def test_gunicorn(children: Children, environment: Sandbox, collector: Collector, kind: str) -> None:
    """Workers come and go for as long as a service lives: none may be missed, and none may be counted twice."""

    def life(**how: Any) -> Life:
        return live_gunicorn(children, environment, GUNICORN[kind], **how)

    assert_told(children, collector, twin(children, collector, life))


# uvicorn: a supervisor starts workers as new interpreters; it dies of the signal that stopped it

UVICORN = {
    "asyncio": ["uvicorn", "--loop", "asyncio"],
    "uvloop": ["uvicorn", "--loop", "uvloop"],
}


def live_uvicorn(children: Children, environment: Sandbox, options: list[str], **how: Any) -> Life:
    """Load, reload, load, kill a worker, load, stop."""
    words = ["python", "-m", *options, "--workers", str(WORKERS), "--port", "{port}", "--no-access-log"]
    server = serve(children, environment, [*words, "application:application"], {"application.py": ASGI}, **how)
    first = server.wait_for_workers(WORKERS)
    server.load()
    server.send(signal.SIGHUP)
    second = server.wait_for_workers(WORKERS, first)
    server.wait_for_end_of(first)
    victim = min(second)
    server.send(signal.SIGKILL, victim)
    server.wait_for_workers(WORKERS, first | {victim})
    server.load()
    status = server.finish()
    booted = {int(pid) for pid in server.wait_for_text(r"Started server process .*?(\d+)\]")}
    assert server.seen == booted
    # A worker that was stopped gracefully sends itself the signal again, and dies of it.
    ends = {pid: ["SIGKILL" if pid == victim else "SIGTERM"] for pid in booted}
    return Life(status, masked(server.text()), {server.main: ["end"], **ends})


@pytest.mark.parametrize("loop", UVICORN)
def test_uvicorn(children: Children, environment: Sandbox, collector: Collector, loop: str) -> None:
    """Its workers are started by multiprocessing, deliver by their own event loop, and end by a signal of their own."""

    def life(**how: Any) -> Life:
        return live_uvicorn(children, environment, UVICORN[loop], **how)

    assert_told(children, collector, twin(children, collector, life))


# uWSGI: forks in C, so that no fork hook of Python's runs in its workers, and replaces itself in C when it reloads

UWSGI = ["--master", "--processes", str(WORKERS), "--wsgi-file", "application.py", "--die-on-term"]
UWSGI += ["--http-socket", "127.0.0.1:{port}", "--disable-logging"]


def uwsgi_of_debian(environment: Sandbox) -> list[str]:
    """Return the words that start the system's uWSGI in an environment, if its Python is of the same version."""
    command = need_command("uwsgi", "uwsgi-core")
    plugin = subprocess.run([command, "--plugin", "python3", "--python-version"], capture_output=True, text=True)
    if plugin.returncode:
        miss("install the Debian package uwsgi-plugin-python3")
    if plugin.stdout.split()[0].split(".")[:2] != [str(part) for part in sys.version_info[:2]]:
        pytest.skip(f"the system's uWSGI has Python {plugin.stdout.split()[0]} inside")
    return [command, "--plugin", "python3", "--virtualenv", str(environment.folder)]


def live_uwsgi(children: Children, environment: Sandbox, words: list[str], can_reload: bool, **how: Any) -> Life:
    """Load, reload, load, kill a worker, load, stop."""
    server = serve(children, environment, [*words, *UWSGI], {"application.py": WSGI}, **how)
    gone: set[int] = set()
    workers = server.wait_for_workers(WORKERS)
    server.load()
    if can_reload:
        gone = workers
        server.send(signal.SIGHUP)
        workers = server.wait_for_workers(WORKERS, gone)
        server.load()
    victim = min(workers)
    server.send(signal.SIGKILL, victim)
    server.wait_for_workers(WORKERS, gone | {victim})
    server.load()
    status = server.finish()
    booted = {int(pid) for pid in server.wait_for_text(r"[sS]pawned uWSGI worker .*pid: (\d+)")}
    assert server.seen == booted
    # Those who wait for a worker, and who end the master, are C: nobody can say what has killed it.
    ends = {pid: ["lost" if pid == victim else "end"] for pid in booted}
    return Life(status, masked(server.text()), {server.main: ["exec"] * can_reload + ["lost"], **ends})


@pytest.mark.parametrize("kind", ["the system's", "a library"])
def test_uwsgi(children: Children, environment: Sandbox, collector: Collector, kind: str) -> None:
    """It has Python inside and never lets it know of a fork: its workers would pass for their master."""
    is_library = kind == "a library"
    words = [str(environment.bin / "uwsgi")] if is_library else uwsgi_of_debian(environment)

    def life(**how: Any) -> Life:
        # The library replaces itself by the interpreter that the environment was made of: it cannot reload in one.
        return live_uwsgi(children, environment, words, not is_library, **how)

    assert_told(children, collector, twin(children, collector, life))

"""Real server programs with nothing of ours in the application: every process of theirs is a session, and ends as one.

Each is run bare and monitored through the same life: load, a reload, a worker that is killed, a stop.
"""

import json
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.account import accounts
from support.children import Children
from support.collector import Collector
from support.needs import miss, need_command
from support.network import free_port, wait_until_open
from support.sandbox import Sandbox
from support.spool import segments
from support.workers import (
    ASGI,
    REQUIREMENTS,
    WSGI,
    Serving,
    descriptors_of,
    masked,
    processes_of,
    resident_kib,
    serve,
    threads_of,
    wait_until,
)

pytestmark = pytest.mark.slow

WORKERS = 2
OFTEN = {"MONITOR_FLUSH_INTERVAL": "1", "MONITOR_RATE_LIMIT": "0"}
"""Without a limit: a test that waits for the second worker may have asked the first one ten thousand times by then,
and who dies of a signal cannot tell what has been left out.
"""


@pytest.fixture(scope="module")
def environment(sandbox_for: Callable[..., Sandbox]) -> Sandbox:
    """An environment with the servers."""
    return sandbox_for(sys.executable, *REQUIREMENTS)


STOPPED = ["end, or SIGTERM"]
"""Of a worker that is sent a signal while it ends anyhow: whichever is quicker, also without us."""


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
    for pid, ends in life.ends.items():
        if ends == STOPPED and told.get(pid) in (["end"], ["SIGTERM"]):
            told[pid] = STOPPED
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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("loop", UVICORN)
def test_uvicorn(children: Children, environment: Sandbox, collector: Collector, loop: str) -> None:
    """Its workers are started by multiprocessing, deliver by their own event loop, and end by a signal of their own."""

    def life(**how: Any) -> Life:
        return live_uvicorn(children, environment, UVICORN[loop], **how)

    assert_told(children, collector, twin(children, collector, life))


# hypercorn: starts its workers by multiprocessing, cannot be told to reload, and ends when one of them is killed

HYPERCORN = ["asyncio", "uvloop", "trio"]


def live_hypercorn(children: Children, environment: Sandbox, kind: str, is_killed: bool, **how: Any) -> Life:
    """Load, then kill a worker or stop."""
    words = ["python", "-m", "hypercorn", "--worker-class", kind, "--workers", str(WORKERS)]
    words += ["--bind", "127.0.0.1:{port}", "application:application"]
    server = serve(children, environment, words, {"application.py": ASGI}, **how)
    workers = server.wait_for_workers(WORKERS)
    server.load()
    victim = min(workers) if is_killed else 0
    if is_killed:
        server.send(signal.SIGKILL, victim)
        status = server.end()
    else:
        status = server.finish()
    assert server.seen == workers
    ends = {pid: ["SIGKILL"] if pid == victim else STOPPED for pid in workers}
    # It exits with what its last worker did, and that one may have been told to stop before it could listen for it.
    assert status in (0, -signal.SIGTERM % 256)
    return Life(0, masked(server.text()), {server.main: ["end"], **ends})


@pytest.mark.parametrize("is_killed", [False, True], ids=["stopped", "killed"])
@pytest.mark.parametrize("kind", HYPERCORN)
def test_hypercorn(children: Children, environment: Sandbox, collector: Collector, kind: str, is_killed: bool) -> None:
    """It runs on trio as well, in whose loop nothing of ours can send."""

    def life(**how: Any) -> Life:
        return live_hypercorn(children, environment, kind, is_killed, **how)

    assert_told(children, collector, twin(children, collector, life))


# anyio: a server of one process, written for both kinds of loop

ANYIO = """
import os, signal, sys
import anyio

async def answer(stream):
    async with stream:
        try:
            await stream.receive()
        except anyio.EndOfStream:  # who only looks whether somebody listens
            return
        body = str(os.getpid()).encode()
        await stream.send(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)

async def main():
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=int(sys.argv[2]))
    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, answer)
        with anyio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                group.cancel_scope.cancel()
                break
    print("stopped", flush=True)

anyio.run(main, backend=sys.argv[1])
"""


def live_anyio(children: Children, collector: Collector, environment: Sandbox, backend: str, **how: Any) -> Life:
    """Load, wait for the delivery, load, stop."""
    words = ["python", "server.py", backend, "{port}"]
    server = serve(children, environment, words, {"server.py": ANYIO}, **how)
    server.load()
    if "endpoint" in how:
        collector.wait_for(1, 120)  # while it runs
    server.load()
    assert server.seen == {server.main}
    return Life(server.finish(), masked(server.text()), {server.main: ["end"]})


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_anyio(children: Children, environment: Sandbox, collector: Collector, backend: str) -> None:
    """The same program on either loop: what it shows and what is told of it must not differ."""

    def life(**how: Any) -> Life:
        return live_anyio(children, collector, environment, backend, **how)

    lived = twin(children, collector, life)
    assert (lived.status, lived.output) == (0, Counter(["stopped"]))
    assert_told(children, collector, lived)


# uWSGI: forks in C, so that no fork hook of Python's runs in its workers, and replaces itself in C when it reloads

UWSGI = ["--master", "--processes", str(WORKERS), "--wsgi-file", "application.py", "--die-on-term"]
UWSGI += ["--http-socket", "127.0.0.1:{port}", "--disable-logging", "--stats", "stats.sock"]


def uwsgi_of_debian(environment: Sandbox) -> list[str]:
    """Return the words that start the system's uWSGI in an environment, if its Python is of the same version."""
    command = need_command("uwsgi", "uwsgi-core")
    plugin = subprocess.run([command, "--plugin", "python3", "--python-version"], capture_output=True, text=True)
    if plugin.returncode:
        miss("install the Debian package uwsgi-plugin-python3")
    if plugin.stdout.split()[0].split(".")[:2] != [str(part) for part in sys.version_info[:2]]:
        pytest.skip(f"the system's uWSGI has Python {plugin.stdout.split()[0]} inside")
    return [command, "--plugin", "python3", "--virtualenv", str(environment.folder)]


def wait_until_idle(server: Serving, path: Path) -> None:
    """Wait until uWSGI says that no worker is at a request: one that is, also behind the last byte of its answer, ends
    without calling what Python has registered for its end, with or without us (python_plugin.c: uwsgi_python_atexit).
    """

    def states() -> set[str]:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(path))
            with asking.makefile("rb") as answer:
                return {worker["status"] for worker in json.load(answer)["workers"]}

    wait_until(lambda: states() == {"idle"}, "workers that are idle", server.text)


def live_uwsgi(children: Children, environment: Sandbox, words: list[str], can_reload: bool, **how: Any) -> Life:
    """Load, reload, load, kill a worker, load, stop."""
    server = serve(children, environment, [*words, *UWSGI], {"application.py": WSGI}, **how)
    stats = children.folder / "cwd" / "stats.sock"
    gone: set[int] = set()
    workers = server.wait_for_workers(WORKERS)
    server.load()
    if can_reload:
        gone = workers
        wait_until_idle(server, stats)
        server.send(signal.SIGHUP)
        workers = server.wait_for_workers(WORKERS, gone)
        server.load()
    victim = min(workers)
    server.send(signal.SIGKILL, victim)
    server.wait_for_workers(WORKERS, gone | {victim})
    server.load()
    wait_until_idle(server, stats)
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


# Celery: a pool of forked processes that take their work from Redis

TASKS = """
import os
from celery import Celery

broker = "redis://127.0.0.1:" + os.environ["REDIS_PORT"]
app = Celery("tasks", broker=broker, backend=broker)
app.conf.broker_connection_retry_on_startup = True

@app.task
def work():
    return os.getpid()

if __name__ == "__main__":
    results = [work.delay() for _ in range(40)]
    print(*{result.get(timeout=120) for result in results})
"""


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[int]:
    """Run a Redis of this test's own; its port."""
    port = free_port()
    words = [need_command("redis-server", "redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    log = tmp_path / "redis.log"
    with log.open("wb") as output:
        process = subprocess.Popen(words, cwd=tmp_path, stdout=output, stderr=output)
    try:
        wait_until_open(port, process, log)
        yield port
    finally:
        process.kill()
        process.wait()


def live_celery(children: Children, environment: Sandbox, redis: int, **how: Any) -> Life:
    """Work, kill a worker, work, stop."""
    words = ["python", "-m", "celery", "-A", "tasks", "worker", "--concurrency", str(WORKERS), "--loglevel", "WARNING"]
    # It looks every few seconds for a process that has died; so long another one waits before it tells of the death.
    how["env"] = {**OFTEN, "REDIS_PORT": str(redis), "MONITOR_FLUSH_INTERVAL": "10"}
    server = serve(children, environment, words, {"tasks.py": TASKS}, port=redis, **how)

    def work() -> set[int]:
        env = {"REDIS_PORT": str(redis)}
        folder = children.folder / "cwd"
        done = children.run(["python", "tasks.py"], bare=True, python=environment, cwd=folder, env=env, timeout=120)
        return {int(pid) for pid in done.stdout.split()}

    first = work()
    before = set(processes_of(server.main))
    assert len(before) == 1 + WORKERS and first < before
    victim = min(first)
    server.send(signal.SIGKILL, victim)
    server.wait_for_end_of({victim})
    wait_until(lambda: len(processes_of(server.main)) == 1 + WORKERS, "another worker", server.text)
    assert victim not in work()
    pids = before | set(processes_of(server.main))
    status = server.finish()
    return Life(status, masked(server.text()), {pid: ["SIGKILL" if pid == victim else "end"] for pid in pids})


@pytest.mark.slow
def test_celery(children: Children, environment: Sandbox, collector: Collector, redis: int) -> None:
    """Its processes are forked by billiard, not multiprocessing, and leave by os._exit."""

    def life(**how: Any) -> Life:
        return live_celery(children, environment, redis, **how)

    assert_told(children, collector, twin(children, collector, life))


# What a worker costs after many requests, and what its restarts leave behind


@pytest.mark.slow
def test_worker_stays_as_it_is_over_many_requests(
    children: Children, environment: Sandbox, collector: Collector
) -> None:
    """A worker lives for weeks: what grows by a kilobyte a request is killed on a Sunday."""
    words = ["python", "-m", "gunicorn", "--workers", "1", "--bind", "127.0.0.1:{port}", "application"]
    server = serve(children, environment, words, {"application.py": WSGI}, endpoint=collector.url, env=OFTEN)
    (worker,) = server.wait_for_workers(1)
    measured = []
    for _ in range(10):
        server.load(1000)
        measured.append((resident_kib(worker), descriptors_of(worker), threads_of(worker)))
    settled = measured[4:]
    assert max(kib for kib, _, _ in settled) - min(kib for kib, _, _ in settled) < 2048, measured
    assert len({threads for _, _, threads in settled}) == 1, measured
    assert max(descriptors for _, descriptors, _ in settled) - settled[0][1] <= 3, measured
    server.finish()
    assert_told(children, collector, Life(0, Counter(), {server.main: ["end"], worker: ["end"]}))


def test_restarts_of_workers_multiply_nothing(children: Children, environment: Sandbox, collector: Collector) -> None:
    """A start that starts something, in a program that restarts its workers, is a fork bomb."""
    words = ["python", "-m", "gunicorn", "--workers", "1", "--bind", "127.0.0.1:{port}", "application"]
    # Where all twelve die within a second, what gunicorn logs of them is the same error more than ten times: no limit.
    server = serve(children, environment, words, {"application.py": WSGI}, endpoint=collector.url, env=OFTEN)
    gone: set[int] = set()
    threads = []
    for _ in range(12):
        (worker,) = server.wait_for_workers(1, gone)
        threads.append(threads_of(server.main))
        assert set(processes_of(server.main)) == {server.main, worker}
        server.send(signal.SIGKILL, worker)
        server.wait_for_end_of({worker})
        gone.add(worker)
    (last,) = server.wait_for_workers(1, gone)
    assert max(threads) <= min(threads) + 1, threads
    server.finish()
    ends = {pid: ["SIGKILL"] for pid in gone}
    assert_told(children, collector, Life(0, Counter(), {server.main: ["end"], last: ["end"], **ends}))


POOL = """
import multiprocessing, os, signal, sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

def note():
    with open(sys.argv[2], "a") as pids:
        pids.write("%d\\n" % os.getpid())

def work(number):
    return os.getpid()

if __name__ == "__main__":
    note()
    context = multiprocessing.get_context(sys.argv[1])
    pool = ProcessPoolExecutor(2, context, note)
    print(len(set(pool.map(work, range(200)))) > 0)
    while len(open(sys.argv[2]).readlines()) < 1 + len(pool._processes):  # some may be starting still
        pool.submit(work, 1).result()
    victim = pool.submit(work, 1).result()
    os.kill(victim, signal.SIGKILL)
    try:
        while True:
            pool.submit(work, 1).result()
    except BrokenProcessPool:
        print("broken")
    pool.shutdown()
    with open(sys.argv[2], "a") as pids:
        pids.write("%d killed\\n" % victim)
    with ProcessPoolExecutor(2, context, note) as pool:
        print(sum(pid > 0 for pid in pool.map(work, range(200))))
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_process_pool(children: Children, collector: Collector, tmp_path: Path, method: str) -> None:
    """A worker that is killed breaks the pool; who has killed it is told by nobody else."""
    pids = tmp_path / "pids"

    def life(**how: Any) -> Life:
        pids.unlink(missing_ok=True)
        done = children.run(POOL, argv=[method, str(pids)], timeout=120, **how)
        assert done.stdout.split() == [b"True", b"broken", b"200"]
        lines = [line.split() for line in pids.read_text().splitlines()]
        # The pool ends those that have not died with the one that was killed by a signal, if they are still there.
        ends = {int(line[0]): STOPPED for line in lines}
        ends |= {int(line[0]): ["SIGKILL"] for line in lines if line[1:]}
        return Life(done.status, masked(done.stderr.decode()), ends)

    assert_told(children, collector, twin(children, collector, life))


GEVENT = """
import sys
if sys.argv[1] == "late":
    import socket, ssl, threading, time
from gevent import monkey
monkey.patch_all()
import gc, gevent, os, socket, threading, time
found = []
jobs = [gevent.spawn(lambda number=number: (time.sleep(0.01), found.append(number))) for number in range(20)]
gevent.joinall(jobs)
threads = [threading.Thread(target=found.append, args=(number,)) for number in range(5)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
end = time.monotonic() + 120
while not os.path.exists("stop") and time.monotonic() < end:
    gc.collect()
    time.sleep(0.05)
child = os.fork()
if not child:
    gevent.sleep(0.01)
    os._exit(3)
print(len(found), os.waitpid(child, 0)[1])
with open(sys.argv[2], "w") as pids:
    print(os.getpid(), child, file=pids)
"""


@pytest.mark.parametrize("when", ["first", "late"])
def test_gevent(children: Children, environment: Sandbox, collector: Collector, tmp_path: Path, when: str) -> None:
    """Greenlets stand in for threads, locks and sockets: none of them may be ours, and nothing may wait for them."""
    pids = tmp_path / "pids"

    def life(**how: Any) -> Life:
        child = children.start(GEVENT, argv=[when, str(pids)], python=environment, **how)
        if "endpoint" in how:
            collector.wait_for(1, 60)  # while it runs
        (children.folder / "cwd" / "stop").touch()
        done = child.finish(timeout=120)
        assert done.stdout == b"25 768\n"
        ends = {int(pid): ["end"] for pid in pids.read_text().split()}
        return Life(done.status, masked(done.stderr.decode()), ends)

    assert_told(children, collector, twin(children, collector, life))


# A server that nobody calls


def live_http_server(children: Children, collector: Collector, interval: float, **how: Any) -> Life:
    """Wait until it says that it listens and, if somebody hears of it, for its heartbeat; stop."""
    log = children.folder / "server.log"
    begin = time.monotonic()
    with log.open("wb") as output:
        words = ["python", "-u", "-m", "http.server", "--bind", "127.0.0.1", "0"]
        child = children.start(words, stdout=output, stderr=subprocess.STDOUT, **how)
    wait_until(lambda: b"Serving HTTP" in log.read_bytes(), "a server that listens")
    if "endpoint" in how:
        assert collector.wait_for(1, 120)[0]["name"] == "session.start"
        # It starts, and the first request takes its time, on a machine that has other things to do as well.
        assert time.monotonic() - begin < interval + 20
        wait_until(lambda: "sdk.heartbeat" in collector.names(), "its heartbeat", lambda: str(collector.names()))
    child.process.terminate()
    status = child.finish(timeout=120).status
    return Life(status, masked(log.read_text()), {child.pid: ["SIGTERM"]})


def test_idle_server_is_heard_of_within_the_interval(children: Children, collector: Collector) -> None:
    """It runs no code at all until somebody calls: its start comes within the interval, its heartbeat after it."""
    env = {"MONITOR_FLUSH_INTERVAL": "3", "MONITOR_HEARTBEAT": "3"}

    def life(**how: Any) -> Life:
        how["env"] = env
        return live_http_server(children, collector, 3, **how)

    lived = twin(children, collector, life)
    assert lived.status == -signal.SIGTERM
    events = assert_told(children, collector, lived)
    names = [event["name"] for event in events]
    assert names.index("session.start") < names.index("sdk.heartbeat")

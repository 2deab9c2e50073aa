"""Forks beside the background thread: they find it gone, whatever it was doing, and wait for it no longer than told."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.children import Children
from support.collector import STALL, Collector, running_collector
from support.flushing import OFTEN, UNTIL, go_on, numbers, wait_for_numbers
from support.network import Swallower, make_certificate
from support.sandbox import Sandbox, other_pythons

VERSIONS = ["own", *other_pythons()]
WARNING = [version for version in VERSIONS if version not in ("own", "3.10", "3.11")] or ["own"]
"""Those that warn about forking with threads, where the machine has them."""


def python_of(version: str, sandbox_for: Callable[..., Sandbox]) -> Sandbox:
    """Return the environment of one of VERSIONS."""
    return sandbox_for(sys.executable if version == "own" else other_pythons()[version])


@contextmanager
def busy_machine(processes: int) -> Iterator[None]:
    """Have so many processes compute beside the test."""
    code = "import sys\nwhile True: sum(range(10000))"
    burning = [subprocess.Popen([sys.executable, "-S", "-c", code]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in burning:
            process.kill()
            process.wait()


# Python 3.13 prints the warning, but does not raise it under -W error: so it must not be printed.
ALWAYS = ("-W", "always")

FORKING = (
    UNTIL
    + """
import random
from monitor_auto import Monitor
random.seed(int(sys.argv[1]))
time.sleep(1.06)
end, number = time.monotonic() + float(sys.argv[2]), 0
while time.monotonic() < end:
    number += 1
    Monitor.event("work.done", {"number": number})
    time.sleep(random.choice([0.001, 0.01, 0.03, 0.1, 0.3]) * random.random())
    child = os.fork()
    if not child:
        os._exit(0)
    assert not os.waitpid(child, 0)[1]
until("stop")
"""
)


@pytest.mark.slow
@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "secure"])
@pytest.mark.parametrize("version", WARNING)
def test_fork_at_any_moment_finds_no_thread(
    children: Children,
    collector: Collector,
    sandbox_for: Callable[..., Sandbox],
    tmp_path: Path,
    version: str,
    is_secure: bool,
) -> None:
    """While it starts, imports, connects, sends: each moment must end in time, on a busy machine, too."""
    certificate, context = make_certificate(tmp_path)
    python, env = python_of(version, sandbox_for), {**OFTEN, "SSL_CERT_FILE": str(certificate)}
    with running_collector(tls=context) as secure, busy_machine(4 * (os.cpu_count() or 2)):
        receiving = secure if is_secure else collector
        started = [
            children.start(FORKING, argv=[str(seed), "4"], endpoint=receiving.url, env=env, python=python, flags=ALWAYS)
            for seed in range(3)
        ]
        receiving.wait_for(10, 120)
        go_on(children)
        for child in started:
            run = child.finish(timeout=120)
            assert (run.status, run.stdout, run.stderr) == (0, b"", b"")
        assert not secure.violations
    # A request that was cut off may have been taken: it comes again, and `event_id` tells.
    done = [event for event in receiving.unique() if event["name"] == "work.done"]
    for session in {event["session"]["id"] for event in done}:
        found = sorted(event["data"]["number"] for event in done if event["session"]["id"] == session)
        assert found == list(range(1, len(found) + 1))
    assert len({event["session"]["id"] for event in done}) == 3


BROKEN_OFF = (
    UNTIL
    + """
from monitor_auto import Monitor
names = {"asyncio", "email.mime.text", "http.client", "inspect", "json", "pathlib", "tempfile", "urllib.request"}
time.sleep(1.06)
end, number = time.monotonic() + 4, 0
while time.monotonic() < end:
    number += 1
    Monitor.event("work.done", {"number": number})
    time.sleep(number % 40 / 400)
    child = os.fork()
    if not child:
        for name in names:
            __import__(name)
        sys.stdout.flush()
        os._exit(0)
    assert not os.waitpid(child, 0)[1]
for name in names:
    __import__(name)
import httpx
httpx.Client().close()
for name, module in list(sys.modules.items()):
    above, _, last = name.rpartition(".")
    if above and module is not None:
        assert above in sys.modules, name
        assert hasattr(sys.modules[above], last) or above.partition(".")[0] in ("os", "httpx", "httpcore"), name
print("whole")
"""
)


@pytest.mark.slow
@pytest.mark.parametrize("version", WARNING)
def test_what_a_fork_breaks_off_can_be_imported(
    children: Children, sandbox_for: Callable[..., Sandbox], tmp_path: Path, version: str
) -> None:
    """A package whose import was broken off in its middle stays broken, and the program would be the one to find it."""
    certificate, context = make_certificate(tmp_path)
    with running_collector(tls=context) as secure:
        env = {**OFTEN, "SSL_CERT_FILE": str(certificate)}
        python = python_of(version, sandbox_for)
        run = children.run(BROKEN_OFF, endpoint=secure.url, env=env, python=python, flags=ALWAYS, timeout=120)
        assert (run.status, run.stdout, run.stderr) == (0, b"whole\n", b"")
        assert len(numbers(secure)) == len(set(numbers(secure))) > 0


LOGGING = (
    UNTIL
    + """
from monitor_auto import Monitor
time.sleep(1.06)
Monitor.event("work.done", {"number": 0})
import logging
slowest = 0.0
for number in range(1, 200):
    time.sleep(0.005)
    child = os.fork()
    if not child:
        os._exit(0)
    assert not os.waitpid(child, 0)[1]
until("stop")
"""
)


@pytest.mark.parametrize("version", WARNING)
def test_fork_does_not_wait_for_itself(
    children: Children, sandbox_for: Callable[..., Sandbox], tmp_path: Path, version: str
) -> None:
    """Logging takes its lock before a fork: a thread that waits for it can only be waited for in vain."""
    certificate, context = make_certificate(tmp_path)
    env = {**OFTEN, "SSL_CERT_FILE": str(certificate)}
    with running_collector(tls=context) as secure:
        python = python_of(version, sandbox_for)
        child = children.start(LOGGING, endpoint=secure.url, env=env, python=python, flags=ALWAYS)
        secure.wait_for(2, 60)
        go_on(children)
        run = child.finish(timeout=60)
        assert (run.status, run.stdout, run.stderr) == (0, b"", b"")


DELAYS = """
def forked():
    "Return how long a fork took, without what its child does."
    begin = time.monotonic()
    child = os.fork()
    if not child:
        os._exit(0)
    taken = time.monotonic() - begin
    assert not os.waitpid(child, 0)[1]
    return taken
def lateness():
    "Return what this machine adds just now to a wait of 50 ms."
    late = 0.0
    for _ in range(10):
        begin = time.monotonic()
        time.sleep(0.05)
        late = max(late, time.monotonic() - begin - 0.05)
    return late
def allowance():
    "Return what it adds to a fork and to a wait."
    return lateness() + max(forked() for _ in range(10))
def check(forks, more):
    "The quickest shows how long a fork of ours waits; the others may have waited for the machine."
    if min(forks) > 0.05 + more + 0.02:  # it may have become busier
        more += lateness()
    assert min(forks) <= 0.05 + more + 0.02 and max(forks) < 10, (forks, more)
"""

HANGING = (
    UNTIL
    + DELAYS
    + """
import socket
from monitor_auto import Monitor
more = allowance()
real = socket.getaddrinfo
reading, writing = os.pipe()
def getaddrinfo(*args):
    open("asked", "w").close()
    os.read(reading, 1)  # no resolver answers; nobody can wake who waits for it
    return real("127.0.0.1", *args[1:])
socket.getaddrinfo = getaddrinfo
time.sleep(1.1)
Monitor.event("work.done", {"number": 0})
until("asked")
forks = []
for number in range(1, 4):
    forks.append(forked())
    Monitor.event("work.done", {"number": number})
check(forks, more)
os.write(writing, b"....")
until("stop")
"""
)


@pytest.mark.parametrize("version", VERSIONS)
def test_fork_while_a_name_is_looked_up_waits_no_longer_than_told(
    children: Children, collector: Collector, sandbox_for: Callable[..., Sandbox], version: str
) -> None:
    """A resolver that never answers must hold up no fork: this is the one case in which Python may warn."""
    url = collector.url.replace("127.0.0.1", "collector.test")
    python = python_of(version, sandbox_for)
    child = children.start(HANGING, endpoint=url, env=OFTEN, python=python, flags=("-W", "ignore"))
    wait_for_numbers(collector, 4)
    go_on(children)
    run = child.finish(timeout=60)
    assert (run.status, run.stdout, run.stderr) == (0, b"", b"")
    assert sorted(numbers(collector)) == [0, 1, 2, 3]


ENDING = (
    HANGING.partition("forks = []")[0]
    + """
import warnings
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    forked()  # does not wait for the look-up
os.write(writing, b"....")
forked()  # the thread is about to end, and to start its successor
for number in range(1, 4):
    Monitor.event("work.done", {"number": number})
    forked()
until("stop")
"""
)


@pytest.mark.parametrize("version", WARNING)
def test_fork_waits_for_a_thread_that_another_fork_has_left_behind(
    children: Children, collector: Collector, sandbox_for: Callable[..., Sandbox], version: str
) -> None:
    """One fork may be warned about while a resolver hangs; the next ones have no excuse."""
    url = collector.url.replace("127.0.0.1", "collector.test")
    python = python_of(version, sandbox_for)
    child = children.start(ENDING, endpoint=url, env=OFTEN, python=python, flags=ALWAYS)
    wait_for_numbers(collector, 4)
    go_on(children)
    run = child.finish(timeout=60)
    assert (run.status, run.stdout, run.stderr) == (0, b"", b"")
    assert sorted(numbers(collector)) == [0, 1, 2, 3]


COLLECTING = (
    UNTIL
    + """
import gc
from monitor_auto import Monitor
os.register_at_fork(before=gc.collect, after_in_parent=gc.collect)
time.sleep(1.1)
for number in range(20):
    child = os.fork()
    if not child:
        os._exit(0)
    assert not os.waitpid(child, 0)[1]
    time.sleep(number % 4 / 100)
    if number > 4:
        Monitor.event("work.done", {"number": number})
until("stop")
"""
)


@pytest.mark.parametrize("version", WARNING)
def test_sign_of_life_in_the_middle_of_a_fork_starts_no_thread(
    children: Children, collector: Collector, sandbox_for: Callable[..., Sandbox], version: str
) -> None:
    """A collection of garbage comes at any moment, also behind the hook that has seen the thread off."""
    python = python_of(version, sandbox_for)
    child = children.start(COLLECTING, endpoint=collector.url, env=OFTEN, python=python, flags=ALWAYS)
    collector.wait_for(15, 60)
    go_on(children)
    run = child.finish(timeout=60)
    assert (run.status, run.stdout, run.stderr) == (0, b"", b"")
    assert sorted(numbers(collector)) == list(range(5, 20))


FAILING = (
    UNTIL
    + """
from monitor_auto import Monitor
from monitor_auto.boot import background
refused = []
def refuse(event, arguments):
    if event == "os.fork" and not refused:
        refused.append(event)
        raise OSError("no fork")
sys.addaudithook(refuse)
time.sleep(1.1)
try:
    os.fork()
except OSError as error:
    print(error, background.is_forking())
Monitor.event("work.done", {"number": 0})
Monitor.event("work.thread", {"runs": background.thread is not None})
until("stop")
"""
)


def test_fork_that_fails_does_not_keep_the_thread_away(children: Children, collector: Collector) -> None:
    """A service that may have no further process lives on, and is to be heard of at once and not 10 s later."""
    child = children.start(FAILING, endpoint=collector.url, env=OFTEN)
    collector.wait_for(2, 60)
    go_on(children)
    run = child.finish(timeout=60)
    assert (run.status, run.stdout, run.stderr) == (0, b"no fork False\n", b"")
    assert [event["data"]["runs"] for event in collector.unique() if event["name"] == "work.thread"] == [True]


WAITING = (
    UNTIL
    + DELAYS
    + """
from monitor_auto import Monitor
more = allowance()
time.sleep(1.1)
Monitor.event("work.done", {"number": 0})
forks = []
for number in range(1, 4):
    until(f"asked{number}")
    forks.append(forked())
    Monitor.event("work.done", {"number": number})
    open(f"forked{number}", "w").close()
check(forks, more)
until("stop")
"""
)


@pytest.mark.parametrize("files", [{}, {"queue.py": "print('run by us')\n"}], ids=["clear", "shadowed"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_fork_while_a_collector_is_silent(
    children: Children, sandbox_for: Callable[..., Sandbox], scheme: str, files: dict[str, str]
) -> None:
    """A request may take half a minute, in the thread or by a helper; a fork cuts it off, and it begins anew."""
    python = python_of(WARNING[-1], sandbox_for)
    silent = Swallower()
    url = f"{scheme}://127.0.0.1:{silent.port}/v1/events"
    env = {**OFTEN, "MONITOR_EXIT_TIMEOUT": "0"}
    child = children.start(WAITING, endpoint=url, env=env, files=files, python=python, flags=ALWAYS)
    for number in range(1, 4):
        silent.wait_for(number, 60)
        go_on(children, f"asked{number}")
    go_on(children)
    run = child.finish(timeout=60)
    silent.close()
    assert (run.status, run.stdout, run.stderr) == (0, b"", b"")
    assert [event["data"]["number"] for event in run.named("work.done")] == [0, 1, 2, 3]


def test_fork_that_cuts_a_request_is_nobodys_failure(children: Children, collector: Collector) -> None:
    """What we have cut off ourselves must not keep us, and all others, from sending."""
    collector.answer_next(STALL)
    child = children.start(WAITING, endpoint=collector.url, env=OFTEN, flags=ALWAYS)
    collector.wait_for_request(1, 60)
    go_on(children, "asked1")
    collector.wait_for(2, 60)
    go_on(children, "asked2")
    go_on(children, "asked3")
    collector.wait_for(4, 60)
    go_on(children)
    run = child.finish(timeout=60)
    assert (run.status, run.stderr) == (0, b"")
    assert "sdk.flush.failures" not in collector.names()
    assert sorted(numbers(collector)) == [0, 1, 2, 3]


CUT = (
    UNTIL
    + """
from monitor_auto import Monitor
for number in range(2000):
    Monitor.event("work.done", {"number": number})
time.sleep(1.1)
Monitor.event("work.done", {"number": 2000})
until("asked")
child = os.fork()
if not child:
    os._exit(0)
assert not os.waitpid(child, 0)[1]
until("stop")
"""
)


def test_what_a_fork_has_cut_off_goes_on_when_it_is_over(children: Children, collector: Collector) -> None:
    """Whatever a program had recorded when it forked would wait for an interval, or for a hundred events more."""
    collector.answer_next(STALL)
    env = {"MONITOR_FLUSH_INTERVAL": "36000"}
    child = children.start(CUT, endpoint=collector.url, env=env, flags=ALWAYS)
    collector.wait_for_request(1, 60)
    go_on(children, "asked")
    collector.wait_for(2002, 60)
    go_on(children)
    run = child.finish(timeout=60)
    assert (run.status, run.stdout, run.stderr) == (0, b"", b"")
    assert sorted(numbers(collector)) == list(range(2001))


STEADY = (
    UNTIL
    + """
from monitor_auto import Monitor
number = 0
while not os.path.exists("stop"):
    number += 1
    child = os.fork()
    if not child:
        Monitor.event("work.done", {"number": number})
        os._exit(0)
    assert not os.waitpid(child, 0)[1]
    time.sleep(0.03)
"""
)


def test_program_that_forks_all_the_time_is_delivered_in_between(children: Children, collector: Collector) -> None:
    """A server that forks for each request is never left alone for long, and its spool must not fill up meanwhile."""
    child = children.start(STEADY, endpoint=collector.url, env=OFTEN, flags=ALWAYS)
    wait_for_numbers(collector, 80, 120)
    assert child.process.poll() is None
    go_on(children)
    run = child.finish(timeout=60)
    assert (run.status, run.stdout, run.stderr) == (0, b"", b"")
    children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url, timeout=60)
    found = sorted(numbers(collector))
    assert found == list(range(1, len(found) + 1)) and len(found) >= 80

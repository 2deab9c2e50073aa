"""How the background thread sends: over a kept connection, under TLS, through a proxy, a long backlog in blocks."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.children import Children
from support.collector import STALL, Answer, Collector, running_collector
from support.flushing import OFTEN, UNTIL, go_on, numbers
from support.network import make_certificate, running_proxy

STEPS = (
    UNTIL
    + """
from monitor_auto import Monitor
time.sleep(1.1)
for number in range(3):
    for part in range(30):
        Monitor.event("work.done", {"number": number * 30 + part, "pad": "x" * 100})
    until(f"step{number}")
"""
)


@contextmanager
def literal(collector: Collector, folder: Path) -> Iterator[tuple[str, dict[str, str], Collector]]:
    """This machine, by its address."""
    yield collector.url, {}, collector


@contextmanager
def far(collector: Collector, folder: Path) -> Iterator[tuple[str, dict[str, str], Collector]]:
    """An address that does not say that it is this machine: what goes there is compressed."""
    yield collector.url.replace("127.0.0.1", "0.0.0.0"), {}, collector


@contextmanager
def secure(collector: Collector, folder: Path) -> Iterator[tuple[str, dict[str, str], Collector]]:
    """TLS, under a name."""
    certificate, context = make_certificate(folder)
    with running_collector(tls=context) as under_tls:
        yield under_tls.url, {"SSL_CERT_FILE": str(certificate)}, under_tls


@contextmanager
def proxied(collector: Collector, folder: Path) -> Iterator[tuple[str, dict[str, str], Collector]]:
    """A name that only the proxy knows."""
    with running_proxy(collector.port) as (proxy, log):
        yield f"http://collector.invalid:{collector.port}/v1/events", {"http_proxy": proxy}, collector
    assert log


WAYS = {"literal": literal, "far": far, "secure": secure, "proxied": proxied}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("files", [{}, {"queue.py": "print('run by us')\n"}], ids=["clear", "shadowed"])
def test_every_way_to_a_collector(
    children: Children, collector: Collector, tmp_path: Path, way: str, files: dict[str, str]
) -> None:
    """Behind a proxy, under TLS, beside a `queue.py` of its own: what a program records arrives while it runs."""
    with WAYS[way](collector, tmp_path) as (url, env, receiving):
        child = children.start(STEPS, endpoint=url, env={**OFTEN, **env}, files=files)
        for number in range(3):
            receiving.wait_for(1 + 30 * (number + 1), 120)
            go_on(children, f"step{number}")
        run = child.finish(timeout=120)
        assert (run.status, run.stdout, run.stderr) == (0, b"", b"")
        assert numbers(receiving) == list(range(90))
        assert len(receiving.events()) == len(receiving.unique())
        meanwhile = receiving.requests[:-1]
        if way in ("far", "proxied") and (way == "far" or not files):
            assert "gzip" in {request.headers.get("content-encoding") for request in receiving.requests}
        if way in ("literal", "far") or (way == "secure" and not files):
            assert len({request.connection for request in meanwhile}) == 1, "each flush had a connection of its own"


def test_connection_that_was_closed_meanwhile_is_no_failure(children: Children, collector: Collector) -> None:
    """Servers close idle connections without a word; that is no reason to wait for 5 s, nor to tell the others."""
    collector.answer = Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    child = children.start(STEPS, endpoint=collector.url, env=OFTEN)
    for number in range(3):
        collector.wait_for(1 + 30 * (number + 1), 120)
        go_on(children, f"step{number}")
    assert child.finish(timeout=120).status == 0
    assert numbers(collector) == list(range(90))
    assert "sdk.flush.failures" not in collector.names()
    assert len({request.connection for request in collector.requests}) >= 3


TAKING = (
    UNTIL
    + """
from monitor_auto import Monitor
time.sleep(1.1)
Monitor.event("work.done", {"number": 0})
until("first")
import socket
taken = []
for number in os.listdir("/proc/self/fd"):
    try:
        if os.readlink("/proc/self/fd/" + number).startswith("socket:"):
            os.close(int(number))
            taken.append(os.open("mine", os.O_RDWR | os.O_CREAT))
            assert taken[-1] == int(number), taken
    except FileNotFoundError:
        pass
print(len(taken))
Monitor.event("work.done", {"number": 1})
until("second")
print(os.path.getsize("mine"), [os.fstat(number).st_size for number in taken])
"""
)


def test_number_of_the_connection_that_the_program_has_taken(children: Children, collector: Collector) -> None:
    """A daemon closes all descriptors; what it opens then under the same number must not get our request."""
    child = children.start(TAKING, endpoint=collector.url, env=OFTEN)
    collector.wait_for(2, 120)
    go_on(children, "first")
    collector.wait_for(3, 120)
    go_on(children, "second")
    run = child.finish(timeout=120)
    assert (run.status, run.stdout, run.stderr) == (0, b"1\n0 [0]\n", b"")
    assert numbers(collector) == [0, 1]


BURST = (
    UNTIL
    + """
import resource, subprocess
from monitor_auto import Monitor
time.sleep(1.1)
for number in range(COUNT):
    Monitor.event("work.done", {"number": number, "poison": number == 1234, "text": 'ends"}\\n{"v":1,"event_id":"-7"'})
    if number == 2000:
        subprocess.run(["true"], check=True)
until("stop")
"""
)
MANY = {**OFTEN, "MONITOR_RATE_LIMIT": "0"}
BY_THREAD, BY_HELPER = 3000, 12_000
"""So many wait that the thread sends them in blocks; that it has a helper do it."""


def burst(count: int = BY_THREAD) -> str:
    """Return a program that records so many events at once."""
    return BURST.replace("COUNT", str(count))


NAMED = Answer(207, json.dumps({"errors": [{"index": 0, "message": "not this one"}]}).encode())


@pytest.mark.parametrize("count", [BY_THREAD, BY_HELPER])
@pytest.mark.parametrize("status", [200, 207, 400])
def test_long_backlog_is_answered_event_by_event(
    children: Children, collector: Collector, status: int, count: int
) -> None:
    """What is sent in blocks is accounted for by the event, whatever the collector says of single ones."""
    if status == 207:
        collector.answer = NAMED
    if status == 400:
        collector.refuse_when = lambda body: Answer(400) if b'"poison":true' in body else None
    child = children.start(burst(count), endpoint=collector.url, env=MANY)
    collector.wait_for(count - (status == 400) + 3, 180)
    collector.answer = Answer()
    go_on(children)
    assert child.finish(timeout=120).status == 0
    assert numbers(collector) == [number for number in range(count) if status != 400 or number != 1234]
    assert len(collector.events()) == len(collector.unique())
    assert collector.names().count("process.exit") == 1


def test_line_that_a_full_disk_has_torn_in_a_long_backlog(children: Children, collector: Collector) -> None:
    """Half a line between whole ones: the block that has it is looked at line by line, and nothing else is lost."""
    program = burst().replace(
        "    if number == 2000:\n",
        """    if number == 1500:
        folder = os.environ["MONITOR_SPOOL_DIR"]
        newest = max((name for name in os.listdir(folder) if name.endswith(".jsonl") and name != "ledger.jsonl"))
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(os.path.join(folder, newest)) + 150, limits[1]))
        Monitor.event("work.done", {"number": -1})
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    if number == 2000:
""",
    )
    collector.max_batch = 2000
    child = children.start(program, endpoint=collector.url, env={**MANY, "MONITOR_BATCH_SIZE": "2000"})
    collector.wait_for(3001 + 3, 180)
    go_on(children)
    run = child.finish(timeout=120)
    assert (run.status, run.stderr) == (0, b"")
    assert sorted(numbers(collector)) == list(range(-1, 3000))


@pytest.mark.parametrize("count", [BY_THREAD, BY_HELPER])
def test_killed_in_a_long_backlog_repeats_one_batch_at_most(
    children: Children, collector: Collector, count: int
) -> None:
    """However much is sent at a stretch, each answer is noted before the next batch goes."""
    child = children.start(burst(count), endpoint=collector.url, env={**MANY, "MONITOR_BATCH_SIZE": "10"})
    collector.wait_for(500, 180)
    child.process.kill()
    child.finish(timeout=120)  # the helper, too, has closed what it had of the program
    wait_for_no_helper()
    children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url, env=MANY, timeout=120)
    found = numbers(collector)
    assert found == list(range(len(found))) and len(found) >= 499
    assert "session.lost" in collector.names()
    assert len(collector.events()) - len(collector.unique()) <= 10


@pytest.mark.parametrize("count", [BY_THREAD, BY_HELPER])
def test_exit_while_a_request_hangs(children: Children, collector: Collector, count: int) -> None:
    """The exit cuts off what the thread waits for: its deadline is the one that counts, and nothing is lost."""
    collector.answer = STALL
    child = children.start(burst(count), endpoint=collector.url, env={**MANY, "MONITOR_EXIT_TIMEOUT": "1"})
    collector.wait_for_request(1, 120)
    go_on(children)
    run = child.finish(timeout=25)
    assert (run.status, run.stderr) == (0, b"")
    wait_for_no_helper()
    collector.go_away()
    collector.answer = Answer()
    collector.come_back()
    flush = children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url, timeout=120)
    assert flush.status == 0
    assert numbers(collector) == list(range(count))
    assert collector.names()[-1] == "session.end"


HELPED = (
    UNTIL
    + """
import warnings
from monitor_auto import Monitor
def helpers():
    found = set()
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as words, open(f"/proc/{name}/environ", "rb") as environment:
                if b"backlog_main" in words.read() and os.environ["HOME"].encode() in environment.read():
                    found.add(name)
        except OSError:
            pass
    return found
HABIT
time.sleep(1.1)
seen, end = False, time.monotonic() + 120
for number in range(12_000):
    Monitor.event("work.done", {"number": number, "pad": "x" * 200})
while not seen and not os.path.exists("stop") and time.monotonic() < end:
    seen = bool(helpers())
AFTER
print("helper" if seen else "no helper")
until("stop")
"""
)
CHILDREN = """
try:  # the shell that has started it is ours for a moment
    while time.monotonic() < end:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    print(found)
except ChildProcessError:
    print("no child")
"""
FORKS = """
for number in range(3):
    before = helpers()
    if not os.fork():
        # One that has not told its number yet ends when it tries to; the parent may have another one by now.
        while before & helpers() and time.monotonic() < end:
            time.sleep(0.01)
        os._exit(len(before & helpers()))
    assert not os.wait()[1]
print("forked")
"""
HABITS = {
    "none": ("", CHILDREN, b"no child\nhelper\n"),
    "forks": ("", FORKS, b"forked\nhelper\n"),
    "a child": ("import subprocess; child = subprocess.Popen(['sleep', '600'])", "child.kill(); child.wait()", None),
    "a handler": ("import signal; signal.signal(signal.SIGCHLD, lambda *args: print('SIGCHLD'))", "", None),
    "waits": ("import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])", "", None),
}


@pytest.mark.parametrize("habit", HABITS)
def test_helper_for_a_long_backlog_is_not_seen(children: Children, collector: Collector, habit: str) -> None:
    """A program that waits for any child must not get ours; where it could, the thread does all by itself."""
    before, after, expected = HABITS[habit]
    program = HELPED.replace("HABIT", before).replace("AFTER", after)
    child = children.start(program, endpoint=collector.url, env=MANY, flags=("-W", "error"))
    collector.wait_for(12_000, 180)
    go_on(children)
    run = child.finish(timeout=120)
    assert (run.status, run.stdout, run.stderr) == (0, expected or b"no helper\n", b"")
    assert numbers(collector) == list(range(12_000))
    # Each fork may come between a request and its answer, which the helper then does not see.
    batches = 3 if habit == "forks" else 0
    assert len(collector.events()) - len(collector.unique()) <= batches * 100


def wait_for_no_helper() -> None:
    """Wait until no helper of this user is there any more."""
    for _ in range(3000):
        found = subprocess.run(["pgrep", "-f", "backlog_main"], capture_output=True).stdout
        if not found:
            return
        threading.Event().wait(0.02)
    raise AssertionError(f"helpers that do not end: {found!r}")

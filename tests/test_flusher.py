"""The background thread, in real programs: it delivers while they run, and they cannot tell."""

import pytest

from support.children import Children
from support.collector import Answer, Collector
from support.flushing import OFTEN, UNTIL, go_on, numbers

WORKING = (
    UNTIL
    + """
from monitor_auto import Monitor
time.sleep(1.1)
for number in range(250):
    Monitor.event("work.done", {"number": number})
until("stop")
"""
)


@pytest.mark.parametrize("threading", [True, False])
def test_events_arrive_while_the_program_runs(children: Children, collector: Collector, threading: bool) -> None:
    """A server that runs for weeks must not keep its events to itself, whatever it has imported."""
    program = WORKING if threading else WORKING.replace(" threading,", "")
    child = children.start(program, endpoint=collector.url, env=OFTEN)
    collector.wait_for(251, 120)
    assert child.process.poll() is None
    go_on(children)
    assert child.finish(timeout=120).status == 0
    assert numbers(collector) == list(range(250))
    assert collector.names()[-1] == "session.end"
    assert len(collector.events()) == len(collector.unique())


def test_token_and_one_connection(children: Children, collector: Collector) -> None:
    """Every flush has the token; a connection for each of them would be felt by the collector of a thousand hosts."""
    program = (
        UNTIL
        + """
from monitor_auto import Monitor
time.sleep(1.1)
for number in range(5):
    Monitor.event("work.done", {"number": number})
    until(f"step{number}")
"""
    )
    child = children.start(program, endpoint=collector.url, env={**OFTEN, "MONITOR_TOKEN": "tok-123"})
    for number in range(5):
        collector.wait_for(2 + number, 120)
        go_on(children, f"step{number}")
    assert child.finish(timeout=120).status == 0
    assert {request.headers["authorization"] for request in collector.requests} == {"Bearer tok-123"}
    assert len({request.connection for request in collector.requests[:-1]}) == 1  # the exit has one of its own


def test_short_program_never_has_a_thread(children: Children, collector: Collector) -> None:
    """Most programs are short, and what starts in each of them is paid by all."""
    program = """
    import os
    from monitor_auto import Monitor
    import json, gc
    Monitor.event("work.done", {"number": 1})
    gc.collect()
    print(len(os.listdir("/proc/self/task")))
    """
    assert children.run(program, endpoint=collector.url, env=OFTEN).stdout == b"1\n"
    assert numbers(collector) == [1]


SIGNS = {
    "an event": "Monitor.event('work.done', {'number': 1})",
    "an import": "import wave",
    "a collection of garbage": "gc.collect()",
    "a forked child's import": "import wave",
}


@pytest.mark.parametrize("sign", SIGNS)
def test_sign_of_life_after_the_first_second_starts_the_thread(
    children: Children, collector: Collector, sign: str
) -> None:
    """Only who lives on has something to deliver meanwhile; whatever it does, it is noticed."""
    program = (
        UNTIL
        + f"""
import gc
from monitor_auto import Monitor
if "child" in {sign!r}:
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        os._exit(0)
time.sleep(1.2)
{SIGNS[sign]}
until("stop")
"""
    )
    child = children.start(program, endpoint=collector.url, env=OFTEN)
    found = collector.wait_for(1, 120)
    assert found[0]["name"] == "session.start"
    go_on(children)
    assert child.finish(timeout=120).status == 0


def test_end_is_no_sign_of_life(children: Children) -> None:
    """A program of two seconds that did nothing else in between must not load at its exit what a long life needs."""
    program = """
        import os, sys, time
        class Last:
            def __init__(self):
                self.itself, self.boot, self.write = self, sys.modules.get("monitor_auto.boot"), os.write
            def __del__(self):
                self.write(1, str("background" in vars(self.boot)).encode())
        last = Last()
        if "background" in vars(last.boot):
            sys.stdout.write("slow ")
        time.sleep(2.1)
    """
    done = children.run(program)
    while done.stdout.startswith(b"slow"):  # a start of more than a second is a life of its own
        done = children.run(program)
    assert (done.status, done.stdout) == (0, b"False")
    assert done.names[-2:] == ["session.start", "session.end"]


def test_no_thread_is_started_for_what_is_recorded_while_the_interpreter_is_taken_down(
    children: Children, collector: Collector
) -> None:
    """On 3.12 and later that raises, on others the thread is stopped wherever it is; the exit or a later run sends."""
    program = """
        import os, sys, time, _thread
        try:
            from monitor_auto import Monitor
        except ImportError:
            Monitor = None
        class Last:
            def __init__(self):
                self.itself, self.monitor, self.write, self.list, self.sys = self, Monitor, os.write, os.listdir, sys
                self.threads = _thread._count
            def __del__(self):
                if self.monitor is not None:
                    self.monitor.event("very.late")
                tasks = len(self.list("/proc/self/task"))
                self.write(1, b"%d %d %d\\n" % (self.sys.is_finalizing(), self.threads(), tasks))
        last = Last()
        time.sleep(2.1)
    """
    run = children.twin(program, endpoint=collector.url)
    assert (run.status, run.stdout) == (0, b"1 0 1\n")
    children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url)
    assert collector.names().count("very.late") == 1


LISTENING = (
    UNTIL
    + """
import _socket, inspect, socket
print(socket.socket.listen is _socket.socket.listen, socket.socket.listen, inspect.signature(socket.socket.listen))
class Mine(socket.socket):
    def listen(self, backlog=3):
        return super().listen(backlog)
for kind in (socket.socket, Mine):
    with kind() as server:
        server.bind(("127.0.0.1", 0))
        print(type(server.listen), server.listen.__name__, server.listen())
        try:
            socket.socket.listen(server, "x")
        except TypeError as error:
            print(error)
try:
    socket.socket().listen("x")
except TypeError:
    import traceback
    traceback.print_exc()
from monitor_auto import Monitor
"""
)


def test_method_that_listens_is_the_real_one(children: Children) -> None:
    """What is watched must stay what it is: identity, type, errors and tracebacks."""
    assert "session.start" in children.twin(LISTENING).names


THREADS = (
    UNTIL
    + """
from monitor_auto import Monitor
time.sleep(1.1)
Monitor.event("work.done", {"number": 1})
until("seen")
threads = threading.enumerate(), threading.active_count(), threading.main_thread().name, threading.current_thread().name
print(*threads)
import signal
signal.signal(signal.SIGALRM, lambda *args: print("alarm", threading.current_thread().name))
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
for _ in range(20):
    signal.pause()
signal.setitimer(signal.ITIMER_REAL, 0)
"""
)


def test_program_does_not_see_the_thread(children: Children, collector: Collector) -> None:
    """`threading` lists what it did without us, and signals interrupt the main thread as ever."""
    (children.folder / "cwd").mkdir()
    go_on(children, "seen")
    bare = children.run(THREADS, bare=True)
    (children.folder / "cwd" / "seen").unlink()
    child = children.start(THREADS, endpoint=collector.url, env=OFTEN)
    collector.wait_for(2, 120)
    go_on(children, "seen")
    run = child.finish(timeout=120)
    assert (run.status, run.stderr) == (bare.status, bare.stderr)
    strip = lambda text: text.replace(b"0x", b"").split(b"\n")[1:]  # noqa: E731 - the first line has addresses
    assert strip(run.stdout) == strip(bare.stdout)
    assert run.stdout.count(b"_MainThread") == 1 and b"1 MainThread MainThread" in run.stdout


def test_mock_of_the_clock_counts_no_call_of_ours(children: Children, collector: Collector) -> None:
    """`patch("time.monotonic", side_effect=[1, 2])` in a test of a long run: each value is for the code under test."""
    program = """
    import sys, time
    from unittest import mock
    from monitor_auto import Monitor
    real_monotonic = time.monotonic
    time.sleep(1.1)
    for number in range(150):
        Monitor.event("work.done", {"number": number})
    time.sleep(0.5)
    names = ("monotonic", "time", "time_ns", "monotonic_ns", "perf_counter", "localtime")
    mocks = [mock.patch("time." + name, side_effect=range(1000)) for name in names]
    started = [each.start() for each in mocks]
    until = real_monotonic() + 2
    while real_monotonic() < until:
        with Monitor.span("work.done"):
            Monitor.error("oh")
        time.sleep(0.02)
    counts = [each.call_count for each in started]
    mock.patch.stopall()
    print(counts)
    """
    done = children.twin(program, endpoint=collector.url, env=OFTEN)
    assert done.stdout == b"[0, 0, 0, 0, 0, 0]\n"
    assert "error.message" in collector.names()


def test_logging_program_shows_nothing_of_ours(children: Children, collector: Collector) -> None:
    """httpx and httpcore log every request; in a program that logs everything that would be our noise."""
    program = (
        UNTIL
        + """
import logging
logging.basicConfig(level=logging.DEBUG)
from monitor_auto import Monitor
time.sleep(1.1)
Monitor.event("work.done", {"number": 1})
until("stop")
logging.debug("the end of %s", threading.active_count())
"""
    )
    child = children.start(program, endpoint=collector.url, env=OFTEN)
    collector.wait_for(2, 120)
    go_on(children)
    assert child.finish(timeout=120).stderr == b"DEBUG:root:the end of 1\n"


FORKING = (
    UNTIL
    + """
import warnings
from monitor_auto import Monitor
time.sleep(1.1)
Monitor.event("work.done", {"number": 0})
slowest = 0.0
for number in range(1, 41):
    begin = time.monotonic()
    child = os.fork()
    if not child:
        Monitor.event("work.done", {"number": number})
        os._exit(0)
    slowest = max(slowest, time.monotonic() - begin)
    assert os.waitpid(child, 0)[1] == 0
    Monitor.event("between", {"number": number})
    time.sleep(0.03)
print(slowest < 5)
until("stop")
"""
)


def test_thread_goes_on_after_each_of_many_forks(children: Children, collector: Collector) -> None:
    """A server that forks for every request must be delivered all the same, and its children, too."""
    child = children.start(FORKING, endpoint=collector.url, env={**OFTEN, "MONITOR_BATCH_SIZE": "5"})
    collector.wait_for(41, 180)
    go_on(children)
    run = child.finish(timeout=180)
    assert (run.status, run.stdout, run.stderr) == (0, b"True\n", b"")
    assert sorted(numbers(collector)) == list(range(41))


def test_subprocess_does_not_stop_the_thread(children: Children, collector: Collector) -> None:
    """A program that starts children all the time must deliver all the same."""
    program = (
        UNTIL
        + """
import subprocess
from monitor_auto import Monitor
time.sleep(1.1)
Monitor.event("work.done", {"number": 0})
while not os.path.exists("stop"):
    subprocess.run(["true"], check=True)
    assert os.waitstatus_to_exitcode(os.waitpid(os.posix_spawn("/bin/true", ["true"], os.environ), 0)[1]) == 0
"""
    )
    child = children.start(program, endpoint=collector.url, env=OFTEN, flags=("-W", "error"))
    collector.wait_for(2, 120)
    go_on(children)
    run = child.finish(timeout=120)
    assert (run.status, run.stderr) == (0, b"")


def test_orphans_are_delivered_by_a_session_that_lives(children: Children, collector: Collector) -> None:
    """What a killed program has left arrives while a server runs, not only when somebody starts another one."""
    killed = """
    import os, signal
    from monitor_auto import Monitor
    Monitor.event("left.behind", {"number": 1})
    os.kill(os.getpid(), signal.SIGKILL)
    """
    for _ in range(3):
        children.run(killed, endpoint=collector.url)
    child = children.start(WORKING, endpoint=collector.url, env=OFTEN)
    collector.wait_for(251 + 3 * 3, 120)
    go_on(children)
    child.finish(timeout=120)
    assert collector.names().count("left.behind") == 3
    assert collector.names().count("session.lost") == 3


def test_no_thread_can_be_started(children: Children, collector: Collector) -> None:
    """Where the system allows no thread the program goes on, and the exit delivers."""
    program = """
    import gc, os, threading, time
    import _thread
    def refuse(*args):
        raise RuntimeError("can't start new thread")
    from monitor_auto import boot
    boot.spool.start_new_thread = boot.cold("background").start_new_thread = refuse
    from monitor_auto import Monitor
    time.sleep(1.2)
    gc.collect()
    import wave
    Monitor.event("work.done", {"number": 1})
    print(len(os.listdir("/proc/self/task")))
    """
    run = children.run(program, endpoint=collector.url, env=OFTEN)
    assert (run.status, run.stdout, run.stderr) == (0, b"1\n", b"")
    assert numbers(collector) == [1]


def test_shadowed_library_is_never_imported(children: Children, collector: Collector) -> None:
    """A late import of ours would run the program's own `queue.py`."""
    files = {"queue.py": "print('the program was run by us')\n", "email.py": "print('and this')\n"}
    child = children.start(WORKING, endpoint=collector.url, env=OFTEN, files=files)
    collector.wait_for(251, 120)
    go_on(children)
    run = child.finish(timeout=120)
    assert (run.status, run.stdout, run.stderr) == (0, b"", b"")


def test_resources_of_a_session_that_lives_long(children: Children, collector: Collector) -> None:
    """Memory that grows for days shows in what is recorded, not only when the kernel kills."""
    program = (
        UNTIL
        + """
import gc
from monitor_auto import Monitor
time.sleep(1.1)
for number in range(1000):
    Monitor.event("work.done", {"number": number})
    gc.collect(0)
    if os.path.exists("stop"):
        break
    time.sleep(0.05)
"""
    )
    child = children.start(program, endpoint=collector.url, env=OFTEN)
    collector.wait_for(60, 120)
    go_on(children)
    child.finish(timeout=120)
    found = [event["data"] for event in collector.unique() if event["name"] == "process.resources"]
    assert found
    assert all(facts["rss_bytes"] > 1 << 20 and facts["threads"] == 1 for facts in found)
    assert sum(facts["gc_collections"] for facts in found) >= 5
    assert all(0 <= facts["gc_pause_ms"] < 60_000 for facts in found)


THROTTLED = (
    UNTIL
    + """
from monitor_auto import Monitor
time.sleep(1.1)
end, kept = time.monotonic() + 120, True
while kept and time.monotonic() < end:
    kept = Monitor.event("before.error", {}) is not None
    time.sleep(0.01)
print("thinned out" if not kept else "never")
Monitor.error("trouble")
print(sum(Monitor.event("after.error", {"number": number}) is not None for number in range(200)))
"""
)


def test_collector_that_is_overrun_while_the_program_runs(children: Children, collector: Collector) -> None:
    """It gets half of the events, without anybody calling flush; of a session that has failed it gets everything."""
    collector.answer = Answer(429, b"slower")
    env = {**OFTEN, "MONITOR_EXIT_TIMEOUT": "0"}
    run = children.run(THROTTLED, endpoint=collector.url, env=env, timeout=240)
    assert (run.status, run.stdout) == (0, b"thinned out\n200\n")
    collector.answer = Answer()
    children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url, timeout=120)
    rates = [event["data"]["value"] for event in collector.unique() if event["name"] == "sdk.sampling.rate"]
    assert rates[0] == 0.5 and rates[-1] == 1
    assert collector.names().count("after.error") == 200

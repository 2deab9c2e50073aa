"""Delivery while a program runs on uvloop, or on several loops in several threads: all of it, against a collector."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from support.children import Children, Run
from support.collector import STALL, UNAVAILABLE, Answer, Collector
from support.loops import RECORD
from support.sandbox import Sandbox

pytestmark = pytest.mark.slow

QUICK = {"MONITOR_FLUSH_INTERVAL": "0.3", "MONITOR_RATE_LIMIT": "0"}
HEAD = (
    RECORD
    + """
    import asyncio, gc, os, sys, threading, time
    import uvloop
    from monitor_auto import Monitor
    from monitor_auto.boot import recorder
    def has_client():
        "True when our requests are made by a loop: the program cannot know, the test has to."
        flusher = sys.modules.get("monitor_auto.delivery.async_flusher")
        in_use = getattr(flusher, "in_use", None)  # it may be half imported
        return bool(in_use) and in_use[0].client is not None
    steps, answers = [], []
    def watch_answers():
        "Note what loops bring from now on."
        flusher = sys.modules.get("monitor_auto.delivery.async_flusher")
        if flusher is None:  # a bare run
            return
        real_outcome = flusher.Client.outcome
        def outcome(client, ticket):
            answer = real_outcome(client, ticket)
            answers.append(type(ticket.loop).__module__)
            return answer
        flusher.Client.outcome = outcome
    async def record_until(is_enough, pause=0.002, seconds=120):
        end = time.monotonic() + seconds
        while recorder.session is not None and not is_enough():
            assert time.monotonic() < end
            steps.append(len(steps))
            record("work.step", {"number": len(steps)})
            await asyncio.sleep(pause)
    def after(seconds):
        end = time.monotonic() + seconds
        return lambda: time.monotonic() > end
    def tell():
        Monitor.event("work.told", {"loop": has_client(), "steps": len(steps), "answers": answers})
"""
)
RUNS = f"""{HEAD}
    async def main():
        print(type(asyncio.get_running_loop()).__module__)
        await record_until(has_client)
        watch_answers()
        is_late = after(1.5)
        await record_until(lambda: len(answers) >= 8 and is_late())
        tell()
        print(len(asyncio.all_tasks()), threading.active_count())
        for task in asyncio.all_tasks() - {{asyncio.current_task()}}:
            task.cancel()
    uvloop.run(main())
"""
AGAIN = f"""{HEAD}
    uvloop.run(record_until(has_client))
    async def short():
        steps.append(len(steps))
        record("work.step", {{"number": len(steps)}})
        await asyncio.sleep(0.01)
    for number in range(100):
        uvloop.run(short())
    gc.collect()
    tell()
    print(threading.active_count())
"""
MIXED = f"""{HEAD}
    runs = [asyncio.run, uvloop.run]
    def work(number):
        for turn in range(8):
            runs[(number + turn) % 2](record_until(after(0.3)))
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    uvloop.run(record_until(has_client))
    watch_answers()
    uvloop.run(record_until(lambda: answers))  # the threads may have ended by now
    for thread in threads:
        thread.join()
    tell()
    print(threading.active_count())
"""
BLOCKED = f"""{HEAD}
    async def main():
        await record_until(has_client)
        for number in range(150):
            Monitor.event("blocked.step", {{"number": number}})
        end = time.monotonic() + 120
        while recorder.session is not None and not os.path.exists("arrived"):
            assert time.monotonic() < end
            sum(range(3000))  # the loop does not move, and computes
    uvloop.run(main())
"""


@pytest.fixture(scope="module")
def environment(sandbox_for: Callable[..., Sandbox]) -> Sandbox:
    """An environment with uvloop."""
    return sandbox_for(sys.executable, "uvloop")


def everything(collector: Collector, done: Run, name: str) -> list[dict[str, Any]]:
    """Return the events of a name that have arrived or wait in the spool, each once."""
    events = [event for event in [*collector.unique(), *done.events] if event["name"] == name]
    return list({event["event_id"]: event for event in events}.values())


def assert_told(collector: Collector, done: Run) -> None:
    """A loop has sent, and no event is missing."""
    (told,) = [event["data"] for event in everything(collector, done, "work.told")]
    assert told["loop"]
    assert len(everything(collector, done, "work.step")) == told["steps"] > 0


@pytest.mark.parametrize("flags", [(), ("-X", "dev", "-W", "error")], ids=["plain", "dev"])
def test_events_arrive_while_a_program_runs_on_uvloop(
    children: Children, environment: Sandbox, collector: Collector, flags: tuple[str, ...]
) -> None:
    """It looks like asyncio's loop and is none of its classes; servers in production run on it."""
    how: dict[str, Any] = {"python": environment, "endpoint": collector.url, "env": QUICK, "timeout": 240}
    done = children.twin(RUNS, flags=flags, **how)
    assert done.stdout == b"uvloop\n1 1\n"
    assert_told(collector, done)
    (told,) = everything(collector, done, "work.told")
    assert set(told["data"]["answers"]) == {"uvloop"}
    resources = everything(collector, done, "process.resources")
    assert any(event["data"].get("loop_lag_ms", -1) >= 0 for event in resources)


def test_hundred_runs_of_uvloop_one_after_the_other(
    children: Children, environment: Sandbox, collector: Collector
) -> None:
    """Each loop ends while something is sent, and uvloop says at once where a handle was left open."""
    how: dict[str, Any] = {"python": environment, "endpoint": collector.url, "env": QUICK, "timeout": 240}
    assert_told(collector, children.twin(AGAIN, flags=["-X", "dev"], **how))


def test_loops_of_both_kinds_in_several_threads(children: Children, environment: Sandbox, collector: Collector) -> None:
    """The one thread of ours sends by whichever loop has recorded last; it may be gone by the next request."""
    how: dict[str, Any] = {"python": environment, "endpoint": collector.url, "env": QUICK, "timeout": 240}
    done = children.twin(MIXED, flags=["-X", "dev"], **how)
    assert done.stdout == b"1\n"
    assert_told(collector, done)
    (told,) = everything(collector, done, "work.told")
    assert told["data"]["answers"]


@pytest.mark.parametrize("answer", [STALL, UNAVAILABLE], ids=["silent", "unavailable"])
def test_collector_that_fails_is_no_matter_of_uvloop(
    children: Children, environment: Sandbox, collector: Collector, answer: Answer
) -> None:
    """A request that hangs when its loop closes leaves no handle, no warning, and no lost event."""
    collector.answer = answer
    env = {**QUICK, "MONITOR_EXIT_TIMEOUT": "1"}
    how: dict[str, Any] = {"python": environment, "endpoint": collector.url, "env": env, "timeout": 240}
    done = children.twin(AGAIN, flags=["-X", "dev"], **how)
    assert collector.requests
    assert_told(collector, done)


def test_blocked_uvloop_does_not_keep_events(children: Children, environment: Sandbox, collector: Collector) -> None:
    """A loop that computes for minutes is left alone, and the thread sends by itself."""
    child = children.start(BLOCKED, python=environment, endpoint=collector.url, env=QUICK)
    steps: list[int] = []
    while len(steps) < 150:
        collector.wait_for_request(len(collector.requests) + 1, 120)
        steps = [event["data"]["number"] for event in collector.unique() if event["name"] == "blocked.step"]
    assert sorted(steps) == list(range(150))
    (children.folder / "cwd" / "arrived").touch()
    run = child.finish(timeout=240)
    assert (run.status, run.stdout, run.stderr) == (0, b"", b"")

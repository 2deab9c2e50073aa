"""Delivery while an asyncio program runs, by its own loop: what arrives, what the program sees of it, how it ends."""

import time
from typing import Any

import pytest

from monitor_auto.delivery import turns
from support.children import Children, Run
from support.collector import STALL, UNAVAILABLE, Collector
from support.loops import RECORD
from support.sandbox import Sandboxes, other_pythons

QUICK = {"MONITOR_FLUSH_INTERVAL": "0.3"}
HEAD = (
    RECORD
    + """
    import asyncio, gc, os, signal, sys, threading, time
    from monitor_auto import Monitor
    from monitor_auto.boot import recorder
    def has_loop():
        "True when our requests are made by the loop: the program cannot know, the test has to."
        flusher = sys.modules.get("monitor_auto.delivery.async_flusher")
        in_use = getattr(flusher, "in_use", None)  # it may be half imported
        return bool(in_use) and in_use[0].client is not None
    async def record_until(is_enough, seconds=60):
        end, number = time.monotonic() + seconds, 0
        while recorder.session is not None and not is_enough() and time.monotonic() < end:
            number += 1
            record("work.step", {"number": number})
            await asyncio.sleep(0.002)
        Monitor.event("work.sent", {"loop": has_loop(), "steps": number})
"""
)
RUNS = f"""{HEAD}
    async def main():
        await record_until(has_loop)
        begin = time.monotonic()
        await record_until(lambda: time.monotonic() - begin > 2)
        print(len(asyncio.all_tasks()), threading.active_count())
        for task in asyncio.all_tasks() - {{asyncio.current_task()}}:
            task.cancel()
    asyncio.run(main())
"""
AGAIN = f"""{HEAD}
    async def short(number):
        record("run.step", {{"number": number}})
        await asyncio.sleep(0.01)
    asyncio.run(record_until(has_loop))
    for number in range(100):
        asyncio.run(short(number))
    print(threading.active_count())
"""
SILENT = f"""{HEAD}
    async def main():
        await record_until(has_loop)
        await asyncio.sleep(0.2)
        print("done")
    asyncio.run(main())
    loop = asyncio.new_event_loop()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
"""
FORKING = f"""{HEAD}
    async def main():
        await record_until(has_loop)
        for number in range(20):
            await asyncio.sleep(0.05)
            record("fork.step", {{"number": number}})
            pid = os.fork()
            if not pid:
                Monitor.event("child.step", {{"number": number}})
                if number % 2 and sys.version_info < (3, 14):  # since then the loop does not end by it in a child
                    sys.exit(3)
                os._exit(3)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    asyncio.run(main())
"""
SIGNALS = f"""{HEAD}
    async def main():
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stopped.set)
        await record_until(has_loop)
        os.kill(os.getpid(), signal.SIGTERM)
        await stopped.wait()
        print("told to stop")
    asyncio.run(main())
"""


FLUSHING = f"""{HEAD}
    async def main():
        await record_until(has_loop)
        from monitor_auto.delivery import async_flusher
        async_flusher.BLOCKED_SECONDS = 300.0  # what the thread would wait for a loop that does not move
        open("ready", "w").close()
        while not os.path.exists("stalled"):
            record("work.step", {{"number": 0}})
            await asyncio.sleep(0.01)
        begin = time.monotonic()
        print(Monitor.flush(60), time.monotonic() - begin < 60)
    asyncio.run(main())
"""

BLOCKED = f"""{HEAD}
    def wait_for(name, seconds=60):
        end = time.monotonic() + seconds
        while recorder.session is not None and not os.path.exists(name):
            assert time.monotonic() < end, name
            sum(range(3000))
    async def main():
        await record_until(has_loop)
        for number in range(150):
            Monitor.event("blocked.step", {{"number": number}})
        wait_for("arrived")     # the loop does not move, and computes
        await record_until(lambda: os.path.exists("again"))
    asyncio.run(main())
"""
BUSY = f"""{HEAD}
    counts = {{"given": 0, "waits": 0.0}}
    async def main():
        await record_until(has_loop)
        turns = sys.modules.get("monitor_auto.delivery.turns")
        if turns is not None:
            real_give = turns.Turn.give
            def give(turn):
                begin = time.perf_counter()
                real_give(turn)
                counts["given"] += turn.claim.locked()
                counts["waits"] += time.perf_counter() - begin
            turns.Turn.give = give
        end = time.monotonic() + 60
        while recorder.session is not None and counts["given"] < 20 and time.monotonic() < end:
            Monitor.event("busy.step", {{}})
            sum(range(300))
            await asyncio.sleep(0)
        Monitor.event("busy.done", counts)
    asyncio.run(main())
"""


def by_loop(collector: Collector) -> list[bool]:
    """Return what the program's last event said of how requests are made."""
    return [event["data"]["loop"] for event in collector.unique() if event["name"] == "work.sent"]


def everything(collector: Collector, done: Run, name: str) -> list[dict[str, Any]]:
    """Return the events of a name that have arrived or wait in the spool, each once."""
    events = [event for event in [*collector.unique(), *done.events] if event["name"] == name]
    return list({event["event_id"]: event for event in events}.values())


@pytest.mark.parametrize("flags", [(), ("-X", "dev", "-W", "error")], ids=["plain", "dev"])
def test_events_arrive_while_an_asyncio_program_runs(
    children: Children, collector: Collector, flags: tuple[str, ...]
) -> None:
    """A server that runs for weeks is heard of meanwhile, and by its own loop, of which it sees nothing."""
    how: dict[str, Any] = {"endpoint": collector.url, "env": QUICK, "timeout": 120}
    children.twin(RUNS, flags=flags, **how)
    assert by_loop(collector)[0]
    assert len(collector.requests) >= 4
    # A loop that ends in the middle of a request takes its answer with it: that one batch is sent again.
    assert len(collector.events()) - len(collector.unique()) <= 100
    lags = [event["data"]["loop_lag_ms"] for event in collector.unique() if "loop_lag_ms" in event["data"]]
    assert lags
    assert all(0 <= lag < 60_000 for lag in lags)


def test_hundred_loops_one_after_the_other(children: Children, collector: Collector) -> None:
    """A program that calls asyncio.run for every piece of work loses nothing and prints nothing."""
    done = children.twin(AGAIN, endpoint=collector.url, env=QUICK, flags=["-X", "dev"], timeout=120)
    assert by_loop(collector) == [True]
    assert len(everything(collector, done, "run.step")) == 100


@pytest.mark.parametrize("answer", [STALL, UNAVAILABLE], ids=["silent", "unavailable"])
def test_collector_that_fails_is_no_matter_of_the_loop(children: Children, collector: Collector, answer: Any) -> None:
    """A request that hangs when its loop closes leaves no task, no warning, and no lost event."""
    collector.answer = answer
    env = {**QUICK, "MONITOR_EXIT_TIMEOUT": "1"}
    done = children.twin(SILENT, endpoint=collector.url, env=env, flags=["-X", "dev"], timeout=120)
    steps = everything(collector, done, "work.step")
    (sent,) = everything(collector, done, "work.sent")
    assert len(steps) == sent["data"]["steps"]


def test_forks_of_a_loop_that_sends(children: Children, collector: Collector) -> None:
    """A child made in the middle of a request is a session of its own and sends nothing of its parent's."""
    done = children.twin(FORKING, endpoint=collector.url, env=QUICK, timeout=120)
    assert done.stdout == b"3\n" * 20
    assert len(everything(collector, done, "fork.step")) == 20
    assert len(everything(collector, done, "child.step")) == 20


def test_signal_handlers_of_the_loop_work(children: Children, collector: Collector) -> None:
    """A server stops by SIGTERM, which its loop handles."""
    children.twin(SIGNALS, endpoint=collector.url, env=QUICK, timeout=120)
    assert by_loop(collector) == [True]


def test_flush_on_the_loop_does_not_wait_for_the_loop(children: Children, collector: Collector) -> None:
    """A request that only this loop can finish, and a loop that waits for the flush: somebody has to give way."""
    child = children.start(FLUSHING, endpoint=collector.url, env=QUICK)
    ready, stalled = children.folder / "cwd" / "ready", children.folder / "cwd" / "stalled"
    while not ready.exists():
        collector.wait_for_request(len(collector.requests) + 1, 120)
    collector.answer_next(STALL)
    seen = len(collector.requests)
    collector.wait_for_request(seen + 1, 120)
    stalled.touch()
    run = child.finish(timeout=120)
    assert (run.status, run.stdout, run.stderr) == (0, b"True True\n", b"")
    assert "session.end" in collector.names()


def test_loop_that_is_blocked_does_not_keep_events(children: Children, collector: Collector) -> None:
    """The thread asks a busy loop to stand still for it; where the loop does not come, it has to go on by itself."""
    child = children.start(BLOCKED, endpoint=collector.url, env=QUICK)
    end = time.monotonic() + 120
    while len(steps := [event for event in collector.unique() if event["name"] == "blocked.step"]) < 150:
        collector.wait_for_request(len(collector.requests) + 1, end - time.monotonic())
    assert sorted(event["data"]["number"] for event in steps) == list(range(150))
    (children.folder / "cwd" / "arrived").touch()
    seen = len(collector.requests)
    collector.wait_for_request(seen + 1, 60)
    (children.folder / "cwd" / "again").touch()
    run = child.finish(timeout=120)
    assert (run.status, run.stdout, run.stderr) == (0, b"", b"")


def test_loop_that_is_never_idle_gives_turns(children: Children, collector: Collector) -> None:
    """Beside such a loop each system call of a thread costs dozens of awakenings, if it has to fight for the lock."""
    env = {**QUICK, "MONITOR_RATE_LIMIT": "0"}
    run = children.twin(BUSY, endpoint=collector.url, env=env, timeout=120)
    (done,) = [event["data"] for event in everything(collector, run, "busy.done")]
    assert done["given"] >= 20


def test_turn_waits_for_nobody() -> None:
    """A thread that has died, or gone on without the loop, must not hold up the program."""
    rung: list[bool] = []
    turn = turns.Turn(lambda: rung.append(True))
    turn.give()  # nobody ends it
    assert rung == [True] and turn.is_given()
    late = turns.Turn(lambda: rung.append(True))
    assert not late.is_given()
    late.give()
    assert rung == [True]


@pytest.mark.slow
@pytest.mark.parametrize("python", other_pythons().values(), ids=list(other_pythons()))
def test_other_pythons_deliver_by_their_loops(
    children: Children, collector: Collector, sandboxes: Sandboxes, python: str
) -> None:
    """From 3.12 a fork beside a thread warns, and tasks are listed in another way."""
    how: dict[str, Any] = {"python": sandboxes.get(python), "endpoint": collector.url, "env": QUICK, "timeout": 120}
    children.twin(RUNS, flags=["-X", "dev", "-W", "error"], **how)
    assert by_loop(collector)[0]
    children.twin(FORKING, flags=["-W", "error"], **how)
    assert len([event for event in collector.unique() if event["name"] == "fork.step"]) == 20

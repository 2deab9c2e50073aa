"""Spans: what is recorded inside one names it, wherever the program goes on with it."""

from collections.abc import Callable

import pytest

from support.children import Children, Run
from support.sandbox import Sandbox, other_pythons


def spans(run: Run) -> dict[str, dict[str, str]]:
    """Return the member `span` of the program's own events, by their names; each name is there once."""
    found = [event for event in run.events if event["type"] != "lifecycle"]
    assert len({event["name"] for event in found}) == len(found)
    return {event["name"]: event.get("span", {}) for event in found}


NESTED = """
    from monitor_auto import Monitor

    Monitor.event("before.all")
    with Monitor.span("outer.work"):
        Monitor.event("in.outer")
        with Monitor.span("inner.work"):
            Monitor.metric("in.inner", 1)
            try:
                raise ValueError("told")
            except ValueError as error:
                Monitor.error(error)
        Monitor.event("outer.again")
    Monitor.event("after.all")
    try:
        with Monitor.span("failing.work"):
            raise KeyError("untold")
    except KeyError:
        print("same program")
"""


def test_what_is_recorded_in_a_span_names_it(children: Children) -> None:
    """Without it nobody can tell which of a thousand requests an event was part of."""
    done = children.twin(NESTED)
    found, session = spans(done), done.events[0]["session"]
    outer, inner, failing = found["outer.work"], found["inner.work"], found["failing.work"]
    assert found["before.all"] == found["after.all"] == {}
    assert outer["parent_span_id"] == failing["parent_span_id"] == session["span_id"]
    assert inner["parent_span_id"] == outer["span_id"]
    ids = {span["span_id"] for span in (outer, inner, failing)}
    assert len(ids) == 3 and session["span_id"] not in ids
    assert {span["trace_id"] for span in found.values() if span} == {session["trace_id"]}
    inside = {"trace_id": session["trace_id"]}
    assert found["in.outer"] == found["outer.again"] == {**inside, "span_id": outer["span_id"]}
    assert found["in.inner"] == found["error.ValueError"] == {**inside, "span_id": inner["span_id"]}
    assert found["error.KeyError"] == {**inside, "span_id": failing["span_id"]}


TASKS = """
    import asyncio
    from monitor_auto import Monitor

    @Monitor.span("decorated.work")
    async def decorated():
        await asyncio.sleep(0)
        Monitor.event("in.decorated")

    async def one(name, turn):
        async with Monitor.span(name + ".work"):
            await turn.wait()
            Monitor.event("in." + name)

    async def main():
        turn = asyncio.Event()
        with Monitor.span("main.work"):
            tasks = [asyncio.create_task(one(name, turn)) for name in ("left", "right")]
            await asyncio.sleep(0)
            turn.set()
            await asyncio.gather(*tasks)
            await decorated()
        Monitor.event("after.main")
        print(asyncio.current_task().get_name() != "")

    asyncio.run(main())
"""


def test_tasks_have_the_span_that_they_were_made_in(children: Children) -> None:
    """Requests of a service run side by side on one loop; an event must not name its neighbour's."""
    found = spans(children.twin(TASKS))
    for name in ("left", "right", "decorated"):
        assert found[f"{name}.work"]["parent_span_id"] == found["main.work"]["span_id"]
        assert found[f"in.{name}"]["span_id"] == found[f"{name}.work"]["span_id"]
    assert found["after.main"] == {}


GENERATORS = """
    import contextvars, gc
    from monitor_auto import Monitor

    def stepping():
        with Monitor.span("generator.work"):
            yield 1
            Monitor.event("in.generator")
            yield 2

    steps = stepping()
    print(contextvars.copy_context().run(next, steps))
    print(next(steps))
    Monitor.event("between.steps")
    steps.close()
    Monitor.event("after.close")

    abandoned = Monitor.span("abandoned.work")
    abandoned.__enter__()
    del abandoned
    gc.collect()
    span = Monitor.span("twice.entered")
    span.__exit__(None, None, None)
"""


def test_a_span_that_ends_elsewhere_than_it_began_does_no_harm(children: Children) -> None:
    """Generators and hand-written calls end spans in any order and in any context."""
    done = children.twin(GENERATORS)
    found = spans(done)
    assert found["between.steps"] == {} and found["after.close"] == {}
    assert set(found["generator.work"]) == {"trace_id", "span_id", "parent_span_id"}
    assert "abandoned.work" not in found and "twice.entered" in found


def test_a_forked_child_goes_on_in_the_span(children: Children) -> None:
    """A worker forked for a piece of work belongs to that work."""
    source = """
        import os
        from monitor_auto import Monitor
        with Monitor.span("forking.work"):
            pid = os.fork()
            if not pid:
                Monitor.event("in.child")
                os._exit(0)
            os.waitpid(pid, 0)
    """
    done = children.run(source)
    found = spans(done)
    assert found["in.child"]["span_id"] == found["forking.work"]["span_id"]


def test_sampled_and_limited_events_are_still_sampled_in_a_span(children: Children) -> None:
    """The span is a member more, and no way around what the operator has set."""
    source = """
        from monitor_auto import Monitor
        print(Monitor.event("first.one"))
        with Monitor.span("some.work"):
            print(Monitor.event("click.one"), Monitor.metric("kept.one", 1) is not None)
    """
    done = children.run(source, env={"MONITOR_SAMPLE": "event:click.*=0,event:first.*=0"})
    assert done.stdout.decode() == "None\nNone True\n"
    found = spans(done)
    assert found["kept.one"]["span_id"] == found["some.work"]["span_id"] and "click.one" not in found


THREADS = """
    import contextvars, threading
    from concurrent.futures import ThreadPoolExecutor
    from monitor_auto import Monitor

    def work(name):
        Monitor.event("in." + name)

    pool = ThreadPoolExecutor(1)
    Monitor.event("before.all")
    with Monitor.span("outer.work"):
        thread = threading.Thread(target=work, args=("thread",))
        thread.start()
        thread.join()
        timer = threading.Timer(0, work, ("timer",))
        timer.start()
        timer.join()
        pool.submit(work, "pool").result()
        with Monitor.span("inner.work"):
            pool.submit(work, "pool_again").result()
            list(pool.map(work, ["map"]))
    pool.submit(work, "pool_outside").result()
    thread = threading.Thread(target=work, args=("thread_outside",))
    thread.start()
    thread.join()
"""


def test_threads_and_executors_have_the_span_that_their_work_was_given_in(children: Children) -> None:
    """Half of what a request does is done by other threads; and a pool's thread serves another request next."""
    found = spans(children.twin(THREADS))
    outer, inner = found["outer.work"]["span_id"], found["inner.work"]["span_id"]
    assert found["in.thread"]["span_id"] == found["in.timer"]["span_id"] == found["in.pool"]["span_id"] == outer
    assert found["in.pool_again"]["span_id"] == found["in.map"]["span_id"] == inner
    assert found["in.pool_outside"] == found["in.thread_outside"] == found["before.all"] == {}


LOOP = """
    import asyncio
    from concurrent.futures import ThreadPoolExecutor
    from monitor_auto import Monitor

    def work(name):
        Monitor.event("in." + name)

    async def request(name, pool):
        with Monitor.span(name + ".work"):
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(pool, work, name + ".pool")
            await loop.run_in_executor(None, work, name + ".default")
            await asyncio.to_thread(work, name + ".thread")

    async def main():
        with ThreadPoolExecutor(1) as pool:
            await asyncio.gather(request("left", pool), request("right", pool))
            await asyncio.get_running_loop().run_in_executor(pool, work, "after.pool")

    asyncio.run(main())
"""


def test_executors_of_a_loop_have_the_span_of_the_task(children: Children) -> None:
    """One thread serves the requests of a whole loop by turns."""
    found = spans(children.twin(LOOP))
    for name in ("left", "right"):
        own = found[f"{name}.work"]["span_id"]
        assert {found[f"in.{name}.{kind}"]["span_id"] for kind in ("pool", "default", "thread")} == {own}
    assert found["in.after.pool"] == {}


UNSEEN = """
    import contextvars, inspect, sys, threading, traceback
    import concurrent.futures.thread
    from concurrent.futures import ThreadPoolExecutor
    from monitor_auto import Monitor

    given = contextvars.ContextVar("given", default="none")

    def show(pool):
        print("".join(traceback.format_stack()).count("\\n"))
        print(given.get(), [line for line in traceback.format_stack() if "monitor" in line])

    def fail(pool):
        raise ValueError("in the pool")

    def set_up():
        given.set("by the initializer")

    with Monitor.span("some.work"):
        given.set("by the main thread")
        with ThreadPoolExecutor(1, initializer=set_up) as pool:
            pool.submit(show, pool).result()
            future = pool.submit(fail, pool)
            try:
                future.result()
            except ValueError:
                traceback.print_exc()
            cancelled = pool.submit(show, pool)
            print(cancelled.cancel() in (True, False))
        try:
            pool.submit(show, pool)
        except RuntimeError:
            traceback.print_exc()
        thread = threading.Thread(target=show, args=(None,))
        thread.start()
        thread.join()
        try:
            thread.start()
        except RuntimeError:
            traceback.print_exc()
        thread = threading.Thread(target=fail, args=(None,), name="failing")
        thread.start()
        thread.join()
        Monitor.event("did.good")
        item = concurrent.futures.thread._WorkItem
        print(inspect.signature(item), inspect.signature(item.run), item.run.__qualname__)
        print(inspect.signature(threading.Thread.start), inspect.getsource(threading.Thread.start) != "")
        for name in ("_start_new_thread", "_start_joinable_thread"):
            print(getattr(threading, name, None))
            try:
                getattr(threading, name, print)()
            except TypeError:
                traceback.print_exc()
"""


def test_thread_cannot_tell_how_it_came_to_its_span(children: Children) -> None:
    """Stacks, tracebacks and the program's own context variables are the same in every thread and every worker."""
    done = children.twin(UNSEEN)
    found = spans_by_name(done)
    assert found["did.good"]["span_id"] == found["some.work"]["span_id"]
    assert found["error.ValueError"]["span_id"] == found["some.work"]["span_id"]


def spans_by_name(run: Run) -> dict[str, dict[str, str]]:
    """Return the member `span` of the events by their names, of each name the last one."""
    return {event["name"]: event.get("span", {}) for event in run.events}


@pytest.mark.parametrize("flags", [(), ("-X", "importtime")], ids=["", "importtime"])
def test_modules_that_come_later_are_watched_then(children: Children, flags: tuple[str, ...]) -> None:
    """A span may begin long before the program imports what its work is given to."""
    source = """
        import sys
        from monitor_auto import Monitor
        with Monitor.span("outer.work"):
            assert "threading" not in sys.modules, "this test does not show what it should"
            import threading
            from concurrent.futures import ThreadPoolExecutor
            for start in (threading.Thread, threading.Timer):
                args = (0, Monitor.event, ("in.timer",)) if start is threading.Timer else ()
                thread = start(*args) if args else start(target=Monitor.event, args=("in.thread",))
                thread.start()
                thread.join()
            ThreadPoolExecutor(1).submit(Monitor.event, "in.pool").result()
    """
    done = children.run(source, flags=flags)
    found = spans(done)
    assert {found[f"in.{name}"]["span_id"] for name in ("thread", "timer", "pool")} == {found["outer.work"]["span_id"]}


def test_what_spans_have_replaced_is_put_back(children: Children) -> None:
    """After Monitor.close the program has what Python gave it."""
    source = """
        import concurrent.futures.thread, sys, threading
        item = concurrent.futures.thread._WorkItem
        names = [name for name in ("_start_new_thread", "_start_joinable_thread") if hasattr(threading, name)]
        before = vars(item)["run"], vars(item)["__init__"], *[getattr(threading, name) for name in names]
        from monitor_auto import Monitor
        with Monitor.span("some.work"):
            during = vars(item)["run"], vars(item)["__init__"], *[getattr(threading, name) for name in names]
            print(any(new is old for new, old in zip(during, before)))
        Monitor.close()
        from monitor_auto.boot import undoing
        undoing.restore()
        after = vars(item)["run"], vars(item)["__init__"], *[getattr(threading, name) for name in names]
        print(all(new is old for new, old in zip(after, before)))
    """
    done = children.run(source)
    assert done.stdout.decode() == "False\nTrue\n"
    assert "some.work" in done.names


def test_children_started_in_a_span_name_it(children: Children) -> None:
    """Which of a hundred requests has started the program that hangs?"""
    source = """
        import subprocess
        from monitor_auto import Monitor
        with Monitor.span("starting.work"):
            subprocess.run(["true"])
        subprocess.run(["true"])
    """
    done = children.twin(source)
    (own,) = [event["span"]["span_id"] for event in done.named("starting.work")]
    for name in ("process.start", "process.exit"):
        inside, outside = done.named(name)
        assert inside["span"]["span_id"] == own and "span" not in outside


@pytest.mark.parametrize("version", sorted(other_pythons()))
def test_spans_spread_on_every_interpreter(
    children: Children, sandbox_for: Callable[..., Sandbox], version: str
) -> None:
    """How threads are started, and what an executor makes of work, is Python's own and changes with it."""
    python = sandbox_for(other_pythons()[version])
    children.twin(UNSEEN, python=python, spool=children.folder / "unseen")
    for source in (THREADS, LOOP):
        found = spans(children.twin(source, python=python, spool=children.folder / f"spool-{len(source)}"))
        named = {name for name, span in found.items() if span}
        outside = {name for name in found if any(word in name for word in ("outside", "before", "after"))}
        assert set(found) - outside == named

"""The API of programs with an event loop: flushing without blocking it, spans around coroutines and as decorators."""

import sys

import pytest

from support.children import Children
from support.collector import STALL, Collector
from support.sandbox import Sandboxes

FLUSHING = """
    import asyncio
    from monitor_auto import Monitor
    async def main():
        Monitor.event("work.step", {"number": 1})
        ticks = 0
        task = asyncio.ensure_future(Monitor.aflush(timeout=30))
        while not task.done():
            ticks += 1
            await asyncio.sleep(0.001)
        print(await task, ticks > 0)
    asyncio.run(main(), debug=True)
"""
CANCELLED = """
    import asyncio, threading
    from monitor_auto import Monitor
    async def main():
        try:
            await asyncio.wait_for(Monitor.aflush(timeout=2), 0.1)
        except asyncio.TimeoutError:
            print("given up")
    asyncio.run(main())
"""
SPANS = """
    import asyncio, inspect
    from monitor_auto import Monitor

    @Monitor.span("build.wheel", {"pkg": "x"})
    def build(fail, *, twice=False):
        "Build it."
        if fail:
            raise LookupError("no such package")
        return 2

    @Monitor.span("fetch.page")
    async def fetch(seconds):
        await asyncio.sleep(seconds)
        return seconds

    class Builder:
        @Monitor.span("builder.run")
        def run(self):
            return self

    print(build(False), inspect.signature(build), build.__name__, build.__doc__)
    try:
        build(True)
    except LookupError as error:
        print(repr(error))
    async def main():
        async with Monitor.span("outer.work"):
            return await asyncio.gather(fetch(0.02), fetch(0.01))
    print(inspect.iscoroutinefunction(fetch), asyncio.run(main()))
    builder = Builder()
    print(builder.run() is builder)
"""


def test_aflush_delivers_while_the_loop_goes_on(children: Children, collector: Collector) -> None:
    """A flush that blocks the loop stops every request of a server."""
    done = children.run(FLUSHING, endpoint=collector.url)
    assert (done.stdout, done.stderr) == (b"True True\n", b"")
    assert "work.step" in collector.names()


def test_aflush_can_be_given_up(children: Children, collector: Collector) -> None:
    """Who waits with a timeout of its own gets it, and the program's end is not held up by what it left behind."""
    collector.answer = STALL
    done = children.run(CANCELLED, endpoint=collector.url, env={"MONITOR_EXIT_TIMEOUT": "0"}, flags=["-W", "error"])
    assert (done.status, done.stdout, done.stderr) == (0, b"given up\n", b"")
    assert "session.end" in done.names


def test_aflush_is_true_where_nothing_is_monitored(children: Children) -> None:
    """A program with recording calls runs unchanged on a laptop."""
    assert children.run(FLUSHING.replace("ticks > 0", "ticks >= 0"), bare=True).stdout == b"True True\n"


def test_span_decorates_functions_and_coroutine_functions(children: Children) -> None:
    """One line above a function is the least that somebody has to change."""
    done = children.twin(SPANS)
    assert b"2 (fail, *, twice=False) build Build it.\n" in done.stdout
    names = [name for name in done.names if not name.startswith("session.")]
    assert sorted(names) == sorted(
        ["build.wheel", "error.LookupError", "build.wheel", "fetch.page", "fetch.page", "outer.work", "builder.run"]
    )
    good, bad = done.named("build.wheel")
    assert (good["data"]["pkg"], "error" in good["data"], bad["data"]["error"]) == ("x", False, "LookupError")
    assert all(event["data"]["duration_ms"] >= 9 for event in done.named("fetch.page"))


@pytest.mark.slow
def test_aflush_works_under_trio(children: Children, collector: Collector, sandboxes: Sandboxes) -> None:
    """asyncio is not the only loop, and its name must not be taken for one that runs."""
    source = """
        import asyncio, trio
        from monitor_auto import Monitor
        async def main():
            Monitor.event("work.step")
            print(await Monitor.aflush(timeout=30))
        trio.run(main)
    """
    done = children.run(source, endpoint=collector.url, python=sandboxes.get(sys.executable, "trio"))
    assert (done.stdout, done.stderr) == (b"True\n", b"")
    assert "work.step" in collector.names()

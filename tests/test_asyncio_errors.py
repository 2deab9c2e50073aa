"""What is recorded of errors in asyncio's tasks and callbacks, and that neither loops nor handlers can tell."""

import sys

import pytest

from support.children import Children, Run
from support.collector import Collector
from support.sandbox import Sandboxes, other_pythons

HEAD = """
    import asyncio, gc, sys
    async def fail(kind):
        raise kind("hush-not-secret")
"""
TASK = f"""{HEAD}
    async def main():
        task = asyncio.get_running_loop().create_task(fail(LookupError), name="fetcher")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task
        gc.collect()
        print("still here")
    asyncio.run(main())
"""
CALLBACK = f"""{HEAD}
    def call(secret):
        raise ZeroDivisionError("in a callback")
    async def main():
        asyncio.get_running_loop().call_soon(call, "hush-argument")
        await asyncio.sleep(0)
        print("still here")
    asyncio.run(main())
"""
HANDLER = f"""{HEAD}
    def handler(loop, context):
        print("handled", sorted(context), type(context["exception"]).__name__, loop is asyncio.get_event_loop())
        print([frame.f_code.co_name for frame in frames(sys._getframe())])
    def frames(frame):
        while frame is not None:
            yield frame
            frame = frame.f_back
    async def main():
        loop = asyncio.get_running_loop()
        print(loop.get_exception_handler())
        loop.set_exception_handler(handler)
        print(loop.get_exception_handler() is handler, sorted(vars(loop)))
        task = loop.create_task(fail(KeyError))
        await asyncio.sleep(0.01)
        del task
        gc.collect()
        loop.set_exception_handler(None)
        print(loop.get_exception_handler())
        try:
            loop.set_exception_handler("nothing")
        except TypeError as error:
            print(error)
    asyncio.run(main())
"""
ONCE = f"""{HEAD}
    from monitor_auto import Monitor
    async def main():
        loop = asyncio.get_running_loop()
        error = ValueError("once")
        Monitor.error(error)
        loop.call_exception_handler({{"message": "again", "exception": error}})
        loop.call_exception_handler({{"message": "and again", "exception": error}})
        loop.call_exception_handler({{"message": "nothing was raised"}})
        loop.call_exception_handler(context={{"message": "with a name", "exception": OSError("by keyword")}})
    asyncio.run(main())
"""
LOOKS = """
    import asyncio, inspect, pickle
    method = asyncio.BaseEventLoop.call_exception_handler
    print(method, inspect.signature(method), inspect.isfunction(method), method.__code__.co_name)
    loop = asyncio.new_event_loop()
    print(loop.call_exception_handler.__func__ is method, loop.call_exception_handler({"message": "odd"}))
    class Mine(asyncio.BaseEventLoop):
        def __init__(self):
            pass
        def __del__(self):
            pass
    try:
        Mine().get_exception_handler()
    except AttributeError as error:
        print(error)
    loop.close()
"""
DEADLY = """
    import asyncio
    def handler(loop, context):
        raise KeyboardInterrupt
    def call():
        raise OSError("first")
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(handler)
        loop.call_soon(call)
        await asyncio.sleep(1)
    asyncio.run(main())
"""


def errors_of(run: Run) -> list[tuple[str, str | None, str | None]]:
    """Return (name, occasion, task) of the recorded errors. What the loop has logged without one is a line of a log."""
    events = [event for event in run.events if event["name"].startswith("error.")]
    assert all(event["data"]["source"] == "auto" for event in events if "asyncio" in event["data"])
    return [(event["name"], event["data"].get("asyncio"), event["data"].get("task")) for event in events]


@pytest.mark.parametrize("flags", [(), ("-X", "dev", "-W", "error")], ids=["plain", "dev"])
def test_task_that_nobody_awaits_is_recorded(children: Children, flags: tuple[str, ...]) -> None:
    """Such an error is one line in a log that nobody reads; it says which task, and the loop prints what it did."""
    done = children.twin(TASK, flags=flags)
    assert errors_of(done) == [("error.LookupError", "Task exception was never retrieved", "fetcher")]
    (event,) = done.named("error.LookupError")
    assert event["data"]["level"] == "error"
    assert event["data"]["location"].endswith(":fail")
    assert b"Task exception was never retrieved" in done.stderr


def test_callback_that_raises_is_recorded_without_its_arguments(children: Children) -> None:
    """asyncio prints what the callback was called with; that may be anything, and is not ours to keep."""
    done = children.twin(CALLBACK)
    assert errors_of(done) == [("error.ZeroDivisionError", "Exception in callback", None)]
    assert b"hush-argument" in done.stderr
    assert "hush-argument" not in str(done.events)


def test_handler_of_the_program_is_called_as_before(children: Children) -> None:
    """A program that handles the errors of its loop sees the same context, stack and attributes."""
    done = children.twin(HANDLER)
    assert b"handled" in done.stdout
    assert [name for name, _, _ in errors_of(done)] == ["error.KeyError"]


def test_error_is_recorded_once_and_only_if_there_is_one(children: Children) -> None:
    """A program that reports an error itself and lets the loop handle it has had one error."""
    done = children.run(ONCE)
    assert errors_of(done) == [("error.ValueError", None, None), ("error.OSError", "with a name", None)]


def test_loops_look_as_without_the_monitor(children: Children) -> None:
    """Other tools wrap, subclass and inspect loops, too."""
    done = children.twin(LOOKS)
    assert b"(self, context)" in done.stdout
    assert "session.end" in done.names


def test_interrupt_in_a_handler_shows_no_frame_of_ours(children: Children) -> None:
    """What ends the program prints a traceback, which must be the one of a bare run."""
    done = children.twin(DEADLY)
    assert done.status != 0
    assert ("error.OSError", "Exception in callback", None) in errors_of(done)


@pytest.mark.parametrize("python", other_pythons().values(), ids=list(other_pythons()))
@pytest.mark.slow
def test_errors_of_loops_are_recorded_by_other_pythons(children: Children, sandboxes: Sandboxes, python: str) -> None:
    """The place where we look is private to asyncio, so every version has to prove that it is still there."""
    sandbox = sandboxes.get(python)
    assert [name for name, _, _ in errors_of(children.twin(TASK, python=sandbox))] == ["error.LookupError"]
    names = [name for name, _, _ in errors_of(children.twin(HANDLER, python=sandbox))]
    assert names == ["error.LookupError", "error.KeyError"]


@pytest.mark.slow
def test_uvloop_errors_are_recorded(children: Children, sandboxes: Sandboxes) -> None:
    """Servers run on uvloop, whose loops are written in C and have nothing of asyncio's but the interface."""
    source = """
        import asyncio, gc, uvloop
        async def fail():
            raise LookupError("lost")
        def call(secret):
            raise ZeroDivisionError("in a callback")
        async def main():
            loop = asyncio.get_running_loop()
            print(type(loop), loop.get_exception_handler())
            loop.call_soon(call, "hush-argument")
            task = loop.create_task(fail(), name="fetcher")
            await asyncio.sleep(0.01)
            del task
            gc.collect()
            loop.set_exception_handler(lambda loop, context: print("handled", sorted(context)))
            loop.call_soon(call, "hush-argument")
            await asyncio.sleep(0.01)
        uvloop.run(main())
    """
    done = children.twin(source, python=sandboxes.get(sys.executable, "uvloop"))
    assert errors_of(done) == [
        ("error.ZeroDivisionError", "Exception in callback", None),
        ("error.LookupError", "Task exception was never retrieved", "fetcher"),
        ("error.ZeroDivisionError", "Exception in callback", None),
    ]
    assert b"handled" in done.stdout
    assert "hush-argument" not in str(done.events)


def test_what_is_no_loop_is_no_error_of_ours(children: Children, collector: Collector) -> None:
    """Tests of loops put any object into the place of the one that runs, CPython's own among them."""
    source = """
        import asyncio, time
        from monitor_auto import Monitor
        class Thing:
            pass
        for loop in (object(), Thing()):
            asyncio._set_running_loop(loop)
            second = int(time.time())
            while int(time.time()) < second + 2:  # an event once a second looks which loop it is
                pass
            Monitor.event("my.step")
            assert asyncio._get_running_loop() is loop
            asyncio._set_running_loop(None)
        print("done")
    """
    done = children.run(source, endpoint=collector.url)
    assert (done.status, done.stdout, done.stderr) == (0, b"done\n", b"")
    assert collector.names().count("my.step") == 2

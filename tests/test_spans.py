"""`Monitor.span` as a decorator, and shared: the function stays what it was, and each entry is timed for itself."""

from typing import Any

import pytest

from support.children import Children, Run
from support.sandbox import Sandboxes, other_pythons

DECORATED = """
    import functools, inspect, typing
    from monitor_auto import Monitor

    @Monitor.span("cached.work")
    @functools.lru_cache
    def cached(text: str, *, times: int = 2) -> "list[str]":
        "Repeat."
        return [text] * times
    cached.mark = "x"

    def plain(text: str, *, times: int = 2) -> "list[str]":
        "Repeat."
        return [text] * times
    plain.mark = "x"
    plain.__type_params__ = ()
    spanned = Monitor.span("plain.work")(plain)

    @Monitor.span("later.work")
    def later(value: "NotYet") -> None:
        pass
    class NotYet:
        pass

    @functools.singledispatch
    def kind(value):
        return "other"
    @kind.register
    @Monitor.span("kind.work")
    def _(value: int):
        return "number"

    assert cached("a") == ["a", "a"] == cached("a")
    assert (cached.__wrapped__.cache_info().hits, cached.mark) == (1, "x")
    assert typing.get_type_hints(spanned) == typing.get_type_hints(plain) == {
        "text": str, "times": int, "return": list[str]}
    assert inspect.signature(spanned) == inspect.signature(plain)
    assert (spanned.mark, spanned.__doc__, spanned.__name__) == ("x", "Repeat.", "plain")
    assert typing.get_type_hints(later)["value"] is NotYet
    assert (kind(1), kind("1")) == ("number", "other")
    later(None)
    print("done")
"""
SHARED = """
    import asyncio, threading
    from monitor_auto import Monitor

    span = Monitor.span("shared.work")

    async def enter(number, entered, leave):
        async with span:
            Monitor.event("inside.step", {"number": number})
            entered.set()
            await leave.wait()
        Monitor.event("outside.step", {"number": number})

    async def main():
        first, second, gate, late = (asyncio.Event() for _ in range(4))
        long = asyncio.create_task(enter(0, first, late))
        await first.wait()
        short = asyncio.create_task(enter(1, second, gate))
        await second.wait()
        late.set()  # who came first leaves first
        await long
        gate.set()
        await short
    asyncio.run(main())

    began, end = threading.Event(), threading.Event()
    def work():
        with span:
            Monitor.event("inside.step", {"number": 2})
            began.set()
            end.wait()
    thread = threading.Thread(target=work)
    thread.start()
    began.wait()
    with span:
        Monitor.event("inside.step", {"number": 3})
        end.set()
        thread.join()
    print("done")
"""


@pytest.mark.parametrize("python", [None, *other_pythons().values()], ids=["own", *other_pythons()])
def test_decorated_function_is_what_functools_wraps_makes(
    children: Children, sandboxes: Sandboxes, python: str | None
) -> None:
    """Frameworks look at annotations and attributes: a route, a command line, a cache that is to be cleared."""
    done = children.twin(DECORATED, **({"python": sandboxes.get(python)} if python else {}))
    assert (done.status, done.stdout, done.stderr) == (0, b"done\n", b"")
    counted = {name: done.names.count(name) for name in ("cached.work", "later.work", "kind.work", "plain.work")}
    assert counted == {"cached.work": 2, "later.work": 1, "kind.work": 1, "plain.work": 0}


def by_number(done: Run, name: str) -> dict[int, dict[str, Any]]:
    """Return the events of a name, by the number that they carry."""
    return {event["data"]["number"]: event for event in done.named(name)}


def test_span_that_several_tasks_and_threads_share_is_told_apart(children: Children) -> None:
    """A span made once, in a module, is inside of many requests at a time: each entry is its own."""
    done = children.twin(SHARED)
    assert (done.status, done.stdout, done.stderr) == (0, b"done\n", b"")
    inside = {number: event["span"]["span_id"] for number, event in by_number(done, "inside.step").items()}
    ends = [event["span"]["span_id"] for event in done.named("shared.work")]
    assert ends == [inside[0], inside[1], inside[2], inside[3]]
    assert len(set(ends)) == 4
    outside = by_number(done, "outside.step")
    assert all("span" not in outside[number] for number in (0, 1))

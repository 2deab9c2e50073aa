"""Spans: what is recorded inside one names it, wherever the program goes on with it."""

from support.children import Children, Run


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

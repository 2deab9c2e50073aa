"""Events: recorded from anywhere in a process, each one is there, once, whole, and before the call returns."""

import json
import re
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest

from support.children import Children
from support.collector import UUID7, Collector
from support.needs import miss
from support.sandbox import Sandbox
from support.spool import segments


def test_event_has_all_that_the_contract_asks_for(children: Children) -> None:
    """Collectors are written against this; a field that moves breaks them all."""
    source = """
        import os
        from monitor_auto import Monitor
        event_id = Monitor.event("hook.run", {"hook": "branch-check", "ok": True, "n": 1.5, "none": None})
        os.write(1, event_id.encode())
    """
    done = children.run(source, env={"MONITOR_APP": "my-hook", "MONITOR_APP_VERSION": "1.2.0"})
    (event,) = done.named("hook.run")
    assert list(event) == ["v", "type", "name", "timestamp", "event_id", "source", "session", "data"]
    assert (event["v"], event["type"]) == (1, "event")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", event["timestamp"])
    assert datetime.fromisoformat(event["timestamp"]).utcoffset() is not None
    assert event["event_id"] == done.stdout.decode()
    assert re.fullmatch(rf"{UUID7.pattern}-\d+", event["event_id"])
    source_facts = event["source"]
    assert (source_facts["sdk"], source_facts["app"], source_facts["version"]) == ("python", "my-hook", "1.2.0")
    assert source_facts["platform"] == "linux" and source_facts["os"]
    assert UUID7.fullmatch(event["session"]["id"])
    assert re.fullmatch("[0-9a-f]{32}", event["session"]["trace_id"])
    assert re.fullmatch("[0-9a-f]{16}", event["session"]["span_id"])
    assert event["data"] == {"hook": "branch-check", "ok": True, "n": 1.5, "none": None}


def test_event_is_on_disk_when_the_call_returns(children: Children) -> None:
    """What this is all about: no death of the process loses an event whose call has returned."""
    source = """
        import os, signal
        from monitor_auto import Monitor
        for number in range(100):
            Monitor.event("step.done", {"step": number})
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = children.twin(source)
    assert done.status == -9
    assert [event["data"]["step"] for event in done.named("step.done")] == list(range(100))


THREADS = """
    import sys, threading
    from monitor_auto import Monitor
    sys.setswitchinterval(1e-5)
    gate = threading.Barrier(8)
    def work(number):
        gate.wait()
        for step in range(1000):
            Monitor.event("thread.step", {"thread": number, "step": step, "text": "x" * (step % 300)})
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
"""


def test_threads_lose_nothing_and_share_no_id(children: Children) -> None:
    """A torn or doubled line under load is found by nobody but the one who needs it."""
    done = children.twin(THREADS)
    events = done.named("thread.step")
    assert Counter(event["data"]["thread"] for event in events) == dict.fromkeys(range(8), 1000)
    for number in range(8):
        assert [e["data"]["step"] for e in events if e["data"]["thread"] == number] == list(range(1000))
    ids = [event["event_id"] for event in done.events]
    assert len(set(ids)) == len(ids)
    assert {int(event_id.rpartition("-")[2]) for event_id in ids} == set(range(len(ids))), "no number was skipped"


HANDLER = """
    import os, signal, time
    from monitor_auto import Monitor
    count = 0
    class Odd:
        def __repr__(self):
            return "odd"
    def handler(number, frame):
        global count
        count += 1
        Monitor.event("signal.seen", {"count": count})
        Monitor.event("signal.careful", {"text": "a: b", "odd": Odd()})
        try:
            raise ValueError("in handler")
        except ValueError as error:
            Monitor.error(error)
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    number = 0
    end = time.monotonic() + 60
    while count < 500 and time.monotonic() < end:
        Monitor.event("main.step", {"step": number})
        Monitor.event("main.careful", {"step": number, "text": "a: b", "odd": [Odd(), {"x": Odd()}]})
        number += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    with open("count", "w") as file:
        file.write(f"{count} {number}")
"""


def test_signal_handler_may_record_while_the_program_does(children: Children) -> None:
    """A handler runs between any two instructions, of ours too; a lock there would hang the program for ever."""
    done = children.twin(HANDLER, timeout=120, env={"MONITOR_RATE_LIMIT": "0"})
    assert (done.status, done.stderr) == (0, b"")
    count, steps = map(int, (children.folder / "cwd" / "count").read_text().split())
    assert count >= 500
    names = Counter(done.names)
    assert names["signal.seen"] == names["signal.careful"] == names["error.ValueError"] == count
    assert names["main.step"] == names["main.careful"] == steps
    ids = [event["event_id"] for event in done.events]
    assert len(set(ids)) == len(ids)


RAISING = """
    import signal, sys
    from monitor_auto import Monitor
    class Odd:
        def __repr__(self):
            return "odd" * 100
    calls = caught = 0
    def handler(number, frame):
        global calls
        calls += 1
        raise KIND("time is over")
    signal.signal(signal.SIGALRM, handler)
    for attempt in range(300):
        try:
            # Should the first be lost, a second one lets the test go on, and the count differ.
            signal.setitimer(signal.ITIMER_REAL, 0.0001 + attempt % 50 * 1e-5, 0.5)
            while True:
                Monitor.event("careful.event", {"odd": [Odd(), {"a": Odd()}], "text": "a: b"})
                Monitor.event("fast.event", {"n": 1})
                Monitor.error("text: a")
        except KIND:
            signal.setitimer(signal.ITIMER_REAL, 0)
            caught += 1
    print(caught, "lost" if calls - caught > 1 else "none lost")
"""


@pytest.mark.parametrize("kind", ["TimeoutError", "SystemExit"])
def test_what_a_signal_handler_raises_reaches_the_program(children: Children, kind: str) -> None:
    """An alarm that our shield swallowed would let the program hang for ever; SystemExit is how servers stop."""
    children.untold = 300  # each may come between a number and its line
    done = children.twin(RAISING.replace("KIND", kind), timeout=120)
    assert (done.status, done.stdout) == (0, b"300 none lost\n")
    assert "careful.event" in done.names


PLACES = """
    import atexit, gc, sys, threading
    from monitor_auto import Monitor

    class Dying:
        def __init__(self, name): self.name = name
        def __del__(self): Monitor.event(self.name)

    Dying("place.del")
    at_shutdown = Dying("place.shutdown")
    at_shutdown.cycle = at_shutdown

    def on_gc(phase, info):
        if phase == "stop" and not on_gc.done:
            on_gc.done = True
            Monitor.event("place.gc")
    on_gc.done = False
    gc.callbacks.append(on_gc)
    gc.collect()
    gc.callbacks.remove(on_gc)  # it would keep the module, whose names are None when the objects in it die

    atexit.register(Monitor.event, "place.atexit")

    def tracer(frame, event, argument):
        if frame.f_code.co_name == "traced" and event == "call":
            Monitor.event("place.settrace")
    def traced(): pass
    sys.settrace(tracer); traced(); sys.settrace(None)

    def profiler(frame, event, argument):
        if frame.f_code.co_name == "traced" and event == "call":
            Monitor.event("place.setprofile")
    sys.setprofile(profiler); traced(); sys.setprofile(None)

    import beside

    def deep():
        try:
            deep()
        except RecursionError:
            Monitor.event("place.deep")
            raise
    try:
        deep()
    except RecursionError as error:
        Monitor.error(error)
    threading.Thread(target=Monitor.event, args=("place.thread",)).start()
    key = {Dying("place.key"): 1}
    Monitor.event("place.generator", {"next": [Monitor.event("place.nested") and 1]})
"""
EXPECTED_PLACES = "del shutdown gc atexit settrace setprofile import deep thread key nested generator".split()


def test_recording_works_wherever_python_code_runs(children: Children) -> None:
    """Nobody thinks of these places before an event from there is missing."""
    beside = "from monitor_auto import Monitor\nMonitor.event('place.import')\n"
    done = children.twin(PLACES, files={"beside.py": beside})
    assert (done.status, done.stderr) == (0, b"")
    assert {f"place.{name}" for name in EXPECTED_PLACES} <= set(done.names)
    assert "error.RecursionError" in done.names


def test_events_after_our_own_end_are_left_to_the_next_process(
    children: Children, changeable: Sandbox, collector: Collector
) -> None:
    """Exit functions that somebody registered before ours, and objects that die with their module, still count."""
    source = """
        import sys
        from monitor_auto import Monitor
        class Dying:
            def __del__(self):
                Monitor.event("late.del")
        sys.modules["late"] = Dying()
    """
    early = "import atexit, sys\n" + (
        "atexit.register(lambda: sys.modules['monitor_auto'].Monitor.event('late.atexit', {'n': 1}))\n"
    )
    # A .pth that comes before ours in the alphabet registers its function before we do.
    children.sandbox = changeable  # not the one that all share
    line = children.sandbox.site_packages / "aaa_early.pth"
    module = children.sandbox.site_packages / "aaa_early.py"
    try:
        module.write_text(early)
        line.write_text("import aaa_early\n")
        first = children.run(source, endpoint=collector.url)
    finally:
        line.unlink()
        module.unlink()
    assert (first.status, first.stderr) == (0, b"")
    assert "session.end" in collector.names()
    assert {"late.atexit", "late.del"} <= {*first.names, *collector.names()}
    children.run("pass", endpoint=collector.url)
    assert {"late.atexit", "late.del"} <= set(collector.names())
    assert "session.lost" not in collector.names()


def test_events_of_an_atexit_function_of_the_program_are_delivered_with_the_rest(
    children: Children, collector: Collector
) -> None:
    """Most summaries are written there."""
    source = """
        import atexit
        from monitor_auto import Monitor
        atexit.register(Monitor.event, "summary.done", {"files": 3})
    """
    children.twin(source, endpoint=collector.url)
    names = collector.names()
    assert names.index("summary.done") < names.index("session.end")


def test_every_line_is_whole_and_of_one_session(children: Children) -> None:
    """Segments can be cut and merged only because a line needs nothing around it."""
    done = children.run(THREADS.replace("range(1000)", "range(50)"))
    for path in segments(done.spool):
        header, *lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        assert {line["session"]["id"] for line in lines} == {header["session"]}


@pytest.mark.parametrize("zone, offset", [("UTC", "+00:00"), ("Asia/Kathmandu", "+05:45"), ("America/St_Johns", "-0")])
def test_timestamps_have_the_offset_of_the_place(children: Children, zone: str, offset: str) -> None:
    """Quarter hours and negative offsets are where hand-made formats go wrong."""
    if not Path("/usr/share/zoneinfo", zone).exists():
        miss("no time zones on this machine: install the Debian package tzdata")
    done = children.run("pass", env={"TZ": zone})
    stamps = [event["timestamp"] for event in done.events]
    assert all(offset in stamp[23:] for stamp in stamps)
    assert all(abs((datetime.now().astimezone() - datetime.fromisoformat(s)).total_seconds()) < 600 for s in stamps)

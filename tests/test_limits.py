"""MONITOR_RATE_LIMIT and error storms: what is kept of a flood, and that the rest is counted to the last event."""

import signal
from collections import Counter
from typing import Any

import pytest

from support.account import accounts
from support.children import Children, Run

FLOOD = """
    import sys, time
    from monitor_auto import Monitor
    begin = time.monotonic()
    ids = [Monitor.event("flood.step", {"number": number}) for number in range(int(sys.argv[1]))]
    print(sum(given is not None for given in ids), time.monotonic() - begin)
"""


def numbers(events: list[dict[str, Any]]) -> list[int]:
    """Return the sequence numbers of events."""
    return [int(event["event_id"].rpartition("-")[2]) for event in events]


def dropped(run: Run) -> Counter[str]:
    """Return what the ledger says was dropped, by reason."""
    counts: Counter[str] = Counter()
    for line in run.ledger:
        if line["what"] == "dropped":
            counts[line["reason"]] += line["count"]
    return counts


def told(run: Run, reason: str) -> int:
    """Return the last `sdk.events.dropped` of a reason: they count from the session's start."""
    values = [event["data"] for event in run.named("sdk.events.dropped") if event["data"]["reason"] == reason]
    assert sum(value["new"] for value in values) == (values[-1]["value"] if values else 0)
    return values[-1]["value"] if values else 0


def totals(children: Children) -> dict[str, int]:
    """Return the account of the only endpoint."""
    (counts,) = accounts(children.spool).values()
    return {**vars(counts), "gaps": counts.gaps}


def test_a_flood_is_cut_to_ten_seconds_worth_and_the_rest_is_counted(children: Children) -> None:
    """A loop that records without end must fill neither the disk nor the collector, and nobody may wonder what is
    missing.
    """
    done = children.run(FLOOD, argv=["40000"])
    kept, seconds = done.stdout.split()
    found = done.named("flood.step")
    assert len(found) == int(kept)
    assert 10_000 - 1 <= len(found) <= 10_000 + (float(seconds) + 1) * 1000
    assert dropped(done) == {"rate_limit": 40_000 - len(found)}
    assert len(done.ledger) == 1, "one entry a burst"
    assert told(done, "rate_limit") == 40_000 - len(found)
    assert done.names[-1] == "session.end"
    used = numbers(done.events)
    assert len(set(used)) == len(used)
    assert max(used) + 1 == len(used) + 40_000 - len(found), "dropped events use up a number"
    counts = totals(children)
    assert (counts["produced"], counts["dropped"], counts["gaps"]) == (max(used) + 1, 40_000 - len(found), 0)


def test_what_comes_after_a_flood_is_recorded_again(children: Children) -> None:
    """The limit is a rate: a service that once had a bad second is not to be silent for the rest of its life."""
    source = """
        import time
        from monitor_auto import Monitor
        def until(is_recorded):
            deadline = time.monotonic() + 50
            while (Monitor.event("flood.step") is not None) is not is_recorded:
                assert time.monotonic() < deadline
        until(False)
        until(True)
        until(False)
        until(True)
    """
    done = children.run(source, env={"MONITOR_RATE_LIMIT": "100"})
    assert done.status == 0
    assert dropped(done)["rate_limit"] == told(done, "rate_limit") > 0
    assert len(done.ledger) == 1


def test_zero_is_no_limit(children: Children) -> None:
    """Who records a million events on purpose says so."""
    done = children.run(FLOOD, argv=["15000"], env={"MONITOR_RATE_LIMIT": "0"})
    assert len(done.named("flood.step")) == 15_000
    assert done.names[-1] == "session.end"


@pytest.mark.parametrize(("limit", "least", "most"), [("0.5", 1, 9), ("1", 7, 19), ("7.5", 70, 160)])
def test_small_limits_hold(children: Children, limit: str, least: int, most: int) -> None:
    """A limit of one a second is ten at once, not a thousand; what the session says of itself counts as well."""
    done = children.run(FLOOD, argv=["2000"], env={"MONITOR_RATE_LIMIT": limit})
    assert least <= len(done.named("flood.step")) <= most


def test_threads_and_signal_handlers_at_the_end_of_a_block_use_each_number_once(children: Children) -> None:
    """Where a block ends, all of them come to the same few lines at once; a number used twice is an event lost."""
    source = """
        import signal, threading
        from monitor_auto import Monitor
        recorded = []
        signal.signal(signal.SIGALRM, lambda *_: recorded.append(Monitor.event("flood.signal")))
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        def work():
            for number in range(20_000):
                recorded.append(Monitor.event("flood.step", {"number": number}))
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads: thread.start()
        work()
        for thread in threads: thread.join()
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(len(recorded), sum(given is None for given in recorded))
    """
    done = children.run(source, env={"MONITOR_RATE_LIMIT": "800"}, timeout=120)
    calls, left_out = map(int, done.stdout.split())
    used = numbers(done.events)
    assert len(set(used)) == len(used)
    assert left_out == dropped(done)["rate_limit"] == told(done, "rate_limit") > 0
    assert len(done.named("flood.step")) + len(done.named("flood.signal")) == calls - left_out
    assert max(used) + 1 == len(used) + left_out
    assert totals(children)["gaps"] == 0


def test_what_a_signal_handler_raises_at_the_end_of_a_block_is_the_programs_alone(children: Children) -> None:
    """A time-out by alarm must get through with nothing of ours in it, and must not leave the limit in a bad state."""
    source = """
        import signal, time
        from monitor_auto import Monitor
        class Alarm(Exception): pass
        def ring(*_): raise Alarm
        signal.signal(signal.SIGALRM, ring)
        contexts = []
        for number in range(600):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0002 + number % 10 / 20_000)
                while True:
                    Monitor.event("flood.step")
            except Alarm as alarm:
                contexts.append(alarm.__context__)
        print(len(contexts), [context for context in contexts if context is not None])
        deadline = time.monotonic() + 30
        while Monitor.event("flood.last") is None:
            assert time.monotonic() < deadline
    """
    children.untold = 600  # each alarm may come between a number and its line
    done = children.run(source, env={"MONITOR_RATE_LIMIT": "100"})
    assert (done.stdout, done.stderr) == (b"600 []\n", b"")
    assert len(done.named("flood.last")) == 1
    assert dropped(done)["rate_limit"] > 0


def test_sessions_and_errors_are_exempt(children: Children) -> None:
    """In a flood the one line that somebody needs is the error, and that the process ended."""
    source = """
        import os, sys
        from monitor_auto import Monitor
        while Monitor.event("flood.step") is not None:
            pass
        Monitor.error("trouble")
        if os.fork() == 0:
            Monitor.event("child.step")
            os._exit(3)
        os.wait()
        while Monitor.event("flood.step") is not None:
            pass
        sys.exit(5)
    """
    done = children.run(source, env={"MONITOR_RATE_LIMIT": "50"})
    names = Counter(done.names)
    assert (names["session.start"], names["session.end"], names["session.exit"]) == (2, 2, 1)
    assert (names["error.message"], names["child.step"]) == (1, 1)
    assert 490 <= names["flood.step"] < 1500
    assert totals(children)["gaps"] == 0


def test_a_forked_child_has_a_limit_and_counts_of_its_own(children: Children) -> None:
    """What the parent has dropped is not the child's, and its numbers begin at 0."""
    source = """
        import os
        from monitor_auto import Monitor
        def flood():
            return sum(Monitor.event("flood.step") is not None for _ in range(3000))
        parent = flood()
        if os.fork() == 0:
            assert flood() >= 490
            os._exit(0)
        assert os.wait()[1] == 0
    """
    done = children.run(source, env={"MONITOR_RATE_LIMIT": "50"})
    assert done.status == 0
    by_session: dict[str, list[dict[str, Any]]] = {}
    for event in done.events:
        by_session.setdefault(event["session"]["id"], []).append(event)
    assert len(by_session) == 2
    for events in by_session.values():
        (told_of,) = [event["data"]["value"] for event in events if event["name"] == "sdk.events.dropped"]
        assert 3000 - told_of == len([event for event in events if event["name"] == "flood.step"])
        used = numbers(events)
        assert (min(used), max(used) + 1) == (0, len(used) + told_of)
    assert totals(children)["gaps"] == 0


def test_a_killed_session_is_rebuilt_from_its_numbers(children: Children) -> None:
    """Nobody was left to tell what was dropped: the gap in the numbers does."""
    source = """
        import os
        from monitor_auto import Monitor
        for _ in range(3000):
            Monitor.event("flood.step")
        Monitor.error("the last line")
        os.kill(os.getpid(), 9)
    """
    children.untold = 3000  # who is killed cannot tell what it has dropped
    done = children.run(source, env={"MONITOR_RATE_LIMIT": "50"})
    assert done.status == -signal.SIGKILL
    found = len(done.named("flood.step"))
    counts = totals(children)
    assert counts["produced"] == 3002
    assert counts["gaps"] == 3000 - found == 3002 - counts["spooled"] > 0


def test_the_limit_is_kept_with_every_descriptor_in_use(children: Children) -> None:
    """The end of a block must need no file: a program without a free descriptor would stop being recorded."""
    source = """
        import os, resource
        from monitor_auto import Monitor
        Monitor.event("flood.first")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        held = []
        try:
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        kept = sum(Monitor.event("flood.step") is not None for _ in range(3000))
        for fd in held: os.close(fd)
        print(kept)
    """
    done = children.run(source)
    assert int(done.stdout) == 3000 == len(done.named("flood.step"))


STORM = """
    import time
    from monitor_auto import Monitor
    def fail(number):
        try:
            raise ValueError("number %d" % number)
        except ValueError as error:
            return Monitor.error(error)
    def next_second():
        now = int(time.monotonic())
        while int(time.monotonic()) == now:
            pass
    next_second()
    ids = [fail(number) for number in range(200)]
"""


def test_of_the_same_error_the_first_ten_of_a_second_are_kept(children: Children) -> None:
    """A loop that fails a thousand times a second has one error, and the next one that is kept says how many."""
    done = children.run(
        STORM
        + """
    next_second()
    fail(200)
    try: [][1]
    except IndexError as error: Monitor.error(error)
    print(sum(given is None for given in ids))
    """
    )
    errors = done.named("error.ValueError")
    left_out = int(done.stdout)
    assert 200 - 30 <= left_out <= 190, "as many as the first seconds had, on a slow machine"
    assert len(errors) == 201 - left_out
    assert sum(error["data"].get("repeated", 0) for error in errors) == left_out
    assert errors[-1]["data"]["repeated"] > 0
    assert len(done.named("error.IndexError")) == 1
    (line,) = [line for line in done.ledger if line["what"] == "dropped"]
    assert (line["reason"], line["name"], line["count"]) == ("repeated_error", "error.ValueError", left_out)
    (event,) = done.named("sdk.events.dropped")
    assert event["data"] == {"value": left_out, "new": left_out, "reason": "repeated_error", "name": "error.ValueError"}
    assert totals(children)["gaps"] == 0


def test_the_error_that_ends_the_program_is_always_kept(children: Children) -> None:
    """It may be the thousandth of its kind, and is the one that somebody looks for."""
    source = """
        from monitor_auto import Monitor
        for number in range(500):
            try:
                if number >= 0: raise KeyError(number)
            except KeyError as error:
                if number == 499: raise
                Monitor.error(error)
    """
    done = children.twin(source)
    last = done.named("error.KeyError")[-1]["data"]
    assert (last["level"], last["message"]) == ("fatal", "499")
    assert len(done.named("error.KeyError")) < 60


def test_errors_at_different_places_are_different_errors(children: Children) -> None:
    """A text has the place of the call; twenty checks that fail at once are twenty errors."""
    lines = "\n".join(f'    Monitor.error("check {number} of %d" % turn)' for number in range(20))
    source = "from monitor_auto import Monitor\nfor turn in range(10):\n" + lines
    done = children.run(source)
    assert len(done.named("error.message")) == 200
    assert not dropped(done)


def test_errors_of_threads_and_of_objects_are_counted_too(children: Children) -> None:
    """A pool whose workers all fail, and a __del__ that always does, are storms as well."""
    source = """
        import threading
        def fail(): raise OSError("no such thing")
        for _ in range(100):
            thread = threading.Thread(target=fail)
            thread.start()
            thread.join()
    """
    done = children.twin(source)
    kept = len(done.named("error.OSError"))
    assert 10 <= kept < 100
    assert kept + told(done, "repeated_error") == 100


def test_children_have_a_limit_of_their_own(children: Children) -> None:
    """A program that starts ten thousand children does not use up what its events may have, and says what it left
    out.
    """
    source = """
        from monitor_auto import Monitor
        from monitor_auto.boot import cold
        limits = cold("limits")
        admitted = [limits.admit_process() for _ in range(5000)]
        print(sum(admitted), sum(Monitor.event("work.step") is not None for _ in range(9000)))
    """
    done = children.run(source)
    admitted, events = map(int, done.stdout.split())
    assert 500 <= admitted < 1500
    assert events == 9000
    assert told(done, "process_limit") == 2 * (5000 - admitted)
    unlimited = children.run(source, env={"MONITOR_RATE_LIMIT": "0"}, spool=None)
    assert unlimited.stdout.split() == [b"5000", b"9000"]


@pytest.mark.parametrize("value", ["-1", "many", "10/s", "inf", "nan"])
def test_a_limit_that_is_none_is_told_and_the_default_holds(children: Children, value: str) -> None:
    """A typing error must not switch the limit off."""
    done = children.run(FLOOD, argv=["20000"], env={"MONITOR_RATE_LIMIT": value})
    assert 10_000 - 1 <= len(done.named("flood.step")) < 20_000
    found = children.run(["python", "-m", "monitor_auto", "doctor"], env={"MONITOR_RATE_LIMIT": value})
    assert b"MONITOR_RATE_LIMIT" in found.stdout

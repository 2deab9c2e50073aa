"""produced = sent + rejected + dropped + set aside + still spooled + never written: after whatever has happened."""

import json
import signal
import textwrap

import pytest

from support.account import accounts, assert_adds_up
from support.children import Children
from support.collector import STALL, UNAVAILABLE, Answer, Collector
from support.remains import key_of

MANY = """
    import sys
    from monitor_auto import Monitor
    for number in range(int(sys.argv[1])):
        Monitor.event("work.step", {"number": number, "poison": number % 50 == 7})
"""
KILLED = MANY + "    import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n"
FLUSH = ["python", "-m", "monitor_auto", "flush", "--json"]
SPOOL_ONLY = {"MONITOR_EXIT_TIMEOUT": "0"}
PATIENT = {"MONITOR_EXIT_TIMEOUT": "30"}


def the_one(children: Children) -> dict[str, int]:
    """Return the counts of the only endpoint, after holding them against the ledger."""
    assert_adds_up(children.spool)
    (counts,) = accounts(children.spool).values()
    return {name: count for name, count in vars(counts).items() if count}


def test_what_waits_is_spooled(children: Children, collector: Collector) -> None:
    """Before anything was sent the account is what lies there."""
    children.run(MANY, argv=["10"], endpoint=collector.url, env=SPOOL_ONLY)
    assert the_one(children) == {"produced": 12, "spooled": 12}


def test_what_was_delivered_is_sent(children: Children, collector: Collector) -> None:
    """The files are gone, their account is not."""
    children.run(MANY, argv=["250"], endpoint=collector.url, env=PATIENT)
    assert the_one(children) == {"produced": 252, "sent": 252}
    children.run(MANY, argv=["1"], endpoint=collector.url, env=PATIENT)
    assert the_one(children) == {"produced": 255, "sent": 255}


@pytest.mark.parametrize("how", ["exit", "flush"])
def test_half_a_line_in_the_account_spoils_no_other(children: Children, collector: Collector, how: str) -> None:
    """A full disk takes the beginning of a line, and a moment later, when there is room, the next one."""
    children.run(MANY, argv=["10"], endpoint=collector.url, env=PATIENT)
    (path,) = children.spool.glob("*.account")
    torn = path.read_bytes()[: -len(b" sent=12\n")]
    path.write_bytes(torn)
    children.untold = 12
    children.run(MANY, argv=["20"], endpoint=collector.url, env=PATIENT if how == "exit" else SPOOL_ONLY)
    if how == "flush":
        children.run(FLUSH, endpoint=collector.url)
    assert path.read_bytes().startswith(torn + b"\n")
    (counts,) = accounts(children.spool).values()
    assert (counts.produced, counts.sent, counts.gaps) == (34, 22, 12)


@pytest.mark.parametrize("how", ["exit", "flush"])
def test_refused_and_rejected_events_are_told_apart(children: Children, collector: Collector, how: str) -> None:
    """An operator who loses events wants to know who has dropped them."""
    collector.refuse_when = lambda body: Answer(400) if b'"poison":true' in body else None
    partly = {"accepted": 1, "rejected": 1, "errors": [{"index": 0, "message": "no"}]}
    collector.answer = Answer(207, json.dumps(partly).encode())
    children.run(MANY, argv=["60"], endpoint=collector.url, env=PATIENT if how == "exit" else SPOOL_ONLY)
    if how == "flush":
        children.run(FLUSH, endpoint=collector.url)
    counts = the_one(children)
    taken = [request for request in collector.requests if request.batch and b'"poison":true' not in request.body]
    assert (counts["dropped"], counts["rejected"]) == (2, len(taken))
    assert counts["produced"] == 62


def test_killed_process_and_killed_flush_add_up(children: Children, collector: Collector) -> None:
    """What a death leaves behind is counted from the segments."""
    done = children.run(KILLED, argv=["300"], endpoint=collector.url)
    assert done.status == -signal.SIGKILL
    assert the_one(children) == {"produced": 301, "spooled": 301}
    collector.answer_next(Answer(200), STALL)
    flush = children.start(FLUSH, endpoint=collector.url)
    collector.wait_for_request(2)
    flush.process.kill()
    flush.finish()
    # The flusher has written session.lost before it sent anything.
    assert the_one(children) == {"produced": 302, "sent": 100, "spooled": 202}
    children.run(FLUSH, endpoint=collector.url)
    assert the_one(children) == {"produced": 302, "sent": 302}
    assert collector.names().count("session.lost") == 1


@pytest.mark.parametrize("setting", [{"MONITOR_SAMPLE": "event=0.5"}, {"MONITOR_RATE_LIMIT": "1"}], ids=str)
def test_what_a_killed_session_left_out_is_counted(
    children: Children, collector: Collector, setting: dict[str, str]
) -> None:
    """It could not tell why its numbers have gaps; how many there are tells its last line."""
    children.untold = 400
    source = MANY + "    Monitor.error('the end'); os.kill(os.getpid(), 9)\n"
    env = {**SPOOL_ONLY, **setting}
    done = children.run("import os\n" + textwrap.dedent(source), argv=["400"], endpoint=collector.url, env=env)
    recorded = len(done.named("work.step"))
    assert done.status == -signal.SIGKILL
    children.run(FLUSH, endpoint=collector.url)
    (counts,) = accounts(children.spool).values()
    assert 0 < recorded < 400
    assert counts.sampled_out + counts.dropped + counts.gaps == 400 - recorded


def test_what_an_overrun_collector_has_kept_out_is_in_the_account(children: Children, collector: Collector) -> None:
    """A kill soon after must not turn events that somebody decided on into events of which nobody knows."""
    source = """
        import os
        from monitor_auto import Monitor
        print(Monitor.flush(30))
        left_out = [Monitor.event("work.step") for _ in range(200)].count(None)
        print(Monitor.flush(30), left_out, flush=True)
        os.kill(os.getpid(), 9)
    """
    collector.answer_next(Answer(429))
    done = children.run(source, endpoint=collector.url, env=PATIENT)
    first, second, left_out = done.stdout.split()
    assert (done.status, first, second) == (-signal.SIGKILL, b"False", b"True")
    children.run(FLUSH, endpoint=collector.url)
    counts = the_one(children)
    assert counts["sampled_out"] == int(left_out) > 50
    assert counts["produced"] == counts["sampled_out"] + counts["sent"]


def test_outage_in_the_middle_adds_up(children: Children, collector: Collector) -> None:
    """Part of a segment was delivered by one process and the rest by another."""
    collector.answer_next(Answer(200), Answer(200), UNAVAILABLE)
    children.run(MANY, argv=["250"], endpoint=collector.url, env=PATIENT)
    assert the_one(children) == {"produced": 252, "sent": 200, "spooled": 52}
    children.run(FLUSH, endpoint=collector.url)
    assert the_one(children) == {"produced": 252, "sent": 252}


def test_bounds_count_what_they_drop(children: Children, collector: Collector) -> None:
    """A spool that is full says how much it has lost."""
    env = {**SPOOL_ONLY, "MONITOR_SPOOL_LIMIT": "100KiB"}
    for _ in range(3):
        children.run(MANY, argv=["300"], endpoint=collector.url, env=env)
    children.run(FLUSH, endpoint=collector.url, env={"MONITOR_SPOOL_LIMIT": "100KiB"})
    collector.go_away()
    children.run(MANY, argv=["800"], endpoint=collector.url, env=env)
    children.run(FLUSH, endpoint=collector.url, env={"MONITOR_SPOOL_LIMIT": "100KiB"})
    counts = the_one(children)
    assert counts["produced"] == 3 * 302 + 802
    assert counts["dropped"] > 0
    collector.come_back()
    children.run(FLUSH, endpoint=collector.url)
    after = the_one(children)
    assert "spooled" not in after
    assert len(collector.unique()) == after["sent"]


def test_damaged_lines_are_counted_aside(children: Children, collector: Collector) -> None:
    """They are neither sent nor forgotten."""
    children.run(MANY, argv=["5"], endpoint=collector.url, env=SPOOL_ONLY)
    (segment,) = (path for path in children.spool.glob("*.*.jsonl"))
    lines = segment.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b'"number"', b"'number'")
    segment.write_bytes(b"".join(lines))
    children.run(FLUSH, endpoint=collector.url)
    assert the_one(children) == {"produced": 7, "sent": 6, "aside": 1}


def test_session_that_lives_on_reports_its_own_delivery(children: Children, collector: Collector) -> None:
    """A service whose events do not arrive says so as soon as one does."""
    source = """
        from monitor_auto import Monitor
        Monitor.event("work.step", {"poison": True})
        print(Monitor.flush(30), Monitor.flush(30), Monitor.flush(30))
    """
    collector.answer_next(UNAVAILABLE)
    collector.refuse_when = lambda body: Answer(400) if b'"poison":true' in body else None
    done = children.run(source, endpoint=collector.url, env=PATIENT)
    assert done.stdout == b"False True True\n"
    told = [event for event in collector.unique() if event["name"].startswith("sdk.")]
    assert [(event["name"], event["type"], event["data"]["value"]) for event in told] == [
        ("sdk.flush.failures", "metric", 1),
        ("sdk.events.dropped", "metric", 1),
    ]
    assert told[0]["data"]["status"] == 503
    assert_adds_up(children.spool)


def test_account_of_a_session_that_lives_for_long_stays_short(children: Children, collector: Collector) -> None:
    """A server that delivers every 30 s has a million of lines in it after a year, which whoever ends has to read."""
    source = """
        import sys
        from monitor_auto import Monitor
        from monitor_auto.boot import recorder
        from monitor_auto.delivery import account, bounds
        account.MAX_BYTES = 1000
        for number in range(40):
            Monitor.event("work.step", {"number": number})
            assert not Monitor.session or Monitor.flush(30)
        Monitor.event("work.last")
        bounds.enforce(recorder.settings, recorder.segment.directory, recorder.segment.base)
        print("ready", flush=True)
        sys.stdin.readline()
        assert not Monitor.session or Monitor.flush(30)
    """
    child = children.start(source, endpoint=collector.url, stdin=-1, env=PATIENT)
    assert child.process.stdout is not None
    assert child.process.stdout.readline() == b"ready\n"
    (path,) = children.spool.glob("*.account")
    assert len(path.read_bytes().splitlines()) == 2
    assert the_one(children) == {"produced": 42, "sent": 41, "spooled": 1}
    assert child.finish(b"\n").status == 0
    assert the_one(children) == {"produced": 43, "sent": 43}
    assert len(collector.unique()) == 43


def test_background_delivery_keeps_the_account_short(children: Children, collector: Collector) -> None:
    """Nobody else may come by: in a container a server is often the only program, and never ends."""
    source = """
        import os, sys, time
        from monitor_auto import Monitor
        if Monitor.session:
            from monitor_auto.boot import repairs
            from monitor_auto.delivery import account
            account.MAX_BYTES, repairs.KEEPER_SEGMENTS = 300, 4
        path, most, end = sys.argv[1], 0, time.monotonic() + 60
        while time.monotonic() < end:
            Monitor.event("work.step")
            time.sleep(0.02)  # each is a request: delivery has to keep pace with them, also on a busy machine
            size = os.path.getsize(path) if os.path.exists(path) else 0
            if size < most > 300:
                break
            most = max(most, size)
        print(time.monotonic() < end)
    """
    path = children.spool / f"{key_of(collector.url)}.account"
    env = {"MONITOR_FLUSH_INTERVAL": "0.05", "MONITOR_BATCH_SIZE": "1", **PATIENT}
    done = children.run(source, argv=[str(path)], endpoint=collector.url, env=env, timeout=120)
    assert done.stdout == b"True\n"
    counts = the_one(children)
    assert counts["produced"] == counts["sent"] == len(collector.unique())

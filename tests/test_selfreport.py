"""`sdk.events.*`: produced = (produced - sampled) + dropped + rejected + sent + what still waits, whatever happens."""

import json
from typing import Any

import pytest

from support.account import accounts, assert_adds_up
from support.children import Children
from support.collector import HALF, OK, PAGE, UNAVAILABLE, Answer, Collector

ROUNDS = """
    import sys
    from monitor_auto import Monitor
    from monitor_auto.boot import cold
    for turn in range(4):
        for number in range(40):
            Monitor.event("work.step", {"number": number, "poison": number == 7})
            Monitor.metric("load.number", number)
        print(Monitor.flush(30))
        cold("selfreport").record()
"""
PARTLY = Answer(207, json.dumps({"accepted": 1, "rejected": 1, "errors": [{"index": 3, "message": "no"}]}).encode())
FAULTS = {
    "none": [OK],
    "503": [UNAVAILABLE, OK, UNAVAILABLE, OK],
    "429": [Answer(429), OK],
    "401": [Answer(401), OK],
    "web page": [PAGE, OK],
    "cut": [HALF, OK],
    "207": [PARTLY, OK, PARTLY, OK],
    "away for good": [UNAVAILABLE] * 50,
}


def last_values(events: list[dict[str, Any]]) -> dict[str, int]:
    """Return the last value of each count, the causes of drops added up."""
    values: dict[tuple[str, str, str], int] = {}
    for event in events:
        data = event["data"]
        if event["name"].startswith("sdk.events."):
            values[event["name"][11:], data.get("reason", ""), data.get("name", "")] = data["value"]
        elif event["name"] == "sdk.flush.failures":
            values["failures", "", ""] = data["value"]
    totals: dict[str, int] = {}
    for (name, _, _), value in values.items():
        totals[name] = totals.get(name, 0) + value
    return totals


@pytest.mark.parametrize("sample", ["", "metric=0.5"])
@pytest.mark.parametrize("fault", FAULTS)
def test_counts_of_a_session_add_up_under_every_fault(
    children: Children, collector: Collector, fault: str, sample: str
) -> None:
    """Counts that do not add up are worse than none: somebody will look for events that never were."""
    collector.answer_next(*FAULTS[fault])
    collector.refuse_when = lambda body: Answer(400) if b'"poison":true' in body and fault == "none" else None
    env = {"MONITOR_EXIT_TIMEOUT": "0", "MONITOR_SAMPLE": sample}
    done = children.run(ROUNDS, endpoint=collector.url, env=env, timeout=120)
    left = done.events
    session = left[-1]["session"]["id"]
    arrived = [event for event in collector.unique() if event["session"]["id"] == session]
    told = last_values(arrived + left)
    (counts,) = accounts(children.spool).values()
    assert_adds_up(children.spool)
    # The last report was made before the lines that it consists of, and before session.end.
    reports = [event for event in left if event["event_id"].rpartition("-")[2].isdigit()]
    later = [event for event in reports if int(event["event_id"].rpartition("-")[2]) >= told["produced"]]
    assert told["produced"] + len(later) == counts.produced
    assert told.get("sent", 0) == counts.sent
    assert told.get("rejected", 0) == counts.rejected
    assert told.get("dropped", 0) == counts.dropped
    assert told["produced"] - told.get("sampled", told["produced"]) == counts.sampled_out
    waited = len(left) - len(later)
    known = told.get("sent", 0) + told.get("rejected", 0) + told.get("dropped", 0)
    assert told.get("sampled", told["produced"]) == known + waited
    assert ("failures" in told) == (fault in ("503", "429", "401", "web page", "cut", "away for good"))
    assert (counts.rejected > 0) == (fault == "207")
    assert (counts.dropped > 0) == (fault == "none")


def test_a_session_that_is_silent_reports_nothing_more(children: Children, collector: Collector) -> None:
    """A report is an event as well: one that reports the last one would go on for ever."""
    source = """
        from monitor_auto import Monitor
        from monitor_auto.boot import cold, recorder
        Monitor.event("work.step")
        for _ in range(6):
            assert Monitor.flush(30)
            cold("selfreport").record()
    """
    children.run(source, endpoint=collector.url, env={"MONITOR_EXIT_TIMEOUT": "30"})
    names = [event["name"] for event in collector.unique() if event["name"].startswith("sdk.")]
    assert names == ["sdk.events.produced", "sdk.events.sent"]


def test_a_session_that_lives_long_reports_all_with_its_flushes(children: Children, collector: Collector) -> None:
    """Whoever flushes, a service's counts come along, twice a minute; a short script's are in its last number."""
    source = """
        from monitor_auto import Monitor
        from monitor_auto.boot import cold
        Monitor.event("work.step")
        assert Monitor.flush(30)
        cold("selfreport").FULL_SECONDS = 0.0  # as if it had passed
        Monitor.event("work.step")
        assert Monitor.flush(30)
    """
    children.run(source, endpoint=collector.url, env={"MONITOR_EXIT_TIMEOUT": "30"})
    names = [event["name"] for event in collector.unique()]
    assert names == [
        *("session.start", "work.step", "work.step", "sdk.events.produced", "sdk.events.sent", "session.end")
    ]
    assert last_values(collector.unique()) == {"produced": 3, "sent": 3}


def test_counts_survive_a_kill(children: Children, collector: Collector) -> None:
    """The values count from the session's start: the last ones that arrived, and the numbers, tell the rest."""
    source = ROUNDS + "    import os; os.kill(os.getpid(), 9)\n"
    env = {"MONITOR_SAMPLE": "metric=0.5"}
    children.run(source, endpoint=collector.url, env=env)
    children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url)
    told = last_values(collector.unique())
    (counts,) = accounts(children.spool).values()
    assert told["produced"] - told["sampled"] == counts.sampled_out > 0
    assert counts.produced == counts.sent + counts.sampled_out
    assert counts.spooled == 0
    status = children.run(["python", "-m", "monitor_auto", "status", "--json"], endpoint=collector.url)
    (shown,) = json.loads(status.stdout)["accounts"]
    assert (shown["sampled_out"], shown["sent"], shown["never_written"]) == (counts.sampled_out, counts.sent, 0)


def test_children_and_orphans_are_not_among_a_sessions_own(children: Children, collector: Collector) -> None:
    """What a session delivers for others was produced by others: counted with its own it would never add up."""
    children.run(
        'from monitor_auto import Monitor\nMonitor.event("orphan.step")',
        endpoint=collector.url,
        env={"MONITOR_EXIT_TIMEOUT": "0"},
    )
    source = """
        import os
        from monitor_auto import Monitor
        from monitor_auto.boot import cold
        if os.fork() == 0:
            for _ in range(10): Monitor.event("child.step")
            os._exit(0)
        os.wait()
        Monitor.flush(30)
        cold("selfreport").record()
    """
    children.run(source, endpoint=collector.url, env={"MONITOR_EXIT_TIMEOUT": "30"})
    told = last_values(collector.unique())
    (report,) = [event for event in collector.unique() if event["name"] == "sdk.events.produced"]
    own = [event for event in collector.unique() if event["session"]["id"] == report["session"]["id"]]
    before = [event for event in own if int(event["event_id"].rpartition("-")[2]) < told["produced"]]
    assert told == {"produced": len(before), "sent": len(before)}
    assert collector.names().count("child.step") == 10 > len(before)
    assert "orphan.step" in collector.names()

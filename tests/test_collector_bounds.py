"""`monitor-auto collect`: what it is asked and answers in full, and what it does at its bounds."""

import ast
import json
import socket
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.imports import SOURCE
from support.local_collector import REQUIREMENTS, LocalCollector, event, new_id, running_local_collector
from support.sandbox import Sandbox


@pytest.fixture(scope="session")
def local(sandbox_for: Callable[..., Sandbox]) -> Sandbox:
    """An environment with the extra `local`."""
    return sandbox_for(sys.executable, *REQUIREMENTS)


@pytest.fixture
def started(local: Sandbox, tmp_path: Path) -> Iterator[LocalCollector]:
    """A collector of this test's own."""
    with running_local_collector(local, tmp_path) as running:
        yield running


def error(session: str, number: int, message: str) -> dict[str, Any]:
    """Return an error."""
    data = {"type": "ValueError", "message": message, "level": "error"}
    return event("error.ValueError", session, number, type="error", data=data)


def test_events_are_found_by_trace_app_and_fingerprint(started: LocalCollector) -> None:
    """A trace comes out of another system's page, a fingerprint out of the list of errors."""
    session, trace = new_id(), "0af7651916cd43dd8448eb211c80319c"
    traced = event("step.traced", session, 1)
    traced["session"]["trace_id"] = trace
    within = event("step.within", session, 2, span={"trace_id": trace, "span_id": "b7ad6b7169203331"})
    named = event("step.named", session, 3, source={"sdk": "python", "platform": "linux", "app": "other"})
    started.post([traced, within, named, error(session, 4, "row 17"), error(session, 5, "row 18")])
    assert [one["name"] for one in started.events(trace=trace)] == ["step.within", "step.traced"]
    assert [one["name"] for one in started.events(app="other")] == ["step.named"]
    (group,) = started.json("/v1/errors")["errors"]
    assert len(started.events(fingerprint=group["fingerprint"])) == group["count"] == 2


def test_a_cursor_leads_through_all_and_what_comes_meanwhile_shifts_nothing(started: LocalCollector) -> None:
    """Whoever exports everything gets each event once, also while programs go on recording."""
    session = new_id()
    started.post([event(session=session, number=number) for number in range(25)])
    seen, cursor, pages = [], None, 0
    while True:
        page = started.json("/v1/events", limit=10, **({"cursor": cursor} if cursor else {}))
        seen += [one["event_id"] for one in page["events"]]
        pages += 1
        started.post([event(session=new_id(), number=1)])
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert pages == 3 and seen == [f"{session}-{number}" for number in reversed(range(25))]


def test_events_are_counted_by_each_of_four_properties(started: LocalCollector) -> None:
    """What is most frequent is what to look at first."""
    session = new_id()
    started.post([event("a.one", session, 1), event("a.one", session, 2), event("a.two", session, 3)])
    started.post([error(session, 4, "row 17"), error(session, 5, "row 18"), error(session, 6, "other thing")])

    def counts(by: str, **asked: str) -> list[tuple[Any, int]]:
        told = started.json("/v1/events/summary", group_by=by, **asked)
        assert told["group_by"] == by and all(group["first"] <= group["last"] for group in told["groups"])
        return [(group[by], group["count"]) for group in told["groups"]]

    assert counts("name") == [("error.ValueError", 3), ("a.one", 2), ("a.two", 1)]
    assert counts("type") == [("error", 3), ("event", 3)]
    assert counts("app") == [("demo", 6)]
    assert [count for _, count in counts("fingerprint", type="error")] == [2, 1]
    assert counts("name", type="event") == [("a.one", 2), ("a.two", 1)]
    wrong = started.get("/v1/events/summary?group_by=body")
    assert wrong.status_code == 400 and wrong.json()["fields"] == ["group_by"]


def test_health_and_metrics_say_how_much_there_is(started: LocalCollector) -> None:
    """What looks after services asks for both, and knows no more than their forms."""
    session = new_id()
    started.post([event(session=session, number=number) for number in range(7)])
    started.post([event(session=session, number=1), {"v": 0}])
    health = started.json("/health")
    assert set(health) == {"status", "version", "uptime_seconds", "total_events", "storage_bytes"}
    assert (health["status"], health["total_events"]) == ("ok", 7)
    assert health["uptime_seconds"] > 0 and 4096 <= health["storage_bytes"] < 1 << 20
    answer = started.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    values, kinds = exposed(answer.text)
    prefix = "monitor_auto_collector_"
    told = {name.removeprefix(prefix): value for name, value in values.items()}
    assert told.pop("uptime_seconds") > 0 and told.pop("storage_bytes") >= 4096
    assert told == {
        "events": 7, "stored_events_total": 7, "repeated_events_total": 1, "pruned_events_total": 0, "commits_total": 2,
        "failures_total": 0, 'answers_total{status="200"}': 1, 'answers_total{status="207"}': 1,
    }  # fmt: skip
    assert {kind for name, kind in kinds.items() if name.endswith("_total")} == {"counter"}


def exposed(text: str) -> tuple[dict[str, float], dict[str, str]]:
    """Read Prometheus' text: values by name, kinds by name. Each metric has its help and its kind before its values."""
    values: dict[str, float] = {}
    kinds: dict[str, str] = {}
    told = set()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            told.add(line.split()[2])
        elif line.startswith("# TYPE "):
            _, _, name, kinds[name] = line.split()
        else:
            name, _, value = line.rpartition(" ")
            assert name.partition("{")[0] in told & set(kinds)
            values[name] = float(value)
    return values, kinds


def test_more_than_can_be_stored_is_told_to_come_again(started: LocalCollector) -> None:
    """A writer that is held up must not fill the memory; senders are told, and lose nothing."""
    started.post([event()])
    body = json.dumps([event("big.one", data={"text": "x" * 250_000}) for _ in range(60)])
    answers: list[Any] = []
    is_refused = threading.Event()

    def send() -> None:
        answer = started.client.post(started.endpoint, content=body)
        answers.append(answer)
        if answer.status_code != 200:
            is_refused.set()

    senders = [threading.Thread(target=send) for _ in range(8)]  # 120 MB
    holder = sqlite3.connect(started.database, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")  # somebody looks at the database with another program
    try:
        for sender in senders:
            sender.start()
        assert is_refused.wait(60)
    finally:
        holder.execute("ROLLBACK")
        holder.close()
        for sender in senders:
            sender.join()
    for answer in answers:
        if answer.status_code != 200:
            assert answer.status_code in (429, 503)
            assert int(answer.headers["retry-after"]) == answer.json()["retry_after"] > 0
    assert 429 in {answer.status_code for answer in answers}
    stored = [answer for answer in answers if answer.status_code == 200]
    groups = started.json("/v1/events/summary", name="big.one")["groups"]
    assert sum(group["count"] for group in groups) == 60 * len(stored)
    assert started.post([event()]).status_code == 200


@pytest.mark.slow
def test_a_body_that_does_not_come_is_given_up(started: LocalCollector) -> None:
    """Who opens a connection and says nothing more must not hold it for ever, nor anybody else up meanwhile."""
    host, _, port = started.base.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=120) as dripping:
        dripping.sendall(f"POST /v1/events HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100\r\n\r\n[".encode())
        assert started.post([event()]).status_code == 200
        answer = dripping.recv(65536)  # after 30 seconds
    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.slow
def test_the_oldest_go_when_there_is_too_much(local: Sandbox, tmp_path: Path) -> None:
    """The size is a bound and no reason to empty the database: the newest events are those that somebody wants."""
    with running_local_collector(local, tmp_path, "--size", "2MiB") as running:
        session = new_id()
        for number in range(60):
            data = {"text": "x" * 100_000}
            assert running.post([event("big.one", session, number, data=data)]).status_code == 200
        with running.client.stream("GET", running.base + "/v1/stream") as stream:
            for line in stream.iter_lines():  # the writer looks every five seconds; a comment comes after fifteen
                if line == ": alive":
                    break
        health = running.json("/health")
        assert health["storage_bytes"] <= 2 << 20
        left = [int(one["event_id"].rpartition("-")[2]) for one in running.events()]
        assert left == list(range(59, 59 - len(left), -1)) and 10 <= len(left) <= 20
        assert running.json("/v1/runs")["runs"][0]["root"] == session


def test_the_database_is_read_while_it_is_written(started: LocalCollector) -> None:
    """With a write-ahead log a question does not wait for a commit, nor a commit for a question."""
    started.post([event()])
    reading = sqlite3.connect(f"file:{started.database}?mode=ro", uri=True, isolation_level=None)
    assert reading.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    reading.execute("BEGIN")
    before = reading.execute("SELECT count(*) FROM events").fetchone()
    assert started.post([event(session=new_id(), number=1)]).status_code == 200
    assert reading.execute("SELECT count(*) FROM events").fetchone() == before == (1,)
    reading.close()
    assert started.json("/health")["total_events"] == 2


def test_it_listens_on_this_machine_alone(started: LocalCollector) -> None:
    """What programs record is not for the network, unless somebody says so."""
    port = int(started.base.rpartition(":")[2])
    listening = {
        bytes.fromhex(address)[::-1]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        for address, number in [line.split()[1].split(":")]
        if int(number, 16) == port and line.split()[3] == "0A"
    }
    assert listening == {bytes([127, 0, 0, 1])}
    assert f":{port:04X} " not in Path("/proc/net/tcp6").read_text()


def test_a_token_is_compared_in_constant_time() -> None:
    """A comparison that ends at the first wrong character tells the right one, character by character."""
    source = ast.parse((SOURCE / "monitor_auto" / "collector" / "admission.py").read_text())
    (function,) = [node for node in ast.walk(source) if getattr(node, "name", "") == "has_token"]
    calls = [ast.unparse(node) for node in ast.walk(function) if isinstance(node, ast.Call)]
    assert any(call.startswith("hmac.compare_digest(") and "token" in call for call in calls)
    compared = [ast.unparse(node) for node in ast.walk(source) if isinstance(node, ast.Compare)]
    assert not [one for one in compared if "token" in one]

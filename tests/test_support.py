"""The test tools themselves: a child runner or a receiver that sees nothing would make every other test pass."""

import http.client
import json
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest

from support.children import Children
from support.collector import DRIP, HALF, PAGE, UNAVAILABLE, Collector, running_collector

BATCH_ID = "01890000-0000-7000-8000-00000000000{}"
SESSION = "01890000-0000-7000-8000-000000000000"


def event(number: int) -> dict[str, Any]:
    """Return an event as the contract has it."""
    source = {"sdk": "python", "platform": "linux"}
    times = {"timestamp": "2026-11-23T18:16:00.123+08:00"}
    return {"v": 1, "type": "event", "name": "a.b", "event_id": f"{SESSION}-{number}", "source": source, **times}


def post(collector: Collector, *events: dict[str, Any], batch: int = 0) -> tuple[int, bytes]:
    """Send a batch as a client would and return the answer."""
    parts = urlsplit(collector.url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=20)
    body = json.dumps({"batch_id": BATCH_ID.format(batch), "events": events})
    try:
        connection.request("POST", parts.path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_collector_keeps_what_it_answers_with_success(collector: Collector) -> None:
    """Every delivery test counts what is kept here."""
    collector.answer_next(UNAVAILABLE, PAGE)
    statuses = [post(collector, event(1), batch=1)[0], post(collector, event(1), batch=2)[0]]
    statuses += [post(collector, event(1), batch=3)[0], post(collector, event(1), event(2), batch=4)[0]]
    assert statuses == [503, 200, 200, 200]
    assert [kept["event_id"][-1] for kept in collector.events()] == ["1", "1", "2"]
    assert [kept["event_id"][-1] for kept in collector.wait_for(2)] == ["1", "2"]


def test_collector_misbehaves_as_told(collector: Collector) -> None:
    """A fake failure that succeeds would prove that no event is lost when nothing went wrong."""
    collector.answer_next(HALF)
    with pytest.raises(http.client.HTTPException):
        post(collector, event(1))
    collector.go_away()
    with pytest.raises(ConnectionRefusedError):
        post(collector, event(2), batch=1)
    collector.come_back()
    assert post(collector, event(2), batch=2)[0] == 200
    collector.answer = DRIP
    with socket.create_connection(urlsplit(collector.url).netloc.split(":"), timeout=20) as connection:  # type: ignore
        connection.sendall(b"POST /v1/events HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        assert connection.recv(4096) == b"H"
    collector.violations.clear()


def test_collector_notes_a_batch_that_breaks_the_contract() -> None:
    """Nobody would notice a malformed batch if the receiver were as lenient as JSON is."""
    with running_collector() as collector:
        post(collector, {**event(1), "timestamp": "2026-11-23T18:16:00"})
        post(collector, {**event(1), "name": "two words"})
        post(collector, batch=1)
        assert len(collector.violations) == 4
        assert "timestamp" in collector.violations[0]
        assert "two words" in collector.violations[1]
        assert "came twice" in collector.violations[2]
        assert "0 events" in collector.violations[3]


def test_bare_child_has_nothing_of_ours_and_nothing_inherited(children: Children) -> None:
    """A twin test compares with a bare run; a monitored one on both sides would always be equal."""
    source = """
        import os, sys
        print(sorted(name for name in os.environ if name.startswith(("MONITOR", "PYTHON"))))
        print([name for name in sys.modules if "monitor" in name])
    """
    done = children.run(source, bare=True)
    assert (done.status, done.stdout, done.stderr) == (0, b"[]\n[]\n", b"")


def test_internal_error_in_the_ledger_fails_the_run(children: Children) -> None:
    """The monitor swallows its own errors in production; a test must not."""
    source = """
        import os
        with open(os.environ["MONITOR_SPOOL_DIR"] + "/ledger.jsonl", "a") as ledger:
            ledger.write('{"what":"internal_error","count":1}\\n')
    """
    with pytest.raises(pytest.fail.Exception, match="internal_error"):
        children.run(source, env={"MONITOR_DISABLE": "1"})
    assert children.run("pass", env={"MONITOR_DISABLE": "1"}, announce_internal_errors=True).ledger


def test_twin_fails_when_the_program_can_tell(children: Children) -> None:
    """The matrix of endings rests on this comparison."""
    with pytest.raises(AssertionError, match="can tell"):
        children.twin("import os; print('MONITOR_ENDPOINT' in os.environ)", env={"MONITOR_DISABLE": "1"})

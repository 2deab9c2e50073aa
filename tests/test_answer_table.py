"""Every answer that a collector can give, each against a server that gives it: what is delivered, kept, dropped."""

import gzip
import json
import zlib
from typing import Any

import pytest

from support.children import Children
from support.collector import DRIP, HALF, PAGE, REDIRECT, Answer, Collector

HELLO = "print('hello')"
MANY = """
    from monitor_auto import Monitor
    for number in range(97):
        Monitor.event("work.step", {"number": number, "poison": number == 41})
"""
KEPT = ["session.start", "session.end"]
FLUSH = ["python", "-m", "monitor_auto", "flush"]
HUNG_UP = Answer(200, cut=0)


def json_answer(status: int, value: Any, **headers: str) -> Answer:
    """Return an answer with a JSON body."""
    told = (("Content-Type", "application/json"), *((name.replace("_", "-"), text) for name, text in headers.items()))
    return Answer(status, json.dumps(value).encode(), told)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200),
        Answer(202, b'{"queued": true}', (("Content-Type", "application/json"),)),
        Answer(204),
        Answer(200, b"ok", (("Content-Type", "text/plain"),)),
    ],
    ids=lambda answer: f"{answer.status} {answer.body.decode()}".strip(),
)
def test_success_is_delivered_and_leaves_nothing(children: Children, collector: Collector, answer: Answer) -> None:
    """Whatever form of yes a collector has, the spool must not grow."""
    collector.answer = answer
    children.twin(HELLO, endpoint=collector.url)
    assert collector.names() == KEPT
    assert list(children.spool.glob("*.jsonl")) == []


@pytest.mark.parametrize(
    "answer", [*(Answer(status) for status in (401, 403, 404, 405, 407, 410)), REDIRECT, PAGE], ids=str
)
def test_wrong_address_keeps_everything_until_the_configuration_changes(
    children: Children, collector: Collector, answer: Answer
) -> None:
    """A wrong token or a captive portal is not the events' fault, and asking again at every exit helps nobody."""
    collector.answer = answer
    done = children.twin(HELLO, endpoint=collector.url, env={"MONITOR_TOKEN": "old"})
    assert done.names == KEPT
    children.run(HELLO, endpoint=collector.url, env={"MONITOR_TOKEN": "old"})
    assert len(collector.requests) == 1
    collector.answer = Answer(200)
    children.run(HELLO, endpoint=collector.url, env={"MONITOR_TOKEN": "new"})
    assert sorted(collector.names()) == sorted(KEPT * 3)


@pytest.mark.parametrize(
    "answer",
    [
        *(Answer(status) for status in (408, 418, 429, 500, 502, 503, 504)),
        Answer(503, headers=(("Retry-After", "120"),)),
        HALF,
        HUNG_UP,
    ],
    ids=str,
)
def test_collector_in_trouble_is_asked_later(children: Children, collector: Collector, answer: Answer) -> None:
    """Events outlive an outage, and nobody waits for it twice."""
    collector.answer = answer
    done = children.twin(HELLO, endpoint=collector.url)
    assert done.names == KEPT
    children.run(HELLO, endpoint=collector.url)
    assert len(collector.requests) == 1
    collector.answer = Answer(200)
    assert children.run(FLUSH, endpoint=collector.url).status == 0
    assert sorted(collector.names()) == sorted(KEPT * 2)


def test_dripping_answer_ends_at_the_deadline(children: Children, collector: Collector) -> None:
    """A server that sends one byte a second passes every timeout of a single operation."""
    collector.answer = DRIP
    done = children.twin(HELLO, endpoint=collector.url, env={"MONITOR_EXIT_TIMEOUT": "1"})
    assert done.names == KEPT
    assert away(children)["error"] == "timeout"


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (Answer(503, headers=(("Retry-After", "1000"),)), 1000),
        (json_answer(429, {"retry_after": 900}), 900),
        (Answer(503, headers=(("Retry-After", "Fri, 31 Dec 2100 23:59:59 GMT"),)), 3600),
        (Answer(503, headers=(("Retry-After", "soon"),)), 4),
    ],
    ids=["seconds", "body", "date", "nonsense"],
)
def test_collector_is_left_alone_for_as_long_as_it_asks(
    children: Children, collector: Collector, answer: Answer, seconds: int
) -> None:
    """An overloaded collector says when it will be back; a fleet that does not listen keeps it down."""
    collector.answer = answer
    children.run(HELLO, endpoint=collector.url)
    (end,) = [event for event in children.run(HELLO, bare=True).events if event["name"] == "session.end"]
    noted = away(children)
    assert noted["failures"] == 1
    # The record is written within the exit of that process, after its session.end.
    assert noted["until"] - unix_seconds(end["timestamp"]) >= seconds - 1


def away(children: Children) -> dict[str, Any]:
    """Return what one process told the others of the endpoint."""
    (path,) = children.spool.glob("*.away")
    noted: dict[str, Any] = json.loads(path.read_text())
    return noted


def unix_seconds(timestamp: str) -> float:
    """Return an event's timestamp in Unix seconds."""
    from datetime import datetime

    return datetime.fromisoformat(timestamp).timestamp()


@pytest.mark.parametrize("how", ["exit", "flush"])
@pytest.mark.parametrize("status", [400, 413, 422])
def test_one_bad_event_in_a_batch_takes_no_other_with_it(
    children: Children, collector: Collector, status: int, how: str
) -> None:
    """One event that a collector cannot take would otherwise hold up all that follow, for ever."""
    collector.refuse_when = lambda body: Answer(status) if b'"poison":true' in body else None
    env = {"MONITOR_EXIT_TIMEOUT": "0" if how == "flush" else "30", "MONITOR_DEBUG": str(children.folder / "log")}
    done = children.twin(MANY, endpoint=collector.url, env=env)
    if how == "flush":
        flushed = children.run([*FLUSH, "--json"], endpoint=collector.url, env=env)
        assert (json.loads(flushed.stdout)["delivered"], json.loads(flushed.stdout)["dropped"]) == (98, 1)
    numbers = {event["data"]["number"] for event in collector.unique() if event["name"] == "work.step"}
    assert numbers == set(range(97)) - {41}
    assert collector.names().count("session.end") == 1
    assert list(children.spool.glob("*.jsonl")) == [children.spool / "ledger.jsonl"]
    (dropped,) = [line for line in done.ledger if line["what"] == "dropped"]
    assert (dropped["count"], str(status) in dropped["reason"]) == (1, True)
    assert "dropped work.step (" in (children.folder / "log").read_text()


@pytest.mark.parametrize("how", ["exit", "flush"])
def test_rejected_events_of_a_207_are_counted_and_named(children: Children, collector: Collector, how: str) -> None:
    """The collector took the batch and says which events it did not; sending them again would not help."""
    errors = [{"index": 3, "message": "no such field", "fields": []}, {"index": 5, "message": "too old"}]
    collector.answer = json_answer(207, {"accepted": 97, "rejected": 2, "errors": [*errors, {"index": 4000}, "?"]})
    env = {"MONITOR_EXIT_TIMEOUT": "0" if how == "flush" else "30", "MONITOR_DEBUG": str(children.folder / "log")}
    done = children.twin(MANY, endpoint=collector.url, env=env)
    if how == "flush":
        told = json.loads(children.run([*FLUSH, "--json"], endpoint=collector.url, env=env).stdout)
        assert (told["delivered"], told["rejected"]) == (97, 2)
    assert list(children.spool.glob("*.live")) == []
    assert [line["count"] for line in done.ledger if line["what"] == "rejected"] == [2]
    assert "rejected work.step (" in (children.folder / "log").read_text()
    assert "too old" in (children.folder / "log").read_text()


@pytest.mark.parametrize("body", [b"", b"not json", b'{"errors": 5}', b'{"errors":[{"index":"x"}]}', b"[1]"])
def test_207_that_makes_no_sense_is_a_yes(children: Children, collector: Collector, body: bytes) -> None:
    """It says that the batch was read; what it cannot say clearly is not kept for ever."""
    collector.answer = Answer(207, body)
    done = children.twin(HELLO, endpoint=collector.url)
    assert collector.names() == KEPT
    assert done.names == []


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate"])
def test_answer_that_was_compressed_unasked_is_read_all_the_same(
    children: Children, collector: Collector, coding: str
) -> None:
    """Proxies compress what they like; which events the collector refused must not be lost in it."""
    answer = json.dumps({"accepted": 1, "rejected": 1, "errors": [{"index": 1, "message": "no"}]}).encode()
    packed = zlib.compress(answer) if coding == "deflate" else gzip.compress(answer)
    collector.answer = Answer(207, packed, (("Content-Encoding", coding),))
    run = children.twin(HELLO, endpoint=collector.url)
    assert [(line["what"], line["count"]) for line in run.ledger] == [("rejected", 1)]
    assert collector.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("body", [b"no gzip at all", gzip.compress(b"{}")[:9]], ids=["nonsense", "half"])
def test_success_that_cannot_be_unpacked_is_a_success(children: Children, collector: Collector, body: bytes) -> None:
    """The status says that the events were taken; sending them again for ever helps nobody."""
    collector.answer = Answer(200, body, (("Content-Encoding", "gzip"),))
    run = children.twin(HELLO, endpoint=collector.url)
    assert run.names == []
    assert collector.names() == KEPT

"""Many short programs beside each other: every event is there when the last one has ended, and none waits."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitor_auto.boot import express
from monitor_auto.delivery import answers
from monitor_auto.delivery.exchange import NoAnswer, read_answer
from support.account import assert_adds_up
from support.children import Children
from support.collector import STALL, UNAVAILABLE, Collector

HOOK = "import json, sys; print(json.dumps({'allowed': True})); sys.exit(0)"
NAMES = ("session.start", "session.exit", "session.end")
SCRIPTS = 200
AT_A_TIME = 2


def run_fleet(children: Children, endpoint: str, scripts: int, **env: str) -> None:
    """Run a hook so many times, two at a time."""
    path = children.folder / "hook.py"
    path.write_text(HOOK)
    with ThreadPoolExecutor(AT_A_TIME) as workers:
        done = list(workers.map(lambda _: children.run(path, endpoint=endpoint, env=env), range(scripts)))
    assert {(run.status, run.stdout, run.stderr) for run in done} == {(0, b'{"allowed": true}\n', b"")}


@pytest.mark.slow
def test_two_hundred_scripts_leave_nothing_behind(children: Children, collector: Collector) -> None:
    """A build starts hundreds of hooks; when it says that it is done, what they did has to be known."""
    run_fleet(children, collector.url, SCRIPTS, MONITOR_EXIT_TIMEOUT="30")
    names = collector.names()
    assert {name: names.count(name) for name in NAMES} == dict.fromkeys(NAMES, SCRIPTS)
    assert len(collector.events()) == len(names)
    assert [path.name for path in children.spool.iterdir() if path.suffix not in (".account", ".lock")] == []
    assert_adds_up(children.spool)


def test_no_script_waits_for_another(children: Children, collector: Collector) -> None:
    """One whose answer never comes, and one that runs for a year, must be nobody else's trouble."""
    collector.answer_next(STALL)
    slow = children.start("print('out')", endpoint=collector.url, env={"MONITOR_EXIT_TIMEOUT": "1000"})
    collector.wait_for_request()
    living = children.start("print(1, flush=True); input()", endpoint=collector.url, stdin=-1)
    assert living.process.stdout and living.process.stdout.read(1) == b"1"
    run_fleet(children, collector.url, 20, MONITOR_EXIT_TIMEOUT="30")
    assert (slow.process.poll(), living.process.poll()) == (None, None)
    assert collector.names().count("session.end") == 20
    slow.kill()
    living.finish(b"\n")
    assert collector.names().count("session.end") == 22, "what the killed one had is delivered by the next"


def test_outage_in_the_middle_of_a_fleet_is_made_good(children: Children, collector: Collector) -> None:
    """A collector that is restarted while a build runs: the first that finds it back takes the others' along."""
    run_fleet(children, collector.url, 5, MONITOR_EXIT_TIMEOUT="30")
    collector.answer = UNAVAILABLE
    run_fleet(children, collector.url, 10, MONITOR_EXIT_TIMEOUT="30")
    collector.answer = type(UNAVAILABLE)()
    (record,) = children.spool.glob("*.away")
    record.unlink()  # as if the back-off had passed
    run_fleet(children, collector.url, 5, MONITOR_EXIT_TIMEOUT="30")
    assert sorted(collector.names()) == sorted(NAMES * 20)
    assert len(collector.events()) == 60
    assert_adds_up(children.spool)


LINES = st.sampled_from(
    [
        *("Content-Length: 2", "content-length:0", "Content-Length: 7", "Content-Length: -1", "Content-Length: 2 2"),
        *("Content-Type: application/json", "Content-Type: text/html; charset=utf-8", "Transfer-Encoding: chunked"),
        *(
            "X: Content-Length: 2",
            "X-Content-Length: 2",
            "Connection: close",
            "nonsense",
            " folded",
            "Content-Length : 2",
        ),
        *(": no name", "X\xa0: 1", "X: 1\nContent-Length: 3", "X: 1\r\r"),
        *("Retry-After: 3", "CONTENT-LENGTH: 2", "Content-Length: ２", ""),
    ]
)
STATUS = st.sampled_from(
    ["HTTP/1.1 200 OK", "HTTP/1.1 204 No Content", "HTTP/1.1 202 ", "HTTP/1.1 207 M", "http/1.1 200 x"]
)
BODIES = st.sampled_from([b"", b"{}", b"<x", b" <", b'{"a":1}', b"{}HTTP/1.1 500 no\r\n\r\n"])


@settings(max_examples=1000, deadline=None)
@given(STATUS, st.lists(LINES, max_size=5), BODIES, st.integers(0, 200))
@example("HTTP/1.1 200 OK", ["Content-Length: 2"], b"{}", 200)
@example("HTTP/1.1 200 OK", ["Content-Length: 2", "X: Content-Length: 7"], b"{}", 200)
def test_quick_yes_is_a_yes_of_the_careful_reader(status: str, lines: list[str], body: bytes, cut: int) -> None:
    """What the usual exit takes for a yes is deleted: it must never be more than what the strict reader would take."""
    answer = ("\r\n".join([status, *lines]) + "\r\n\r\n").encode() + body
    for data in (answer, answer[:cut]):
        if express.judge(data):
            pieces = iter([data])
            read = read_answer(lambda pieces=pieces: next(pieces, b""))
            assert answers.meaning(read.status, read.content_type, read.body) == answers.DELIVERED


@given(st.binary(max_size=300))
def test_quick_look_at_any_bytes_never_fails(data: bytes) -> None:
    """Anything may listen on a port."""
    for answer in (data, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n" + data):
        verdict = express.judge(answer)
        assert verdict in (True, False, None)
        if verdict:
            try:
                read = read_answer(iter([answer, b""]).__next__)
            except NoAnswer:
                raise AssertionError(f"{answer!r} is no whole answer") from None
            assert read.status in (200, 202, 204)


def test_quick_yes_knows_the_usual_answers() -> None:
    """A reader that never says yes would keep all promises, and cost every exit ten times as much."""
    assert express.judge(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}") is True
    assert express.judge(b"HTTP/1.1 202 Accepted\r\nserver: x\r\ncontent-length: 0\r\n\r\n") is True
    assert express.judge(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{") is None
    assert express.judge(b"HTTP/1.1 200") is None


@given(st.text(max_size=40), st.binary(max_size=200))
def test_wait_that_a_collector_asks_for_is_never_more_than_an_hour(header: str, body: bytes) -> None:
    """A number that somebody made up must not silence a machine for a year."""
    assert 0 <= answers.retry_after(header, body) <= answers.MAX_RETRY_AFTER_SECONDS


@given(st.binary(max_size=200), st.sampled_from([b"", b'{"errors":[{"index":', b'{"errors":[{"index":3,"message":']))
def test_rejected_events_of_any_body_are_indices(body: bytes, begin: bytes) -> None:
    """A 207 of nonsense is a yes, and no error of ours."""
    for index, message in answers.rejected(begin + body):
        assert 0 <= index < 100_000
        assert len(message) <= 200

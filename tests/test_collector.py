"""`monitor-auto collect`: what it takes, what it answers, what it keeps, and who may ask."""

import gzip
import itertools
import json
import os
import signal
import socket
import stat
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.children import Children
from support.commands import command
from support.local_collector import REQUIREMENTS, LocalCollector, event, new_id, running_local_collector
from support.needs import miss
from support.network import free_port
from support.sandbox import Sandbox


@pytest.fixture(scope="session")
def local(sandbox_for: Callable[..., Sandbox]) -> Sandbox:
    """An environment with the extra `local`."""
    import sys

    return sandbox_for(sys.executable, *REQUIREMENTS)


@pytest.fixture
def started(local: Sandbox, tmp_path: Path) -> Iterator[LocalCollector]:
    """A collector of this test's own."""
    with running_local_collector(local, tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def shared(local: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCollector]:
    """A collector for tests that look only at their own answers."""
    with running_local_collector(local, tmp_path_factory.mktemp("shared")) as running:
        yield running


def test_a_monitored_program_arrives_whole(local: Sandbox, children: Children, started: LocalCollector) -> None:
    """The collector is there to be sent to: a program's start, error and end, and its child's, make one run."""
    script = """
        import subprocess, sys
        subprocess.run([sys.executable, "-c", "pass"])
        raise ValueError("this is 42")
    """
    assert children.run(script, endpoint=started.endpoint).status == 1
    names = [one["name"] for one in started.events()]
    assert names.count("session.start") == names.count("session.end") == 2
    (run,) = started.json("/v1/runs")["runs"]
    assert run["sessions"] == 2 and run["errors"] == 1 and run["outcome"] == "failed"
    (error,) = started.json("/v1/errors")["errors"]
    assert error["name"] == "error.ValueError" and error["message"] == "this is 42" and error["count"] == 1


def test_a_collector_whose_own_environment_is_monitored_records_nothing_of_itself(
    local: Sandbox, tmp_path: Path, children: Children
) -> None:
    """It is a program like any other, started where the monitor is on: each delivery would make it deliver again."""
    port, spool = free_port(), tmp_path / "own spool"
    endpoint = f"http://127.0.0.1:{port}/v1/events"
    settings = {"MONITOR_ENDPOINT": endpoint, "MONITOR_SPOOL_DIR": str(spool), "MONITOR_FLUSH_INTERVAL": "1"}
    with running_local_collector(local, tmp_path, port=port, **settings) as collector:
        for _ in range(2):
            children.run("import logging; logging.error('x')", python=local, endpoint=endpoint)
        assert {event["source"]["app"] for event in collector.events()} == {"script.py"}
        assert collector.end() == 0
    assert not list(spool.glob("*.jsonl"))


def test_one_event_an_array_and_a_batch_are_taken(started: LocalCollector) -> None:
    """curl sends one event, a script an array, the monitor a batch."""
    for body in (event("a.one"), [event("a.two")], {"batch_id": new_id(), "events": [event("a.three")]}):
        answer = started.post(body)
        assert answer.status_code == 200
        assert answer.json() == {"accepted": 1, "rejected": 0, "errors": []}
    assert [one["name"] for one in started.events()] == ["a.three", "a.two", "a.one"]


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress], ids=["gzip", "zlib"])
def test_compressed_bodies_are_taken(shared: LocalCollector, pack: Callable[[bytes], bytes]) -> None:
    """The monitor compresses what it sends."""
    encoding = "gzip" if pack is gzip.compress else "deflate"
    body = pack(json.dumps([event("packed." + encoding)]).encode())
    answer = shared.client.post(shared.endpoint, content=body, headers={"Content-Encoding": encoding})
    assert answer.status_code == 200, answer.text
    assert len(shared.events(name="packed." + encoding)) == 1


FAULTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "version": ({"v": 2}, ["v"]),
    "true for 1": ({"v": True}, ["v"]),
    "type": ({"type": "trace"}, ["type"]),
    "type unhashable": ({"type": ["event"]}, ["type"]),
    "no name": ({"name": None}, ["name"]),
    "name with a newline": ({"name": "a\nb"}, ["name"]),
    "long name": ({"name": "a" * 300}, ["name"]),
    "no offset": ({"timestamp": "2026-11-23T18:16:00.123"}, ["timestamp"]),
    "no such day": ({"timestamp": "2026-02-30T18:16:00Z"}, ["timestamp"]),
    "no source": ({"source": None}, ["source.sdk", "source.platform"]),
    "source a text": ({"source": "python"}, ["source.sdk", "source.platform"]),
    "id a number": ({"event_id": 5}, ["event_id"]),
    "session without id": ({"session": {}}, ["session"]),
    "data a list": ({"data": [1]}, ["data"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_event_is_named_and_the_others_are_kept(shared: LocalCollector, fault: str) -> None:
    """One bad event must not cost the batch, and its sender has to learn what was wrong."""
    changed, fields = FAULTS[fault]
    session = new_id()
    bad = {key: value for key, value in {**event(), **changed}.items() if value is not None}
    answer = shared.post([event(session=session, number=1), bad, event(session=session, number=2)])
    assert answer.status_code == 207
    told = answer.json()
    assert told["accepted"] == 2 and told["rejected"] == 1
    (error,) = told["errors"]
    assert error["index"] == 1 and error["fields"] == fields and error["message"]
    assert len(shared.events(session=session)) == 2
    alone = shared.post(bad)
    assert alone.status_code == 400 and alone.json()["fields"] == fields


BODIES = {
    "no JSON": (b"{", 400),
    "a number": (b"1", 400),
    "a text": (b'"x"', 400),
    "events no array": (b'{"events": {}}', 400),
    "NaN": (b'[{"v": NaN}]', 400),
    "not UTF-8": (b'["\xff"]', 400),
    "a deep one": (b"[" * 100_000 + b"]" * 100_000, 400),
    "a huge number": (b"[" + b"9" * 10_000 + b"]", 400),
    "nothing": (b"", 400),
    "too many events": (b"[" + b",".join([b"{}"] * 10_001) + b"]", 413),
    "too large": (b" " * ((16 << 20) + 1), 413),
}


@pytest.mark.parametrize("body", BODIES)
def test_a_body_that_cannot_be_taken_says_why(shared: LocalCollector, body: str) -> None:
    """The sender's log shows the sentence; the collector goes on."""
    content, status = BODIES[body]
    answer = shared.client.post(shared.endpoint, content=content)
    assert answer.status_code == status and answer.json()["error"]
    assert shared.json("/health")["status"] == "ok"


def test_what_unpacks_to_more_than_is_allowed_is_refused(shared: LocalCollector) -> None:
    """A few kilobytes may hold gigabytes; they are not unpacked."""
    for content, encoding, status in (
        (gzip.compress(b" " * (64 << 20)), "gzip", 413),
        (gzip.compress(b"[]")[:-3], "gzip", 400),
        (b"not packed", "gzip", 400),
        (b"[]", "br", 415),
    ):
        answer = shared.client.post(shared.endpoint, content=content, headers={"Content-Encoding": encoding})
        assert answer.status_code == status, answer.text


def test_an_event_that_is_too_deep_is_refused_alone(shared: LocalCollector) -> None:
    """What no viewer can show is no reason to lose its neighbours."""
    deep: Any = {}
    for _ in range(70):
        deep = {"deeper": deep}
    answer = shared.post([event(data=deep), event()])
    assert answer.status_code == 207 and answer.json()["errors"][0]["index"] == 0


def test_a_repeat_is_stored_once(started: LocalCollector) -> None:
    """The monitor sends again what it has no answer for."""
    session = new_id()
    batch = [event(session=session, number=number) for number in range(5)]
    assert started.post([*batch, batch[0]]).json()["accepted"] == 6
    assert started.post([*batch, event(session=session, number=5)]).status_code == 200
    assert len(started.events()) == 6
    (run,) = started.json("/v1/runs")["runs"]
    assert run["events"] == 6
    assert "repeated_events_total 6" in started.get("/metrics").text


def test_events_are_found_by_every_filter(started: LocalCollector) -> None:
    """Whoever looks for one event among many needs to say what they know of it."""
    session, other = new_id(), new_id()
    started.post(
        [
            event("hook.run", session, 0, timestamp="2026-11-23T10:00:00+00:00"),
            event("hook.end", session, 1, timestamp="2026-11-23T12:00:00+02:00", type="metric"),
            event("Odd[x]?.name", other, 0, timestamp="2026-11-23T11:00:00Z", data={"text": "Nadel im Heu \u00fc"}),
        ]
    )

    def found(**asked: str) -> list[str]:
        return [one["name"] for one in started.events(**asked)]

    assert found(session=session) == ["hook.end", "hook.run"]
    assert found(name="hook.*") == ["hook.end", "hook.run"]
    assert found(name="*[x]?.*") == ["Odd[x]?.name"] and found(name="hook.r?n") == []
    assert found(type="metric") == ["hook.end"]
    assert found(q="NADEL") == found(q="heu \u00fc") == ["Odd[x]?.name"] and found(q="'; DROP TABLE events") == []
    assert found(**{"from": "2026-11-23T10:30:00Z"}) == ["Odd[x]?.name"]
    assert found(to="2026-11-23T18:30:00+08:00") == ["hook.end", "hook.run"]
    assert started.json("/v1/events", limit=2)["next_cursor"] is not None
    groups = started.json("/v1/events/summary", group_by="type")["groups"]
    assert {group["type"]: group["count"] for group in groups} == {"event": 2, "metric": 1}


@pytest.mark.parametrize(
    "asked", ["limit=0", "limit=x", "limit=99999", "cursor=x", "type=x", "from=yesterday", "cursor=-1"]
)
def test_a_question_that_cannot_be_asked_says_why(shared: LocalCollector, asked: str) -> None:
    """A typing error must not look like an empty answer."""
    answer = shared.get("/v1/events?" + asked)
    assert answer.status_code == 400 and answer.json()["fields"] == [asked.partition("=")[0]]


def test_a_tree_is_one_run_in_whatever_order_it_arrives(started: LocalCollector) -> None:
    """A child's events may be there before its parent's: the parent is still running."""
    top, middle, leaf = new_id(), new_id(), new_id()

    def start(session: str, parent: str | None) -> dict[str, Any]:
        made = event("session.start", session, 0, type="lifecycle", data={"program": session[:8], "pid": 7})
        made["session"]["parent"] = parent
        return made

    for session, parent in ((leaf, middle), (top, None), (middle, top)):
        assert started.post([start(session, parent)]).status_code == 200
    (run,) = started.json("/v1/runs")["runs"]
    assert run["root"] == top and run["sessions"] == 3 and run["program"] == top[:8]
    tree = started.json("/v1/runs/" + leaf)
    assert {one["id"]: one["parent"] for one in tree["sessions"]} == {top: None, middle: top, leaf: middle}


def test_sessions_that_are_their_own_ancestors_do_no_harm(started: LocalCollector) -> None:
    """Whoever can send can lie."""
    one, two = new_id(), new_id()
    for session, parent in ((one, two), (two, one), (one, one)):
        made = event("session.start", session, 0, type="lifecycle")
        made["session"]["parent"] = parent
        assert started.post([made]).status_code == 200
    assert sum(run["sessions"] for run in started.json("/v1/runs")["runs"]) == 2


def test_the_same_error_is_one_group(started: LocalCollector) -> None:
    """Ids, numbers and paths vary; the error does not. Another function is another error."""
    stack = 'Traceback (most recent call last):\n  File "~/app/{file}", line {line}, in {function}\nValueError: x\n'

    def error(message: str, line: int, function: str = "load") -> dict[str, Any]:
        text = stack.format(file="job.py", line=line, function=function)
        data = {"type": "ValueError", "message": message, "stack": text, "level": "error"}
        return event("error.ValueError", type="error", data=data)

    started.post([error("row 17 of '/tmp/a'", 10), error("row 99 of '/tmp/b'", 12), error("row 1 of 'x'", 9, "save")])
    counts = sorted(group["count"] for group in started.json("/v1/errors")["errors"])
    assert counts == [1, 2]


def test_of_a_test_that_was_run_again_the_last_result_counts(started: LocalCollector) -> None:
    """A flaky test that passed in the end failed nothing; nor did what a plugin's own tests let fail on purpose."""
    session = new_id()
    told: list[tuple[str, str, dict[str, Any]]] = [
        ("test_flaky", "failed", {}),
        ("test_flaky", "passed", {"attempt": 2}),
        ("test_broken", "failed", {}),
        ("test_broken", "failed", {"attempt": 2}),
        ("test_inner", "failed", {"within": "test_plugin"}),
        ("test_plugin", "passed", {}),
        ("test_better_than_thought", "xpassed", {}),
        ("test_stopped", "interrupted", {}),
    ]
    for number, (name, outcome, more) in enumerate(told):  # one by one: a run's results come in several batches
        data = {"library": "pytest", "nodeid": name, "outcome": outcome, "duration_ms": 5.0 + number, **more}
        assert started.post([event("test.result", session, number, data=data)]).status_code == 200
    (run,) = started.json("/v1/runs")["runs"]
    assert run["tests"] == 5 and run["failed_tests"] == 2
    tests = started.json("/v1/tests")
    failed = [(one["data"]["nodeid"], one["data"].get("attempt")) for one in tests["failed"]]
    assert failed == [("test_stopped", None), ("test_broken", 2)]
    assert [one["data"]["nodeid"] for one in tests["slow"]] == [
        *("test_stopped", "test_better_than_thought", "test_plugin", "test_broken", "test_flaky"),
    ]
    assert len(started.json("/v1/tests", q="flaky")["slow"]) == 1


def test_a_sender_with_a_wrong_clock_is_flagged(started: LocalCollector) -> None:
    """Times of two machines are compared on the page; who is off by an hour must be seen to be."""
    hour = 3_600_000
    late = f"{(int(new_id()[:8] + new_id()[9:13], 16) - hour):012x}"
    batch = f"{late[:8]}-{late[8:]}-7000-8000-000000000000"
    started.post({"batch_id": batch, "events": [event("clock.wrong")]})
    started.post({"batch_id": new_id(), "events": [event("clock.right")]})
    right, wrong = started.events()
    assert "clock_drift_ms" not in right and abs(wrong["clock_drift_ms"] + hour) < 60_000
    assert wrong["received_at"].endswith("Z")


def test_what_was_answered_survives_a_kill(local: Sandbox, tmp_path: Path) -> None:
    """A batch is answered when it is committed, and not before."""
    answered: list[str] = []
    with running_local_collector(local, tmp_path) as running:

        def load(session: str) -> None:
            for number in range(0, 100_000, 50):
                batch = [event(session=session, number=number + index) for index in range(50)]
                try:
                    if running.post({"batch_id": new_id(), "events": batch}).status_code != 200:
                        return
                except Exception:  # killed meanwhile: httpx and httpcore have many names for it
                    return
                answered.extend(one["event_id"] for one in batch)
                if len(answered) > 3000:
                    running.process.kill()

        threads = [threading.Thread(target=load, args=(new_id(),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert running.process.wait(60) == -signal.SIGKILL
    with running_local_collector(local, tmp_path) as again:
        stored = {one["event_id"] for one in again.events()}
        assert len(answered) > 3000 and set(answered) <= stored
        assert sum(run["events"] for run in again.json("/v1/runs")["runs"]) == len(stored)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_it_is_told_to(local: Sandbox, tmp_path: Path, number: int) -> None:
    """A service manager, or Ctrl-C, ends it with 0, also while a page is open."""
    with running_local_collector(local, tmp_path) as running:
        with running.client.stream("GET", running.base + "/v1/stream") as stream:
            assert next(stream.iter_lines()) == "retry: 2000"
            running.process.send_signal(number)
            assert running.process.wait(60) == 0


def test_an_answer_leaves_in_one_go() -> None:
    """asyncio switches off the waiting for acknowledgements where a socket says that it is TCP; else each answer waits
    40 ms for its second half.
    """
    from monitor_auto.collector import serving

    with serving.listen("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP


def test_a_number_that_is_infinite_is_refused(shared: LocalCollector) -> None:
    """1e999 is JSON; what is read of it is no number, and would be answered as something that is no JSON."""
    text = json.dumps([event("too.much", data={"number": 17.5})]).replace("17.5", "1e999")
    answer = shared.client.post(shared.endpoint, content=text)
    assert answer.status_code == 400 and "1e999" in answer.json()["error"]
    assert shared.events(name="too.much") == []


DAMAGED = [
    "[{}[{}]",
    "[{},]",
    "[,{}]",
    "[{}",
    "[{}]]",
    "[{}}",
    '{"batch_id":"x","events":[{}]',
    '{"batch_id":"x","events":[{}]]',
]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_array_is_refused_as_a_whole(shared: LocalCollector, text: str) -> None:
    """Arrays are read piece by piece; what is between the pieces counts as well."""
    full = text.replace("{}", json.dumps(event("half.sent"), separators=(",", ":")))
    answer = shared.client.post(shared.endpoint, content=full)
    assert answer.status_code == 400 and "not JSON" in answer.json()["error"]
    assert shared.events(name="half.sent") == []


def test_an_event_is_told_as_it_was_sent(started: LocalCollector) -> None:
    """Compact or with spaces, in ASCII or not, with half a surrogate pair: what comes out is what went in."""
    texts = ["plain", "Grüße, 世界", "\ud800", "a \u0000 b", '"quoted" \\ back']
    for number, (text, ascii_only) in enumerate(itertools.product(texts, (True, False))):
        if not ascii_only and text == "\ud800":
            continue  # has no other form
        for separators in ((",", ":"), (", ", ": ")):
            sent = event("as.sent", new_id(), number, data={"text": text, "big": 2**70, "small": 1e-300})
            body = json.dumps({"batch_id": new_id(), "events": [sent]}, ensure_ascii=ascii_only, separators=separators)
            assert started.client.post(started.endpoint, content=body.encode()).status_code == 200
            (told,) = started.events(session=sent["session"]["id"])
            assert {key: told[key] for key in sent} == sent
    found = started.events(q="grüße")
    assert len(found) == 4


def test_the_page_is_told_what_comes(started: LocalCollector) -> None:
    """The page is live."""
    session = new_id()
    with started.client.stream("GET", started.base + "/v1/stream") as stream:
        lines = stream.iter_lines()
        assert next(lines) == "retry: 2000"
        posted = threading.Thread(target=started.post, args=([event("live.event", session, 4)],))
        posted.start()
        told = json.loads(next(line for line in lines if line.startswith("data: ")).removeprefix("data: "))
        posted.join()
    assert told["roots"] == [session] and told["events"][0]["name"] == "live.event" and told["count"] == 1


@pytest.mark.slow
def test_old_events_go(local: Sandbox, tmp_path: Path) -> None:
    """A database that only grows fills the disk."""
    with running_local_collector(local, tmp_path, "--keep", "1s") as running:
        session = new_id()
        running.post([event("error.Old", session, number, type="error") for number in range(3000)])
        with running.client.stream("GET", running.base + "/v1/stream") as stream:
            # The writer looks every five seconds; its silence is filled with comments every fifteen.
            for line in stream.iter_lines():
                if line == ": alive":
                    break
        assert running.json("/health")["total_events"] == 0
        assert running.json("/v1/runs")["runs"] == running.json("/v1/errors")["errors"] == []
        assert "pruned_events_total 3000" in running.get("/metrics").text


HOSTILE = {
    "a name of somebody else's": {"Host": "evil.example"},
    "rebound with our port": {"Host": "evil.example:9090"},
    "another site": {"Origin": "https://evil.example"},
    "a file": {"Origin": "null"},
    "another port": {"Origin": "http://127.0.0.1:1"},
    "without an origin": {"Sec-Fetch-Site": "cross-site"},
    "a neighbour": {"Sec-Fetch-Site": "same-site"},
}


@pytest.mark.parametrize("headers", HOSTILE)
def test_no_other_web_page_reads_or_writes(shared: LocalCollector, headers: str) -> None:
    """Any page in the user's browser can send requests to this machine."""
    before = shared.json("/health")["total_events"]
    for path in ("/v1/events", "/v1/runs", "/v1/stream", "/metrics", "/health", "/"):
        assert shared.get(path, headers=HOSTILE[headers]).status_code == 403
    assert shared.post([event()], headers=HOSTILE[headers]).status_code == 403
    assert shared.json("/health")["total_events"] == before


def test_its_own_page_reads_and_writes(shared: LocalCollector) -> None:
    """The check for others must not shut out the page itself."""
    for host in (
        shared.base.removeprefix("http://"),
        shared.base.removeprefix("http://").replace("127.0.0.1", "localhost"),
    ):
        own = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        assert shared.get("/v1/runs", headers=own).status_code == 200
        assert shared.post([event()], headers=own).status_code == 200
    answer = shared.get("/")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_with_a_token_nothing_is_told_without_it(local: Sandbox, tmp_path: Path, children: Children) -> None:
    """Other machines may send; who reads and writes has to know the token."""
    with running_local_collector(local, tmp_path, MONITOR_COLLECT_TOKEN="hush-hush") as running:
        assert running.get("/").status_code == running.get("/health").status_code == 200
        for wrong in ({}, {"Authorization": "Bearer hush"}, {"Authorization": "Basic hush-hush"}):
            assert running.post([event()], headers=wrong).status_code == 401
            for path in ("/v1/events", "/v1/runs", "/metrics", "/v1/stream"):
                assert running.get(path, headers=wrong).status_code == 401
        right = {"Authorization": "Bearer hush-hush"}
        children.run("print(1)", endpoint=running.endpoint, env={"MONITOR_TOKEN": "hush-hush"})
        assert len(running.get("/v1/events", headers=right).json()["events"]) == 2
        assert running.end() == 0


def test_the_database_is_the_users_alone(started: LocalCollector) -> None:
    """Events hold paths, names and messages."""
    started.post([event()])
    files = list(started.database.parent.iterdir())
    assert len(files) >= 2  # the write-ahead log too
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(started.database.parent.stat().st_mode) == 0o700


def test_wrong_calls_say_what_to_do(local: Sandbox, children: Children, tmp_path: Path) -> None:
    """Each ends at once with a sentence that names the way out."""
    how: dict[str, Any] = {"python": local, "env": {"MONITOR_ENDPOINT": None}}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = command(children, "collect", "--port", str(taken.getsockname()[1]), **how)
    assert done.status == 1 and b"--port" in done.stderr
    done = command(children, "collect", "--host", "0.0.0.0", "--port", "0", **how)
    assert done.status == 2 and b"MONITOR_COLLECT_TOKEN" in done.stderr
    (tmp_path / "other").write_text("not a database, but something of somebody's\n" * 100)
    done = command(children, "collect", "--port", "0", "--database", str(tmp_path / "other"), **how)
    assert done.status == 1 and b"not a database" in done.stderr
    done = command(children, "collect", "--port", "0", "--database", "/proc/none/x", **how)
    assert done.status == 1 and b"--database" in done.stderr
    for words in (["--port", "99999"], ["--keep", "soon"], ["--size", "big"]):
        assert command(children, "collect", *words, **how).status == 2


def test_without_the_extra_it_says_how_to_get_it(children: Children) -> None:
    """The base install stays small; who wants a collector is told what to install."""
    done = command(children, "collect", env={"MONITOR_ENDPOINT": None})
    assert done.status == 1 and b"pip install 'monitor-auto[local]'" in done.stderr


def test_a_full_disk_is_told_and_survived(local: Sandbox, tmp_path: Path) -> None:
    """What cannot be stored is not answered with success, and the collector goes on when there is room again."""
    if os.geteuid() != 0:
        miss("only root may mount a small file system")
    import subprocess

    small = tmp_path / "collector"
    small.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "none", str(small)], check=True)
    try:
        with running_local_collector(local, tmp_path) as running:
            session, statuses = new_id(), []
            for number in range(0, 3000, 100):
                batch = [event(session=session, number=number + index, data={"x": "y" * 500}) for index in range(100)]
                statuses.append(running.post(batch).status_code)
            assert statuses[0] == 200 and statuses[-1] == 503
            kept = 100 * statuses.count(200)
            assert len(running.events()) == kept
            subprocess.run(["mount", "-o", "remount,size=32m", str(small)], check=True)
            assert running.post([event(session=session, number=5000)]).status_code == 200
            assert len(running.events()) == kept + 1
            assert running.end() == 0
    finally:
        subprocess.run(["umount", str(small)], check=True)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None)
@given(body=json_values, changed=st.dictionaries(st.sampled_from([*event("x.y"), "session", "event_id"]), json_values))
def test_no_json_breaks_it(shared: LocalCollector, body: Any, changed: dict[str, Any]) -> None:
    """Whatever is posted is answered by the table of answers, and the next question is answered as well."""
    for value in (body, [body], {"events": [body]}, {**event(), **changed}, [{**event(), **changed}, event()]):
        answer = shared.client.post(shared.endpoint, content=json.dumps(value).encode())
        assert answer.status_code in (200, 207, 400), answer.text
    assert shared.get("/v1/events?limit=3").status_code == 200
    assert shared.get("/v1/runs?limit=3").status_code == shared.get("/v1/errors?limit=3").status_code == 200

"""The model and its forms: any events make a tree, and nothing in them breaks the page, the terminal or Markdown."""

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from monitor_auto.report import facts, html, lines, markdown, text, trace, tree

START = 1_795_457_760_000.0
HOSTILE = "<script>alert(1)</script>\x1b[2J\r\n\u202e`|*_[x](javascript:alert(1))\"'&\ud800 \U0001f600"


def event(name: str, session: str, at: float = 0, **data: Any) -> dict[str, Any]:
    """Return an event of a session, `at` ms after the start; `parent` and `kind` are taken out of the data."""
    seconds, thousandths = divmod(int(START + at), 1000)
    parent, kind = data.pop("parent", None), data.pop("kind", "lifecycle")
    return {
        "v": 1,
        "type": kind,
        "name": name,
        "timestamp": f"{iso(seconds)}.{thousandths:03d}+00:00",
        "source": {"sdk": "python", "app": "demo", "platform": "linux"},
        "session": {"id": session, "started": f"{iso(seconds)}.{thousandths:03d}+00:00", "parent": parent},
        "data": data,
    }


def iso(seconds: int) -> str:
    """Return Unix seconds as ISO 8601."""
    import time

    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def job() -> list[dict[str, Any]]:
    """Return the events of a job: a script that starts a shell, which starts Python, and a worker that is killed."""
    start = {"program": "job.py", "argv": ["/usr/bin/python3", "job.py", "--fast"], "pid": 10, "ppid": 1}
    return [
        event("session.start", "job", 0, **start),
        event("process.start", "job", 10, child=1, pid=20, argv=["sh", "-c", "[code]"], method="subprocess"),
        event("session.start", "inner", 20, parent="job", program="x.py", argv=["python", "x.py"], pid=21, ppid=20),
        event("session.end", "inner", 30, parent="job", duration_ms=10.0, reason="return"),
        event("process.exit", "job", 40, child=1, pid=20, exit_code=3, duration_ms=30.0),
        event("process.start", "job", 50, child=2, pid=30, argv=["python", "worker.py"], method="subprocess"),
        event("session.start", "worker", 55, parent="job", program="worker.py", argv=["python", "worker.py"], pid=30),
        event("process.exit", "job", 90, child=2, pid=30, signal="SIGKILL", duration_ms=40.0),
        event("session.lost", "worker", 91, parent="job", signal=None, last_event="hook.run"),
        event(
            "error.KeyError", "job", 95, kind="error", type="KeyError", message="'x'", level="fatal",
            location="job.py:3:f", stack='Traceback\n  File "job.py", line 3, in f\nKeyError: \'x\'',
        ),
        event("session.end", "job", 100, duration_ms=100.0, exit_code=1, reason="exception"),
    ]  # fmt: skip


def shape(process: tree.Process) -> Any:
    """Return a process and what is below it as (label, result, [...])."""
    return process.label, process.result, [shape(child) for child in process.children]


def test_sessions_and_children_are_joined() -> None:
    """The shell is known from its parent alone, the worker from both sides, the inner one by the shell's pid."""
    (run,) = tree.build(job())
    inner = ("python x.py", "return", [])
    shell, worker = ("sh -c [code]", "exit 3", [inner]), ("python worker.py", "SIGKILL", [])
    assert [shape(root) for root in run.roots] == [("python3 job.py --fast", "exit 1", [shell, worker])]
    assert run.outcome == "failed" and [process.label for process in run.gone] == ["python worker.py"]
    assert run.errors[0].last.location == "job.py:3:f"
    assert run.started_ms == START and run.ended_ms == START + 100


def test_worker_of_a_pool_has_its_name() -> None:
    """Eight processes of the same command line are told apart by what the pool calls them."""
    start = {"argv": ["python", "job.py"], "pid": 10, "program": "job.py"}
    worker = event("session.start", "worker", 6, parent="job", start_method="fork", **{**start, "pid": 11})
    told = event("process.start", "job", 5, child=1, pid=11, method="multiprocessing.fork", worker="ForkPoolWorker-1")
    (run,) = tree.build([event("session.start", "job", 0, **start), worker, told])
    assert [process.label for process in run.processes] == ["python job.py", "python job.py [ForkPoolWorker-1]"]


@settings(max_examples=25, deadline=None)
@given(st.permutations(job()), st.integers(0, 10))
def test_neither_order_nor_repeats_matter(events: list[dict[str, Any]], again: int) -> None:
    """Segments of many processes are read one after the other, and a batch may have come twice."""
    numbered = [{**event, "event_id": json.dumps(event)} for event in [*events, events[again]]]
    (run,) = tree.build(numbered)
    (expected,) = tree.build(job())
    assert [shape(root) for root in run.roots] == [shape(root) for root in expected.roots]
    assert run.event_count == expected.event_count


ids = st.sampled_from(["a", "b", "c", "d", HOSTILE])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(HOSTILE),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
NAMES = (
    "session.start",
    "session.end",
    "session.lost",
    "session.resume",
    "process.start",
    "process.exit",
    "test.result",
)
DATA = (
    *("pid", "ppid", "child", "argv", "program", "duration_ms", "exit_code", "signal", "message", "stack", "location"),
    *("nodeid", "outcome", "level", "type", "method", "host", "status", "error", "value", "reason", "last_event"),
)
small = st.integers(0, 4) | values
events = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["event", "error", "metric", "lifecycle"]) | values,
        "name": st.sampled_from([*NAMES, "error.X", "http.client.request", "sdk.events.dropped", HOSTILE]),
        "timestamp": st.sampled_from(["2026-11-23T10:00:00.000+00:00", "2026-11-23T10:00:01.000Z", "", HOSTILE])
        | values,
        "session": st.fixed_dictionaries(
            {"id": ids, "parent": ids | values, "started": st.just("2026-11-23T10:00:00Z")}
        )
        | values,
        "data": st.dictionaries(st.sampled_from(DATA), small, max_size=6) | values,
        "source": st.fixed_dictionaries({"app": values}) | values,
    }
)


class Collected(HTMLParser):
    """Collects the tags and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.shown = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}

    def handle_data(self, data: str) -> None:
        self.shown += data


OWN_TAGS = {
    *("html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "code", "span", "p", "main", "section"),
    *("table", "thead", "tbody", "tr", "th", "td", "details", "summary", "strong", "pre", "footer"),
}
OWN_ATTRIBUTES = {
    *("lang", "charset", "name", "content", "http-equiv", "class", "style", "title", "id", "aria-labelledby", "open"),
    "tabindex",
}


@settings(max_examples=70, deadline=None)
@given(st.lists(events, max_size=12))
def test_any_events_make_a_report(given_events: list[Any]) -> None:
    """Whoever can record can write anything; what shows it must hold, and show no more than text."""
    runs = tree.build(given_events)
    sessions = {e["session"]["id"] for e in given_events if isinstance(e["session"], dict) and "id" in e["session"]}
    sessions = {session for session in sessions if isinstance(session, str)}
    found = [process.session for run in runs for process in run.processes if process.session is not None]
    assert sorted(found) == sorted(sessions)  # each once
    for run in runs:
        shown = text.report(run, text.Paper(60))
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", shown)
        assert max(map(facts.width, shown.splitlines())) <= 60
        page = Collected()
        page.feed(html.document(run))
        assert page.tags <= OWN_TAGS and page.attributes <= OWN_ATTRIBUTES
        markdown.document(run)
        json.dumps(trace.document(run), allow_nan=False)
        assert all(json.loads(line) for line in lines.lines(run))
    text.listing(runs, text.Paper(60))


def results() -> list[dict[str, Any]]:
    """Return the results of tests of one session: one run three times, one twice in vain, one within another."""

    def result(at: float, name: str, outcome: str, **data: Any) -> dict[str, Any]:
        known = {"library": "pytest", "nodeid": name, "outcome": outcome, "duration_ms": 5.0}
        return event("test.result", "job", at, kind="event", **known, **data)

    return [
        event("session.start", "job", 0, program="pytest", pid=10),
        result(10, "test_a.py::test_flaky", "failed"),
        result(20, "test_a.py::test_flaky", "failed", attempt=2),
        result(30, "test_a.py::test_flaky", "passed", attempt=3),
        result(40, "test_a.py::test_broken", "failed"),
        result(50, "test_a.py::test_broken", "failed", attempt=2),
        result(60, "test_inner.py::test_fails", "failed", within="test_a.py::test_plugin"),
        result(70, "test_a.py::test_plugin", "passed"),
        result(80, "test_a.py::test_better_than_thought", "xpassed"),
    ]


@given(st.permutations(results()))
def test_of_a_test_that_was_run_again_the_last_result_counts(events: list[dict[str, Any]]) -> None:
    """A flaky test that passed in the end failed nothing, nor did what a plugin lets fail on purpose."""
    (run,) = tree.build(events)
    assert len(run.tests) == 4 and run.calls == []
    assert [(test.name, test.attempt) for test in run.failed_tests] == [("test_a.py::test_broken", 2)]
    assert [(test.name, test.attempt) for test in run.flaky] == [("test_a.py::test_flaky", 3)]
    shown = text.report(run, text.Paper(100))
    assert "1 failed test" in shown and "1 only when run again" in shown and "passed at attempt 3" in shown
    assert "test_inner" not in shown and "test_inner" not in html.document(run) + markdown.document(run)


def test_markdown_shows_texts_as_texts() -> None:
    """A job's summary is a page of the CI system's own, with the user's login."""
    failing = event("test.result", "job", 50, kind="event", nodeid=HOSTILE, outcome="failed", message=HOSTILE)
    error = event("error.X", "job", 60, kind="error", type="X", message=HOSTILE, stack=HOSTILE + "\n```\n<b>")
    (run,) = tree.build([*job(), failing, error])
    page = Collected()
    page.feed(MarkdownIt("commonmark").enable("table").render(markdown.document(run)))
    assert page.tags == {
        "h3",
        "h4",
        "p",
        "code",
        "pre",
        "details",
        "summary",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }
    assert page.attributes <= {"class", "open", "style"}
    assert page.shown.count("<script>alert(1)</script>") >= 4, "all of it is there to be read"


def test_a_trace_has_every_process_and_error() -> None:
    """Perfetto shows what is in the file and says nothing of what is not."""
    (run,) = tree.build(job())
    made = trace.document(run)["traceEvents"]
    spans = [one for one in made if one["ph"] == "X"]
    assert [one["name"] for one in spans] == [
        "python3 job.py --fast",
        "sh -c [code]",
        "python x.py",
        "python worker.py",
    ]
    assert spans[0]["ts"] == 0 and spans[0]["dur"] == 100_000
    (error,) = [one for one in made if one["ph"] == "i"]
    assert error["name"] == "error.KeyError" and error["ts"] == 95_000


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.25, "0.2 ms"),
        (999, "999 ms"),
        (1500, "1.50 s"),
        (59_000, "59.0 s"),
        (61_000, "1 min 01 s"),
        (3_660_000, "1 h 01 min"),
    ],
)
def test_durations_are_for_people(value: float, expected: str) -> None:
    """1500 ms are one and a half seconds."""
    assert facts.duration_text(value) == expected


def test_deep_trees_take_no_deep_stack() -> None:
    """Ten thousand processes that each start one are no reason to fail."""
    chain = [
        event("session.start", f"s{n}", n, parent=f"s{n - 1}" if n else None, program="x", pid=n) for n in range(3000)
    ]
    (run,) = tree.build(chain)
    assert len(run.processes) == 3000
    assert "more processes" in text.report(run, text.Paper(80))
    assert len(html.document(run)) > 100_000

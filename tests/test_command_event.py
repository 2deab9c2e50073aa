"""`monitor-auto event`: what a shell script says, as types, below its caller, and without ever failing the script."""

import json
import subprocess
from typing import Any

import pytest

from support.children import Children, Run
from support.collector import Collector
from support.commands import WORDS, command, facts

SCRIPT = """
    import subprocess, sys
    subprocess.run(["sh", "-c", '"$0" -m monitor_auto event backup.done files=3', sys.executable], check=True)
"""


def recorded(run: Run) -> dict[str, Any]:
    """Return the one event of the spool that is no lifecycle event."""
    (event,) = [event for event in run.events if event["type"] != "lifecycle"]
    return event


def test_event_is_a_session_of_its_own_and_says_nothing(children: Children) -> None:
    """A shell script is a program, too; its events must look like everybody's."""
    done = command(children, "event", "backup.done", "files=120")
    assert (done.status, done.stdout, done.stderr) == (0, b"", b"")
    assert done.names == ["session.start", "backup.done", "session.end"]
    start, event, _ = done.events
    assert start["data"]["program"] == "monitor-auto event"
    assert event["source"]["app"] == "monitor-auto event"
    assert (event["type"], event["data"]) == ("event", {"files": 120})
    assert event["session"]["id"] == start["session"]["id"]


def test_installed_script_records_like_the_module(children: Children) -> None:
    """Scripts call the command by its name."""
    done = children.run(["monitor-auto", "event", "backup.done"])
    assert (done.status, done.names) == (0, ["session.start", "backup.done", "session.end"])
    assert done.events[0]["data"]["program"] == "monitor-auto event"


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("k=1", 1),
        ("k=-7", -7),
        ("k=0", 0),
        ("k=1.5", 1.5),
        ("k=-2.5e3", -2500.0),
        ("k=true", True),
        ("k=false", False),
        ("k=null", None),
        ("k=text", "text"),
        ("k=", ""),
        ("k=007", "007"),
        ("k=12e45", "12e45"),
        ("k=1.2.3", "1.2.3"),
        ("k=1.0e999", "1.0e999"),
        ("k=nan", "nan"),
        ("k=True", "True"),
        ("k=a=b", "a=b"),
        ("k==1.10", "1.10"),
        ("k==true", "true"),
        ("k==", ""),
        ('k:=["a", {"b": null}]', ["a", {"b": None}]),
        ('k:="1"', "1"),
        ("k=größer 🙂", "größer 🙂"),
        ("k=two\nlines", "two\nlines"),
    ],
)
def test_value_has_the_type_that_it_looks_like(children: Children, word: str, value: Any) -> None:
    """A dashboard cannot add up texts, and a version 1.10 is not the number 1.1."""
    data = recorded(command(children, "event", "a.b", word))["data"]
    assert data == {"k": value}
    assert type(data["k"]) is type(value)


def test_number_of_any_length_is_taken(children: Children) -> None:
    """int() refuses more than 4,300 digits; a script must not fail for that."""
    assert recorded(command(children, "event", "a.b", "k=" + "1" * 5000))["data"] == {"k": "1" * 5000}


def test_data_and_pairs_come_together_in_any_order(children: Children) -> None:
    """People add an option at the end of a line that works."""
    words = ["--data", '{"a": 1, "b": [2]}', "b=3", "--strict", "c=4", "--type", "event", "d=5"]
    assert recorded(command(children, "event", "a.b", *words))["data"] == {"a": 1, "b": 3, "c": 4, "d": 5}


def test_metric_and_error_have_their_shape(children: Children) -> None:
    """Collectors treat them differently, so they must carry what those of programs carry."""
    metric = recorded(command(children, "event", "backup.size", "--type", "metric", "value=10.5", "unit=GiB"))
    assert (metric["type"], metric["data"]) == ("metric", {"value": 10.5, "unit": "GiB"})
    done = command(children, "event", "backup.failed", "--type", "error", "message=disk full")
    error = done.named("backup.failed")[0]
    assert error["type"] == "error"
    assert error["data"] == {"message": "disk full", "source": "manual", "level": "error"}


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("files=3",),
        ("a.b", "files"),
        ("a.b", "=3"),
        ("a.b", ":=3"),
        ("a.b", "k:={"),
        ("a.b", "k:=" + "[" * 100_000),
        ("a.b", "--data", "[1]"),
        ("a.b", "--data", "{"),
        ("a.b", "--type", "metric"),
        ("a.b", "--type", "metric", "value=text"),
        ("a.b", "--type", "metric", "value=true"),
        ("a.b", "--type", "lifecycle"),
        ("a.b", "--unknown"),
        ("--stdin", "a.b"),
        ("-", "k=1"),
    ],
)
def test_wrong_call_says_so_and_records_nothing(children: Children, words: tuple[str, ...]) -> None:
    """Half of an event would be worse than none, and a traceback no help."""
    done = command(children, "event", *words)
    assert (done.status, done.stdout, done.events) == (2, b"", [])
    assert b"monitor-auto" in done.stderr
    assert b"Traceback" not in done.stderr


def test_lines_of_standard_input_are_events(children: Children) -> None:
    """One process for a thousand rows; one bad row must not cost the others."""
    lines = [
        b'{"name": "row.read", "data": {"row": 1}}',
        b"",
        b'{"name": "row.size", "type": "metric", "data": {"value": 3}}',
        b"no json",
        b'{"data": {}}',
        b'["row.read"]',
        b'{"name": "x", "type": "lifecycle"}',
        b'{"name": "\xff"}',
        b'{"name": "row.last"}',
    ]
    done = command(children, "event", "--stdin", stdin=b"\n".join(lines))
    assert done.status == 2
    assert done.names == ["session.start", "row.read", "row.size", "row.last", "session.end"]
    assert [event["type"] for event in done.events[1:4]] == ["event", "metric", "event"]
    assert [line for line in (4, 5, 6, 7, 8) if b"monitor-auto: line %d: " % line in done.stderr] == [4, 5, 6, 7, 8]


def test_events_of_a_pipe_are_on_disk_before_it_ends(children: Children) -> None:
    """A pipeline may run for hours; what it said must survive if it is killed."""
    child = children.start([*WORDS, "event", "-", "--json"], stdin=subprocess.PIPE)
    assert child.process.stdin is not None
    child.process.stdin.write(b'{"name": "row.one"}\n{"name": "row.two"}\n')
    done = child.finish(b'{"name": "row.three"}\n')
    ids = json.loads(done.stdout)["recorded"]
    assert ids == [event["event_id"] for event in done.events if event["name"].startswith("row.")]
    assert len(ids) == 3


def test_event_hangs_below_the_program_that_called_the_script(children: Children, collector: Collector) -> None:
    """Which run of the nightly job the backup belonged to is the question afterwards."""
    children.twin(SCRIPT, endpoint=collector.url)
    starts = {
        event["data"]["program"]: event["session"] for event in collector.unique() if event["name"][:9] == "session.s"
    }
    (event,) = [event for event in collector.unique() if event["name"] == "backup.done"]
    assert event["data"] == {"files": 3}
    assert event["session"]["parent"] == starts["script.py"]["id"]
    assert event["session"]["trace_id"] == starts["script.py"]["trace_id"]
    assert len(collector.batches) == 1, "the program that lives delivers for the command"


def test_event_without_a_caller_is_delivered_at_once(children: Children, collector: Collector) -> None:
    """Cron calls shell scripts; nobody comes after them to deliver."""
    done = command(children, "event", "backup.done", endpoint=collector.url)
    assert (done.status, done.events) == (0, [])
    assert collector.names() == ["session.start", "backup.done", "session.end"]


def test_script_does_not_fail_because_the_collector_is_away(children: Children, collector: Collector) -> None:
    """Monitoring that breaks the backup is removed."""
    collector.go_away()
    done = command(children, "event", "backup.done", "--strict", endpoint=collector.url)
    assert (done.status, done.stdout, done.stderr) == (0, b"", b"")
    assert "backup.done" in done.names


@pytest.mark.parametrize("closing", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_script_without_standard_streams_does_not_fail(children: Children, closing: str) -> None:
    """A daemon's script has closed them, and its `set -e` must not end it here."""
    python = children.sandbox.python
    shell = f"{python} -m monitor_auto event backup.done {closing}; echo $?; {python} -m monitor_auto event {closing}"
    done = children.run(["sh", "-c", shell])
    assert (done.status, done.stdout) == (2, b"0\n")
    assert b"Traceback" not in done.stderr
    assert "backup.done" in done.names


@pytest.mark.parametrize(
    "how",
    [{"bare": True}, {"env": {"MONITOR_DISABLE": "1"}}, {"endpoint": "http://host:0/v1/events"}],
    ids=["no endpoint", "disabled", "unusable endpoint"],
)
def test_unmonitored_script_runs_on_unless_it_asks(children: Children, how: dict[str, Any]) -> None:
    """The same script runs on a laptop that has no collector."""
    done = command(children, "event", "backup.done", **how)
    assert (done.status, done.stdout, done.stderr, done.events) == (0, b"", b"", [])
    assert facts(children, "event", "backup.done", **how) == {"recorded": [], "missed": 1}
    strict = command(children, "event", "backup.done", "--strict", **how)
    assert strict.status == 1
    assert b"monitor-auto status" in strict.stderr


def test_secrets_stay_out_of_data_and_command_line(children: Children) -> None:
    """What a script passes is data; the command line of session.start would show it a second time, unredacted."""
    words = ["password=hunter2-a", 'auth:={"token": "hunter2-b"}', "--data", '{"api_key": "hunter2-c"}']
    done = command(children, "event", "a.b", *words)
    assert recorded(done)["data"]["password"] == "[REDACTED]"
    assert "hunter2" not in "".join(path.read_text() for path in done.spool.glob("*.jsonl"))
    assert done.events[0]["data"]["argv"][1:] == ["monitor-auto event", "a.b"]

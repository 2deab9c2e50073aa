"""`monitor-auto run` tells at its end what happened, and `report` tells it again: from a spool, a file, a collector."""

import io
import json
import os
import re
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from monitor_auto.cli import showing
from support.children import Children, Run
from support.collector import Collector
from support.commands import WORDS, command
from support.local_collector import REQUIREMENTS, running_local_collector
from support.relaying import Terminal
from support.sandbox import Sandboxes

JOB = """
    import os, signal, subprocess, sys
    print("working")
    subprocess.run(["sh", "-c", "exit 3"])
    subprocess.run([sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"])
    def load():
        raise KeyError("no such row")
    load()
"""


def job(children: Children, name: str = "job.py") -> str:
    """Write the job that goes wrong in every way; return its path."""
    path = children.folder / name
    path.write_text(textwrap.dedent(JOB), encoding="utf-8")
    return str(path)


def run(children: Children, words: Sequence[str], *options: str, **how: Any) -> Run:
    """Run a command under `monitor-auto run`, without an endpoint."""
    return children.run([*WORDS, "run", *options, "--", *words], bare=True, **how)


def report(children: Children, *words: str, **how: Any) -> Run:
    """Run `monitor-auto report`."""
    return command(children, "report", *words, bare=True, **how)


def rows(text: bytes) -> list[tuple[str, str]]:
    """Return label and result of each line of the tree that a report shows."""
    pattern = r"^  ((?:[│├└─ ]*)\S.*?) {2,}(\S+(?: \S+)?) +[\d.]+ m?s$"
    return re.findall(pattern, text.decode(), re.MULTILINE)


def test_run_tells_what_happened_below_the_output(children: Children) -> None:
    """Who looks at a failed job wants to know which process failed, where, and with what, without another command."""
    source = job(children)
    bare = children.run(["python", source], bare=True)
    done = run(children, ["python", source])
    assert (done.status, done.stdout) == (bare.status, bare.stdout) == (1, b"working\n")
    assert done.stderr.startswith(bare.stderr), "what the command says itself comes first, unchanged"
    told = done.stderr[len(bare.stderr) :]
    assert re.search(rb"^\npython \xe2\x80\xa6/job\.py failed: 3 processes \xc2\xb7 [\d.]+ m?s \xc2\xb7 2 failed", told)
    assert [result for _, result in rows(told)] == ["exit 1", "exit 3", "SIGKILL"]
    assert [label.lstrip("│├└─ ").split()[0] for label, _ in rows(told)] == ["python", "sh", "python"]
    assert b"KeyError: 'no such row'" in told and b"job.py:7:load" in told
    assert b"Killed or vanished" in told


def test_quiet_run_says_nothing_of_its_own(children: Children) -> None:
    """A cron job's mail is what the command says."""
    done = run(children, ["sh", "-c", "echo out; echo err >&2; exit 4"], "--quiet")
    assert (done.status, done.stdout, done.stderr) == (4, b"out\n", b"err\n")
    assert b"sh -c" in report(children).stdout, "recorded it was"


def test_files_are_written_and_can_be_read_again(children: Children) -> None:
    """They are what a CI job keeps."""
    folder = children.folder
    files = {form: folder / f"out.{form}" for form in ("html", "trace", "json")}
    options = [word for form, path in files.items() for word in (f"--{form}", str(path))]
    done = run(children, ["python", job(children)], "--quiet", *options)
    assert done.status == 1 and b"succeeded" not in done.stderr
    page = files["html"].read_text(encoding="utf-8")
    assert "KeyError" in page and "SIGKILL" in page and not re.search(r"(src|href)=|url\(|<script", page)
    assert "error.KeyError" in {one["name"] for one in json.loads(files["trace"].read_text())["traceEvents"]}
    events = [json.loads(line)["name"] for line in files["json"].read_text().splitlines()]
    assert {"session.start", "process.exit", "error.KeyError"} <= set(events)
    again = report(children, str(files["json"]))
    assert again.status == 0 and rows(again.stdout) == rows(report(children).stdout)
    assert rows(again.stdout)


def test_file_that_cannot_be_written_is_told_and_changes_no_status(children: Children) -> None:
    """The job went well; a full disk behind `--html` must not turn it red."""
    done = run(children, ["true"], "--html", str(children.folder / "no/such/folder.html"))
    assert done.status == 0
    assert b"cannot be written: No such file or directory" in done.stderr and b"true succeeded" in done.stderr
    assert report(children, "--html", str(children.folder / "no/such/folder.html")).status == 1


def test_stream_that_nobody_reads_changes_no_status(children: Children) -> None:
    """`monitor-auto run … 2>&1 | head -1` closes the pipe before the report comes."""
    read, write = os.pipe()
    os.close(read)
    done = run(children, ["sh", "-c", "exit 5"], stderr=write)
    os.close(write)
    assert (done.status, done.stdout) == (5, b"")
    with open("/dev/full", "wb") as full:
        assert run(children, ["sh", "-c", "exit 6"], stderr=full).status == 6
    closed = children.run(["sh", "-c", 'exec "$@" 2>&-', "sh", str(children.sandbox.python), *WORDS[1:], "run", "true"])
    assert closed.status == 0 and "process.exit" in closed.names


def test_report_on_a_terminal_has_its_width_and_colours(children: Children) -> None:
    """A line that the terminal breaks makes a tree unreadable."""
    for columns in (60, 120):
        one = Terminal(
            children, [str(children.sandbox.python), *WORDS[1:], "run", "--", "python", job(children)], 40, columns
        )
        try:
            shown = one.finish().stdout.decode()
        finally:
            one.close()
        told = shown[shown.index("failed") - 60 :]
        assert "\x1b[31mexit 1" in told
        lines = re.sub(r"\x1b\[[0-9;]*m", "", told[told.index("processes") :]).splitlines()
        assert 60 >= max(map(len, lines)) if columns == 60 else 80 < max(map(len, lines)) <= 120


def test_reading_says_how_far_it_is_on_a_terminal_and_nowhere_else() -> None:
    """A hundred thousand events take seconds; who waits wants to know that something happens."""
    given = [{"number": number} for number in range(1000)]
    main, side = os.openpty()
    shown = b""
    with open(side, "w", encoding="utf-8") as terminal:
        assert list(showing.counting(given, terminal, after_seconds=0.0)) == given
        while not shown.endswith(b"\r\x1b[K"):
            shown += os.read(main, 4096)
    os.close(main)
    assert "reading … 256 events" in shown.decode()
    plain = io.StringIO()
    assert list(showing.counting(given, plain, after_seconds=0.0)) == given
    assert plain.getvalue() == ""


def test_command_that_a_signal_kills_is_told_before_we_die_of_it(children: Children) -> None:
    """That is when somebody wants to know."""
    done = run(children, ["sh", "-c", "kill -SEGV $$"])
    assert done.status == -11
    assert b"was killed" in done.stderr and rows(done.stderr)[0][1] == "SIGSEGV"


def test_events_are_delivered_and_reported(children: Children, collector: Collector) -> None:
    """With a collector there the report is as good as without."""
    source = children.folder / "long.py"
    source.write_text(
        "import time\nfrom monitor_auto import Monitor\n"
        "for n in range(250): Monitor.event('row.done', {'n': n}); time.sleep(0.006)\n"
    )
    done = children.run([*WORDS, "run", "--json", "-", "--", "python", str(source)], endpoint=collector.url)
    assert done.status == 0
    told = [json.loads(line)["name"] for line in done.stdout.splitlines()]
    assert told.count("row.done") == 250 == collector.names().count("row.done")
    assert done.events == []


def test_run_inside_a_monitored_program_tells_of_its_own_command_alone(children: Children) -> None:
    """A build tool that is recorded may start it; its other children are no part of that command."""
    source = """
        import subprocess, sys
        subprocess.run([sys.executable, "-c", "print('before')"])
        inner = [sys.executable, "-m", "monitor_auto", "run", "--", "sh", "-c", "exit 3"]
        print(subprocess.run(inner, stderr=subprocess.PIPE, text=True).stderr)
    """
    done = children.run(source)
    assert [result for _, result in rows(done.stdout)] == ["exit 3"]


def test_list_and_names(children: Children) -> None:
    """The last run is not always the one that somebody asks about."""
    for status in (3, 4):
        run(children, ["sh", "-c", f"exit {status}"], "--quiet")
    listed = report(children, "--list").stdout.decode().splitlines()
    keys = [line.split()[0] for line in listed[::2]]
    assert [line.split("exit ")[1].strip() for line in listed[::2]] == ["4", "3"]
    assert rows(report(children, "--last").stdout)[0][1] == "exit 4"
    assert rows(report(children, keys[1]).stdout)[0][1] == "exit 3"
    summary = facts_of(report(children, keys[1], "--summary"))
    assert (summary["run"], summary["outcome"], summary["processes"]) == (keys[1], "failed", 1)


def facts_of(done: Run) -> dict[str, Any]:
    """Return the one JSON object that a command has printed."""
    value = json.loads(done.stdout)
    assert isinstance(value, dict)
    return value


def test_nothing_to_show_says_what_to_do(children: Children) -> None:
    """The first thing that somebody types after installing it."""
    done = report(children)
    assert (done.status, done.stdout) == (1, b"") and b"monitor-auto run" in done.stderr
    done = report(children, "0123")
    assert done.status == 1 and b"--list" in done.stderr
    assert report(children, "--last", "0123").status == 2
    gone = report(children, "--from", str(children.folder / "nowhere"))
    assert gone.status == 1 and b"cannot be read" in b" ".join(gone.stderr.split())  # broken where the path is long


def test_report_of_a_collector(children: Children, sandboxes: Sandboxes) -> None:
    """What was delivered is not in the spool any more; the collector gives it back."""
    with running_local_collector(sandboxes.get(sys.executable, *REQUIREMENTS), children.folder) as local:
        done = children.run([*WORDS, "run", "--endpoint", local.endpoint, "--", "python", job(children)], bare=True)
        told = report(children, "--from", local.base)
        assert told.status == 0 and rows(told.stdout) == rows(done.stderr)
        listed = report(children, "--list", "--from", local.base).stdout.decode().split()[0]
        assert rows(report(children, listed[:13], "--from", local.base).stdout) == rows(done.stderr)
    refused = report(children, "--from", local.base)
    assert refused.status == 1 and b"cannot be reached" in refused.stderr


def test_github_gets_a_summary(children: Children) -> None:
    """The page of the job is where people look first."""
    path = children.folder / "summary.md"
    path.write_text("# before\n")
    env = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(path)}
    done = run(children, ["python", job(children)], env=env)
    shown = path.read_text(encoding="utf-8")
    assert shown.startswith("# before\n### ❌ `python") and "<code>KeyError</code>" in shown
    assert b"KeyError" in done.stderr, "and the log has it, too"
    broken = run(children, ["true"], "--quiet", env={**env, "GITHUB_STEP_SUMMARY": str(children.folder)})
    assert broken.status == 0 and b"GITHUB_STEP_SUMMARY cannot be written" in broken.stderr


def test_gitlab_gets_a_section(children: Children) -> None:
    """Its log folds what nobody needs to see, and only that."""
    done = run(children, ["true"], env={"GITLAB_CI": "true"})
    start = re.search(rb"\x1b\[0Ksection_start:(\d+):monitor_auto\[collapsed=true\]\r\x1b\[0K", done.stderr)
    end = re.search(rb"\x1b\[0Ksection_end:(\d+):monitor_auto\r\x1b\[0K\n$", done.stderr)
    assert start and end and start[1] <= end[1]
    assert b"collapsed" not in run(children, ["false"], env={"GITLAB_CI": "true"}).stderr


def test_hostile_events_give_a_terminal_no_orders(children: Children) -> None:
    """Whoever can print can record: a line of a program must not write to the clipboard of who reads the report."""
    data = r'{"message": "\u001b]52;c;aGk=\u0007\u202e", "stack": "\u009b2J"}'
    hostile = f'monitor-event: {{"name": "x.y", "type": "error", "data": {data}}}'
    done = run(children, ["printf", r"%s\n", hostile], "--json", "-")
    assert b"x.y" in done.stdout
    assert not re.search(rb"\x1b|\x07|\x9b", done.stderr) and b"\\x1b]52" in done.stderr


def test_what_is_no_segment_holds_nobody_up(children: Children) -> None:
    """A pipe, a folder or a link in a spool that somebody sends must not hang or break who reads it."""
    run(children, ["sh", "-c", "exit 3"], "--quiet", "--json", str(children.folder / "events.jsonl"))
    spool = children.folder / "sent"
    spool.mkdir()
    os.mkfifo(spool / "k.t.pipe.0.jsonl")
    (spool / "k.t.folder.0.jsonl").mkdir()
    (spool / "k.t.link.0.jsonl").symlink_to("/dev/zero")
    (spool / "k.t.s.0.jsonl").write_bytes(
        b"[" * 100_000 + b"\n\xff\n{}\n" + (children.folder / "events.jsonl").read_bytes()
    )
    done = report(children, "--from", str(spool))
    assert done.status == 0 and rows(done.stdout)[0][1] == "exit 3"

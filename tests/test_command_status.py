"""`monitor-auto status`, and what all commands share: help, width, colour, exit codes, being no session."""

import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from support.children import Children
from support.collector import Answer, Collector, running_collector
from support.commands import command, facts, on_terminal
from support.needs import miss, need_command
from support.remains import key_of
from support.sandbox import ROOT, Sandbox, Sandboxes, other_pythons
from support.spool import segments

COMMANDS = ("run", "report", "tail", "flush", "status", "doctor", "collect", "purge", "event", "enable", "disable")
COMMANDS = ("run", "report", "tail", "flush", "status", "doctor", "collect", "purge", "event", "enable", "disable")
NOWHERE = "http://127.0.0.1:9/v1/events"
SPOOL_ONLY = {"MONITOR_EXIT_TIMEOUT": "0"}
WAITING = "import sys; sys.stdout.write('up'); sys.stdout.flush(); sys.stdin.read()"


def backlog_here(children: Children, place: Path, **how: Any) -> list[dict[str, Any]]:
    """Return the backlog of one spool; status shows what waits in the machine's fallback places, too."""
    return [one for one in facts(children, "status", **how)["backlog"] if one["directory"] == str(place)]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_teaches_within_eighty_columns(children: Children, name: str) -> None:
    """Help that wraps in the middle of an example cannot be pasted."""
    done = command(children, name, "--help", bare=True)
    text = done.stdout.decode()
    assert (done.status, done.stderr) == (0, b"")
    assert max(map(len, text.splitlines())) <= 80
    if name != "flush":
        assert "Exit codes: 0 " in text
        assert text.count(f"monitor-auto {name}") >= 2


def test_overview_names_every_command(children: Children) -> None:
    """Who types only `monitor-auto` has to find the way from there."""
    done = command(children, bare=True)
    text = done.stdout.decode()
    assert done.status == 2
    assert all(f"\n    {name} " in text for name in COMMANDS)
    assert max(map(len, text.splitlines())) <= 80


def test_every_command_is_documented() -> None:
    """What is not on the page of commands is found by nobody."""
    page = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    titles = [line[3:].split(", ") for line in page.splitlines() if re.match("## [a-z]", line)]
    assert sorted(name for title in titles for name in title) == sorted(COMMANDS)


def documented_names() -> dict[str, set[str]]:
    """Return which names the page of commands says are in each object."""
    page = (ROOT / "docs/commands.md").read_text(encoding="utf-8").partition("## For scripts")[2]
    rows = [line.split("|")[1:3] for line in page.splitlines() if line.startswith("| `")]
    names = {}
    for about, text in rows:
        plain = re.sub(r"\([^()]*\)", "", text)  # what stands in brackets are values
        names[about.strip(" `")] = set(re.findall(r"`(\w+)`", plain))
    return names


def test_names_of_json_are_those_of_the_page(children: Children, changeable: Sandbox, collector: Collector) -> None:
    """Scripts rely on them for years; one that is renamed breaks an alarm that nobody misses until it is needed."""
    how: dict[str, Any] = {"python": changeable, "endpoint": collector.url}
    collector.answer_next(Answer(503))
    children.run("pass", **how)
    status = facts(children, "status", **how)
    doctor = command(children, "doctor", "--json", **how)
    enabled = facts(children, "enable", "--endpoint", NOWHERE, **how)
    found = {
        "status": status,
        **{f"status.{name}[]": status[name][0] for name in ("start_lines", "accounts")},
        **{f"status.{name}": status[name] for name in ("spool", "troubles")},
        "doctor": json.loads(doctor.stdout),
        "doctor.checks[]": json.loads(doctor.stdout)["checks"][0],
        "enable": enabled,
        "disable": facts(children, "disable", **how),
        "event": facts(children, "event", "a.b", **how),
        "flush": facts(children, "flush", **how),
        "purge": facts(children, "purge", "--yes", **how),
    }
    (backlog,) = [one for one in status["backlog"] if one["directory"] == str(children.spool)]
    found |= {"status.backlog[]": backlog, "status.backlog[].away": backlog["away"]}
    assert {name: set(value) for name, value in found.items()} == documented_names()


@pytest.mark.parametrize("words", [("status", "--no-such"), ("statsu",), ("status", "word"), ("enable",)])
def test_wrong_call_exits_with_two(children: Children, words: tuple[str, ...]) -> None:
    """A script must be able to tell a typing error from a finding."""
    done = command(children, *words, bare=True)
    assert (done.status, done.stdout) == (2, b"")
    assert b"usage: monitor-auto" in done.stderr


def test_off_without_an_endpoint(children: Children, sandbox: Sandbox) -> None:
    """The first thing that goes wrong is that nobody named a collector."""
    done = command(children, "status", bare=True)
    assert done.status == 1
    assert b"monitoring  off: MONITOR_ENDPOINT is not set" in done.stdout
    status = facts(children, "status", bare=True)
    assert (status["on"], status["endpoint"], status["site_file"]) == (False, "", None)
    assert str(sandbox.folder / "etc/monitor-auto.env") in status["why"]


@pytest.mark.parametrize(
    ("env", "endpoint", "why"),
    [
        ({"MONITOR_DISABLE": "1"}, NOWHERE, "MONITOR_DISABLE is set in the environment"),
        ({}, "http://host:0/v1/events", "the endpoint cannot be used: MONITOR_ENDPOINT has a port that is no number"),
        ({}, "otlp+http://host", "the endpoint cannot be used: OpenTelemetry endpoints are not supported yet"),
        ({}, "", "MONITOR_ENDPOINT is not set"),
    ],
)
def test_off_says_why(children: Children, env: dict[str, str], endpoint: str, why: str) -> None:
    """A kill switch forgotten in a profile looks like a broken monitor; programs must agree with what status says."""
    assert children.run("pass", env=env, endpoint=endpoint).events == []
    status = facts(children, "status", env=env, endpoint=endpoint)
    assert not status["on"]
    assert status["why"].startswith(why)


def test_on_names_endpoint_and_start_line_but_never_the_token(children: Children, sandbox: Sandbox) -> None:
    """What status prints goes into tickets: it must not carry the token, nor the key in an endpoint's query."""
    env = {"MONITOR_TOKEN": "t0ken-of-mine"}
    done = command(children, "status", env=env, endpoint=NOWHERE + "?key=s3cret")
    assert done.status == 0
    assert b"monitoring  on: MONITOR_ENDPOINT names the endpoint" in done.stdout
    assert NOWHERE.encode() + b", with a token" in done.stdout
    status = facts(children, "status", env=env, endpoint=NOWHERE + "?key=s3cret")
    assert (status["endpoint"], status["endpoint_from"], status["has_token"]) == (NOWHERE, "environment", True)
    expected = {"path": str(sandbox.site_packages.resolve() / "monitor_auto.pth"), "state": "as installed"}
    assert status["start_lines"] == [expected]
    assert "t0ken" not in repr(status) + done.stdout.decode()
    assert "s3cret" not in repr(status) + done.stdout.decode()


def test_site_file_switches_on_and_off(changeable: Sandbox, children: Children) -> None:
    """Cron jobs are monitored by a file that nobody who debugs them thinks of."""
    site_file = changeable.folder / "etc/monitor-auto.env"
    site_file.parent.mkdir()
    site_file.write_text(f"MONITOR_ENDPOINT={NOWHERE}\nMONITOR_TOKEN=abc\n", encoding="utf-8")
    status = facts(children, "status", bare=True, python=changeable)
    assert (status["on"], status["endpoint"], status["has_token"]) == (True, NOWHERE, True)
    assert status["endpoint_from"] == status["site_file"] == str(site_file)
    other = facts(children, "status", python=changeable)
    assert (other["endpoint"], other["endpoint_from"], other["has_token"]) == ("local:", "environment", False)
    site_file.write_text(f"MONITOR_ENDPOINT={NOWHERE}\nMONITOR_DISABLE=1\n", encoding="utf-8")
    status = facts(children, "status", bare=True, python=changeable)
    assert (status["on"], status["why"]) == (False, f"MONITOR_DISABLE is set in {site_file}")
    site_file.unlink()
    (changeable.site_packages / "monitor_auto.pth").unlink()
    status = facts(children, "status", python=changeable)
    assert (status["on"], status["start_lines"]) == (False, [])
    assert "no start line" in status["why"]


def test_account_says_what_became_of_every_event(children: Children, collector: Collector) -> None:
    """An operator asks how many arrived, how many wait, and who dropped the rest."""
    children.run("pass", endpoint=collector.url)
    children.run("pass", endpoint=collector.url, env={"MONITOR_EXIT_TIMEOUT": "0"})
    (account,) = facts(children, "status", endpoint=collector.url)["accounts"]
    counts = {name: count for name, count in account.items() if isinstance(count, int) and count}
    assert counts == {"produced": 4, "sent": 2, "spooled": 2}
    shown = children.run(["python", "-m", "monitor_auto", "status"], endpoint=collector.url).stdout.decode()
    assert f"4 recorded so far for {collector.url}: 2 sent, 2 spooled" in " ".join(shown.split())
    children.run(["python", "-m", "monitor_auto", "purge", "--yes"], endpoint=collector.url)
    (account,) = facts(children, "status", endpoint=collector.url)["accounts"]
    assert (account["dropped"], account["spooled"], account["never_written"]) == (2, 0, 0)


def test_backlog_counts_events_of_ended_and_running_programs(children: Children) -> None:
    """How much waits, and for whom, decides whether somebody has to act."""
    children.run("pass", endpoint=NOWHERE, env=SPOOL_ONLY)
    children.run("pass", endpoint="local:")
    child = children.start(WAITING, endpoint=NOWHERE, env=SPOOL_ONLY, stdin=subprocess.PIPE)
    assert child.process.stdout is not None
    assert child.process.stdout.read(2) == b"up"
    found = {one["endpoint"]: one for one in backlog_here(children, child.spool, endpoint=NOWHERE)}
    one = found[NOWHERE]
    assert (one["ended"], one["living"], one["events"], one["away"]) == (1, 1, 3, None)
    assert one["bytes"] == sum(path.stat().st_size for path in segments(child.spool) if path.name[:16] == one["key"])
    assert 0 < one["oldest_seconds"] < 600
    assert (found["local:"]["ended"], found["local:"]["living"], found["local:"]["events"]) == (1, 0, 2)
    assert "session.end" in child.finish(b"").names
    done = command(children, "status", endpoint=NOWHERE)
    assert b"4 events (" in done.stdout
    assert b"of 2 ended programs, the oldest for" in " ".join(done.stdout.decode().split()).encode()


def test_failures_of_the_collector_are_shown(children: Children) -> None:
    """Until the back-off has passed programs do not even try: that must not look like silence."""
    with running_collector() as collector:
        collector.go_away()
        run = children.run("pass", endpoint=collector.url)
        (one,) = backlog_here(children, run.spool, endpoint=collector.url)
        assert one["away"]["failures"] == 1
        assert one["away"]["status"] == 0
        assert time.time() < one["away"]["until"] < time.time() + 60
        assert "refused" in one["away"]["error"]
        shown = " ".join(command(children, "status", endpoint=collector.url).stdout.decode().split())
        assert "failed 1 time in a row (Connection refused)" in shown


@pytest.mark.tampers("the ledger is torn")
def test_ledger_is_counted_by_cause(children: Children) -> None:
    """Each swallowed error and dropped event left a line for somebody to read."""
    run = children.run("pass")
    lines = [
        '{"at":1.0,"pid":1,"what":"dropped","reason":"no disk took them","count":7}',
        '{"at":1.0,"pid":1,"what":"dropped","reason":"no disk took them","count":2}',
        '{"at":1.0,"pid":1,"what":"internal_error","part":"end","error":"KeyError","place":"x.py:3"}',
        '{"at":1.0,"pid":1,"what":"problem","part":"hooks","reason":"files hide modules"}',
        '{"at":1.0,"torn',
        "[]",
    ]
    (run.spool / "ledger.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (run.spool / "ledger.jsonl").chmod(0o600)
    found = facts(children, "status", announce_internal_errors=True)["troubles"]
    assert found["dropped"] == {"no disk took them": 9}
    assert found["internal_errors"] == {"end at x.py:3: KeyError": 1}
    assert found["problems"] == {"files hide modules": 1}
    shown = command(children, "status", announce_internal_errors=True).stdout.decode()
    assert "dropped     9 × no disk took them\n" in shown


def place_default(folder: Path) -> tuple[dict[str, str | None], Path]:
    """Nothing is set."""
    return {"MONITOR_SPOOL_DIR": None}, folder / "home/.cache/monitor/spool"


def place_given(folder: Path) -> tuple[dict[str, str | None], Path]:
    """A folder that does not exist yet."""
    return {"MONITOR_SPOOL_DIR": str(folder / "new/spool")}, folder / "new/spool"


def place_shared(folder: Path) -> tuple[dict[str, str | None], Path]:
    """Somebody's folder: we may not change its mode."""
    (folder / "shared").mkdir(mode=0o755)
    (folder / "shared/file").touch()
    return {"MONITOR_SPOOL_DIR": str(folder / "shared")}, folder / "shared/monitor-spool"


def place_link(folder: Path) -> tuple[dict[str, str | None], Path]:
    """A link is followed by nobody; a service has a cache folder."""
    (folder / "real").mkdir(mode=0o700)
    (folder / "link").symlink_to(folder / "real")
    env = {"MONITOR_SPOOL_DIR": str(folder / "link"), "CACHE_DIRECTORY": f"{folder}/cache:/other"}
    return {**env}, folder / "cache/monitor/spool"


def place_home(folder: Path) -> tuple[dict[str, str | None], Path]:
    """No shell has expanded it."""
    return {"MONITOR_SPOOL_DIR": "~/spool"}, folder / "home/spool"


def place_file(folder: Path) -> tuple[dict[str, str | None], Path]:
    """A file stands in the way of the folder's parent."""
    (folder / "file").touch()
    env = {"MONITOR_SPOOL_DIR": str(folder / "file/spool"), "XDG_RUNTIME_DIR": str(folder / "run")}
    return {**env}, folder / "run/monitor/spool"


def place_relative(folder: Path) -> tuple[dict[str, str | None], Path]:
    """A relative path is another folder for each program, below where it starts."""
    return {"MONITOR_SPOOL_DIR": "spool"}, folder / "cwd/spool"


@pytest.mark.parametrize(
    "place",
    [place_default, place_given, place_home, place_shared, place_link, place_file, place_relative],
    ids=lambda f: f.__name__,
)
def test_spool_is_where_status_says_and_status_makes_nothing(children: Children, tmp_path: Path, place) -> None:
    """Programs choose the place for themselves; a report that guesses otherwise sends people to the wrong folder."""
    env, expected = place(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    told = facts(children, "status", env=env, spool=tmp_path)["spool"]
    assert told["directory"] == str(expected)
    assert bool(told["refused"]) == ("CACHE_DIRECTORY" in env or "XDG_RUNTIME_DIR" in env)
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before] == [tmp_path / "cwd"]
    children.run("pass", env=env, spool=tmp_path)
    assert len(segments(expected)) == 1
    assert [one["events"] for one in backlog_here(children, expected, env=env, spool=tmp_path)] == [2]


def test_libraries_follow_the_settings(children: Children) -> None:
    """A library whose calls are missing may only have been switched off."""
    hooks = facts(children, "status")["hooks"]
    assert [name for name, on in hooks.items() if not on] == ["warnings"], "that has to be asked for"
    assert all(facts(children, "status", env={"MONITOR_INSTRUMENT": "ALL, warnings"})["hooks"].values())
    hooks = facts(children, "status", env={"MONITOR_SKIP": "HTTPX"})["hooks"]
    assert [name for name, on in hooks.items() if not on] == ["httpx", "warnings"]
    shown = command(children, "status", env={"MONITOR_SKIP": "httpx"}).stdout
    page = " ".join(shown.decode().split())
    libraries = page.partition(" libraries ")[2].split(", ")
    assert "httpx (off)" in libraries
    assert {"aiohttp", "django", "pytest", "warnings (off)"} < set(libraries)
    assert len(libraries) == len(set(libraries))


@pytest.mark.parametrize("words", [("status",), ("doctor",), ("purge", "--yes"), ("flush",), ("disable", "--help")])
def test_command_is_no_session(children: Children, collector: Collector, words: tuple[str, ...]) -> None:
    """A check that runs every minute must not fill the spool with itself."""
    done = command(children, *words, endpoint=collector.url)
    assert done.status == 0, done.stdout
    assert [path.name for path in done.spool.iterdir() if path.suffix not in (".lock", ".account")] == []
    assert collector.requests == []


def test_colour_only_where_somebody_looks(children: Children) -> None:
    """Escape codes in a log file, or against somebody's wish, are noise."""
    coloured = on_terminal(children, "status", env={"TERM": "xterm"})
    assert coloured[0] == 0
    assert "\x1b[32mon\x1b[0m" in coloured[1]
    assert "\x1b" not in on_terminal(children, "status", env={"TERM": "xterm", "NO_COLOR": "1"})[1]
    assert "\x1b" not in on_terminal(children, "status", env={"TERM": "dumb"})[1]
    assert b"\x1b" not in command(children, "status", env={"TERM": "xterm"}).stdout


@pytest.mark.parametrize("name", ["status", "doctor"])
def test_reader_that_goes_away_sees_no_traceback(children: Children, name: str) -> None:
    """`monitor-auto doctor | head -1` is how people look."""
    words = ["sh", "-c", f"trap '' PIPE; {children.sandbox.python} -m monitor_auto {name} | exec true"]
    done = children.run(words, env={"PYTHONUNBUFFERED": "1"})
    assert done.stderr == b""


def test_terminal_that_knows_only_ascii_gets_the_whole_report(children: Children) -> None:
    """Cron has no locale; a report that dies of an arrow is none."""
    env = {"PYTHONIOENCODING": "ascii", "LANG": "C"}
    done = command(children, "doctor", endpoint="", env=env)
    assert done.status == 1
    assert b"\\u2192 Name one: export MONITOR_ENDPOINT=" in done.stdout


@pytest.mark.tampers("the ledger is a link to another file")
@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no users")
def test_hostile_files_in_the_spool_stop_no_report(children: Children, tmp_path: Path) -> None:
    """A spool is looked at when something is wrong with it."""
    run = children.run("pass", endpoint=NOWHERE, env=SPOOL_ONLY)
    (segment,) = segments(run.spool)
    key = segment.name[:16]
    os.mkfifo(run.spool / segment.name.replace(".0.jsonl", ".1.jsonl"))
    (run.spool / segment.name.replace(".0.jsonl", ".2.jsonl")).symlink_to("/etc/passwd")
    (run.spool / segment.name.replace(".0.jsonl", ".3.jsonl")).write_bytes(b"\xff\x00" * 100)
    (run.spool / f"{key}.away").write_bytes(b'{"until":"never","failures":[]}')
    (run.spool / "ledger.jsonl").symlink_to("/etc/passwd")
    (run.spool / "aside").write_text("no folder")
    (one,) = backlog_here(children, run.spool, endpoint=NOWHERE, announce_internal_errors=True)
    assert (one["events"], one["ended"], one["away"]) == (2, 1, None)
    assert command(children, "doctor", endpoint=NOWHERE, announce_internal_errors=True).stderr == b""


@pytest.mark.parametrize("version", other_pythons())
def test_commands_work_on_every_other_interpreter(
    sandboxes: Sandboxes, children: Children, tmp_path: Path, version: str
) -> None:
    """argparse and importlib differ from version to version."""
    how: dict[str, Any] = {"python": sandboxes.get(other_pythons()[version])}
    words = ["a=1", "--type", "metric", "value=2.5", "--strict", "b=x"]
    event = command(children, "event", "backup.size", *words, **how)
    assert (event.status, event.stderr) == (0, b"")
    assert [one["data"] for one in event.named("backup.size")] == [{"a": 1, "value": 2.5, "b": "x"}]
    (backlog,) = backlog_here(children, event.spool, **how)
    assert (backlog["events"], backlog["ended"]) == (3, 1)
    doctor = command(children, "doctor", "--folder", str(tmp_path), **how)
    assert (doctor.status, doctor.stderr) == (0, b"")
    assert doctor.stdout.endswith(b"All is well.\n")
    assert facts(children, "purge", "--yes", **how)["sessions"] == 1
    assert command(children, "status", "--nonsense", **how).status == 2


@pytest.mark.parametrize("flags", [["-I"], ["-u", "-X", "utf8"]])
def test_command_that_was_started_as_a_session_spares_itself(children: Children, flags: list[str]) -> None:
    """With options before -m the monitor takes it for a program; looking at its own lock would drop it."""
    for name in (["status"], ["doctor"], ["purge", "--yes"]):
        done = children.run(["python", *flags, "-m", "monitor_auto", *name])
        assert (done.status, done.stderr) == (0, b"")
    assert done.names == ["session.start", "session.exit", "session.end"]
    done = children.run(["python", *flags, "-m", "monitor_auto", "event", "a.b"])
    assert done.names[-3:] == ["session.start", "a.b", "session.end"]


def test_no_control_character_of_a_file_reaches_the_terminal(children: Children) -> None:
    """Whoever can make a program write into the spool must not give orders to the terminal of who looks at it."""
    children.run("pass", env={"MONITOR_ENDPOINT": "local:"})
    (segment,) = children.spool.glob("*.jsonl")
    segment.write_bytes(
        segment.read_bytes().replace(b'"endpoint":"local:"', b'"endpoint":"http://\\u001b]0;x\\u0007\\u009b"')
    )
    done = command(children, "status")
    assert b"http://\\x1b]0;x\\x07\\x9b" in done.stdout
    assert not any(byte < 32 for byte in done.stdout.replace(b"\n", b""))
    event = b'{"name": "\\u001b[2Jname", "type": "metric"}\n'
    done = command(children, "event", "--stdin", stdin=event)
    assert (done.status, b"\x1b" in done.stderr) == (2, False)


def test_output_that_cannot_be_written_is_told_in_a_sentence(children: Children) -> None:
    """The disk that the report goes to may be full."""
    with open("/dev/full", "wb") as full:
        done = command(children, "status", stdout=full)
    assert (done.status, b"Traceback" in done.stderr, b"cannot be written" in done.stderr) == (1, False, True)


def test_what_was_hooked_in_fact_is_shown(children: Children) -> None:
    """A hook that is wanted and never came, or does nothing, looks like one that works, but for its count."""
    children.run("import logging; logging.error('a'); logging.error('b')")
    children.run("import logging")
    shown = children.run(["python", "-m", "monitor_auto", "status"])
    assert b"logging: 2 events in 2 sessions" in shown.stdout
    told = children.run(["python", "-m", "monitor_auto", "status", "--json"])
    assert json.loads(told.stdout)["hooked"]["logging"] == {"sessions": 2, "events": 2}


def test_what_is_hooked_in_a_running_program_is_shown(children: Children) -> None:
    """Whether a hook works is asked while the server runs, and right after it was started; and after it was killed."""
    source = """
        import logging, os, signal, sys
        logging.error("a")
        logging.error("b")
        if os.fork() == 0:
            logging.error("c")
            os.kill(os.getpid(), signal.SIGKILL)
        os.wait()
        sys.stdout.write("up")
        sys.stdout.flush()
        sys.stdin.read()
    """
    child = children.start(source, stdin=subprocess.PIPE)
    assert child.process.stdout is not None and child.process.stdout.read(2) == b"up"
    assert facts(children, "status")["hooked"]["logging"] == {"sessions": 2, "events": 3}
    child.finish(b"")
    assert facts(children, "status")["hooked"]["logging"] == {"sessions": 2, "events": 3}


def test_failures_are_shown_where_no_disk_can_be_written(children: Children) -> None:
    """Programs without a disk tell each other through memory; who asks why nothing arrives must be told as well."""
    if os.geteuid():
        miss("only root can mount")
    setup = f"""
        mount -t tmpfs -o ro none /var/tmp
        mount -t tmpfs -o ro none {children.home}
        mount -t tmpfs -o mode=1777 none /dev/shm
        "$0" -c pass
        "$0" -m monitor_auto status --json
        "$0" -m monitor_auto status
        "$0" -m monitor_auto doctor --json && exit 7 || exit $?
    """
    words = [need_command("unshare", "util-linux"), "--mount", "sh", "-ec", setup, str(children.sandbox.python)]
    done = children.run(words, env={"MONITOR_SPOOL_DIR": None}, endpoint=NOWHERE)
    told, *page, doctor = done.stdout.decode().splitlines()
    assert (done.status, done.stderr, json.loads(told)["spool"]["directory"]) == (1, b"", "")
    (one,) = [one for one in json.loads(told)["backlog"] if one["directory"].startswith("/dev/shm/")]
    assert (one["endpoint"], one["events"], one["away"]["failures"]) == (NOWHERE, 0, 1)
    assert "failed 1 time in a row (Connection refused)" in " ".join(" ".join(page).split())
    (collector,) = [check for check in json.loads(doctor)["checks"] if check["name"] == "collector"]
    assert "Connection refused" in collector["what"]


def test_failure_that_a_full_disk_had_no_room_for_is_shown(children: Children, collector: Collector) -> None:
    """Programs take the empty record for a failure; a page that shows nothing would make them look broken."""
    children.run("pass", endpoint=collector.url)
    (children.spool / f"{key_of(collector.url)}.away").touch(0o600)
    (one,) = backlog_here(children, children.spool, endpoint=collector.url)
    assert (one["endpoint"], one["away"]["failures"], "no room" in one["away"]["error"]) == (collector.url, 1, True)

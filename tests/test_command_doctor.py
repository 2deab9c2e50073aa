"""`monitor-auto doctor`: each thing that keeps events from arriving is found, named, and answered with what helps."""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from support.children import Children
from support.collector import UNAVAILABLE, Answer, Collector
from support.commands import WORDS, command, facts
from support.imports import SOURCE
from support.needs import miss
from support.sandbox import ROOT, Sandbox
from support.spool import segments

NOWHERE = "http://127.0.0.1:9/v1/events"
SPOOL_ONLY = {"MONITOR_EXIT_TIMEOUT": "0"}


def findings(children: Children, *words: str, **how: Any) -> list[dict[str, str]]:
    """Return what doctor finds but what is fine."""
    report = facts(children, "doctor", *words, **how)
    found = [check for check in report["checks"] if check["level"] != "ok"]
    assert report["wrong"] == sum(check["level"] == "wrong" for check in found)
    return found


def one(children: Children, *words: str, **how: Any) -> tuple[str, str, str]:
    """Return level, text and remedy of the only finding."""
    (found,) = findings(children, *words, **how)
    return found["level"], f"{found['name']}: {found['what']}", found["remedy"]


def test_healthy_environment_has_no_findings(children: Children) -> None:
    """A doctor who always finds something is not asked again."""
    children.run("pass")
    done = command(children, "doctor")
    assert (done.status, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert lines[-1] == "All is well."
    assert {line.split()[0] for line in lines if line[0] != " "} == {"ok", "All"}
    assert findings(children) == []
    assert command(children, "doctor", "--quiet").stdout.strip() == b""


def test_finding_comes_with_its_remedy_on_the_page(children: Children) -> None:
    """A page of findings without remedies is a page of riddles."""
    done = command(children, "doctor", bare=True)
    assert done.status == 1
    text = done.stdout.decode()
    assert text.startswith("wrong     endpoint: nothing is monitored: MONITOR_ENDPOINT is not set")
    assert "          → Name one: export MONITOR_ENDPOINT=http://" in text
    assert "1 thing is wrong, 0 warnings." in text
    paths = [word for line in text.splitlines() for word in line.split() if len(word) > 60]
    assert all(len(line) <= 80 for line in text.splitlines() if not any(path in line for path in paths))


@pytest.mark.parametrize(
    ("env", "endpoint", "level", "what", "remedy"),
    [
        ({}, "", "wrong", "endpoint: nothing is monitored: MONITOR_ENDPOINT is not set", "export MONITOR_ENDPOINT="),
        ({}, "host:9090", "wrong", "endpoint: the endpoint cannot be used: MONITOR_ENDPOINT must be http", "Correct"),
        ({}, "http://u:p@host/", "wrong", "must not hold a user or password; put a token into MONITOR_TOKEN", ""),
        ({}, "otlp+http://host:4318", "wrong", "OpenTelemetry endpoints are not supported yet", "Correct it"),
        ({"MONITOR_DISABLE": "1"}, "local:", "warning", "MONITOR_DISABLE is set in the environment", "Unset"),
        ({"MONITOR_TOKEN": "t"}, "http://host/v1/events", "wrong", "token: the token goes to host over plain", "https"),
        ({"MONITOR_SPOOL_LIMIT": "many"}, "local:", "wrong", "MONITOR_SPOOL_LIMIT is no number", "Correct MONITOR_SP"),
        (
            {"MONITOR_ARGV": "all"},
            "local:",
            "wrong",
            "MONITOR_ARGV must be one of scrubbed, full, name",
            "MONITOR_ARGV",
        ),
        ({"MONITOR_ENDPIONT": "x"}, "local:", "warning", "name: MONITOR_ENDPIONT", "Did you mean MONITOR_ENDPOINT?"),
        ({"MONITOR_ZEBRA": "x"}, "local:", "warning", "name: MONITOR_ZEBRA means nothing", "Unset it."),
        (
            {"MONITOR_SKIP": "htpx,Pytest"},
            "local:",
            "warning",
            "name: MONITOR_SKIP names htpx",
            "Did you mean httpx?",
        ),
        ({"MONITOR_INSTRUMENT": "all zebra"}, "local:", "warning", "names zebra, which no hook", "There are aiohttp, "),
    ],
)
def test_setting_that_does_not_work_is_named(
    children: Children, env: dict[str, str], endpoint: str, level: str, what: str, remedy: str
) -> None:
    """Programs must be silent about a bad setting; here is where it is said."""
    found = one(children, env=env, endpoint=endpoint)
    assert found[0] == level
    assert what in found[1]
    assert remedy in found[2]
    done = command(children, "doctor", env=env, endpoint=endpoint)
    assert done.status == (1 if level == "wrong" else 0)


def test_unusable_endpoint_does_not_show_its_password(children: Children) -> None:
    """The report goes into a ticket."""
    assert "hunter2" not in str(facts(children, "doctor", endpoint="http://me:hunter2@host/v1/events"))


def test_token_to_this_machine_may_go_in_the_clear(children: Children) -> None:
    """Nobody is on the way."""
    for host in ("127.0.0.1", "localhost", "[::1]"):
        endpoint = f"http://{host}:9/v1/events"
        assert findings(children, env={"MONITOR_TOKEN": "t"}, endpoint=endpoint) == []


def test_relative_spool_is_a_warning(children: Children) -> None:
    """Each program would have its own, below wherever it was started."""
    found = one(children, env={"MONITOR_SPOOL_DIR": "spool"}, spool=children.folder)
    assert (found[0], found[2]) == ("warning", "Give the whole path.")


def test_every_setting_that_the_code_reads_is_known() -> None:
    """Or doctor would call it a typing error. Add new names to KNOWN in cli/configuration.py."""
    names: set[str] = set()
    for path in (SOURCE / "monitor_auto").rglob("*.py"):
        if path.parts[-2] not in ("cli", "checks"):
            names.update(re.findall(r"\"(MONITOR_[A-Z_]+[A-Z])\"", path.read_text(encoding="utf-8")))
    table = set(re.findall(r"`(MONITOR_[A-Z_]+)`", (ROOT / "README.md").read_text(encoding="utf-8")))
    source = (SOURCE / "monitor_auto/cli/configuration.py").read_text(encoding="utf-8")
    known = set(re.findall(r"\"(MONITOR_[A-Z_]+[A-Z])\"", source.partition("KNOWN")[2].partition("))")[0]))
    assert known == names
    assert table <= known


def test_connection_is_tried_only_when_asked_and_sends_nothing(children: Children, collector: Collector) -> None:
    """A check that posts would put its own events, or errors, into the collector's log."""
    assert findings(children, "--connect", endpoint=collector.url) == []
    (good,) = [
        check
        for check in facts(children, "doctor", "--connect", endpoint=collector.url)["checks"]
        if check["name"] == "connection"
    ]
    assert "something listens at 127.0.0.1 port" in good["what"]
    collector.go_away()
    assert findings(children, endpoint=collector.url) == []
    level, what, _ = one(children, "--connect", endpoint=collector.url)
    assert level == "wrong"
    assert "Connection refused" in what
    assert collector.requests == []


@pytest.mark.parametrize(
    ("answer", "level", "words"),
    [
        (Answer(404), "wrong", "answered 404: check the address"),
        (Answer(401), "wrong", "answered 401: check MONITOR_TOKEN"),
        (UNAVAILABLE, "warning", "answered 503: try again later"),
        (Answer(429), "warning", "answered 429"),
    ],
)
def test_what_the_collector_answered_is_told(
    children: Children, collector: Collector, answer: Answer, level: str, words: str
) -> None:
    """A wrong address heals by nobody's waiting; programs themselves say nothing of it."""
    collector.answer = answer
    children.run("pass", endpoint=collector.url)
    assert len(collector.requests) >= 1
    found = one(children, endpoint=collector.url)
    assert found[0] == level
    assert found[1].startswith("collector: ")
    assert words in found[1]


def test_start_line_that_is_missing_changed_or_orphaned(changeable: Sandbox, children: Children) -> None:
    """Without it nothing is monitored and nothing says so; without its package every Python start complains."""
    how: dict[str, Any] = {"python": changeable, "endpoint": "local:"}
    start_line = changeable.site_packages / "monitor_auto.pth"
    text = start_line.read_text()
    start_line.unlink()
    assert children.run("pass", python=changeable).events == []
    level, what, remedy = named(findings(children, **how), "start line")
    assert (level, "no monitor_auto.pth in" in what, "pip install" in remedy) == ("wrong", True, True)
    start_line.write_text("import sys; sys.path\n" + text)
    level, what, _ = named(findings(children, **how), "start line")
    assert (level, "is not what was installed" in what) == ("wrong", True)
    start_line.write_text(text)
    (record,) = changeable.site_packages.glob("monitor_auto-*.dist-info/RECORD")
    record.unlink()
    level, what, _ = named(findings(children, **how), "start line")
    assert (level, "belongs to no installed version" in what) == ("warning", True)
    package = changeable.site_packages / "monitor_auto"
    shutil.copytree(package, children.folder / "elsewhere/monitor_auto")
    shutil.rmtree(package)
    env = {"PYTHONPATH": str(children.folder / "elsewhere")}
    level, what, _ = named(findings(children, env=env, **how), "package")
    assert (level, "every Python start prints an error" in what) == ("wrong", True)


def named(found: list[dict[str, str]], name: str) -> tuple[str, str, str]:
    """Return level, text and remedy of the one finding of this name."""
    (check,) = [check for check in found if check["name"] == name]
    return check["level"], check["what"], check["remedy"]


def test_second_start_line_and_second_copy(changeable: Sandbox, children: Children) -> None:
    """A user install beside the system's: which of the two runs, and which of the two `pip` removes, is chance."""
    configuration = changeable.folder / "pyvenv.cfg"
    text = configuration.read_text()
    configuration.write_text(
        text.replace("include-system-site-packages = false", "include-system-site-packages = true")
    )
    try:
        version = changeable.site_packages.parent.name
        user = children.home / ".local/lib" / version / "site-packages"
        user.mkdir(parents=True)
        shutil.copy(changeable.site_packages / "monitor_auto.pth", user)
        shutil.copytree(changeable.site_packages / "monitor_auto", user / "monitor_auto")
        found = findings(children, python=changeable)
    finally:
        configuration.write_text(text)
    levels = {check["what"][:24]: check["level"] for check in found if check["name"] in ("start line", "copies")}
    assert levels["there is more than one: "] == "warning"
    assert levels["there is more than one c"] == "warning"


def test_bytecode_that_every_start_compiles_anew(changeable: Sandbox, children: Children) -> None:
    """With PYTHONDONTWRITEBYTECODE, as in many images, each start costs ten times as much and nobody knows why."""
    env = {"PYTHONDONTWRITEBYTECODE": "1"}
    assert [check for check in findings(children, python=changeable, env=env) if check["name"] == "bytecode"] == []
    notes = changeable.site_packages / "monitor_auto/boot/notes.py"
    os.utime(notes, (1, 1))
    level, what, remedy = named(findings(children, python=changeable, env=env), "bytecode")
    assert level == "warning"
    assert "bytecode of 1 modules is stale (PYTHONDONTWRITEBYTECODE is set)" in what
    shutil.rmtree(notes.parent / "__pycache__")
    level, what, remedy = named(findings(children, python=changeable, env=env), "bytecode")
    assert "is missing" in what
    subprocess.run(remedy.split(), check=True, env={})
    assert [check for check in findings(children, python=changeable, env=env) if check["name"] == "bytecode"] == []


def test_library_that_is_missing_or_out_of_range(changeable: Sandbox, children: Children) -> None:
    """httpx delivers to names and over https; without it those events wait for ever."""
    found = {check["what"].split()[0]: check for check in findings(children, python=changeable)}
    assert {"wrapt", "httpx", "platformdirs"} <= set(found)
    assert found["httpx"]["level"] == "wrong"
    assert found["httpx"]["remedy"].startswith('python -m pip install "httpx')
    for name, version in (("wrapt", "1.13.3"), ("httpx", "1.0"), ("platformdirs", "4.9.1")):
        metadata = changeable.site_packages / f"monitor_auto_test_{name}-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (changeable.site_packages / "monitor_auto_test_wrapt-1.13.3.dist-info").rename(
        changeable.site_packages / "wrapt-1.13.3.dist-info"
    )
    (changeable.site_packages / "monitor_auto_test_httpx-1.0.dist-info").rename(
        changeable.site_packages / "httpx-1.0.dist-info"
    )
    (changeable.site_packages / "monitor_auto_test_platformdirs-4.9.1.dist-info").rename(
        changeable.site_packages / "platformdirs-4.9.1.dist-info"
    )
    try:
        found = {check["what"].split()[0]: check for check in findings(children, python=changeable)}
        assert (found["wrapt"]["level"], found["httpx"]["level"]) == ("warning", "warning")
        assert "wrapt 1.13.3 is outside" in found["wrapt"]["what"]
        assert "platformdirs" not in found
    finally:
        for path in changeable.site_packages.glob("*.dist-info"):
            if path.name.startswith(("wrapt", "httpx", "platformdirs")):
                shutil.rmtree(path)


def test_site_file_that_others_can_read_or_nobody_understands(changeable: Sandbox, children: Children) -> None:
    """It holds the token of a whole machine, and is edited by hand."""
    site_file = changeable.folder / "etc/monitor-auto.env"
    site_file.parent.mkdir()
    site_file.write_text(f"# comment\n\nMONITOR_ENDPOINT={NOWHERE}\nMONITOR_TOKEN=t\nendpoint: x\n")
    site_file.chmod(0o644)
    found = [check for check in findings(children, python=changeable, bare=True) if check["name"] == "site file"]
    assert [check["level"] for check in found] == ["warning", "warning"]
    assert "line 5 is no MONITOR_NAME=value" in found[0]["what"]
    assert found[1]["remedy"] == f"chmod 600 {site_file}"


def test_spool_that_cannot_be_used(children: Children) -> None:
    """Programs take the next best place in silence; somebody who looks into the first finds nothing."""
    (children.folder / "file").touch()
    env = {"MONITOR_SPOOL_DIR": str(children.folder / "file"), "CACHE_DIRECTORY": str(children.folder / "cache")}
    level, what, _ = one(children, env=env, spool=children.folder)
    assert (level, what) == ("warning", f"spool: {children.folder}/file cannot be used: it is no directory, or a link")
    if os.geteuid() == 0:
        foreign = children.folder / "foreign"
        foreign.mkdir(mode=0o700)
        os.chown(foreign, 65534, 65534)
        env["MONITOR_SPOOL_DIR"] = str(foreign)
        assert one(children, env=env, spool=children.folder)[1].endswith("it belongs to another user")


def test_spool_over_its_limit_and_from_the_future(children: Children) -> None:
    """Both lose events: by the limit, and by a clock that was set back."""
    run = children.run("pass", endpoint=NOWHERE, env=SPOOL_ONLY)
    level, what, remedy = one(children, endpoint=NOWHERE, env={"MONITOR_SPOOL_LIMIT": "100"})
    assert (level, what[:7], "monitor-auto flush" in remedy) == ("warning", "limit: ", True)
    (segment,) = segments(run.spool)
    os.utime(segment, (time.time() + 7200, time.time() + 7200))
    level, what, _ = one(children, endpoint=NOWHERE)
    assert (level, what[:37]) == ("warning", "clock: files of the spool are 1 hour ")


def test_what_waits_for_days_is_told(children: Children) -> None:
    """No program is started any more that would deliver it."""
    run = children.run("pass", endpoint=NOWHERE, env=SPOOL_ONLY)
    (segment,) = segments(run.spool)
    key, tree, session, number, _ = segment.name.split(".")
    old = f"{int(time.time() - 3 * 86400) * 1000:012x}"
    segment.rename(run.spool / f"{key}.{tree}.{old[:8]}-{old[8:]}{session[13:]}.{number}.jsonl")
    level, what, remedy = one(children, endpoint="local:")
    assert level == "warning"
    assert "2 events" in what
    assert "3 days" in what
    assert remedy.startswith(f"MONITOR_ENDPOINT={NOWHERE} monitor-auto flush")


def test_ledger_and_copies_are_told(children: Children, collector: Collector) -> None:
    """What was swallowed and what was put aside waits here for a reader."""
    run = children.run("pass", endpoint=collector.url, env=SPOOL_ONLY)
    (segment,) = segments(run.spool)
    (run.spool / "copy").write_bytes(segment.read_bytes())
    (run.spool / "copy").replace(segment)
    command(children, "flush", endpoint=collector.url)
    with open(run.spool / "ledger.jsonl", "a", encoding="utf-8") as ledger:
        line = {"at": 1, "pid": 1, "what": "internal_error", "part": "end", "error": "KeyError", "place": "x.py:3"}
        ledger.write(json.dumps(line) + "\n" + json.dumps({"what": "dropped", "reason": "full", "count": 3}) + "\n")
    found = findings(children, endpoint=collector.url, announce_internal_errors=True)
    assert {check["level"] for check in found} == {"warning"}
    assert [check["what"] for check in found] == [
        "internal error, 1 time: end at x.py:3: KeyError",
        "3 events were dropped: full",
        "1 file or line was put aside: a copy of another segment",
    ]


def test_files_that_hide_the_standard_library(children: Children, tmp_path: Path) -> None:
    """A `token.py` beside the script keeps the library hooks off, and nothing else tells why calls are missing."""
    folder = tmp_path / "jobs"
    (folder / "queue").mkdir(parents=True)
    (folder / "queue/__init__.py").touch()
    for name in ("token.py", "nightly.py", "sys.py", "email.txt", "marshal.py", "wrapt.py"):
        (folder / name).touch()
    level, what, remedy = one(children, "--folder", str(folder))
    assert (level, remedy[:16]) == ("warning", "Rename the files")
    assert what.startswith(f"hidden: files in {folder} hide modules")
    assert what.endswith(": queue, token, wrapt")
    assert one(children, cwd=folder)[1] == what


@pytest.mark.parametrize(
    ("table", "path", "kind", "is_network"),
    [
        ("1 0 8:1 / / rw - ext4 /dev/sda1 rw", "/home/x", "ext4", False),
        ("1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:5 / /home rw shared:1 - nfs4 host:/x rw", "/home/x", "nfs4", True),
        ("2 1 0:5 / /home rw - nfs host:/x rw\n1 0 8:1 / / rw - ext4 a rw", "/homely", "ext4", False),
        ("2 1 0:5 / /a\\040b rw - cifs //h/x rw\n1 0 8:1 / / rw - ext4 a rw", "/a b/c", "cifs", True),
        ("1 0 8:1 / / rw - ext4 a rw\n2 1 0:5 / /h rw - ext4 a rw\n3 2 0:6 / /h rw - 9p b rw", "/h/x", "9p", True),
        ("1 0 0:5 / / rw - fuse.sshfs h: rw", "/x", "fuse.sshfs", True),
        ("1 0 0:5 / / rw - smb3 h: rw", "/x", "smb3", True),
        ("1 0 0:5 / / rw - ceph h: rw", "/x", "ceph", True),
        ("1 0 0:5 / / rw - overlay h: rw", "/x", "overlay", False),
        ("", "/x", "", False),
        ("damaged\n - \n", "/x", "", False),
    ],
)
def test_network_file_system_is_recognised(
    children: Children, table: str, path: str, kind: str, is_network: bool
) -> None:
    """Locks over a network may say that everybody is dead, or nobody."""
    source = f"""
        from monitor_auto.cli.checks import spool
        kind = spool.file_system_of({path!r}, {table!r})
        print(repr((kind, spool.is_network(kind))))
    """
    assert children.run(source, bare=True).stdout.decode().strip() == repr((kind, is_network))


def test_setuid_interpreter_is_told(children: Children) -> None:
    """Such a program believes no environment, and `export` seems not to work."""
    if os.geteuid() != 0:
        miss("only root can take another group for one process")
    source = f"import os, sys; os.setegid(65534); os.execv(sys.executable, [sys.executable, *{WORDS[1:]!r}, 'doctor'])"
    done = children.run(source, bare=True, env={"MONITOR_ENDPOINT": "local:"})
    assert b"the effective and the real user differ (setuid)" in b" ".join(done.stdout.split())
    assert done.status == 1


def test_programs_that_no_start_line_reaches_are_named(children: Children, tmp_path: Path) -> None:
    """A job that is never recorded is the one that somebody will look for."""
    folder = tmp_path / "jobs"
    folder.mkdir()
    first_lines = {
        "seen.py": "#!/usr/bin/python3 -s -WSomething",
        "shell": "#!/bin/sh -S",
        "module": "#!/usr/bin/python3 -m S",
        "alone.py": "#!/usr/bin/python3 -S",
        "joined": "#! /usr/bin/env -S python3.12 -IS",
        "binary": "\0\udcff",
    }
    for name, line in first_lines.items():
        (folder / name).write_bytes(line.encode("utf-8", "surrogateescape") + b"\nimport sys\n")
    os.mkfifo(folder / "pipe")
    level, what, remedy = one(children, "--folder", str(folder))
    assert (level, what.rpartition(": ")[2]) == ("warning", "alone.py, joined")
    assert "-S" in remedy
    assert findings(children, "--folder", str(folder / "seen.py")) == []


def test_servers_with_sub_interpreters_are_told(children: Children) -> None:
    """mod_wsgi runs applications where the monitor cannot see them."""
    report = facts(children, "doctor", env={"MOD_WSGI_PROCESS_GROUP": "x"})
    (check,) = [check for check in report["checks"] if check["name"] == "sub-interpreters"]
    assert check["level"] == "ok"
    assert "only the server process is monitored" in check["what"]


def test_deleted_working_folder_stops_no_doctor(children: Children, tmp_path: Path) -> None:
    """Deployments delete the folder that a shell stands in."""
    words = f"mkdir {tmp_path}/gone && cd {tmp_path}/gone && rmdir ../gone && {children.sandbox.python} -m monitor_auto"
    for name in ("doctor", "status"):
        done = children.run(["sh", "-c", f"{words} {name}"])
        assert (done.status, done.stderr) == (0, b""), done.stderr

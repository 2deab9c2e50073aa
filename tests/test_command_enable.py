"""`monitor-auto enable` and `disable`: every program of an environment, also those that cron starts with nothing."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from support.children import Children
from support.collector import Collector
from support.commands import command, facts
from support.sandbox import Sandbox

NOWHERE = "http://127.0.0.1:9/v1/events"


def site_file_of(sandbox: Sandbox) -> Path:
    """Return where the settings of an environment are."""
    return sandbox.folder / "etc/monitor-auto.env"


def mode_of(path: Path) -> int:
    """Return a file's permissions."""
    return stat.S_IMODE(path.stat().st_mode)


def unchanged_of(path: Path) -> tuple[int, ...]:
    """Return what stays as it is while nobody writes a file; reading it changes the time of the last access."""
    facts = path.stat()
    return facts.st_ino, facts.st_mode, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def test_every_program_of_the_environment_is_monitored_until_disabled(changeable: Sandbox, children: Children) -> None:
    """Cron, sudo and `env -i` start programs with an environment that nobody controls."""
    how: dict[str, Any] = {"python": changeable, "bare": True}
    words = ["--endpoint", "local:", f"MONITOR_SPOOL_DIR={children.spool}", "--app", "nightly job"]
    done = command(children, "enable", *words, **how)
    assert (done.status, done.stderr) == (0, b"")
    shown = ["MONITOR_ENDPOINT=local:", "MONITOR_APP=nightly job", f"MONITOR_SPOOL_DIR={children.spool}"]
    lines = done.stdout.decode().splitlines()
    assert lines == [f"Wrote {site_file_of(changeable)}", *(f"  {line}" for line in shown)]
    assert mode_of(site_file_of(changeable)) == 0o644
    run = children.run("pass", **how)
    assert run.names == ["session.start", "session.end"]
    assert run.events[0]["source"]["app"] == "nightly job"
    gone = command(children, "disable", **how)
    assert (gone.status, gone.stdout.decode()) == (0, f"Removed {site_file_of(changeable)}\n")
    assert not site_file_of(changeable).exists()
    assert len(children.run("pass", **how).names) == 2
    again = command(children, "disable", **how)
    assert (again.status, again.stdout.decode()) == (0, f"Nothing to do: there is no {site_file_of(changeable)}\n")


@pytest.mark.parametrize("source", ["file", "environment"])
def test_token_reaches_the_collector_and_nobody_else(
    changeable: Sandbox, children: Children, collector: Collector, source: str
) -> None:
    """It is the key to everybody's events: not on a command line, not in a listing, not for other users."""
    (children.folder / "token").write_text("t0ken-of-mine\nsecond line\n", encoding="ascii")
    words = ["--token-file", str(children.folder / "token")] if source == "file" else ["--with-token"]
    env = {"MONITOR_TOKEN": "t0ken-of-mine"} if source == "environment" else {}
    more = f"MONITOR_SPOOL_DIR={children.spool}"
    how: dict[str, Any] = {"python": changeable, "bare": True}
    done = command(children, "enable", "--endpoint", collector.url, *words, more, env=env, **how)
    assert done.status == 0
    assert b"  MONITOR_TOKEN=[not shown]\n" in done.stdout
    assert b"only you can read the file" in done.stderr
    assert b"t0ken" not in done.stdout + done.stderr
    assert mode_of(site_file_of(changeable)) == 0o600
    children.run("pass", **how)
    assert [request.headers["authorization"] for request in collector.requests] == ["Bearer t0ken-of-mine"]
    assert "t0ken" not in repr(facts(children, "status", **how))


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--endpoint", "host:9090"], "must be http(s)://host[:port]/v1/events or local:"),
        (["--endpoint", "otlp+http://host"], "OpenTelemetry endpoints are not supported yet"),
        (["--endpoint", "local:", "MONITOR_TOKEN=t0ken"], "everybody can see it; use --token-file"),
        (["--endpoint", "local:", "MONITOR_ENDPOINT=local:"], "give it by --endpoint"),
        (["--endpoint", "local:", "MONITOR_PARENT=x"], "the monitor's own"),
        (["--endpoint", "local:", "MONITOR_SPOOLDIR=/x"], "did you mean MONITOR_SPOOL_DIR?"),
        (["--endpoint", "local:", "PATH=/x"], "PATH is no setting"),
        (["--endpoint", "local:", "word"], "'word' is no NAME=VALUE"),
        (["--endpoint", "local:", "MONITOR_SPOOL_LIMIT=many"], "MONITOR_SPOOL_LIMIT is no number"),
        (["--endpoint", "local:", "MONITOR_SPOOL_DIR=spool"], "must be a whole path"),
        (["--endpoint", "local:", "MONITOR_APP=two\nMONITOR_DISABLE=1"], "holds a line break"),
        (["--endpoint", "local:", "MONITOR_APP='quoted'"], "begins or ends with a space or quote"),
        (["--endpoint", "local:", "--with-token"], "$MONITOR_TOKEN holds no token"),
        (["--endpoint", "local:", "--token-file", "/nowhere"], "no token can be read from /nowhere"),
        (["--endpoint", "local:", "--token-file", "/dev/null"], "/dev/null holds no token"),
        (["--endpoint", "local:", "--prefix", "/nowhere"], "/nowhere is no folder"),
    ],
)
def test_what_no_program_could_use_is_not_written(
    changeable: Sandbox, children: Children, words: list[str], what: str
) -> None:
    """Programs fall silent over a bad file; the one who writes it can still be told."""
    done = command(children, "enable", *words, python=changeable, bare=True)
    assert (done.status, done.stdout) == (2, b"")
    assert what in " ".join(done.stderr.decode().split())
    assert "t0ken" not in done.stderr.decode()
    assert not site_file_of(changeable).parent.exists()


def test_second_time_changes_nothing(changeable: Sandbox, children: Children) -> None:
    """Provisioning runs every hour; a file that is always new looks like a change."""
    words = ["enable", "--endpoint", NOWHERE, "MONITOR_ARGV=name"]
    assert facts(children, *words, python=changeable, bare=True)["changed"]
    before = unchanged_of(site_file_of(changeable))
    again = facts(children, *words, python=changeable, bare=True)
    assert (again["changed"], again["settings"]) == (False, {"MONITOR_ENDPOINT": NOWHERE, "MONITOR_ARGV": "name"})
    assert unchanged_of(site_file_of(changeable)) == before
    site_file_of(changeable).chmod(0o666)
    assert facts(children, *words, python=changeable, bare=True)["changed"]
    assert mode_of(site_file_of(changeable)) == 0o644
    other = facts(children, "enable", "--endpoint", "local:", python=changeable, bare=True)
    assert other["settings"] == {"MONITOR_ENDPOINT": "local:"}
    assert "MONITOR_ARGV" not in site_file_of(changeable).read_text(encoding="utf-8")
    assert [path.name for path in site_file_of(changeable).parent.iterdir()] == ["monitor-auto.env"]


def test_token_goes_with_the_next_enable(changeable: Sandbox, children: Children) -> None:
    """A token of one collector must not be sent to the next."""
    how: dict[str, Any] = {"python": changeable, "bare": True}
    facts(children, "enable", "--endpoint", NOWHERE, "--with-token", env={"MONITOR_TOKEN": "t"}, **how)
    facts(children, "enable", "--endpoint", "https://other.example/v1/events", **how)
    assert not facts(children, "status", **how)["has_token"]
    assert mode_of(site_file_of(changeable)) == 0o644


def test_surprises_are_told(changeable: Sandbox, children: Children, tmp_path: Path) -> None:
    """The file is written as asked, and yet nothing would happen, or too much."""
    env = {"MONITOR_TOKEN": "t"}
    words = ["enable", "--endpoint", "http://collector.example/v1/events", "--with-token"]
    hints = facts(children, *words, env=env, python=changeable, bare=True)["warnings"]
    assert [hint.partition(",")[0].partition(" goes")[0] for hint in hints] == [
        "only you can read the file",
        "the token",
    ]
    hints = facts(children, "enable", "--endpoint", "local:", python=changeable)["warnings"]
    assert hints == ["MONITOR_ENDPOINT is set here and wins over the file for programs that inherit it."]
    (tmp_path / "empty").mkdir()
    empty = facts(children, "enable", "--endpoint", "local:", "--prefix", str(tmp_path / "empty"), bare=True)
    assert empty["path"] == str(tmp_path / "empty/etc/monitor-auto.env")
    assert empty["warnings"] == [f"monitor-auto is not installed in {tmp_path}/empty: no program there reads the file."]
    done = command(children, "disable", python=changeable)
    assert b"MONITOR_ENDPOINT is set here" in done.stderr
    assert done.status == 0


def test_another_environment_is_enabled_from_here(changeable: Sandbox, children: Children) -> None:
    """One tool on the machine, many environments."""
    folder = str(changeable.folder)
    outcome = facts(children, "enable", "--endpoint", "local:", "--prefix", folder, bare=True)
    assert (outcome["path"], outcome["warnings"]) == (str(site_file_of(changeable)), [])
    assert facts(children, "status", python=changeable, bare=True)["on"]
    assert not facts(children, "status", bare=True)["on"]
    removed = {"path": outcome["path"], "removed": True, "warnings": []}
    assert facts(children, "disable", "--prefix", folder, bare=True) == removed


def test_file_that_cannot_be_written_or_removed(changeable: Sandbox, children: Children) -> None:
    """The environment often belongs to somebody else; half a file would be worse than none."""
    (changeable.folder / "etc").mkdir()
    site_file_of(changeable).mkdir()
    done = command(children, "enable", "--endpoint", "local:", python=changeable, bare=True)
    assert (done.status, done.stdout) == (1, b"")
    assert b"cannot be written" in done.stderr
    assert b"Traceback" not in done.stderr
    assert os.listdir(changeable.folder / "etc") == ["monitor-auto.env"]
    done = command(children, "disable", python=changeable, bare=True)
    assert (done.status, b"cannot be removed" in done.stderr) == (1, True)


def test_strict_umask_does_not_hide_the_file_from_other_users(changeable: Sandbox, children: Children) -> None:
    """Root's umask is often 077; the programs of the services would not be monitored, and nobody would know why."""
    facts(children, "enable", "--endpoint", "local:", python=changeable, bare=True, umask=0o077)
    assert (mode_of(site_file_of(changeable)), mode_of(changeable.folder / "etc")) == (0o644, 0o755)


def test_link_in_the_place_of_the_file_is_replaced_not_followed(changeable: Sandbox, children: Children) -> None:
    """Or who can write into etc/ could have any file overwritten by root."""
    (changeable.folder / "etc").mkdir()
    (children.folder / "precious").write_text("precious", encoding="utf-8")
    site_file_of(changeable).symlink_to(children.folder / "precious")
    assert facts(children, "enable", "--endpoint", "local:", python=changeable, bare=True)["changed"]
    assert not site_file_of(changeable).is_symlink()
    assert (children.folder / "precious").read_text(encoding="utf-8") == "precious"


def test_empty_spool_directory_is_a_wrong_call(children: Children, tmp_path: Path) -> None:
    """A shell writes it where a variable is not set."""
    done = command(children, "enable", "--endpoint", "local:", "--prefix", str(tmp_path), "MONITOR_SPOOL_DIR=")
    assert (done.status, b"must be a whole path" in done.stderr, b"Traceback" in done.stderr) == (2, True, False)


@pytest.mark.parametrize(
    ("query", "mode"),
    [("api_key=hush", 0o600), ("key=hush", 0o600), ("x=0123456789abcdef0123", 0o600), ("project=7", 0o644)],
)
def test_key_in_the_address_is_not_shown(changeable: Sandbox, children: Children, query: str, mode: int) -> None:
    """Some collectors take the key in the address: it must not be in a build's log, nor readable by everybody."""
    how: dict[str, Any] = {"python": changeable, "bare": True}
    for words in ([], ["--json"]):
        done = command(children, "enable", "--endpoint", f"{NOWHERE}?{query}", *words, **how)
        assert done.status == 0
        assert query.encode() not in done.stdout + done.stderr
        assert f"{NOWHERE}?[not shown]".encode() in done.stdout
    assert mode_of(site_file_of(changeable)) == mode
    assert f"MONITOR_ENDPOINT={NOWHERE}?{query}\n" in site_file_of(changeable).read_text(encoding="utf-8")

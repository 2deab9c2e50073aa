"""Every way to end: the same status and output as without the monitor, and the right words in the record."""

import os
import sys
from typing import Any

import pytest

from support.children import Children, Run
from support.collector import Collector
from support.endings import ENDINGS, Ending
from support.needs import miss, need_command
from support.sandbox import Sandbox, Sandboxes, other_pythons

OWN = sys.version_info[:2]
USABLE = [name for name, ending in ENDINGS.items() if ending.is_for(OWN)]
SIGNALS = [name for name, ending in ENDINGS.items() if ending.reason is None]


def own_events(done: Run) -> list[dict[str, Any]]:
    """Return the events of the program's own session, in order."""
    first = done.events[0]["session"]["id"]
    return [event for event in done.events if event["session"]["id"] == first]


def check(ending: Ending, done: Run, python: tuple[int, int] = OWN) -> None:
    """Compare what was recorded with what the table says."""
    events = own_events(done)
    assert events[0]["name"] == "session.start"
    errors = [(event["name"], event["data"]["level"]) for event in events if event["type"] == "error"]
    assert errors == list(ending.errors)
    codes = [event["data"]["code"] for event in events if event["name"] == "session.exit"]
    assert codes == list(ending.exits)
    ends = [event["data"] for event in events if event["name"] == "session.end"]
    if ending.reason is None:
        assert ends == []
        return
    (end,) = ends
    # From 3.14 the interpreter leaves no sign of a SystemExit that was raised without sys.exit.
    is_told = python < (3, 14) or end["reason"] != "return"
    assert end["reason"] == ending.reason or not is_told
    assert end.get("exit_code") == ending.exit_code or not is_told
    assert end.get("error") == (ending.errors[0][0] if ending.reason in ("exception", "signal") else None)
    assert end.get("signal") == ending.signal
    assert events[-1]["name"] == "session.end"


@pytest.mark.parametrize("name", USABLE)
def test_program_ends_as_without_the_monitor_and_is_recorded(children: Children, name: str) -> None:
    """The whole promise in one table: nobody can tell, and nothing of it is missing."""
    ending = ENDINGS[name]
    done = children.twin(ending.source)
    assert done.status == ending.status
    check(ending, done)


@pytest.mark.parametrize("name", SIGNALS)
def test_death_without_an_end_is_told_by_the_next_flush(children: Children, collector: Collector, name: str) -> None:
    """Who looks for a job that was killed has to find that it was, and where."""
    ending = ENDINGS[name]
    source = "def work():\n    " + ending.source + "\nwork()\n"
    script = children.folder / "home" / "job.py"
    script.write_text(source)
    done = children.twin(script, endpoint=collector.url)
    assert done.status == ending.status
    flushed = children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url)
    assert flushed.status == 0, flushed.stderr
    assert collector.names() == ["session.start", *(["error." + ending.signal] * bool(ending.signal)), "session.lost"]
    lost = collector.unique()[-1]["data"]
    assert lost.get("signal") == (ending.signal or None)
    assert lost["last_event"] == "session.start"
    if ending.signal:
        error = collector.unique()[1]["data"]
        assert error["level"] == "fatal"
        assert 'File "~/job.py", line 2 in work' in error["stack"]
        assert str(children.home) not in str(collector.unique())
        assert error["location"].startswith("~/job.py:2:work") or "ctypes" in source or "faulthandler" in source
    assert not list(done.spool.glob("*.live"))


def test_session_whose_id_looks_like_a_card_number_keeps_it(children: Children, collector: Collector) -> None:
    """One id in some hundreds does; its death would belong to no session."""
    done = children.run("import os; os.kill(os.getpid(), 15)", endpoint=collector.url)
    (old,) = [header["session"] for header in done.headers]
    new = old[:15] + "abc-8123-456789012357"
    for path in done.spool.iterdir():
        with path.open("r+b") as file:  # in place: a segment knows its inode
            data = file.read().replace(old.encode(), new.encode())
            file.seek(0)
            file.write(data)
        path.rename(path.with_name(path.name.replace(old, new)))
    children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url)
    assert collector.names() == ["session.start", "error.SIGTERM", "session.lost"]
    assert {event["session"]["id"] for event in collector.unique()} == {new}
    assert [event["event_id"] for event in collector.unique()] == [f"{new}-{number}" for number in range(3)]


@pytest.fixture(scope="session")
def as_pid_1(sandbox: Sandbox) -> Sandbox:
    """The default environment, whose interpreter is the first process of a container."""
    need_command("unshare", "util-linux")
    if os.geteuid() != 0:
        miss("only root may make a process id namespace")
    return Sandbox(sandbox.folder, ("unshare", "--pid", "--fork", "--mount-proc"))


@pytest.mark.slow
@pytest.mark.parametrize("name", USABLE)
def test_pid_1_ends_as_without_the_monitor_and_is_recorded(children: Children, as_pid_1: Sandbox, name: str) -> None:
    """The kernel spares PID 1 what has no handler: a signal that kills a program elsewhere does not in a container."""
    ending = ENDINGS[name]
    done = children.twin(ending.source, python=as_pid_1)
    assert done.named("session.start")[0]["data"]["pid"] == 1
    if ending.outlives_it_as_pid_1:
        assert (done.status, done.stdout) == (0, b"alive\n")
        assert own_events(done)[-1]["data"]["reason"] == "return"
    else:
        check(ending, done)


def test_pid_1_that_outlived_sigterm_died_of_nothing(
    children: Children, as_pid_1: Sandbox, collector: Collector
) -> None:
    """A death that did not happen must not be reported, not even when the container is killed later."""
    source = (
        "import os; os.kill(1, 15); print('alive', flush=True); os.kill(os.getppid(), 0); import time; time.sleep(600)"
    )
    child = children.start(source, python=as_pid_1, endpoint=collector.url)
    assert child.process.stdout and child.process.stdout.readline() == b"alive\n"
    child.kill()
    children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url)
    assert collector.names() == ["session.start", "session.lost"]


COMPACT = (
    "return", "exit 3", "exit text", "exit caught", "exit in a thread", "raise SystemExit(3)", "error with a cause",
    "error with notes", "group of errors", "error shown by a hook of the program", "error in a thread",
    "error in __del__", "os._exit", "SIGINT", "SIGTERM", "SIGKILL", "SIGSEGV",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("version", other_pythons())
def test_endings_on_every_other_interpreter_of_this_machine(
    sandboxes: Sandboxes, children: Children, version: str
) -> None:
    """Each release moved something in how it ends: exit codes, hooks, what is left of `__main__`."""
    sandbox = sandboxes.get(other_pythons()[version])
    python = tuple(map(int, version.split(".")))
    for name in COMPACT:
        ending = ENDINGS[name]
        if ending.is_for(python):
            done = children.twin(ending.source, python=sandbox, spool=_private(children, name))
            assert done.status == ending.status, name
            check(ending, done, (python[0], python[1]))


def _private(children: Children, name: str) -> Any:
    folder = children.folder / name.replace(" ", "-")
    folder.mkdir(mode=0o700)
    return folder


@pytest.mark.parametrize(
    ("last", "status", "reason"), [("pass", 0, "return"), ("sys.exit(6)", 6, "exit"), ("leave(7)", 7, "exit")]
)
def test_exit_that_was_caught_is_told_from_one_that_was_not(
    children: Children, last: str, status: int, reason: str
) -> None:
    """With -c, and everywhere from 3.14, nothing of Python's says how it ended; the frame of the main program does."""
    code = "import sys\ndef leave(code): sys.exit(code)\ntry: leave(5)\nexcept SystemExit: print('caught')\n" + last
    done = children.twin(["python", "-c", code])
    assert done.status == status
    (end,) = done.named("session.end")
    assert end["data"]["reason"] == reason
    assert end["data"].get("exit_code") == (status or None)


@pytest.mark.parametrize("last", ["", "sys.exit(3)"])
def test_variables_die_after_sys_exit_as_they_do_without_the_monitor(children: Children, last: str) -> None:
    """What a program cleans up in `__del__` must be cleaned up, also when sys.exit was called somewhere before."""
    source = """
        import sys
        class Loud:
            def __init__(self, name):
                self.name = name
            def __del__(self):
                print("gone", self.name, flush=True)
                sys.exit(5)
        short = Loud("short")
        del short
        ring = Loud("ring")
        ring.ring = ring
        left = Loud("left")
    """
    done = children.twin(source + " " * 4 + last)
    assert sorted(done.stdout.splitlines()) == [b"gone left", b"gone ring", b"gone short"]

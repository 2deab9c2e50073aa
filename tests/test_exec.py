"""os.exec*: the session ends before another program takes its process, and goes on where the other one cannot start."""

import os
from typing import Any

import pytest

from support.children import Children
from support.collector import Collector

# How each is called with a path, the words of a command line, and an environment.
CALLS = {
    "execl": "os.execl(path, *words)",
    "execle": "os.execle(path, *words, env)",
    "execlp": "os.execlp(path, *words)",
    "execlpe": "os.execlpe(path, *words, env)",
    "execv": "os.execv(path, words)",
    "execve": "os.execve(path, words, env)",
    "execvp": "os.execvp(path, words)",
    "execvpe": "os.execvpe(path, words, env)",
}
PROGRAM = """
    import os, sys
    path, env = {path}, {{**os.environ, "ADDED": "1"}}
    words = [path, "-c", "import os; print('second', os.getpid() == int(os.environ['PID']), 'ADDED' in os.environ)"]
    env["PID"] = os.environ["PID"] = str(os.getpid())
    print("first", flush=True)
    {call}
"""
AFTER = """
print("still here")
"""
NO_PROGRAM = "/no/such/program"


def ends(events: list[dict[str, Any]]) -> list[tuple[str, int | None]]:
    """Return reason and exit code of each `session.end`."""
    return [(e["data"]["reason"], e["data"].get("exit_code")) for e in events if e["name"] == "session.end"]


@pytest.mark.parametrize("name", CALLS)
def test_exec_ends_one_session_and_starts_another(children: Children, name: str) -> None:
    """A wrapper script that execs the real program is two programs in one process."""
    done = children.twin(PROGRAM.format(path="sys.executable", call=CALLS[name]))
    assert done.status == 0
    assert done.stdout == b"first\nsecond True %a\n" % name.endswith("e")
    first, second = [event for event in done.events if event["name"] == "session.start"]
    assert ends(done.events) == [("exec", None), ("return", None)]
    assert first["data"]["pid"] == second["data"]["pid"]
    assert first["session"]["id"] != second["session"]["id"]
    if not name.endswith("e"):
        assert second["session"]["parent"] == first["session"]["id"]


@pytest.mark.parametrize("name", CALLS)
def test_failed_exec_raises_as_without_the_monitor(children: Children, name: str) -> None:
    """The traceback of a program that is not installed must not name the monitor."""
    done = children.twin(PROGRAM.format(path=repr(NO_PROGRAM), call=CALLS[name]))
    assert (done.status, done.stdout) == (1, b"first\n")
    assert ends(done.events) == [("exception", 1)]
    assert [event["name"] for event in done.events if event["type"] == "error"] == ["error.FileNotFoundError"]


@pytest.mark.parametrize("name", CALLS)
def test_session_goes_on_after_an_exec_that_failed(children: Children, name: str) -> None:
    """Trying one program after the other is what execvp does, and what launchers do."""
    source = f"""
    import os
    path, words, env = {NO_PROGRAM!r}, [{NO_PROGRAM!r}], {{}}
    try:
        {CALLS[name]}
    except OSError as error:
        print(error)
    raise SystemExit(3)
    """
    done = children.twin(source)
    assert done.status == 3
    assert len({event["session"]["id"] for event in done.events}) == 1
    assert ends(done.events) == [("exit", None)]


@pytest.mark.parametrize("call", ["os.execv(path, [path])", "os.execve(path, [path], {})", "os.execvp(path, [path])"])
def test_exec_that_fails_late_takes_the_end_back(children: Children, collector: Collector, call: str) -> None:
    """A file that may be executed and cannot be is found out by the kernel only, when the end is already written."""
    source = f"""
    import os, sys
    path = sys.argv[1]
    try:
        {call}
    except OSError as error:
        print(error)
    sys.exit(4)
    """
    broken = children.folder / "broken"
    broken.write_bytes(b"\x00\x01\x02\x03")
    broken.chmod(0o755)
    done = children.twin(source, argv=[str(broken)])
    assert done.status == 4
    assert ends(done.events) == [("exec", None), ("exit", 4)]
    assert "session.resume" in done.names
    assert len({event["session"]["id"] for event in done.events}) == 1


@pytest.mark.parametrize(
    "call", ["os.execv(sys.executable, [])", "os.execv(sys.executable, 5)", "os.execve(sys.executable, ['x'], 5)",
             "os.execv()", "os.execv(sys.executable, ['x', 'a\\0b'])", "os.execv(path=sys.executable, argv=[''])",
             "os.execvp('', ['x'])", "os.execl(sys.executable)", "os.execv(None, ['x'])"]
)  # fmt: skip
def test_exec_with_wrong_arguments_raises_its_own_error(children: Children, call: str) -> None:
    """The program's mistakes stay the program's: same exception, same traceback, and the error is recorded."""
    done = children.twin(f"import os, sys\n{call}\n")
    assert done.status == 1
    assert ends(done.events)[-1] == ("exception", 1)
    assert len([event for event in done.events if event["type"] == "error"]) == 1


def test_exec_by_a_descriptor_is_recorded(children: Children) -> None:
    """os.execve takes an open file, too (fexecve), as sandboxing launchers use it."""
    if os.execve not in os.supports_fd:
        pytest.skip("os.execve takes no descriptor here")
    source = """
        import os, sys
        descriptor = os.open("/bin/echo", os.O_RDONLY)
        os.execve(descriptor, ["echo", "by descriptor"], os.environ)
    """
    done = children.twin(source)
    assert done.stdout == b"by descriptor\n"
    assert ends(done.events) == [("exec", None)]


def test_exec_in_a_forked_child_leaves_the_parent_alone(children: Children) -> None:
    """fork and exec by hand, as old daemons do it."""
    source = """
        import os, sys
        pid = os.fork()
        if pid == 0:
            os.execv(sys.executable, [sys.executable, "-c", "raise SystemExit(5)"])
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    done = children.twin(source)
    assert done.stdout == b"5\n"
    methods = {e["session"]["id"]: e["data"]["start_method"] for e in done.events if e["name"] == "session.start"}
    found = {methods[e["session"]["id"]]: e["data"]["reason"] for e in done.events if e["name"] == "session.end"}
    assert found["fork"] == "exec"
    assert len(methods) == 3


def test_exec_of_something_else_delivers_with_a_later_process(children: Children, collector: Collector) -> None:
    """After an exec of `true` nobody of ours is left in that process; nothing of it may be lost."""
    source = "import os; print('first', flush=True); os.execv('/bin/true', ['true'])"
    assert children.twin(source, endpoint=collector.url).stdout == b"first\n"
    children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url)
    assert collector.names() == ["session.start", "session.end"]
    assert collector.unique()[-1]["data"]["reason"] == "exec"


def test_child_that_is_told_before_an_exec_that_fails_is_told_again_when_it_ends(children: Children) -> None:
    """Two exits of one child are a riddle, unless the second says that it takes the place of the first."""
    source = """
    import os, subprocess
    with open("script", "w") as script:
        os.fchmod(script.fileno(), 0o755)
        script.write("no interpreter is named here")
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    try:
        os.execv("./script", ["./script"])
    except OSError as error:
        print(error.errno)
    child.communicate()
    print(subprocess.run(["true"]).returncode)
    """
    done = children.twin(source)
    assert done.status == 0
    seen = [
        (row["child"], row.get("waited"), row.get("again")) for row in (e["data"] for e in done.named("process.exit"))
    ]
    assert seen == [(1, False, None), (1, None, True), (2, None, None)]
    assert ends(done.events) == [("exec", None), ("return", 0)]
    assert len(done.named("session.resume")) == 1

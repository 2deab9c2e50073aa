"""Every way of starting a child, with every kind of environment and options: seen, linked, and nothing changed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.children import Children, Run
from support.sandbox import Sandbox, Sandboxes, other_pythons

PROGRAM = """
    import asyncio, os, signal, subprocess, sys, types
    OURS, OTHER, SCRIPT = sys.executable, os.path.realpath(sys.executable), sys.argv[1]
    CODE = '''
    import os, sys
    hidden = ("MONITOR_ENDPOINT", "MONITOR_SPOOL_DIR", "TRACEPARENT") if sys.argv[2] == "inherits" else ()
    print(sys.argv[1], sorted(name for name in os.environ if name not in hidden), flush=True)
    sys.exit(3)
    '''.replace("\\n    ", "\\n")

    def run(words, env):
        return subprocess.run(words, env=env).returncode
    def run_with_preexec(words, env):
        return subprocess.run(words, env=env, preexec_fn=int).returncode
    def run_by_posix_spawn(words, env):
        return subprocess.run(words, env=env, close_fds=False, restore_signals=False).returncode
    def poll(words, env):
        process = subprocess.Popen(words, -1, None, None, None, None, None, True, False, None, env)
        while process.poll() is None:
            os.sched_yield()
        return process.returncode
    def asynchronous(words, env):
        async def main():
            process = await asyncio.create_subprocess_exec(*words, env=env)
            return await process.wait()
        return asyncio.run(main())
    def spawn(words, env):
        if env is None:
            return os.spawnv(os.P_WAIT, words[0], words)
        return os.spawnve(os.P_WAIT, words[0], words, env)
    def spawn_nowait(words, env):
        pid = os.spawnvpe(os.P_NOWAIT, words[0], words, os.environ if env is None else env)
        return os.waitstatus_to_exitcode(os.wait4(pid, 0)[1])
    def posix_spawn(words, env):
        pid = os.posix_spawn(words[0], words, os.environ if env is None else env)
        return os.waitid(os.P_PID, pid, os.WEXITED).si_status
    def posix_spawnp(words, env):
        pid = os.posix_spawnp(words[0], words, os.environ if env is None else env)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    def fork_and_exec(words, env):
        pid = os.fork()
        if pid == 0:
            if env is None:
                os.execv(words[0], words)
            os.execve(words[0], words, env)
        return os.waitstatus_to_exitcode(os.wait()[1])

    ENVIRONMENTS = {
        "none": None, "empty": {}, "copy": dict(os.environ), "more": {**os.environ, "MORE": "1"},
        "frozen": types.MappingProxyType({"FROZEN": "1"}), "bytes": {b"BYTES": b"1"},
    }
"""

WAYS = (
    *("run", "run_with_preexec", "run_by_posix_spawn", "poll", "asynchronous", "spawn", "spawn_nowait"),
    *("posix_spawn", "posix_spawnp", "fork_and_exec"),
)
ENVIRONMENTS = ("none", "empty", "copy", "more", "frozen", "bytes")
INHERITS = ("none", "copy", "more")
FLAGS = ("", "-I", "-E", "-S", "-B", "-Es", "-ES", "-Xutf8")


@dataclass(frozen=True)
class Case:
    """One child: how it is started, what it is, its options and the environment it is given."""

    way: str
    what: str
    flags: str
    environment: str

    @property
    def label(self) -> str:
        return f"{self.way}/{self.what}/{self.flags}/{self.environment}"

    @property
    def is_monitored(self) -> bool:
        """Only a Python of this environment whose start line runs."""
        return self.what in ("ours", "script") and "S" not in self.flags

    @property
    def line(self) -> str:
        """The statement that starts it and prints what it returned."""
        last = "inherits" if self.environment in INHERITS else "given"
        words = {
            "ours": f"[OURS, *{self.flags.split()!r}, '-c', CODE, {self.label!r}, {last!r}]",
            "other": f"[OTHER, '-c', CODE, {self.label!r}, {last!r}]",
            "script": f"[SCRIPT, {self.label!r}, {last!r}]",
            "echo": f"['/bin/echo', {self.label!r}]",
        }[self.what]
        return f"print({self.way}({words}, ENVIRONMENTS[{self.environment!r}]), flush=True)"


def cases() -> list[Case]:
    """Every way with every environment; the options with some of them; the other programs with every way."""
    found = [Case(way, "ours", "", environment) for way in WAYS for environment in ENVIRONMENTS]
    found += [Case(way, "ours", flags, "empty") for way in ("run", "spawn", "posix_spawn") for flags in FLAGS[1:]]
    found += [
        Case(way, what, "", environment) for way in WAYS for what in ("other", "echo") for environment in ("empty",)
    ]
    found += [Case(way, "script", "", environment) for way in ("run", "posix_spawn", "fork_and_exec")
              for environment in ("none", "empty")]  # fmt: skip
    return found


def start_all(children: Children, sandbox: Sandbox, folder: Path) -> Run:
    """Run all cases in one program, bare and monitored, and return what the monitored one left."""
    script = folder / "script"
    body = PROGRAM.partition("CODE = '''")[2].partition("'''")[0]
    lines = "\n".join(line[4:] for line in body.splitlines())
    script.write_text(f"#!{sandbox.python}\n{lines}\n", encoding="utf-8")
    script.chmod(0o755)
    source = PROGRAM + "".join(f"    {case.line}\n" for case in cases())
    done = children.twin(source, python=sandbox, argv=[str(script)], timeout=300)
    assert done.status == 0, done.stderr
    assert done.stderr == b""
    return done


def check(done: Run) -> None:
    """Compare what was recorded with what was started."""
    by_label = labelled(done.events)
    sessions = {event["session"]["id"]: event for event in done.named("session.start")}
    (root,) = [event for event in sessions.values() if event["session"].get("parent") not in sessions]
    for case in cases():
        names = [row["name"] for row in by_label.get(case.label, [])]
        started = [row for row in by_label.get(case.label, []) if row["name"] == "session.start"]
        assert len(started) == case.is_monitored, case
        for row in started:
            assert row["session"]["trace_id"] == root["session"]["trace_id"], case
            assert is_below(row, root, sessions), case
        if case.way != "fork_and_exec":  # where the child is known by its pid alone
            assert names.count("process.start") == 1, case
    starts, exits = done.named("process.start"), done.named("process.exit")
    own = [row for row in starts if row["session"]["id"] == root["session"]["id"]]
    assert len(own) == len(cases())
    assert len(exits) == len(starts)
    assert {row["data"]["exit_code"] for row in exits} == {0, 3}
    for row in own:
        (end,) = [
            other for other in exits
            if other["session"]["id"] == row["session"]["id"] and other["data"]["child"] == row["data"]["child"]
        ]  # fmt: skip
        assert end["data"]["pid"] == row["data"]["pid"]
        assert end["data"]["duration_ms"] > 0


def labelled(events: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the events that have a label in their command line, by label."""
    found: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        for word in event["data"].get("argv", []):
            if word.count("/") == 3 and word.partition("/")[0] in WAYS:
                found.setdefault(word, []).append(event)
    return found


def is_below(row: dict[str, Any], root: dict[str, Any], sessions: dict[str, dict[str, Any]]) -> bool:
    """True when a session's chain of parents leads to the root."""
    while row is not root:
        row = sessions[row["session"]["parent"]]
    return True


@pytest.mark.slow
def test_every_child_is_seen_and_linked_and_sees_nothing(children: Children, sandbox: Sandbox, tmp_path: Path) -> None:
    """A tool that knows some ways of starting a child shows a tree with holes, and nobody can tell where."""
    check(start_all(children, sandbox, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("version", other_pythons())
def test_every_child_on_every_other_interpreter(
    sandboxes: Sandboxes, children: Children, tmp_path: Path, version: str
) -> None:
    """What Python's own modules call to start a child differs from release to release."""
    check(start_all(children, sandboxes.get(other_pythons()[version]), tmp_path))

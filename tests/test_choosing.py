"""MONITOR_INCLUDE and MONITOR_EXCLUDE: what is monitored at all, and that the rest is left alone."""

import fnmatch
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from monitor_auto.boot import choosing
from support.children import Children, Run
from support.commands import command, facts
from support.sandbox import Sandbox

GLOB = st.text(alphabet="ab-]![*?\\.é", max_size=9)


@given(st.text(alphabet="ab-]![*?\\.é\n", max_size=9), GLOB)
@example("a", "[")
@example("]", "[]]")
@example("-", "[a-]")
@example("b", "[!]a-]")
@example("a", "[b-a]")
@example("a", "[!b-a]")
@example("abab", "*ab")
def test_globs_mean_what_fnmatch_says(text: str, pattern: str) -> None:
    """Users know them from there and from the shell."""
    assert choosing.matches(text, pattern) == fnmatch.fnmatchcase(text, pattern)


def test_long_globs_do_not_stop_the_start() -> None:
    """A list is read by every interpreter of the machine."""
    began = time.process_time()
    assert not choosing.matches("a" * 2000, "*a" * 100 + "b")
    assert time.process_time() - began < 10


def programs(done: Run) -> list[str]:
    """Return the programs that are on record."""
    return sorted(event["data"]["program"] for event in done.named("session.start"))


def script(children: Children, name: str, source: str = "print('here')") -> Path:
    """Write a script in a folder `tools` and return its path."""
    path = children.folder / "tools" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(source)
    return path


@pytest.mark.parametrize(
    ("exclude", "is_out"),
    [
        ("job.py", True),
        ("j?b.*", True),
        ("other.py, [jk]ob.py ,", True),
        ("tools/job.py", True),
        ("*/tools/*", True),
        ("{folder}/tools/*.py", True),
        ("~/../tools/job.py", False),
        ("ools/job.py", False),
        ("job", False),
        ("JOB.py", False),
        (",", False),
        ("", False),
    ],
)
def test_script_is_left_out_by_name_or_path(children: Children, exclude: str, is_out: bool) -> None:
    """A formatter that runs in every editor save is nobody's business."""
    path = script(children, "job.py")
    env = {"MONITOR_EXCLUDE": exclude.replace("{folder}", str(children.folder))}
    done = children.twin(path, env=env)
    assert done.stdout == b"here\n"
    assert programs(done) == [] if is_out else ["job.py"]
    assert [path.name for path in children.spool.iterdir()] == [] or not is_out


@pytest.mark.parametrize(
    ("words", "exclude"),
    [
        (["-m", "platform"], "platform"),
        (["-Im", "platform"], "plat*"),
        (["-m", "json.tool", "-h"], "json.*"),
        (["-c", "print('here')"], "-c"),
        (["-"], "-"),
        (["tools/../tools/job.py"], "tools/job.py"),
    ],
)
def test_modules_and_code_are_left_out_by_name(children: Children, words: list[str], exclude: str) -> None:
    """`python -m` has no script that a user would know the path of."""
    script(children, "job.py")
    how = {"stdin": b"print('here')", "cwd": children.folder}
    assert programs(children.twin(["python", *words], env={"MONITOR_EXCLUDE": exclude}, **how)) == []
    assert len(programs(children.twin(["python", *words], env={"MONITOR_EXCLUDE": "x" + exclude}, **how))) == 1


def test_only_what_is_included_is_monitored(children: Children) -> None:
    """A team switches it on for its own jobs on a machine that others use, too."""
    env = {"MONITOR_INCLUDE": "nightly_*, */tools/job.py", "MONITOR_EXCLUDE": "nightly_old.py"}
    for name in ("nightly_new.py", "nightly_old.py", "job.py", "more.py"):
        children.twin(script(children, name), env=env)
    assert programs(children.twin(["python", "-c", "pass"], env=env)) == ["job.py", "nightly_new.py"]


CHAIN = """
import os, subprocess, sys
from monitor_auto import Monitor
for name in sys.argv[1:2]:
    subprocess.run([sys.executable, name, *sys.argv[2:]])
    assert "MONITOR_PARENT" not in os.environ
    Monitor.event("work.done")
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
"""


def test_children_of_what_is_left_out_hang_below_its_parent(children: Children) -> None:
    """A wrapper that nobody cares for must not tear the tree apart."""
    first, wrapper, last = (script(children, name, CHAIN) for name in ("first.py", "wrapper.py", "last.py"))
    done = children.run(first, argv=[str(wrapper), str(last)], env={"MONITOR_EXCLUDE": "wrapper.py"})
    assert done.status == 0 and done.stderr == b""
    starts = {event["data"]["program"]: event for event in reversed(done.named("session.start"))}
    assert sorted(starts) == ["first.py", "last.py"]
    root, child = starts["first.py"], starts["last.py"]
    assert child["session"]["parent"] == root["session"]["id"]
    assert child["session"]["trace_id"] == root["session"]["trace_id"]
    assert child["data"]["parent_span_id"] == root["session"]["span_id"]
    assert [event["session"]["id"] for event in done.named("work.done")] == [root["session"]["id"]]


def test_program_that_is_left_out_sees_and_changes_nothing(children: Children) -> None:
    """It is to run as if the monitor was not there: no hook, no file, no word."""
    source = """
        import atexit, faulthandler, os, sys, threading
        print(sys.exit, os._exit, sys.excepthook is sys.__excepthook__, faulthandler.is_enabled())
        print([type(finder).__name__ for finder in sys.meta_path], sorted(os.listdir("/proc/self/fd")))
        from monitor_auto import Monitor
        print(Monitor.init(), Monitor.session, Monitor.event("a.b"), Monitor.flush())
        sys.exit(3)
    """
    env = {"MONITOR_EXCLUDE": "*", "MONITOR_PARENT": ":".join(["x"] * 6)}
    done = children.run(source, env=env)
    bare = children.run(source, bare=True)
    assert (done.status, done.stdout, done.stderr) == (bare.status, bare.stdout, bare.stderr)
    assert done.status == 3 and b"\nFalse None None True\n" in done.stdout
    assert list(children.spool.iterdir()) == []


def test_program_cannot_switch_on_what_the_operator_left_out(children: Children) -> None:
    """Who operates decides; and what asks for an event by name is heard all the same."""
    source = "from monitor_auto import Monitor; print(Monitor.init(endpoint='local:'))"
    assert children.run(source, env={"MONITOR_EXCLUDE": "script.py"}).stdout == b"False\n"
    words = ["python", "-m", "monitor_auto", "event", "backup.done"]
    assert "backup.done" in children.run(words, env={"MONITOR_INCLUDE": "nothing"}).names


def test_site_file_leaves_programs_out_for_processes_without_an_environment(
    changeable: Sandbox, tmp_path: Path
) -> None:
    """The operator's file is all that cron's and sudo's programs have; what is set for one program wins over it."""
    children = Children(changeable, tmp_path)
    (changeable.folder / "etc").mkdir(exist_ok=True)
    lines = ["MONITOR_ENDPOINT=local:", f"MONITOR_SPOOL_DIR={children.spool}", "MONITOR_EXCLUDE=job.py"]
    (changeable.folder / "etc" / "monitor-auto.env").write_text("\n".join(lines))
    path = script(children, "job.py")
    assert programs(children.run(path, bare=True)) == []
    assert programs(children.run(script(children, "other.py"), bare=True)) == ["other.py"]
    assert programs(children.run(path, bare=True, env={"MONITOR_EXCLUDE": "x"})) == ["job.py", "other.py"]
    assert programs(children.run(path, bare=True, env={"MONITOR_INCLUDE": "x"})) == ["job.py", "other.py"]


def test_workers_of_a_pool_are_not_asked_for_their_command_line(children: Children) -> None:
    """Spawned workers run a -c line that no user has written: who includes the program means them, too."""
    source = """
        import multiprocessing, os
        def work(number):
            return number + 1
        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.map(work, [1, 2]))
                pool.close()
                pool.join()
    """
    done = children.twin(source, env={"MONITOR_INCLUDE": "script.py"})
    assert done.stdout == b"[2, 3]\n"
    assert {"exec", "spawn"} <= {event["data"]["start_method"] for event in done.named("session.start")}


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({}, ""),
        ({"MONITOR_EXCLUDE": "pip*, black"}, "all but pip*, black (MONITOR_EXCLUDE)"),
        ({"MONITOR_INCLUDE": "/srv/jobs/*"}, "only /srv/jobs/* (MONITOR_INCLUDE)"),
        (
            {"MONITOR_INCLUDE": "job_*.py", "MONITOR_EXCLUDE": "job_x.py"},
            "only job_*.py (MONITOR_INCLUDE) but not job_x.py (MONITOR_EXCLUDE)",
        ),
    ],
)
def test_who_misses_a_program_is_told_that_not_all_are_monitored(
    children: Children, env: dict[str, str], told: str
) -> None:
    """A monitor that is on and records nothing of the one program that matters sends its user to the wrong places."""
    assert facts(children, "status", env=env)["programs"] == told
    page = [line.split(None, 1) for line in command(children, "status", env=env).stdout.decode().splitlines()]
    assert ["programs", told] in page or not told
    checks = facts(children, "doctor", env=env)["checks"]
    assert [check["what"] for check in checks if check["name"] == "programs"] == [f"monitored are {told}"] * bool(told)

"""What events say of a session and its children is true: held against what the program itself can find out."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from support.children import Children
from support.collector import Collector


def test_start_says_what_was_started_and_where(children: Children) -> None:
    """Who finds a failed job on a machine with ten environments has to know which of them it was."""
    source = """
        import json, os, platform, sys
        print(json.dumps({
            "pid": os.getpid(), "ppid": os.getppid(), "program": "script.py", "argv": [sys.executable, *sys.argv],
            "cwd": os.getcwd(), "executable": sys.executable, "venv": sys.prefix, "python": platform.python_version(),
            "implementation": "cpython", "host": platform.node(), "start_method": "exec",
        }))
    """
    done = children.run(source, argv=["--fast", "lagos.csv"])
    (start,) = done.named("session.start")
    assert start["data"] == json.loads(done.stdout)
    assert start["data"]["venv"] == str(children.sandbox.folder)


@pytest.mark.parametrize(
    ("how", "words", "program"),
    [
        ("a module", ["-m", "this_job"], "this_job"),
        ("code", ["-c", "import this_job"], "-c"),
        ("a folder", ["."], "."),
    ],
)
def test_start_says_which_program_it_was_however_it_was_called(
    children: Children, how: str, words: list[str], program: str
) -> None:
    """`python -m` and `-c` have no script by whose name one could tell it."""
    folder = children.folder / "cwd"
    folder.mkdir()
    for name in ("this_job.py", "__main__.py"):
        (folder / name).write_text("print('done')\n")
    done = children.twin(["python", *words], cwd=folder)
    assert done.stdout == b"done\n"
    (start,) = done.named("session.start")
    assert start["data"]["program"] == program, how


def test_exit_is_on_disk_before_it_is_raised_and_says_where_and_in_which_thread(children: Children) -> None:
    """A program may catch it and hang, or be killed while it shuts down: the call is all that is ever known."""
    source = """
        import os, sys, threading
        def stop():
            sys.exit("no more disk")
        thread = threading.Thread(target=stop, name="writer")
        thread.start()
        thread.join()
        try:
            sys.exit(4)
        except SystemExit:
            os.kill(os.getpid(), 9)
    """
    done = children.twin(source)
    assert done.status == -signal.SIGKILL
    thread, main = [event["data"] for event in done.named("session.exit")]
    places = [Path(data.pop("location")).name for data in (thread, main)]
    assert places == ["script.py:4:stop", "script.py:9:<module>"]
    assert thread == {"code": 1, "thread": "writer", "message": "no more disk"}
    assert main == {"code": 4, "thread": "MainThread"}


def test_end_says_how_long_it_took_and_what_it_used(children: Children) -> None:
    """These are the numbers that tell a slow job from a waiting one, and one that is about to outgrow its machine."""
    source = """
        import json, resource, time
        began = time.monotonic()
        held = bytearray(64 << 20)
        held[::4096] = b"x" * (len(held) // 4096)
        while time.process_time() < 0.3:
            pass
        took, used = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
        with open("/proc/self/status") as file:  # ru_maxrss is what whoever has started this has once had, if more
            (most,) = [int(line.split()[1]) for line in file if line.startswith("VmHWM:")]
        print(json.dumps([took * 1000, used.ru_utime * 1000 + used.ru_stime * 1000, most * 1024]))
    """
    done = children.run(source)
    took, used, resident = json.loads(done.stdout)
    (end,) = [event["data"] for event in done.named("session.end")]
    assert took <= end["duration_ms"] < took + 60_000
    assert used - 40 <= end["cpu_user_ms"] + end["cpu_system_ms"] < used + 20_000  # the kernel's clock has ticks
    assert resident - (4 << 20) <= end["max_rss_bytes"] < resident + (32 << 20)


def test_end_of_a_child_says_how_long_it_ran(children: Children) -> None:
    """From its start until the program learns of its end: that is what the program has waited for."""
    source = """
        import subprocess, time
        began = time.monotonic()
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
        started = time.monotonic()
        while time.monotonic() < started + 0.2:
            pass
        least = time.monotonic() - started
        child.communicate()
        print(least * 1000, (time.monotonic() - began) * 1000)
    """
    done = children.run(source)
    least, most = map(float, done.stdout.split())
    (end,) = [event["data"] for event in done.named("process.exit")]
    assert least <= end["duration_ms"] <= most


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "SIGTERM"])
def test_death_by_a_signal_of_c_code_has_the_stack_that_was_running(
    children: Children, collector: Collector, name: str
) -> None:
    """Each of them means another kind of broken extension, and the stack says which call into it was the last."""
    source = f"""
        import os, signal
        def in_the_library():
            os.kill(os.getpid(), signal.{name})
        in_the_library()
    """
    done = children.twin(source, endpoint=collector.url)
    assert done.status == -getattr(signal, name)
    assert children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url).status == 0
    by_name: dict[str, dict[str, Any]] = {event["name"]: event["data"] for event in collector.unique()}
    assert set(by_name) == {"session.start", "error." + name, "session.lost"}
    error = by_name["error." + name]
    assert error["level"] == "fatal"
    assert error["location"].endswith("script.py:4:in_the_library")
    assert by_name["session.lost"]["signal"] == name


def test_child_that_a_thread_has_forked_ends_with_that_thread(children: Children, collector: Collector) -> None:
    """Such a process never reaches the end of the interpreter: nothing of it can say so, but its parent has seen it."""
    source = """
        import os, threading
        from monitor_auto import Monitor
        def work():
            pid = os.fork()
            if pid == 0:
                Monitor.event("child.step")
                return
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    """
    done = children.twin(source, flags=["-W", "ignore"], endpoint=collector.url)
    assert done.stdout == b"0\n"
    by_name = {event["name"]: event for event in collector.unique()}
    (exit_,) = [event["data"] for event in collector.unique() if event["name"] == "process.exit"]
    assert exit_["exit_code"] == 0
    lost = by_name["session.lost"]
    assert (lost["data"]["exit_code"], lost["data"]["last_event"]) == (0, "child.step")
    assert lost["session"]["id"] == by_name["child.step"]["session"]["id"]

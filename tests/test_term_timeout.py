"""MONITOR_TERM_TIMEOUT: deliver after SIGTERM, then die of it, for containers whose disk vanishes with them."""

import signal
from pathlib import Path

import pytest

from support.children import Child, Children
from support.collector import STALL, Collector
from support.needs import need_command

WAITING = """
    import time
    from monitor_auto import Monitor
    Monitor.event("work.step", {"number": 1})
    def work():
        print("ready", flush=True)
        while True:
            time.sleep(0.01)
    work()
"""


def start_and_terminate(children: Children, program: str, endpoint: str, **env: str) -> Child:
    """Start a program, wait until it is ready, and send it SIGTERM."""
    child = children.start(program, endpoint=endpoint, env={"MONITOR_TERM_TIMEOUT": "30", **env})
    assert child.process.stdout
    assert child.process.stdout.readline() == b"ready\n"
    child.process.send_signal(signal.SIGTERM)
    return child


def test_sigterm_delivers_and_then_kills(children: Children, collector: Collector) -> None:
    """A container that is stopped has ten seconds, and its spool goes with it."""
    done = start_and_terminate(children, WAITING, collector.url).finish()
    assert (done.status, done.stderr) == (-signal.SIGTERM, b"")
    assert collector.names() == ["session.start", "work.step", "error.SIGTERM", "session.end"]
    error, end = collector.unique()[2:]
    assert error["data"]["location"].endswith(":work")
    assert (end["data"]["reason"], end["data"]["signal"]) == ("signal", "SIGTERM")
    assert list(children.spool.glob("*.live")) == []


def test_silent_collector_is_waited_for_no_longer_than_said(children: Children, collector: Collector) -> None:
    """Who sends SIGTERM sends SIGKILL later; what was not answered stays for another process."""
    collector.answer = STALL
    done = start_and_terminate(children, WAITING, collector.url, MONITOR_TERM_TIMEOUT="0.5").finish()
    assert done.status == -signal.SIGTERM
    assert done.names == ["session.start", "work.step", "error.SIGTERM", "session.end"]


@pytest.mark.parametrize(
    "handler",
    [
        "signal.signal(signal.SIGTERM, lambda *args: sys.exit(7))",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); os.kill(os.getpid(), signal.SIGTERM); sys.exit(8)",
        "signal.signal(signal.SIGTERM, signal.SIG_DFL)",
    ],
)
def test_handler_of_the_program_replaces_ours(children: Children, collector: Collector, handler: str) -> None:
    """A server's own graceful shutdown is worth more than our delivery."""
    program = f"import os, signal, sys\n{handler}\nos.kill(os.getpid(), signal.SIGTERM)\nimport time; time.sleep(60)"
    children.twin(program, endpoint=collector.url, env={"MONITOR_TERM_TIMEOUT": "30"})
    children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url)
    assert collector.names()[0] == "session.start"


def test_inherited_ignored_sigterm_stays_ignored(children: Children) -> None:
    """nohup and shells start programs with signals ignored; a handler of ours would make them die."""
    program = "import os, signal; print(signal.getsignal(15)); os.kill(os.getpid(), 15); print('alive')"
    words = ["sh", "-c", "trap '' TERM; exec \"$@\"", "sh", str(children.sandbox.python), "-c", program]
    done = children.twin(words, env={"MONITOR_TERM_TIMEOUT": "30"})
    assert done.named("session.end")[0]["data"]["reason"] == "return"


def test_forked_children_die_of_it_too(children: Children, collector: Collector) -> None:
    """Process.terminate() is how multiprocessing ends its workers: they must not live on, nor be exit code 0."""
    program = """
        import multiprocessing, time
        def work(pipe):
            pipe.send("ready")
            time.sleep(60)
        if __name__ == "__main__":
            ours, theirs = multiprocessing.get_context("fork").Pipe()
            process = multiprocessing.get_context("fork").Process(target=work, args=(theirs,))
            process.start()
            ours.recv()
            process.terminate()
            process.join()
            print(process.exitcode)
    """
    done = children.twin(program, endpoint=collector.url, env={"MONITOR_TERM_TIMEOUT": "30"})
    assert done.stdout == b"-15\n"
    assert collector.names().count("error.SIGTERM") == 1
    assert collector.names().count("session.end") == 2


def test_as_pid_1_it_leaves_with_143(children: Children, collector: Collector) -> None:
    """As PID 1 a default SIGTERM kills nobody; a container that asked for delivery wants to end."""
    unshare = need_command("unshare", "util-linux")
    script = children.folder / "pid1.py"
    script.write_text(BARE_SOURCE, encoding="utf-8")
    words = [unshare, "--pid", "--fork", "--mount-proc", str(children.sandbox.python), str(Path(script))]
    done = children.run(words, endpoint=collector.url, env={"MONITOR_TERM_TIMEOUT": "30"})
    assert done.status == 143
    assert collector.names() == ["session.start", "error.SIGTERM", "session.end"]


BARE_SOURCE = "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(60)\n"

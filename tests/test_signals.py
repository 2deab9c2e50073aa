"""Signals: the program dies, or does not, exactly as without the monitor; what killed it is on record."""

import signal
from typing import Any

import pytest

from support.children import Child, Children
from support.collector import Collector

KILLS_AT_ONCE = 6
"""So many programs wait for their SIGTERM at a time."""

BUSY_THREADS = """
    import os, threading
    def spin():
        while True:
            try:
                [str(number) for number in range(50)]
                raise ValueError
            except ValueError:
                pass
    for _ in range(3):
        threading.Thread(target=spin, daemon=True).start()
    os.write(1, b"ready ")
    spin()
"""
SHORT_THREADS = """
    import os, threading
    def work():
        return [str(number) for number in range(5000)]
    os.write(1, b"ready ")
    while True:
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
"""
FORKED = """
    import os, signal, threading
    def spin():
        while True:
            try:
                [str(number) for number in range(50)]
                raise ValueError
            except ValueError:
                pass
    def child(into):
        for _ in range(2):
            threading.Thread(target=spin, daemon=True).start()
        os.write(into, b"x")
        spin()
    codes = []
    for number in range(100):
        out, into = os.pipe()
        pid = os.fork()
        if pid == 0:
            child(into)
        os.read(out, 1)
        os.kill(pid, signal.SIGTERM)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        os.close(out)
        os.close(into)
    print(codes == [-15] * 100 or codes)
"""


def flush(children: Children, collector: Collector) -> list[dict[str, Any]]:
    """Have a later process deliver, and return all that has come."""
    done = children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url)
    assert done.status == 0, done.stderr
    return collector.unique()


def names(events: list[dict[str, Any]], *wanted: str) -> list[str]:
    """Return the names of events that begin as one of `wanted`."""
    return [event["name"] for event in events if event["name"].startswith(wanted)]


def killed(child: Child) -> int:
    """Wait until a program is ready, send it SIGTERM, and return its status."""
    assert child.process.stdout is not None
    assert child.process.stdout.read(6) == b"ready "
    child.process.send_signal(signal.SIGTERM)
    return child.finish().status


@pytest.mark.slow
@pytest.mark.parametrize(("source", "least"), [(BUSY_THREADS, 102), (SHORT_THREADS, 51)], ids=["busy", "short-lived"])
def test_hundred_terminations_of_a_program_with_threads(
    children: Children, collector: Collector, source: str, least: int
) -> None:
    """Dumping a stack among threads has crashed interpreters: the status must be SIGTERM's each time.

    While the main thread starts another one it blocks all signals, and a thread that has no Python state gets it: there
    is no stack then. A thread that has one and is not yet in a function of the program shows those of `threading`.
    """
    count = 102
    for _ in range(count // KILLS_AT_ONCE):
        running = [children.start(source, endpoint=collector.url) for _ in range(KILLS_AT_ONCE)]
        assert [killed(child) for child in running] == [-signal.SIGTERM] * KILLS_AT_ONCE
    events = flush(children, collector)
    assert least <= names(events, "error").count("error.SIGTERM") <= count
    assert names(events, "session.lost") == ["session.lost"] * count
    stacks = [event["data"]["stack"] for event in events if event["type"] == "error"]
    others = [stack for stack in stacks if 'script.py", line ' not in stack]
    assert [stack for stack in others if not is_of_a_thread_that_begins_or_ends(stack)] == []
    assert len(others) * 10 <= len(stacks)


def is_of_a_thread_that_begins_or_ends(stack: str) -> bool:
    """True for the stack of a thread that was not yet, or no more, in a function of the program."""
    return "<no Python frame>" in stack or ("threading.py" in stack and " in _bootstrap" in stack)


@pytest.mark.slow
def test_hundred_terminations_of_forked_children(children: Children, collector: Collector) -> None:
    """The handler is inherited by fork: a child's SIGTERM once woke its parent's watcher, and the parent died."""
    done = children.run(FORKED, endpoint=collector.url, flags=["-W", "ignore"], timeout=250)
    assert (done.status, done.stdout, done.stderr) == (0, b"True\n", b"")
    events = flush(children, collector)
    assert names(events, "error") == ["error.SIGTERM"] * 100
    assert names(events, "session.lost", "session.end") == ["session.end", *["session.lost"] * 100]
    assert all(event["data"].get("location") for event in events if event["type"] == "error")


@pytest.mark.parametrize("source", ["while True: pass", "import time; time.sleep(600)", "input()", "sum(iter(int, 1))"])
def test_termination_tells_what_was_running(children: Children, collector: Collector, source: str) -> None:
    """A job that hangs in C is killed by its time limit; a Python handler would never run there."""
    program = f"import os\ndef stuck():\n    os.write(1, b'ready ')\n    {source}\nstuck()\n"
    child = children.start(program, endpoint=collector.url, stdin=-1)
    assert killed(child) == -signal.SIGTERM
    (error,) = [event for event in flush(children, collector) if event["type"] == "error"]
    # The signal may come before the line with the program's own is reached.
    assert error["data"]["location"].endswith(("script.py:3:stuck", "script.py:4:stuck"))
    assert error["data"]["message"] == "killed by SIGTERM"
    assert error["session"]["id"] == collector.unique()[0]["session"]["id"]


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "USR1", "QUIT"])
def test_signal_that_was_inherited_as_ignored_stays_ignored(children: Children, name: str) -> None:
    """nohup and background shells say so; a monitor that installs a handler makes such programs die."""
    code = f"import os, signal; print(signal.getsignal(signal.SIG{name})); os.kill(os.getpid(), signal.SIG{name})"
    words = ["sh", "-c", f"""trap '' {name}; exec "$0" -c "{code}; print('alive')" """, str(children.sandbox.python)]
    done = children.twin(words)
    assert done.status == 0
    assert done.stdout == b"Handlers.SIG_IGN\nalive\n" or b"1\nalive" in done.stdout
    assert names(done.events, "session", "error") == ["session.start", "session.end"]


HANDLERS = {
    "prints": "signal.signal(signal.SIGTERM, lambda number, frame: print('handled', number))",
    "exits": "signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(9))",
    "raises": "signal.signal(signal.SIGTERM, lambda number, frame: 1 / 0)",
    "ignored": "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "default again": "signal.signal(signal.SIGTERM, print); signal.signal(signal.SIGTERM, signal.SIG_DFL)",
    "blocked": "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])",
    "waited for": "signal.pthread_sigmask(0, [15]); os.kill(os.getpid(), 15); print(signal.sigwait([15]))",
}
HANDLED = """
    import os, signal, sys
    {before}
    print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, flush=True)
    {after}
    os.kill(os.getpid(), signal.SIGTERM)
    print("alive")
"""
STATUS = {"exits": 9, "raises": 1, "default again": -15}


@pytest.mark.parametrize("name", HANDLERS)
def test_handler_of_the_program_works_as_without_the_monitor(children: Children, name: str) -> None:
    """Servers shut down by it."""
    done = children.twin(HANDLED.format(before="", after=HANDLERS[name]))
    assert done.stdout.startswith(b"True\n")
    assert done.status == STATUS.get(name, 0)
    assert names(done.events, "session.end") == ["session.end"] * (done.status != -15)
    if name == "raises":
        assert names(done.events, "error") == ["error.ZeroDivisionError"]


@pytest.mark.parametrize("name", HANDLERS)
def test_handler_that_was_there_first_is_left_alone(children: Children, name: str) -> None:
    """Monitor.init may be called at any time of a program's life."""
    init = "from monitor_auto import Monitor; Monitor.init(endpoint='local:')"
    source = HANDLED.format(before=HANDLERS[name], after=init)
    without = children.run(source, env={"MONITOR_DISABLE": "1"})
    done = children.run(source, bare=True, env={"MONITOR_SPOOL_DIR": str(children.spool)})
    assert (done.status, done.stdout) == (without.status, without.stdout)
    assert done.status == STATUS.get(name, 0)
    assert names(done.events, "session.start") == ["session.start"]


@pytest.mark.parametrize("number", sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}))
def test_every_signal_does_what_it_did(children: Children, number: int) -> None:
    """Default actions kill, stop, or do nothing; the status tells which signal it was."""
    if number in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
        return  # they stop
    done = children.twin(f"import os\nos.kill(os.getpid(), {int(number)})\nprint('alive')\n")
    assert done.status in (0, -number)
    assert names(done.events, "session.start") == ["session.start"]
    assert names(done.events, "session.end") == ["session.end"] * (done.status == 0 or number == signal.SIGINT)


def test_ctrl_c_in_a_program_that_handles_it_is_no_death(children: Children) -> None:
    """Many programs clean up in `except KeyboardInterrupt` and end well."""
    source = """
        import os, sys
        try:
            os.kill(os.getpid(), 2)
        except KeyboardInterrupt:
            print("cleaning up")
            sys.exit(130)
    """
    done = children.twin(source)
    assert done.status == 130
    assert done.named("session.end")[0]["data"]["reason"] == "exit"


STREAMS = [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"]


@pytest.mark.parametrize("closed", STREAMS)
@pytest.mark.parametrize("code", ["pass", "print('out')", "1 / 0", "import sys; sys.exit('text')"])
def test_program_with_closed_streams(children: Children, collector: Collector, closed: str, code: str) -> None:
    """Daemons and cron have none; the first file that is opened then gets the number of a standard stream."""
    source = f"import os, sys; print(*[os.open('/dev/null', 0) for _ in range(3)], file=sys.stderr); {code}"
    words = ["sh", "-c", f"""exec "$0" -c "{source}" {closed}""", str(children.sandbox.python)]
    children.twin(words, endpoint=collector.url)
    assert collector.names()[0] == "session.start"
    assert collector.names()[-1] == "session.end"

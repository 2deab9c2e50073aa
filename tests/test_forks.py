"""os.fork and everything built on it: each child is a session of its own, and neither side can tell."""

import os
import signal
from typing import Any

import pytest

from support.children import Children, Run
from support.collector import Collector

FORK = """
    import os, sys
    print("before", flush=True)
    pid = os.fork()
    if pid == 0:
        {child}
    else:
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
# What a child does, its status, and reason and exit code of its end (None: it has none).
CHILDREN = {
    "returns": ("print('child')", 0, ("return", 0)),
    "exits": ("sys.exit(3)", 3, ("exit", 3)),
    "raises SystemExit": ("raise SystemExit(5)", 5, ("exit", None)),
    "leaves": ("os._exit(4)", 4, ("os._exit", 4)),
    "raises": ("raise LookupError('in the child')", 1, ("exception", 1)),
    "is killed": ("os.kill(os.getpid(), 9)", -9, None),
    "is terminated": ("os.kill(os.getpid(), 15)", -15, None),
    "is interrupted": ("os.kill(os.getpid(), 2); print('never')", -2, ("signal", None)),
    "execs": ("os.execv('/bin/true', ['true'])", 0, ("exec", None)),
}


def starts(done: Run) -> dict[str, dict[str, Any]]:
    """Return `session.start` by session id."""
    return {event["session"]["id"]: event for event in done.events if event["name"] == "session.start"}


def ends(done: Run) -> dict[str, tuple[str, int | None]]:
    """Return reason and exit code by session id."""
    found = [event for event in done.events if event["name"] == "session.end"]
    assert len(found) == len({event["session"]["id"] for event in found}), "two ends of one session"
    return {e["session"]["id"]: (e["data"]["reason"], e["data"].get("exit_code")) for e in found}


def family(done: Run) -> tuple[str, list[str]]:
    """Return the id of the root session and those of its children; there must be no further generation."""
    everybody = starts(done)
    (root,) = [key for key, event in everybody.items() if event["session"].get("parent") is None]
    rest = [key for key in everybody if key != root]
    assert {everybody[key]["session"].get("parent") for key in rest} <= {root}
    return root, rest


@pytest.mark.parametrize("name", CHILDREN)
def test_forked_child_is_a_session_of_its_own(children: Children, name: str) -> None:
    """A worker that dies must be told from its parent, and neither may take the other's events."""
    source, status, end = CHILDREN[name]
    done = children.twin(FORK.format(child=source))
    assert done.status == 0
    assert done.stdout.splitlines()[-1] == b"%d" % status
    root, (child,) = family(done)
    assert starts(done)[child]["data"]["start_method"] == "fork"
    assert starts(done)[child]["data"]["pid"] != starts(done)[root]["data"]["pid"]
    assert ends(done) == {root: ("return", 0), **({child: end} if end else {})}
    errors = {event["session"]["id"]: event["name"] for event in done.events if event["type"] == "error"}
    expected = {"raises": "error.LookupError", "is interrupted": "error.KeyboardInterrupt"}
    assert errors == ({child: expected[name]} if name in expected else {})


def test_parent_delivers_what_its_child_left(children: Children, collector: Collector) -> None:
    """A worker is gone at once; waiting for the network is its parent's business."""
    done = children.twin(FORK.format(child="os.kill(os.getpid(), 15)"), endpoint=collector.url)
    assert (done.status, done.events) == (0, [])
    names = sorted(collector.names())
    children_seen = ["process.exit", "process.start"]
    assert names == ["error.SIGTERM", *children_seen, "session.end", "session.lost", "session.start", "session.start"]
    assert len(collector.batches) == 1


def test_child_that_outlives_its_parent_delivers_for_itself(children: Children, collector: Collector) -> None:
    """A daemon forks and its parent leaves; nobody else is there to deliver what it records."""
    source = """
        import os, sys
        out, into = os.pipe()
        if os.fork() == 0:
            os.close(into)
            os.read(out, 1)  # until the parent is gone
            sys.exit(6)
        print("parent")
    """
    children.twin(source, endpoint=collector.url)
    collector.wait_for(5)
    codes = [e["data"].get("exit_code") for e in collector.unique() if e["name"] == "session.end"]
    assert sorted(codes) == [0, 6]


def test_grandchildren_are_linked_to_their_own_parent(children: Children) -> None:
    """A tree that is drawn flat hides which worker started what."""
    source = """
        import os
        depth = 0
        while depth < 3:
            pid = os.fork()
            if pid:
                os.waitpid(pid, 0)
                break
            depth += 1
        print("depth", depth)
    """
    done = children.twin(source)
    everybody = starts(done)
    assert len(everybody) == len(ends(done)) == 4
    parents = [event["session"].get("parent") for event in everybody.values()]
    assert parents == [None, *list(everybody)[:3]]
    assert len({event["session"]["trace_id"] for event in everybody.values()}) == 1


def test_many_children_at_once(children: Children, collector: Collector) -> None:
    """A pre-forking server starts its workers as fast as it can; none of them may be lost or doubled."""
    source = """
        import os
        pids = []
        for number in range(40):
            pid = os.fork()
            if pid == 0:
                os._exit(number)
            pids.append(pid)
        print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids])
    """
    children.twin(source, endpoint=collector.url)
    codes = [e["data"].get("exit_code") for e in collector.unique() if e["name"] == "session.end"]
    assert sorted(codes) == sorted([*range(40), 0])
    assert len(collector.unique()) == 82 + 80  # a session's start and end, the start and exit of a child


WORKERS = """
    import multiprocessing, os, sys

    def work(what):
        if what == "fail":
            raise LookupError("in the worker")
        if what == "exit":
            sys.exit(7)
        if what == "leave":
            os._exit(8)

    if __name__ == "__main__":
        context = multiprocessing.get_context({method!r})
        for what in ("return", "fail", "exit", "leave"):
            worker = context.Process(target=work, args=(what,), name=what)
            worker.start()
            worker.join()
            print(what, worker.exitcode)
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_workers_are_sessions(children: Children, method: str) -> None:
    """Workers leave by os._exit behind exit functions of their own; forkserver and tracker are nobody's program."""
    done = children.twin(WORKERS.format(method=method))
    assert done.stdout == b"return 0\nfail 1\nexit 7\nleave 8\n"
    root, workers = family(done)
    assert [starts(done)[key]["data"]["start_method"] for key in workers] == [method] * 4
    reasons = ends(done)
    assert reasons[root] == ("return", 0)
    assert [reasons[key][1] for key in workers] == [0, 1, 7, 8]


POOL = """
    import multiprocessing

    def work(number):
        return number * number

    if __name__ == "__main__":
        with multiprocessing.get_context({method!r}).Pool(2) as pool:
            print(sum(pool.map(work, range(100))))
            pool.close()
            pool.join()
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pool_works_and_its_workers_are_sessions(children: Children, method: str) -> None:
    """What most programs use of multiprocessing."""
    done = children.twin(POOL.format(method=method))
    assert done.stdout == b"328350\n"
    root, workers = family(done)
    assert len(workers) == 2
    assert {ends(done)[key][1] for key in workers} == {0}


def test_pool_that_is_terminated_says_so(children: Children, collector: Collector) -> None:
    """Leaving the `with` block kills the workers by SIGTERM: sessions without an end, but not without a trace. One that
    the signal meets in its fork never begins its session; that it was killed its parent says.
    """
    source = POOL.format(method="fork").replace("pool.close()", "pass").replace("pool.join()", "pass")
    done = children.twin(source, endpoint=collector.url)
    assert done.stdout == b"328350\n"
    children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url)
    names = collector.names()
    assert names.count("session.end") + names.count("session.lost") == names.count("session.start")
    events = collector.unique()
    workers = {event["data"]["pid"] for event in events if event["name"] == "process.start"}
    begun = {event["data"]["pid"] for event in events if event["name"] == "session.start"}
    killed = {event["data"]["pid"] for event in events if event["data"].get("signal") == "SIGTERM"}
    assert len(workers) == 2
    assert workers - begun <= killed & workers
    assert len(begun - workers) == 1


EXECUTOR = """
    import os
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    def work(number):
        if number == 3:
            os.kill(os.getpid(), 9)
        return number

    if __name__ == "__main__":
        with ProcessPoolExecutor(2) as executor:
            print(list(executor.map(work, range(3))))
        with ProcessPoolExecutor(1) as executor:
            try:
                executor.submit(work, 3).result()
            except BrokenProcessPool as error:
                print("broken")
"""


def test_process_pool_executor_survives_and_its_dead_worker_is_lost(children: Children, collector: Collector) -> None:
    """A worker that the kernel kills is the error that nobody can explain without a record."""
    done = children.twin(EXECUTOR, endpoint=collector.url)
    assert done.stdout == b"[0, 1, 2]\nbroken\n"
    children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url)
    assert collector.names().count("session.lost") == 1


def test_child_with_a_terminal_of_its_own(children: Children) -> None:
    """pty.fork makes a controlling terminal in the child; the session must not care."""
    source = """
        import os, pty
        pid, terminal = pty.fork()
        if pid == 0:
            print("child", os.isatty(1), flush=True)
            os._exit(2)
        text = b""
        while True:
            try:
                data = os.read(terminal, 100)
            except OSError:
                break
            if not data:
                break
            text += data
        print(text, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    done = children.twin(source)
    assert b"child True" in done.stdout
    root, (child,) = family(done)
    assert ends(done) == {root: ("return", 0), child: ("os._exit", 2)}


def test_child_that_only_prepares_an_exec_is_no_session(children: Children) -> None:
    """preexec_fn runs between fork and exec: hundreds of sessions that are none, and files in a dangerous moment."""
    source = """
        import os, subprocess, sys
        print(subprocess.run([sys.executable, "-c", "print('child')"], preexec_fn=os.setpgrp, stdout=subprocess.PIPE))
        print(subprocess.run(["true"], preexec_fn=os.setpgrp))
        try:
            subprocess.run(["true"], preexec_fn=lambda: 1 / 0)
        except subprocess.SubprocessError as error:
            print(error)
        try:
            subprocess.run(["/no/such/program"], preexec_fn=os.setpgrp)
        except FileNotFoundError as error:
            print(error)
    """
    done = children.twin(source)
    root, (child,) = family(done)
    assert starts(done)[child]["data"]["start_method"] == "exec"
    assert set(ends(done)) == {root, child}
    assert not list(done.spool.glob("*.live")) or len(list(done.spool.glob("*.jsonl"))) == 2


@pytest.mark.parametrize("flags", [["-W", "error"], ["-X", "dev"]])
def test_fork_warns_of_nothing(children: Children, flags: list[str]) -> None:
    """Python 3.12 warns of forking with threads; the warning would be ours, and an error under -W error."""
    done = children.twin(FORK.format(child="sys.exit(3)"), flags=flags)
    assert (done.status, done.stdout, done.stderr) == (0, b"before\n3\n", b"")
    assert len(ends(done)) == 2


def test_program_with_threads_forks(children: Children) -> None:
    """The locks of threads that are not in the child stay taken for ever; ours must not be waited for."""
    source = """
        import os, sys, threading
        stop = threading.Event()
        def spin():
            while not stop.is_set():
                try:
                    raise ValueError
                except ValueError:
                    pass
        threads = [threading.Thread(target=spin) for _ in range(4)]
        for thread in threads:
            thread.start()
        codes = []
        for number in range(30):
            pid = os.fork()
            if pid == 0:
                os._exit(number)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        stop.set()
        for thread in threads:
            thread.join()
        print(codes)
    """
    done = children.twin(source, flags=["-W", "ignore"])
    root, workers = family(done)
    assert sorted(code for key, (_, code) in ends(done).items() if key != root) == list(range(30))


def test_signal_for_the_whole_group_tells_of_parent_and_child(children: Children, collector: Collector) -> None:
    """Ctrl-C and service managers signal all processes of a group at once."""
    source = """
        import os, signal
        os.fork()
        print("ready", flush=True)
        signal.pause()
    """
    child = children.start(source, endpoint=collector.url)
    assert child.process.stdout
    assert [child.process.stdout.readline() for _ in range(2)] == [b"ready\n"] * 2
    os.killpg(child.pid, signal.SIGTERM)
    assert child.finish().status == -signal.SIGTERM
    children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url)
    deaths = [*["error.SIGTERM"] * 2, "process.start", *["session.lost"] * 2, *["session.start"] * 2]
    assert sorted(collector.names()) == deaths

"""`process.start` and `process.exit`: whichever way a program waits, also when it never does; and nothing changed."""

import re
import signal
from pathlib import Path
from typing import Any

import pytest

from support.children import Children, Run
from support.collector import Collector
from support.needs import need_command
from support.sandbox import Sandbox, Sandboxes, other_pythons

WAITS = {
    "wait": "process.wait()",
    "poll": "while process.poll() is None: os.sched_yield()",
    "communicate": "process.communicate()",
    "context manager": "with process: pass",
    "os.wait": "os.wait()",
    "os.waitpid": "os.waitpid(process.pid, 0)",
    "os.waitpid any": "os.waitpid(-1, 0)",
    "os.waitpid polls": "while os.waitpid(process.pid, os.WNOHANG) == (0, 0): os.sched_yield()",
    "os.wait3": "os.wait3(0)",
    "os.wait4": "os.wait4(process.pid, 0)",
    "os.waitid": "os.waitid(os.P_PID, process.pid, os.WEXITED)",
    "os.waitid only looks": "os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT); process.wait()",
    "another thread": "thread = threading.Thread(target=process.wait); thread.start(); thread.join()",
    "from os import": "waitpid(process.pid, 0)",
}
DEATHS = {
    "true": {"exit_code": 0},
    "exit 7": {"exit_code": 7},
    "kill -9 $$": {"signal": "SIGKILL", "core_dumped": False},
}


def pairs(done: Run) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the data of each `process.start` with that of its `process.exit`: there has to be exactly one."""
    found = []
    for start in done.named("process.start"):
        (end,) = [
            event["data"] for event in done.named("process.exit")
            if event["session"]["id"] == start["session"]["id"] and event["data"]["child"] == start["data"]["child"]
        ]  # fmt: skip
        assert end.get("pid") == start["data"].get("pid")
        found.append((start["data"], end))
    return found


def without(data: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return a copy without what differs from run to run."""
    return {key: value for key, value in data.items() if key not in names}


@pytest.mark.parametrize("way", WAITS)
def test_exit_is_recorded_whichever_way_the_program_waits(children: Children, way: str) -> None:
    """The status of a child is what explains a failed job; who asked for it, and how, must not matter."""
    source = f"""
        import os, subprocess, sys, threading
        from os import waitpid
        for command in {list(DEATHS)!r}:
            process = subprocess.Popen(["sh", "-c", command])
            {WAITS[way]}
    """
    done = children.twin(source)
    assert done.status == 0, done.stderr
    used = ("cpu_user_ms", "cpu_system_ms", "max_rss_bytes")
    for (start, end), facts in zip(pairs(done), DEATHS.values(), strict=True):
        assert start["method"] == "subprocess"
        assert start["argv"] == ["sh", "-c", "[code]"]
        assert without(end, "child", "pid", "duration_ms", *used) == facts
        assert (way in ("os.wait3", "os.wait4")) == ("max_rss_bytes" in end)


def test_child_that_nobody_waits_for_is_told_at_the_end(children: Children) -> None:
    """A start without an exit looks like a process that is still there."""
    source = """
        import os, signal, subprocess, sys
        sleeper = subprocess.Popen(["sleep", "60"])
        dead = subprocess.Popen(["false"])
        os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
        os.posix_spawn("/bin/true", ["true"], {})
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        sys.stdout.flush()
        parent = os.getpid()
        if os.fork() == 0:  # outlives us by as long as it takes to end the sleeper
            while os.getppid() == parent:
                os.sched_yield()
            os.kill(sleeper.pid, 9)
            os._exit(0)
        os._exit(4)
    """
    done = children.twin(source)
    root = done.named("session.start")[0]["session"]["id"]
    ends = [event for event in done.named("process.exit") if event["session"]["id"] == root]
    facts = [without(event["data"], "child", "pid", "duration_ms") for event in ends]
    assert {"waited": False, "running": True} in facts
    assert {"exit_code": 1} in facts
    assert len(facts) == 4
    order = [event["name"] for event in done.events if event["session"]["id"] == root]
    assert order[-1] == "session.end"


def test_child_that_the_system_reaps_has_no_status_and_says_so(children: Children) -> None:
    """With SIGCHLD ignored there is no status for anybody; made up it would be worse than none."""
    source = """
        import signal, subprocess
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        print(subprocess.run(["false"]).returncode)
    """
    done = children.twin(source)
    ((_, end),) = pairs(done)
    assert without(end, "child", "pid", "duration_ms") == {"waited": False}


def test_handler_of_sigchld_may_reap_before_the_start_is_recorded(children: Children) -> None:
    """Supervisors do that; the handler runs between two of our own lines, too."""
    source = """
        import os, signal, sys
        seen = {}
        def reap(number, frame):
            try:
                while True:
                    pid, status = os.waitpid(-1, os.WNOHANG)
                    if not pid:
                        break
                    seen[pid] = status
            except ChildProcessError:
                pass
        signal.signal(signal.SIGCHLD, reap)
        for _ in range(60):
            pid = os.posix_spawn("/bin/true", ["true"], {})
            while pid not in seen:
                signal.sigtimedwait([], 0.01)
        print(len(seen), set(seen.values()))
    """
    done = children.twin(source)
    assert done.stdout == b"60 {0}\n"
    assert [end["exit_code"] for _, end in pairs(done)] == [0] * 60


def test_fork_and_its_relatives(children: Children) -> None:
    """A child of os.fork is a session, and one of os.system a shell; both have a start and an exit."""
    source = """
        import os, pty, sys
        if os.fork() == 0:
            os._exit(3)
        os.wait()
        pid, fd = pty.fork()
        if pid == 0:
            os.kill(os.getpid(), 9)
        os.waitpid(pid, 0)
        with os.popen("echo from popen") as pipe:
            print(os.system("exit 5"), pipe.read())
        if os.fork() == 0:  # a daemon: its parent is gone at once
            if os.fork() == 0:
                os._exit(0)
            os._exit(0)
        os.wait()
    """
    done = children.twin(source, start_new_session=True)
    found = [
        (start["method"], start.get("argv"), end.get("exit_code", end.get("signal"))) for start, end in pairs(done)
    ]
    shell = ["sh", "-c", "[code]"]
    assert found[:2] == [("os.fork", None, 3), ("os.forkpty", None, "SIGKILL")]
    assert found[2:4] == [("subprocess", ["/bin/sh", "-c", "[code]"], 0), ("os.system", shell, 5)]
    assert found[4] == ("os.fork", None, 0)
    forked = {start["data"]["pid"] for start in done.named("process.start") if start["data"]["method"] == "os.fork"}
    assert {event["data"]["pid"] for event in done.named("session.start")[1:]} >= forked


PREEXEC = """
    import os, subprocess, sys, threading, warnings
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    for _ in range(2):
        subprocess.run([sys.executable, "-c", "import os; print(dict(os.environ))"], preexec_fn=int, env={"A": "1"})
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    subprocess.Popen(["true"], preexec_fn=int).wait()
    stop.set()
    thread.join()
"""


@pytest.mark.parametrize("version", [None, *other_pythons()])
def test_warning_about_forking_with_threads_names_the_programs_line(
    sandboxes: Sandboxes, children: Children, version: str | None
) -> None:
    """From 3.12 on os.fork warns, and the warning shows the line that called it: that is never one of ours."""
    sandbox = sandboxes.get(other_pythons()[version]) if version else sandboxes.get()
    bare = children.run(PREEXEC, flags=["-W", "always"], python=sandbox, bare=True)
    done = children.run(PREEXEC, flags=["-W", "always"], python=sandbox)
    seen = [re.sub(rb"pid=\d+|program-\d+", b"", run.stderr) for run in (bare, done)]  # the message has the pid
    assert seen[0] == seen[1]
    assert (done.status, done.stdout) == (0, bare.stdout)
    methods = [start["method"] for start, _ in pairs(done)]
    assert methods == ["subprocess", "subprocess", "os.fork", "subprocess"]
    assert len(done.named("session.start")) == 4
    assert b"monitor_auto" not in done.stderr


WRONG = """
    import os, subprocess, sys, traceback, types
    from _posixsubprocess import fork_exec
    class Hostile(dict):
        def keys(self):
            raise LookupError("my own error")
    class Unmeasured:
        keys = values = lambda self: ["A"]
        def __getitem__(self, name):
            return name
    class Path:
        def __fspath__(self):
            raise LookupError("my own path")
    attempts = [
        "subprocess.Popen()", "subprocess.Popen(3)", "subprocess.Popen([])", "subprocess.Popen(['x'], env=3)",
        "subprocess.Popen(['x'], env={'A': 1})", "subprocess.Popen(['x'], env={'A=B': '1'})",
        "subprocess.Popen(['/no/such'])", "subprocess.Popen(['/no/such'], env={})", "subprocess.Popen(['x\\\\0'])",
        "subprocess.Popen(['x'], bufsize='a')", "subprocess.Popen(['x'], what=1)", "subprocess.Popen([Path()])",
        "subprocess.Popen(['true'], cwd='/no/such')", "subprocess.run(['false'], check=True)",
        "subprocess.Popen([sys.executable], preexec_fn=lambda: 1/0)", "subprocess.Popen(['true'], env=Hostile(a='b'))",
        "subprocess.check_output(['sleep', '9'], timeout=0.01)",
        "os.posix_spawn()", "os.posix_spawn('/no/such', ['x'], {})", "os.posix_spawn('true', [], {})",
        "os.posix_spawn('true', ['x'], 3)", "os.posix_spawn('true', ['x'], {'A': 1})",
        "os.posix_spawn('true', 'x', {})",
        "os.posix_spawn('true', ['x'], Hostile(a='b'))", "os.posix_spawn(sys.executable, ['x'], Unmeasured())",
        "os.posix_spawn(Path(), ['x'], {})", "os.posix_spawn(1, 2, 3)",
        "os.posix_spawn('true', ['x'], {}, file_actions=3)", "os.posix_spawnp('no-such', ['x'], {})",
        "os.waitpid()", "os.waitpid(-1, 0)", "os.waitpid('x', 0)", "os.waitpid(1, 2, 3)", "os.wait()", "os.wait3()",
        "os.wait3('x')", "os.wait4(0, 0)", "os.waitid(1, 2)", "os.waitid(os.P_PID, 1, os.WEXITED)", "os.system()",
        "os.system(3)", "os.system('a\\\\0')", "os.spawnv(9, 'x', ['x'])", "os.spawnv(os.P_WAIT, 'x', [])",
        "os.spawnve(os.P_WAIT, '/no/such', ['x'], {})", "os.execve('/no/such', ['x'], {})",
        "os.execve('/bin/true', ['x'], 3)", "os.execve('/bin/true', [], {})", "os.execve('/bin/true', ['x'], {'A': 1})",
        "os.execve(3)", "os.execve('/bin/true', ['x'], Hostile(a='b'))", "os.execve(99, ['x'], {})", "os._exit('x')",
        "fork_exec(3)", "fork_exec(1, 2, 3, 4, 5, 6)", "fork_exec(*[[1]] * 23)", "fork_exec(*[[b'a']] * 24)",
        "fork_exec([1], [2], True, (), None, [3], *[0] * 17)", "fork_exec([b'x'], 2, True, (), 5, [b'A=1'], *[0] * 17)",
        "os._exit()", "os.execv('/bin/true', 'x')",
    ]
    def outer(attempt):
        eval(attempt)
    for attempt in attempts:
        try:
            outer(attempt)
            print(attempt, "went well")
        except BaseException as error:
            print(attempt, len(traceback.extract_tb(error.__traceback__)))
            traceback.print_exc(file=sys.stdout)
            try:
                raise ValueError("while another is handled")
            except ValueError:
                try:
                    outer(attempt)
                except BaseException as second:
                    print(repr(second.__context__), second.__cause__ is None)
"""


@pytest.mark.parametrize("version", [None, *other_pythons()])
def test_wrong_calls_fail_as_in_a_bare_run(sandboxes: Sandboxes, children: Children, version: str | None) -> None:
    """Python's own error, from the program's own line, with no frame of ours on the way."""
    sandbox = sandboxes.get(other_pythons()[version]) if version else sandboxes.get()
    done = children.twin(WRONG, python=sandbox, env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"})
    assert (done.status, done.stderr) == (0, b"")
    assert b"monitor_auto" not in done.stdout
    ends = [end for _, end in pairs(done)]
    assert {"exit_code": 1} in [without(end, "child", "pid", "duration_ms") for end in ends]


@pytest.mark.parametrize("version", [None, *other_pythons()])
def test_replaced_functions_look_like_the_real_ones(
    sandboxes: Sandboxes, children: Children, version: str | None
) -> None:
    """Debuggers, mocks and type checks look at functions; programs subclass Popen and hold functions in classes."""
    source = """
        import copy, faulthandler, inspect, os, pickle, pydoc, subprocess, sys, types
        names = ["fork", "forkpty", "posix_spawn", "posix_spawnp", "system", "wait", "waitpid", "wait3", "wait4"]
        names += ["waitid", "execv", "execve", "_exit"]
        functions = [getattr(os, name) for name in names] + [sys.exit, subprocess._posixsubprocess.fork_exec
                     if hasattr(subprocess, "_posixsubprocess") else subprocess._fork_exec]
        functions += [sys.excepthook, sys.unraisablehook, faulthandler.enable, faulthandler.is_enabled]
        for function in functions:
            try:
                signature = str(inspect.signature(function))
            except ValueError as error:
                signature = str(error)
            print(function, signature, inspect.isbuiltin(function), inspect.isroutine(function), callable(function))
            print(function.__name__, function.__qualname__, function.__module__, function.__self__.__name__)
            print(function.__doc__, function.__text_signature__, isinstance(function, types.BuiltinFunctionType))
            print(pickle.loads(pickle.dumps(function)) is function, copy.deepcopy(function) is function)
            print(function in {function}, function == function, hasattr(function, "__wrapped__"))
        print(os.execve in os.supports_fd, os.fork.__class__)
        print(pydoc.render_doc(os.waitpid))
        class Holder:
            system = os.system
            def __init__(self):
                print(self.system("exit 2"))
        Holder()
        class Mine(subprocess.Popen):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                self.mine = True
        with Mine(iter(["echo", "an iterator"]), stdout=subprocess.PIPE) as process:
            print(process.stdout.read(), process.mine, isinstance(process, subprocess.Popen))
        print(subprocess.Popen[bytes], inspect.signature(subprocess.Popen), inspect.isclass(subprocess.Popen))
        print(subprocess.Popen.__init__, subprocess.run)
    """
    sandbox = sandboxes.get(other_pythons()[version]) if version else sandboxes.get()
    done = children.twin(source, python=sandbox)
    assert done.status == 0, done.stderr
    assert [start["method"] for start, _ in pairs(done)] == ["os.system", "subprocess"]


def test_exception_of_a_signal_handler_passes_no_frame_of_ours(children: Children) -> None:
    """A timeout by SIGALRM and Ctrl-C come while a program waits for a child: most of its time, in a build."""
    source = """
        import dataclasses, os, signal, subprocess, sys, traceback
        def on_alarm(number, frame):
            raise TimeoutError("too long")
        signal.signal(signal.SIGALRM, on_alarm)
        pid = os.spawnv(os.P_NOWAIT, "/bin/sleep", ["sleep", "60"])
        for call in (lambda: os.waitpid(pid, 0), os.wait, lambda: os.waitid(os.P_PID, pid, os.WEXITED)):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            try:
                call()
            except TimeoutError as error:
                traceback.print_exc(file=sys.stdout)
        @dataclasses.dataclass(frozen=True)
        class Frozen(Exception):
            code: int
        def on_alarm(number, frame):
            raise Frozen(7)
        signal.signal(signal.SIGALRM, on_alarm)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            os.waitpid(pid, 0)
        except Frozen as error:
            traceback.print_exc(file=sys.stdout)
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            os.waitpid(pid, 0)
        except KeyboardInterrupt:
            traceback.print_exc(file=sys.stdout)
        os.kill(pid, 9)
        print(os.waitpid(pid, 0)[1])
    """
    done = children.twin(source)
    assert done.stdout.count(b"TimeoutError: too long") == 3
    assert done.stdout.count(b"Frozen: 7") == 1
    assert done.stdout.endswith(b"9\n")
    ((_, end),) = pairs(done)
    assert end["signal"] == "SIGKILL"


def test_given_environment_is_copied_and_keeps_its_meaning(children: Children) -> None:
    """`env={}` that turns into a full environment has broken builds; a mapping that changes breaks the next call."""
    source = """
        import os, subprocess, sys, types
        show = [sys.executable, "-c", "import os; print(sorted(os.environ.items()))"]
        for env in ({}, {"A": "1"}, types.MappingProxyType({"B": "2"}), {b"C": b"3"}):
            before = dict(env)
            subprocess.run(show, env=env)
            os.waitpid(os.posix_spawn(show[0], show, env), 0)
            os.spawnve(os.P_WAIT, show[0], show, env)
            assert env == before
        subprocess.run(["env"], env={})
        before = dict(os.environ)
        subprocess.run(show[:2] + ["pass"])
        os.waitpid(os.posix_spawn(show[0], show[:2] + ["pass"], os.environ), 0)
        assert before == dict(os.environ)
        inner = "import os; print([name for name in os.environ if 'MONITOR' in name])"
        outer = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
        subprocess.run([sys.executable, "-c", outer, inner], env={})
    """
    done = children.twin(source)
    assert (done.status, done.stderr) == (0, b"")
    sessions = done.named("session.start")
    assert len(sessions) == 1 + 12 + 2 + 2
    ids = {event["session"]["id"] for event in sessions}
    assert all(event["session"]["parent"] in ids for event in sessions[1:])


def test_child_with_an_environment_of_its_own_has_no_token_and_its_parent_delivers(
    children: Children, collector: Collector
) -> None:
    """A token in an environment that the program wanted empty would be a leak; without one a child cannot deliver."""
    source = """
        import os, subprocess, sys
        subprocess.run([sys.executable, "-c", "import os; print(os.environ); os.system('env | grep -c TOKEN')"], env={})
        child = "import os, sys; sys.stdin.read(); print('still here')"
        subprocess.Popen([sys.executable, "-c", child], env={}, stdin=subprocess.PIPE)
    """
    secret = "not-to-be-seen-4711"
    done = children.twin(source, endpoint=collector.url, env={"MONITOR_TOKEN": secret})
    assert secret.encode() not in done.stdout
    collector.wait_for(8)
    assert {request.headers["authorization"] for request in lowered(collector)} == {f"Bearer {secret}"}
    children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url, env={"MONITOR_TOKEN": secret})
    assert collector.names().count("session.start") == 3
    assert {request.headers["authorization"] for request in lowered(collector)} == {f"Bearer {secret}"}


def lowered(collector: Collector) -> list[Any]:
    """Return the requests with the names of their headers in lower case."""
    for request in collector.requests:
        request.headers = {name.lower(): value for name, value in request.headers.items()}
    return collector.requests


def test_scripts_are_known_by_their_first_line(children: Children, sandbox: Sandbox) -> None:
    """What pip installs into bin/ are scripts; a tool that looks for the word python misses them all."""
    body = "import os, sys; print(sys.argv[0][-6:], dict(os.environ)); sys.exit()\n"
    heads = {
        "plain1": f"#!{sandbox.python}\n",
        "isola1": f"#!{sandbox.python} -IE\n",
        "nosite": f"#!{sandbox.python} -S\n",
        "byenv1": "#!/usr/bin/env python\n",
        "likepi": f"#!/bin/sh\n'''exec' \"{sandbox.python}\" \"$0\" \"$@\"\n' '''\n",
        "shell1": "#!/bin/sh\nexit 0\n",
    }
    source = f"""
        import os, subprocess, sys
        folder = os.path.dirname(os.path.abspath(__file__))
        for name in {list(heads)!r}:
            os.chmod(folder + "/" + name, 0o755)
            env = {{"PATH": {str(sandbox.bin)!r}}} if name == "byenv1" else {{}}
            print(name, subprocess.run([folder + "/" + name], env=env, cwd="/").returncode, flush=True)
    """
    files = {name: head + ("" if name == "shell1" else body) for name, head in heads.items()}
    done = children.twin(source, files=files)
    assert (done.status, done.stderr) == (0, b"")
    programs = [event["data"]["program"] for event in done.named("session.start")][1:]
    assert programs == ["plain1", "isola1", "byenv1", "likepi"]
    assert [end["exit_code"] for _, end in pairs(done)] == [0] * 6


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_are_children_of_the_session_that_asked(children: Children, method: str) -> None:
    """The fork server forks the workers, but who has asked for them is who waits for their results."""
    source = f"""
        import concurrent.futures, multiprocessing, os, sys
        def square(number):
            return number * number
        def die(number):
            os.kill(os.getpid(), 9)
        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            worker = context.Process(target=die, args=(1,), name="doomed")
            worker.start()
            worker.join()
            print(worker.exitcode)
            with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
                print(list(pool.map(square, range(8))))
    """
    done = children.twin(source, flags=["-W", "ignore"])
    assert done.status == 0, done.stderr
    root = done.named("session.start")[0]["session"]["id"]
    starts = [start for start, _ in pairs(done) if start["method"] == f"multiprocessing.{method}"]
    ends = [end for start, end in pairs(done) if start["method"] == f"multiprocessing.{method}"]
    assert ends[0]["signal"] == "SIGKILL"
    assert {end["exit_code"] for end in ends[1:]} == {0}
    workers = {e["data"]["pid"]: e["session"]["parent"] for e in done.named("session.start")[1:]}
    assert workers == {start["pid"]: root for start in starts}
    assert method == "spawn" or starts[0]["worker"] == "doomed"


def test_program_that_starts_thousands_of_children_stays_within_its_limit(children: Children) -> None:
    """A build that calls the compiler ten thousand times must not fill the spool; what is left out is counted."""
    source = """
        import os
        for _ in range(400):
            os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
    """
    done = children.twin(source, env={"MONITOR_RATE_LIMIT": "20"})
    starts, exits = done.named("process.start"), done.named("process.exit")
    assert 10 <= len(starts) < 100
    assert len(starts) == len(exits)
    (dropped,) = done.named("sdk.events.dropped")
    assert dropped["data"]["value"] == 2 * (400 - len(starts))


@pytest.mark.slow
def test_ten_thousand_children_stay_within_the_limit(children: Children) -> None:
    """What a large build does, with the limit that everybody has: 50 children a second, 500 at once."""
    source = """
        import os, time
        began = time.monotonic()
        for _ in range(10_000):
            os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
        print(time.monotonic() - began)
    """
    done = children.run(source, timeout=600)
    assert (done.status, done.stderr) == (0, b"")
    told = pairs(done)
    assert 500 <= len(told) <= 501 + 50 * (float(done.stdout) + 1)
    (dropped,) = done.named("sdk.events.dropped")
    assert (dropped["data"]["value"], dropped["data"]["reason"]) == (2 * (10_000 - len(told)), "process_limit")


def test_monitor_starts_no_process_of_its_own(children: Children, sandbox: Sandbox) -> None:
    """A start line that starts processes becomes a fork bomb the day one of them is a Python."""
    need_command("unshare", "util-linux")
    source = """
        import os, subprocess, sys
        for _ in range(3):
            subprocess.run([sys.executable, "-c", "import os; os.system('true')"], env={})
        pid = os.fork()
        if pid == 0:
            print(os.getpid(), flush=True)  # how many processes there have been in this namespace
            os._exit(0)
        os.waitpid(pid, 0)
    """
    counted = Sandbox(sandbox.folder, ("unshare", "--pid", "--fork", "--mount-proc"))
    done = children.twin(source, python=counted)
    assert done.stdout == b"8\n"
    assert len(done.named("session.start")) == 5


def test_reaped_pids_may_be_used_again(children: Children) -> None:
    """With 32768 pids and a busy machine that happens every hour: two children must not become one."""
    source = """
        import os, subprocess
        with open("/proc/sys/kernel/ns_last_pid", "w") as last:
            for code in (1, 2):
                last.write("5000"); last.flush(); last.seek(0)
                process = subprocess.Popen(["sh", "-c", "exit %d" % code])
                print(process.pid, process.wait())
    """
    need_command("unshare", "util-linux")
    wrapper = ("unshare", "--pid", "--fork", "--mount-proc")
    done = children.twin(source, python=Sandbox(children.sandbox.folder, wrapper))
    assert done.stdout == b"5001 1\n5001 2\n"
    assert [(start["pid"], end["exit_code"]) for start, end in pairs(done)] == [(5001, 1), (5001, 2)]


def test_signal_that_the_program_sends_is_the_exit_of_its_child(children: Children) -> None:
    """Popen.terminate and a timeout kill on purpose; the record says which signal it was."""
    source = """
        import signal, subprocess
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1):
            process = subprocess.Popen(["sleep", "60"])
            process.send_signal(number)
            print(process.wait())
    """
    done = children.twin(source)
    assert [end["signal"] for _, end in pairs(done)] == ["SIGTERM", "SIGKILL", "SIGUSR1"]


def test_every_signal_that_kills_a_child_has_the_name_that_python_gives_it(children: Children) -> None:
    """Some have two: a child that calls abort() dies of SIGABRT, and not of what is called SIGIOT, too."""
    spared = {"SIGCHLD", "SIGCONT", "SIGURG", "SIGWINCH", "SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU"}
    numbers = sorted(signal.valid_signals() - {getattr(signal, name) for name in spared})
    source = f"""
        import subprocess
        for number in {[int(number) for number in numbers]}:
            print(number, subprocess.run(["sh", "-c", "kill -%d $$" % number]).returncode)
    """
    done = children.twin(source)
    names = [number.name if isinstance(number, signal.Signals) else f"SIG{number}" for number in numbers]
    assert "SIGABRT" in names
    assert [end["signal"] for _, end in pairs(done)] == names


def test_secrets_of_a_command_line_are_not_recorded(children: Children) -> None:
    """Passwords are given to database clients on their command line, and a record of it is read by more people."""
    source = """
        import subprocess
        subprocess.run(["echo", "--password=hunter2", "https://me:hunter2@example.org/", b"bytes", "-p"])
    """
    done = children.twin(source)
    ((start, _),) = pairs(done)
    assert start["argv"][0] == "echo"
    assert "bytes" in start["argv"]
    assert "hunter2" not in str(done.events)


def test_late_start_by_init_sees_children_too(children: Children) -> None:
    """A program that names its collector itself has often imported subprocess before."""
    source = """
        import os, subprocess, sys
        from monitor_auto import Monitor
        if "MONITOR_SPOOL_DIR" in os.environ:
            Monitor.init(endpoint="local:")
        process = subprocess.Popen(["false"])
        while process.poll() is None:
            os.sched_yield()
        print(process.returncode, subprocess.run(["sh", "-c", "exit 3"]).returncode)
        subprocess.run([sys.executable, "-c", "import os; print('MONITOR_PARENT' in os.environ)"], env={})
    """
    done = children.twin(source, env={"MONITOR_ENDPOINT": None})
    assert [end["exit_code"] for _, end in pairs(done)] == [1, 3, 0]


def test_stack_of_a_program_that_waits_for_a_child_shows_its_own_line(children: Children, collector: Collector) -> None:
    """Killed while it waits: the place is the program's call, not the function of ours around it."""
    source = """
        import os
        import subprocess
        # The child kills its parent as soon as that sleeps in the kernel.
        child = "p=$PPID; until grep -q 'State:.S' /proc/$p/status; do :; done; kill -TERM $p"
        process = subprocess.Popen(["sh", "-c", child])
        os.waitpid(process.pid, 0)
    """
    for seconds in ("0", "5"):
        done = children.run(source, endpoint=collector.url, env={"MONITOR_TERM_TIMEOUT": seconds})
        assert done.status == -signal.SIGTERM
    children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url)
    places = [event["data"]["location"] for event in collector.unique() if event["name"] == "error.SIGTERM"]
    assert [place.rpartition("/")[2] for place in places] == ["script.py:7:<module>"] * 2


def test_functions_are_put_back_as_they_were(children: Children) -> None:
    """What cannot be undone cannot be tried out."""
    source = """
        import os, posix, subprocess, sys
        boot = sys.modules.get("monitor_auto.boot")
        names = ["fork", "forkpty", "posix_spawn", "posix_spawnp", "system", "wait", "waitpid", "wait3"]
        names += ["wait4", "waitid"]
        if boot:
            import _posixsubprocess
            replaced = [getattr(os, name) for name in names] + [_posixsubprocess.fork_exec]
            assert "builtin_function_or_method" not in [type(function).__name__ for function in replaced]
            assert boot.load("undoing").restore() == []
        print([type(getattr(module, name)).__name__ for module in (os, posix) for name in names])
        print(os.execve in os.supports_fd, type(sys.exit).__name__)
        print(subprocess.run(["true"]).returncode)
    """
    done = children.twin(source)
    assert done.stdout.count(b"'builtin_function_or_method'") == 20
    assert "session.end" in done.names


def test_option_c_without_code_is_recorded_as_it_is(children: Children) -> None:
    """`gzip -c` has no code behind its option; a command line that nobody has typed would lead astray."""
    program = """
        import subprocess
        subprocess.run(["gzip", "-c"], input=b"", stdout=subprocess.DEVNULL, check=True)
    """
    (start,) = children.run(program).named("process.start")
    assert start["data"]["argv"] == ["gzip", "-c"]


def test_child_whose_environment_is_cleared_is_monitored_by_the_site_file(changeable: Sandbox, tmp_path: Path) -> None:
    """`env -i` takes the settings and the link away: the operator's file is left, and the pid joins the two."""
    children = Children(changeable, tmp_path)
    source = """
    import subprocess, sys
    code = "import os; print(sorted(set(os.environ) - {'LC_CTYPE'}))"
    print(subprocess.run(["env", "-i", sys.executable, "-c", code], capture_output=True, text=True))
    """
    before = children.run(source, bare=True)
    site = changeable.folder / "etc" / "monitor-auto.env"
    site.parent.mkdir(exist_ok=True)
    site.write_text(f"MONITOR_ENDPOINT=local:\nMONITOR_SPOOL_DIR={children.spool}\n")
    done = children.run(source)
    assert (done.stdout, done.stderr, done.status) == (before.stdout, before.stderr, before.status)
    assert b"stdout='[]\\n', stderr=''" in done.stdout
    (child,) = [event for event in done.named("session.start") if event["data"]["program"] == "-c"]
    (started,) = done.named("process.start")
    assert child["data"]["pid"] == started["data"]["pid"]
    assert child["session"].get("parent") is None

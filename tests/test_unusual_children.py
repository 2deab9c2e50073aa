"""Children that are started, left or waited for in unusual ways: the program notices nothing, and its tree is whole."""

from collections import defaultdict
from typing import Any, NamedTuple

import pytest

from support.children import Children, Run


class Family(NamedTuple):
    """A program, and how many sessions and children it has to leave; of the latter so many that nobody waited for, and
    of the former so many that were killed. So many daemon threads at most record something while their process ends:
    each may have taken a number and not written the line.
    """

    source: str
    sessions: int
    children: int
    unwaited: int = 0
    killed: int = 0
    cut_off: int = 0


DAEMON = """
    import os, subprocess, sys
    os.mkfifo("fifo")
    fifo = os.path.abspath("fifo")
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.chdir("/")
        os.umask(0o22)
        CLOSE
        for _ in range(3):
            os.open("/dev/null", os.O_RDWR)
        out = os.open(fifo, os.O_WRONLY)
        files = [os.open(fifo, os.O_WRONLY) for _ in range(8)]
        os.write(out, b"%d " % subprocess.run(["sh", "-c", "exit 7"]).returncode)
        os.write(out, b"%d " % os.waitstatus_to_exitcode(os.system(sys.executable + " -c 'raise SystemExit(4)'")))
        if os.fork() == 0:
            os._exit(9)
        os.write(out, b"%d %d %d" % (os.waitstatus_to_exitcode(os.wait()[1]), out, files[-1]))
        sys.exit()
    os.wait()
    print(open(fifo).read())  # to its end, which is that of the daemon
"""
CLOSE_ALL = """for number in range(5000):
            try:
                os.close(number)
            except OSError:
                pass"""

FAMILIES = {
    "daemon that closes every descriptor": Family(DAEMON.replace("CLOSE", CLOSE_ALL), 5, 5, 1),
    "daemon that uses closerange": Family(DAEMON.replace("CLOSE", "os.closerange(0, 5000)"), 5, 5, 1),
    "children that outlive their parent": Family(
        """
        import os, subprocess, sys
        read, write = os.pipe()
        code = "import os; os.read(%d, 1); print('late', flush=True); os.system('exit 2')" % read
        subprocess.Popen([sys.executable, "-c", code], pass_fds=[read])
        subprocess.Popen([sys.executable, "-c", code], pass_fds=[read], env={}, start_new_session=True)
        shell = "%s -c 'import os; os.read(%d, 1)' &" % (sys.executable, read)
        shell = subprocess.Popen(shell, shell=True, pass_fds=[read])
        os.waitid(os.P_PID, shell.pid, os.WEXITED | os.WNOWAIT)  # it is over, before its child
        os._exit(0)
        """,
        4, 5, 2,
    ),
    "os.posix_spawn with all that it can": Family(
        """
        import os, signal, sys
        code = "import os, signal; print(os.getpgrp() == os.getpid(), signal.pthread_sigmask(0, []), flush=True)"
        out = os.dup(1)
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, out, 2),
            (os.POSIX_SPAWN_CLOSE, out),
        ]
        options = [
            {"setpgroup": 0}, {"setsigmask": [signal.SIGUSR1]}, {"setsigdef": [signal.SIGUSR1]}, {"resetids": True},
            {"setsid": True},
        ]
        for more in options:
            for env, call in (({}, os.posix_spawn), (os.environ, os.posix_spawnp)):
                pid = call(sys.executable, [sys.executable, "-c", code], env, file_actions=actions, **more)
                print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        """,
        11, 10,
    ),
    "os.waitid that only looks": Family(
        """
        import os
        for how in ("P_PID", "P_ALL", "P_PGID", "P_PIDFD"):
            pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 3"], os.environ)
            who = {"P_PID": pid, "P_ALL": 0, "P_PGID": os.getpgrp()}.get(how)
            how, who = getattr(os, how), os.pidfd_open(pid) if who is None else who
            for _ in range(3):
                result = os.waitid(how, who, os.WEXITED | os.WNOWAIT)
                print(result.si_pid == pid, result.si_status, result.si_code)
            print(os.waitid(how, who, os.WEXITED).si_status)
            try:
                os.waitid(how, who, os.WEXITED)
            except ChildProcessError as error:
                print(error)
        """,
        1, 4,
    ),
    "stopped and continued": Family(
        """
        import os, signal
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(write, b"x")
            while True:
                signal.pause()
        os.read(read, 1)
        os.kill(pid, signal.SIGSTOP)
        print(os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1]))
        os.kill(pid, signal.SIGCONT)
        print(os.WIFCONTINUED(os.waitpid(pid, os.WCONTINUED)[1]))
        os.kill(pid, signal.SIGSTOP)
        print(os.waitid(os.P_PID, pid, os.WSTOPPED).si_code)
        os.kill(pid, signal.SIGCONT)
        print(os.waitid(os.P_ALL, 0, os.WCONTINUED).si_code)
        os.kill(pid, signal.SIGKILL)
        print(os.waitid(os.P_PGID, os.getpgid(0), os.WEXITED).si_status)
        """,
        2, 1, killed=1,
    ),
    "SIGCHLD ignored": Family(
        """
        import os, signal, subprocess, sys
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        pid = os.fork()
        if pid == 0:
            os._exit(4)
        try:
            os.waitpid(pid, 0)
        except ChildProcessError as error:
            print(error)
        print(subprocess.run([sys.executable, "-c", "raise SystemExit(2)"], env={}).returncode)
        print(os.system("exit 3"), os.spawnlp(os.P_NOWAIT, "true", "true") > 0)
        try:
            os.wait()
        except ChildProcessError as error:
            print(error)
        """,
        3, 4, 4,
    ),
    "forks in threads": Family(
        """
        import os, threading
        codes = []
        def work(number):
            for turn in range(5):
                pid = os.fork()
                if pid == 0:
                    os._exit(number * 10 + turn)
                codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(sorted(codes))
        """,
        21, 20,
    ),
    "all ways in threads": Family(
        """
        import os, subprocess, threading
        results = []
        def work():
            for turn in range(3):
                results.append(subprocess.run(["sh", "-c", "exit 1"]).returncode)
                pid = os.fork()
                if pid == 0:
                    os._exit(2)
                results.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 3"], {})
                results.append(os.waitid(os.P_PID, pid, os.WEXITED).si_status)
                results.append(os.waitstatus_to_exitcode(os.system("exit 4")))
                results.append(os.spawnlp(os.P_WAIT, "sh", "sh", "-c", "exit 5"))
                results.append(subprocess.run(["sh", "-c", "exit 6"], preexec_fn=int).returncode)
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print([results.count(number) for number in range(8)])
        """,
        13, 72,
    ),
    "forks in handlers of signals": Family(
        """
        import os, signal
        def handler(number, frame):
            pid = os.fork()
            if pid == 0:
                os._exit(number)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        for number in (signal.SIGUSR1, signal.SIGALRM, signal.SIGTERM):
            signal.signal(number, handler)
            os.kill(os.getpid(), number)
        def handler(number, frame):
            if os.fork() == 0:
                raise KeyError("in the child")
        signal.signal(signal.SIGUSR2, handler)
        os.kill(os.getpid(), signal.SIGUSR2)
        print(os.waitstatus_to_exitcode(os.wait()[1]))
        """,
        5, 4,
    ),
    "forks and subprocesses of asyncio": Family(
        """
        import asyncio, os, sys
        async def main():
            pid = os.fork()
            if pid == 0:
                os._exit(3)
            waited = await asyncio.get_running_loop().run_in_executor(None, os.waitpid, pid, 0)
            print(os.waitstatus_to_exitcode(waited[1]))
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", "print(input())", stdin=-1, stdout=-1)
            print(await process.communicate(b"hello"))
            process = await asyncio.create_subprocess_shell("exec sleep 60")
            try:
                await asyncio.wait_for(process.wait(), 0.05)
            except asyncio.TimeoutError:
                process.terminate()
            print(await process.wait())
            processes = [await asyncio.create_subprocess_exec("sh", "-c", "exit %d" % n) for n in range(10)]
            print(await asyncio.gather(*[process.wait() for process in processes]), flush=True)
        asyncio.run(main())
        pid = os.fork()
        if pid == 0:
            asyncio.run(main())
            sys.exit(5)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """,
        6, 27,
    ),
    "watchers of asyncio": Family(
        """
        import asyncio, sys, threading
        async def main():
            processes = [await asyncio.create_subprocess_exec("sh", "-c", "exit %d" % n) for n in range(4)]
            print(await asyncio.gather(*[process.wait() for process in processes]))
        for name in ("ThreadedChildWatcher", "PidfdChildWatcher", "SafeChildWatcher", "FastChildWatcher")[:4]:
            if sys.version_info < (3, 14):
                watcher = getattr(asyncio, name)()
                asyncio.set_child_watcher(watcher)
            asyncio.run(main())
        if sys.version_info < (3, 14):
            asyncio.set_child_watcher(None)
        thread = threading.Thread(target=lambda: asyncio.run(main()))
        thread.start()
        thread.join()
        """,
        1, 20,
    ),
    "exec in a thread": Family(
        """
        import os, sys, threading
        words = [sys.executable, "-c", "import os; print('new'); os.system('exit 1')"]
        thread = threading.Thread(target=os.execv, args=(sys.executable, words))
        thread.start()
        thread.join()
        print("never")
        """,
        2, 1,
    ),
    "exec in a thread of a child": Family(
        """
        import os, sys, threading
        if os.fork() == 0:
            words = [sys.executable, "-c", "print('new')"]
            thread = threading.Thread(target=os.execve, args=(sys.executable, words, {}))
            thread.start()
            thread.join()
        print(os.wait()[1])
        """,
        3, 1,
    ),
    "exec at the very end": Family(
        """
        import atexit, os, sys
        atexit.register(os.execv, sys.executable, [sys.executable, "-c", "print('new')"])
        print("old", flush=True)
        """,
        2, 0,
    ),
    "exec in a handler of a signal": Family(
        """
        import os, signal, sys
        words = [sys.executable, "-c", "print('new')"]
        signal.signal(signal.SIGHUP, lambda *_: os.execv(sys.executable, words))
        print("old", flush=True)
        os.kill(os.getpid(), signal.SIGHUP)
        """,
        2, 0,
    ),
    "pool that recycles its workers": Family(
        """
        import multiprocessing
        def work(number):
            return number * 2
        if __name__ == "__main__":
            pool = multiprocessing.get_context("fork").Pool(2, maxtasksperchild=1)
            print(pool.map(work, range(12), chunksize=1))
            pool.close()
            pool.join()
        """,
        0, 0,
    ),
    "executor that recycles its workers": Family(
        """
        import concurrent.futures, multiprocessing, sys
        def work(number):
            return number * 2
        if __name__ == "__main__":
            more = {"max_tasks_per_child": 1} if sys.version_info >= (3, 11) else {}
            for method in ("spawn", "forkserver"):
                context = multiprocessing.get_context(method)
                with concurrent.futures.ProcessPoolExecutor(2, mp_context=context, **more) as pool:
                    print(list(pool.map(work, range(4))))
        """,
        0, 0, 2,
    ),
    "pool in a worker of a pool": Family(
        """
        import concurrent.futures, multiprocessing
        def inner(number):
            return number + 1
        def outer(number):
            with concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
                return list(pool.map(inner, range(number)))
        if __name__ == "__main__":
            with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
                print(list(pool.map(outer, [3, 4])))
        """,
        0, 0,
    ),
    "managers and their workers": Family(
        """
        import multiprocessing
        def work(shared, lock):
            with lock:
                shared.append(1)
        if __name__ == "__main__":
            for method in ("fork", "spawn", "forkserver"):
                context = multiprocessing.get_context(method)
                with context.Manager() as manager:
                    shared, lock = manager.list(), manager.Lock()
                    workers = [context.Process(target=work, args=(shared, lock)) for _ in range(2)]
                    for worker in workers:
                        worker.start()
                    for worker in workers:
                        worker.join()
                    print(len(shared), [worker.exitcode for worker in workers], flush=True)
        """,
        10, 11, 2, cut_off=9,  # a manager's thread for each connection ends by sys.exit
    ),
    "options of Popen": Family(
        """
        import os, subprocess, sys
        code = "import os; print(os.getuid(), os.umask(0), os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid())"
        read, write = os.pipe()
        options = [
            {"preexec_fn": os.setsid}, {"pass_fds": [read]}, {"user": os.getuid(), "group": os.getgid()},
            {"umask": 0o77}, {"start_new_session": True}, {"close_fds": False}, {"cwd": "/"},
            {"restore_signals": False, "close_fds": False}, {"executable": sys.executable},
            {"process_group": 0} if sys.version_info >= (3, 11) else {"preexec_fn": os.setpgrp},
        ]
        for more in options:
            for env in (None, {}):
                done = subprocess.run([sys.executable, "-c", code], env=env, **more)
                print(sorted(more), done.returncode, flush=True)
        words = [sys.executable + "-by-another-name", "-c", code]
        print(subprocess.run(words, executable=sys.executable, env={}).returncode, flush=True)
        print(subprocess.run("echo $0; exit 4", shell=True, executable="/bin/sh").returncode)
        """,
        22, 22,
    ),
    "small limits in the child": Family(
        """
        import os, resource, subprocess, sys
        def limit(what, value):
            return lambda: resource.setrlimit(what, (value, value))
        code = "import os; print('child', flush=True); os.system('exit 3'); raise SystemExit(2)"
        limits = [
            (resource.RLIMIT_NOFILE, 8), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_STACK, 1 << 20),
            (resource.RLIMIT_AS, 100 << 20),
        ]
        for what, value in limits:
            for env in (None, {}):
                done = subprocess.run([sys.executable, "-c", code], preexec_fn=limit(what, value), env=env)
                print(what, done.returncode, flush=True)
        """,
        9, 16,
    ),
    "terminals": Family(
        """
        import os, pty, sys
        pid, terminal = pty.fork()
        if pid == 0:
            print("in the terminal", os.isatty(0), flush=True)
            os.execv(sys.executable, [sys.executable, "-c", "import os; print(os.isatty(1)); raise SystemExit(3)"])
        def read():
            text = b""
            try:
                while block := os.read(terminal, 1000):
                    text += block
            except OSError:
                pass
            return text
        print(read(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        print(pty.spawn([sys.executable, "-c", "print('spawned')"], lambda fd: os.read(fd, 1000)), flush=True)
        pid, terminal = os.forkpty()
        if pid == 0:
            sys.exit(7)
        print(read(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """,
        6, 3,
    ),
    "several wait for the same": Family(
        """
        import subprocess, threading
        for turn in range(10):
            process = subprocess.Popen(["sh", "-c", "exit 5"])
            threads = [threading.Thread(target=process.wait) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            print(process.returncode)
        """,
        1, 10,
    ),
    "somebody else reaps": Family(
        """
        import os, subprocess
        process = subprocess.Popen(["sh", "-c", "exit 5"])
        print(os.waitpid(process.pid, 0)[1], process.wait(), process.poll())
        process = subprocess.Popen(["sh", "-c", "exit 5"], preexec_fn=int)
        print(os.waitid(os.P_ALL, 0, os.WEXITED).si_status, process.wait())
        print(os.popen("exit 6").close())
        """,
        1, 3,
    ),
    "grandchildren of one that takes them over": Family(
        """
        import ctypes, os
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
        if os.fork() == 0:
            if os.fork() == 0:
                os._exit(8)
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            os._exit(9)
        print(sorted(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(2)))
        """,
        3, 2,
    ),
    "forks where nobody expects them": Family(
        """
        import gc, os, sys, threading, weakref
        def fork(*args):
            pid = os.fork()
            if pid == 0:
                os._exit(3)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        class Thing:
            def __del__(self):
                fork()
        class Bad:
            def __del__(self):
                1 / 0
        Thing()
        thing = Thing()
        weakref.finalize(thing, fork)
        thing.me = thing
        del thing
        gc.collect()
        sys.excepthook = threading.excepthook = sys.unraisablehook = fork
        Bad()
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
        raise ValueError
        """,
        7, 6,
    ),
    "hooks around forks that raise": Family(
        """
        import os
        def hook():
            raise ValueError("hook")
        os.register_at_fork(before=hook, after_in_parent=hook)
        os.register_at_fork(after_in_child=lambda: os._exit(3))
        pid = os.fork()
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """,
        2, 1,
    ),
    "no descriptor left": Family(
        """
        import os, resource, sys
        if resource.getrlimit(resource.RLIMIT_NOFILE)[0] != 64:
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
            os.execv(sys.executable, [sys.executable, *sys.argv])
        try:
            while True:
                os.dup(0)
        except OSError:
            pass
        pid = os.fork()
        if pid == 0:
            sys.exit(6)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        pid = os.posix_spawn("/bin/true", ["true"], {})
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), os.system("exit 5"), flush=True)
        """,
        3, 3,
    ),
    "through other programs": Family(
        """
        import subprocess, sys
        python = [sys.executable, "-c", "print('x', flush=True); raise SystemExit(3)"]
        befores = (
            ["setsid", "-w"], ["nice"], ["nohup"], ["timeout", "60"], ["env", "A=1"],
            ["sh", "-c", '"$@" & wait $!', "sh"], ["sh", "-c", 'exec "$@"', "sh"],
        )
        for before in befores:
            print(before, subprocess.run([*before, *python], stdin=subprocess.DEVNULL).returncode, flush=True)
        subprocess.run(["xargs", "-P4", "-n1", sys.executable, "-c", "pass"], input=b"1 2 3 4 5 6")
        """,
        14, 8,
    ),
    "seven generations": Family(
        """
        import os, subprocess, sys
        depth = int(sys.argv[1]) if len(sys.argv) > 1 else 0
        words = [sys.executable, __file__, str(depth + 1)]
        if depth == 6:
            sys.exit(7)
        elif depth % 3 == 0:
            code = subprocess.run(words, env={} if depth else None).returncode
        elif depth % 3 == 1:
            code = os.waitstatus_to_exitcode(os.waitpid(os.posix_spawn(words[0], words, {}), 0)[1])
        else:
            pid = os.fork()
            if pid == 0:
                os.execve(words[0], words, {})
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(depth, code, flush=True)
        sys.exit(code + 1)
        """,
        9, 6,
    ),
    "strange command lines": Family(
        """
        import pathlib, subprocess, sys, zipfile
        pathlib.Path("app").mkdir()
        pathlib.Path("app/__main__.py").write_text("import sys; print(len(sys.argv)); raise SystemExit(3)")
        with zipfile.ZipFile("app.zip", "w") as archive:
            archive.write("app/__main__.py", "__main__.py")
        commands = (
            [sys.executable, "app"], [sys.executable, "app.zip"], [sys.executable, "-"],
            (sys.executable, "-m", "no_such"),
            [pathlib.Path(sys.executable), "-c", "raise SystemExit(4)", "x" * 100000],
            [sys.executable, "-OO", "-c", "pass", "é", "\\udcff", ""],
            [sys.executable.encode(), b"-c", b"raise SystemExit(5)", b"\\xff\\xfe"],
        )
        for words in commands:
            for env in (None, {}):
                done = subprocess.run(words, env=env, input=b"import sys; sys.exit(6)", capture_output=True)
                print(done.returncode, done.stdout, done.stderr, flush=True)
        """,
        15, 14,
    ),
    "pipes": Family(
        """
        import subprocess, sys
        first = subprocess.Popen([sys.executable, "-c", "for i in range(10): print(i)"], stdout=subprocess.PIPE)
        second = subprocess.Popen(["sort", "-r"], stdin=first.stdout, stdout=subprocess.PIPE)
        first.stdout.close()
        print(second.communicate()[0], first.wait())
        words = [sys.executable, "-c", "while True: print('y')"]
        endless = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        head = subprocess.Popen(["head", "-1"], stdin=endless.stdout, stdout=subprocess.PIPE)
        endless.stdout.close()
        print(head.communicate()[0], endless.wait())
        """,
        3, 4,
    ),
}  # fmt: skip
NEW_WORKERS = ("pool that recycles its workers", "executor that recycles its workers", "pool in a worker of a pool")
"""How many of them there are is a matter of who is faster."""


def by_session(done: Run) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return the events of each session, by name."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for event in done.events:
        found[event["session"]["id"]][event["name"]].append(event)
    return found


def check_family(done: Run, family: Family) -> None:
    """Each session begins and ends once, is below another in one trace, and each start has its exit."""
    sessions = by_session(done)
    assert len({event["session"]["trace_id"] for event in done.events}) == 1
    (root,) = [key for key, own in sessions.items() if "parent" not in own["session.start"][0]["session"]]
    for key, own in sessions.items():
        assert len(own["session.start"]) == 1
        assert key == root or own["session.start"][0]["session"]["parent"] in sessions
        starts, exits = ([event["data"]["child"] for event in own["process." + kind]] for kind in ("start", "exit"))
        assert sorted(starts) == sorted(exits) == sorted(set(starts))
        ends = [event["data"] for event in own["session.end"]]
        assert own["process.start"] == [] or ends == [] or list(own)[-1] == "session.end"
    assert len(done.named("session.end")) == len(sessions) - family.killed
    unwaited = [event["data"] for event in done.named("process.exit") if event["data"].get("waited") is False]
    assert len(unwaited) == family.unwaited
    told = [event["data"] for event in done.named("process.exit") if "waited" not in event["data"]]
    assert all(("exit_code" in exit_) != ("signal" in exit_) for exit_ in told)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_unusual_children_are_seen_and_see_nothing(children: Children, name: str) -> None:
    """Nobody starts children in the ways of a textbook only; a hole in the tree is where the job was lost."""
    family = FAMILIES[name]
    children.untold = family.cut_off
    done = children.twin(family.source, flags=["-W", "ignore"], timeout=200)
    check_family(done, family)
    if name not in NEW_WORKERS:
        counts = (len(done.named("session.start")), len(done.named("process.start")))
        assert counts == (family.sessions, family.children)
    assert done.stdout or family.children > 3
    pids = {(event["session"].get("parent"), event["data"]["pid"]) for event in done.named("session.start")}
    joined = [e for e in done.named("process.start") if (e["session"]["id"], e["data"].get("pid")) in pids]
    is_exec = name.startswith(("exec ", "no descriptor"))  # where the one with the child is not the one that began
    assert joined or family.sessions == 1 or is_exec

"""What the program's own signal handlers raise while our code runs is the program's, whatever it is, and reaches it."""

import signal
import socket
from contextlib import ExitStack, closing
from typing import Any

import pytest

from support.children import Children
from support.collector import Collector
from support.network import Swallower

HARNESS = """
    import os, random, signal, sys, time
    from monitor_auto import Monitor

    class Own(Exception): pass
    class OwnOfSystem(OSError): pass
    class OwnBase(BaseException): pass
    class Hostile:
        def __repr__(self): return "odd" * 100

    KINDS = [
        lambda: Own("x"), lambda: OwnOfSystem("x"), lambda: OwnBase("x"), lambda: TimeoutError("late"),
        lambda: TimeoutError(62, "Timer expired"), lambda: KeyboardInterrupt(), lambda: SystemExit(3),
        lambda: FileNotFoundError(2, "no"), lambda: OSError(5, "io"), lambda: ValueError("v"),
        lambda: BlockingIOError(11, "a"), lambda: FileExistsError(17, "e"), lambda: LookupError("l"),
        lambda: RuntimeError("r"), lambda: TypeError(),
    ]
    seed = random.Random(4)
    raised, me = [], os.getpid()

    class Handler:
        def plain(self, number, frame): self.strike()
        def any(*given): given[0].strike()
        def strike(self):
            error = seed.choice(KINDS)()
            # In any program importlib and zipimport take an OSError for a file that is not there, and a ValueError for
            # a path that cannot be.
            code = sys._getframe(2).f_code
            is_import = "import" in code.co_filename
            if is_import and code.co_name == "cb":  # of a weak reference: nothing can be raised there
                return signal.setitimer(signal.ITIMER_REAL, 0.0001)
            raised.append(Own("x") if is_import and isinstance(error, (OSError, ImportError, ValueError)) else error)
            raise raised[-1]

    handler = Handler()
    if "NAME" == "events":  # its own hooks around forks lose exceptions
        import logging
        # logging itself swallows these where it takes the file's name from a path
        KINDS = [kind for kind in KINDS if not isinstance(kind(), (TypeError, ValueError))]
        logger = logging.getLogger("some")
        logger.addHandler(logging.NullHandler())  # others swallow what is raised in them
        logger.propagate = False

    def events():
        Monitor.event("fast.event", {"n": 1, "text": "of it"})
        assert Monitor.event("careful.event", {"odd": [Hostile(), {"a": Hostile()}], "text": "a: b"})
        Monitor.metric("metric.of", 3)
        Monitor.error("text: a")
        try:
            1 / 0
        except ZeroDivisionError as error:
            Monitor.error(error)
        with Monitor.span("span.of", {"x": 1}):
            logger.error("hello %s", Hostile())

    def rotation():
        Monitor.event("large.event", {"text": "x" * 30000})

    def deleted():
        Monitor.event("short.event", {"n": 1})
        for name in os.listdir(os.environ["MONITOR_SPOOL_DIR"]):
            if name.endswith(".jsonl"):
                try:
                    os.unlink(os.environ["MONITOR_SPOOL_DIR"] + "/" + name)
                except FileNotFoundError as error:
                    if error in raised: raise

    def system(): os.system("true")
    def spawn(): os.waitpid(os.posix_spawn("/bin/true", ["true"], os.environ), 0)
    def given(): os.posix_spawnp("true", ["true"], {"A": "1"}); os.wait()

    def fork():
        try:
            pid = os.fork()
            if os.getpid() != me: os._exit(0)
        except BaseException:
            if os.getpid() != me: os._exit(7)
            raise
        os.waitpid(pid, 0)

    def flush():
        Monitor.event("short.event", {"n": 1})
        Monitor.flush(5)

    os.chmod(sys.argv[0], 0o755)  # a script that names no interpreter

    def failed_exec():
        try:
            os.execv(sys.argv[0], ["x"])
        except OSError as error:
            if error in raised: raise

    def caught_exit():
        try:
            sys.exit(3)
        except SystemExit as error:
            if error in raised: raise

    lost = []
    for turn in range(TURNS):
        signal.signal(signal.SIGALRM, handler.any if turn % 2 else handler.plain)
        got = None
        try:
            signal.setitimer(signal.ITIMER_REAL, seed.uniform(0.00005, LONGEST))
            try:
                while not raised:
                    WORK()
                # In a collection of garbage nothing can be raised: the signal comes again, by a thread.
                deadline = time.monotonic() + 30
                while time.monotonic() < deadline:
                    pass
            except BaseException as error:
                got = error
        except BaseException as error:  # raised in the lines between
            got = error
        signal.setitimer(signal.ITIMER_REAL, 0)
        if got not in raised:
            lost.append((got, raised[:]))
        raised.clear()
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    while True:
        try:
            if not os.waitpid(-1, 0): break
        except ChildProcessError:
            break
    print(TURNS, lost)
"""
CHILDREN = ("system", "spawn", "given", "fork")  # not subprocess: Popen.__del__ loses them, in any program
WORKS = {
    "events": (0.02, "log.error"),  # a full spool keeps errors longest; many turns make more of them than it holds
    "rotation": (0.02, "large.event"),
    "deleted": (0.01, "session.end"),
    "flush": (0.03, None),
    "failed_exec": (0.005, "session.resume"),
    "caught_exit": (0.005, "session.exit"),
    **dict.fromkeys(CHILDREN, (0.02, "process.exit")),
}


TURNS = 150


@pytest.mark.slow
@pytest.mark.parametrize(
    "work",
    [
        pytest.param(work, marks=pytest.mark.tampers("segments are deleted") if work == "deleted" else ())
        for work in WORKS
    ],
)
def test_program_sees_each_exception_of_its_handlers(work: str, children: Children, collector: Collector) -> None:
    """An alarm that we took for an error of ours lets a job hang for ever; a SystemExit is how services stop."""
    longest, expected = WORKS[work]
    source = (
        HARNESS.replace("TURNS", str(TURNS))
        .replace("LONGEST", str(longest))
        .replace("WORK", work)
        .replace("NAME", work)
    )
    children.untold = TURNS  # each exception may come between a number and its line, and nothing else may be missing
    endpoint = collector.url if work == "flush" else "local:"
    env = {"MONITOR_RATE_LIMIT": "0", "MONITOR_SPOOL_LIMIT": "4MiB"}
    done = children.run(source, endpoint=endpoint, env=env, timeout=300)
    assert (done.status, done.stdout, done.stderr) == (0, b"%d []\n" % TURNS, b"")
    assert (expected or "short.event") in (collector.names() if work == "flush" else done.names)
    if work in CHILDREN:
        assert_every_start_has_its_exit(done.events)


def assert_every_start_has_its_exit(events: list[dict[str, Any]]) -> None:
    """One exit for each start; a second one says that it is told again."""
    key = [(event["session"]["id"], event["data"]["child"]) for event in events if event["name"] == "process.start"]
    exits = [event for event in events if event["name"] == "process.exit"]
    told = [(event["session"]["id"], event["data"]["child"]) for event in exits]
    first = [place for place, event in zip(told, exits, strict=True) if not event["data"].get("again")]
    assert len(key) == len(set(key))
    assert len(first) == len(set(first))
    assert set(key) <= set(told)


@pytest.mark.parametrize("ending", ["os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_shell_whose_caller_is_interrupted_has_its_exit(ending: str, children: Children) -> None:
    """A handler comes as os.system returns; what the shell has done is known, and a start without an end says that it
    still runs.
    """
    source = """
        import os, signal
        class Interrupted(Exception): pass
        def handler(number, frame): raise Interrupted
        signal.signal(signal.SIGUSR1, handler)
        try:
            os.system("kill -USR1 $PPID; exit 3")
        except Interrupted:
            os.write(1, b"interrupted")
        ENDING
    """
    done = children.twin(source.replace("ENDING", ending))
    assert done.stdout == b"interrupted"
    (start,), (end,) = done.named("process.start"), done.named("process.exit")
    assert (end["data"]["child"], end["data"]["exit_code"]) == (start["data"]["child"], 3)
    assert "pid" not in end["data"]


def test_shell_that_was_never_started_has_an_exit_too(children: Children) -> None:
    """An audit hook may forbid it; somebody who counts starts and exits must not wait for this one."""
    source = """
        import os, sys
        def forbid(name, args):
            if name == "os.system": raise PermissionError("not here")
        sys.addaudithook(forbid)
        try:
            os.system("true")
        except PermissionError as error:
            print(error)
    """
    done = children.twin(source)
    assert done.stdout == b"not here\n"
    (end,) = done.named("process.exit")
    assert end["data"]["waited"] is False


def test_shell_that_still_runs_when_the_program_ends_is_told(children: Children) -> None:
    """Another thread ends the program while os.system waits: its start must not be all that is known."""
    source = """
        import os, threading
        read, write = os.pipe()
        os.set_inheritable(write, True)
        command = "echo x >&%d; exec sleep 2 >/dev/null 2>&1" % write
        threading.Thread(target=os.system, args=(command,), daemon=True).start()
        os.read(read, 1)
        os._exit(5)
    """
    done = children.twin(source)
    assert done.status == 5
    (end,) = done.named("process.exit")
    assert end["data"]["waited"] is False


def test_exception_that_another_thread_throws_in_is_the_programs(children: Children) -> None:
    """Time-out libraries do that (PyThreadState_SetAsyncExc): swallowed, the work would go on for ever."""
    source = """
        import ctypes, threading
        from monitor_auto import Monitor
        class Late(Exception): pass
        seen = []
        def work():
            while True:
                try:
                    while True:
                        Monitor.event("some.event", {"odd": [1, {"a": object()}]})
                        Monitor.metric("some.metric", 1)
                except Late:
                    seen.append(1)
                    ready.release()
        ready = threading.Semaphore(0)
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        for _ in range(300):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(Late))
            if not ready.acquire(timeout=30):
                break
        print(len(seen))
    """
    children.untold = 300  # each may come between the number of an event and its line: that one event is cut short
    done = children.run(source, env={"MONITOR_RATE_LIMIT": "0"}, timeout=120)
    assert (done.status, done.stdout, done.stderr) == (0, b"300\n", b"")
    assert "some.metric" in done.names


def test_exception_thrown_in_while_we_read_an_object_is_the_programs(children: Children) -> None:
    """What the object itself raises is its own trouble and is noted; what comes from elsewhere meanwhile is not."""
    source = """
        import collections.abc, ctypes, functools, threading
        from monitor_auto import Monitor
        class Late(Exception): pass
        throw = functools.partial(ctypes.pythonapi.PyThreadState_SetAsyncExc, ctypes.c_ulong(threading.get_ident()))
        class Odd(collections.abc.Mapping):
            keys = functools.partial(throw, ctypes.py_object(Late))  # all in C: it is raised in who has called it
            def __getitem__(self, key): raise Late
            def __iter__(self): return iter(("key",))
            def __len__(self): return 1
        class Raising(Odd):
            def keys(self): raise Late
        for data in (Odd(), {"inner": Odd()}, {"inner": [Odd()]}):
            try:
                Monitor.event("some.event", data)
            except Late:
                print("thrown in")
        for data in (Raising(), {"inner": Raising()}):
            print(Monitor.event("its.own", data) is not None)
    """
    children.untold = 3  # the events that are cut short
    done = children.run(source)
    assert (done.status, done.stdout, done.stderr) == (0, b"thrown in\n" * 3 + b"True\n" * 2, b"")
    assert [item["data"] for item in done.named("its.own")] == [
        {"_cut": "reading stopped: Late"},
        {"inner": {"_cut": "reading stopped: Late"}},
    ]


def test_interrupted_flush_leaves_no_socket_open(children: Children) -> None:
    """One that is collected as garbage warns of it, and the signal that comes in the making of that warning is lost."""
    source = """
        import gc, os, signal, sys, time, traceback
        from monitor_auto import Monitor
        class Interrupted(Exception): pass
        def handler(number, frame): raise Interrupted
        signal.signal(signal.SIGALRM, handler)
        def sockets():
            shown = ["/proc/self/fd/" + name for name in os.listdir("/proc/self/fd")]
            return [os.readlink(name) for name in shown if os.path.exists(name) and "socket:" in os.readlink(name)]
        before = sockets()
        names, end, seconds = [], time.monotonic() + 60, 0.05
        while "_connect" not in names and time.monotonic() < end:
            seconds *= 2
            try:
                signal.setitimer(signal.ITIMER_REAL, seconds)
                Monitor.event("some.event")
                Monitor.flush(60)
            except Interrupted as error:
                names = [place.name for place in traceback.extract_tb(error.__traceback__)]
                print(sockets() == before)
        print("_connect" in names)
        gc.collect()
    """
    with closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as server, ExitStack() as full:
        for _ in range(8):  # nobody accepts them: the next one waits
            waiting = full.enter_context(closing(socket.socket()))
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        endpoint = "http://127.0.0.1:%d/v1/events" % server.getsockname()[1]
        env = {"MONITOR_EXIT_TIMEOUT": "0", "MONITOR_FLUSH_INTERVAL": "0"}
        done = children.run(source, endpoint=endpoint, env=env, flags=["-X", "dev"], timeout=120)
    lines = done.stdout.decode().split()
    assert (done.status, set(lines), done.stderr) == (0, {"True"}, b"")
    assert len(lines) >= 2
    assert "some.event" in done.names


@pytest.mark.parametrize("kind", ["SystemExit(4)", "KeyboardInterrupt()", "ValueError('own')", "TimeoutError('own')"])
def test_handler_that_raises_while_we_deliver_at_the_end_ends_that_at_once(kind: str, children: Children) -> None:
    """The program is over, and its status is known: what its handler raises then has nobody to go to, and who presses
    Ctrl-C does not want to wait.
    """
    source = f"""
        import os, signal
        def handler(number, frame):
            os.write(1, b"handled")
            raise {kind}
        signal.signal(signal.SIGUSR1, handler)
        os.write(1, b"ready")
    """
    hanging = Swallower()
    try:
        endpoint = f"http://127.0.0.1:{hanging.port}/v1/events"
        child = children.start(source, endpoint=endpoint, env={"MONITOR_EXIT_TIMEOUT": "120"})
        hanging.wait_for(1, 60)
        child.process.send_signal(signal.SIGUSR1)
        done = child.finish()  # within 60 s
    finally:
        hanging.close()
    assert (done.status, done.stdout, done.stderr) == (0, b"readyhandled", b"")
    assert "session.end" in done.names

"""What a program can ask its interpreter about: the answers with the monitor are those without it."""

import sys

import pytest

from support.children import Children

PROBE = """
    import _thread, gc, os, sys
    first = os.open(os.devnull, os.O_RDONLY)
    os.close(first)
    files = sorted(map(int, os.listdir("/proc/self/fd")))
    tasks = len(os.listdir("/proc/self/task"))
    threads = _thread._count()
    collector = gc.isenabled(), gc.get_threshold(), gc.get_debug(), gc.garbage, gc.get_freeze_count()
    has_one_of_ours = len(gc.callbacks) <= 1
    mine = ("MONITOR_ENDPOINT", "MONITOR_SPOOL_DIR")
    environment = {name: value for name, value in os.environ.items() if name not in mine}
    modules = set(sys.modules)
    import faulthandler, locale, resource, signal, threading, warnings
    facts = {
        "lowest free descriptor": first,
        "tasks": tasks,
        "threads": threads,
        "thread names": [thread.name for thread in threading.enumerate()],
        "gc": (collector, has_one_of_ours),
        "environment": environment,
        "standard library modules": sorted(name for name in modules if name.partition(".")[0] != "monitor_auto"
                                           and name not in sys.builtin_module_names),
        "flags": sys.flags,
        "warnoptions": sys.warnoptions,
        "filters": warnings.filters,
        "xoptions": sys._xoptions,
        "faulthandler": faulthandler.is_enabled(),
        "path": sys.path,
        "path hooks": [hook.__name__ for hook in sys.path_hooks],
        "finders": [getattr(finder, "__name__", "") for finder in sys.meta_path
                    if "monitor_auto" not in getattr(finder, "__name__", "")],
        "switch interval": sys.getswitchinterval(),
        "recursion limit": sys.getrecursionlimit(),
        "tracing": (sys.gettrace(), sys.getprofile()),
        "umask": os.umask(0o022),
        "folder": (os.getcwd(), os.listdir("."), os.listdir(os.environ.get("HOME", "."))),
        "arguments": (sys.argv, sys.orig_argv),
        "locale": locale.setlocale(locale.LC_ALL),
        "limits": resource.getrlimit(resource.RLIMIT_NOFILE),
        "handlers": [(number, str(signal.getsignal(number))) for number in signal.valid_signals()],
        "blocked": signal.pthread_sigmask(signal.SIG_BLOCK, []),
        "wakeup": signal.set_wakeup_fd(-1),
        "timer": signal.getitimer(signal.ITIMER_REAL),
        "main": sorted(vars(sys.modules["__main__"]).keys() & {"__file__", "__spec__", "__builtins__", "__loader__"}),
        "hooks": (sys.excepthook is sys.__excepthook__, sys.unraisablehook is sys.__unraisablehook__,
                  threading.excepthook is threading.__excepthook__, sys.displayhook is sys.__displayhook__),
        "last error": (sys.exc_info(), hasattr(sys, "last_value")),
        "streams": (sys.stdout.fileno(), sys.stderr.fileno(), sys.stdout.encoding, sys.stdout.line_buffering),
        "nice": os.nice(0),
        "audit": None,
    }
    for name, answer in facts.items():
        print(name, answer)
"""

FLAGS = [
    [], ["-I"], ["-E"], ["-s"], ["-B"], ["-O"], ["-OO"], ["-u"], ["-bb"], ["-q"], ["-X", "dev"], ["-W", "error"],
    ["-X", "utf8"], ["-X", "tracemalloc"], ["-X", "int_max_str_digits=0"], ["-W", "error", "-X", "dev", "-bb"],
]  # fmt: skip


@pytest.mark.parametrize("flags", FLAGS, ids=" ".join)
def test_interpreter_answers_as_without_the_monitor(children: Children, flags: list[str]) -> None:
    """Threads, descriptors, handlers, filters and switches are what programs look at, and what frameworks restore."""
    done = children.twin(PROBE, flags=flags)
    assert (done.status, done.stderr) == (0, b"")
    assert done.names == ["session.start", "session.end"]


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="nobody has measured what it is worth there")
def test_young_collections_are_spared_what_the_start_has_made(children: Children) -> None:
    """Each of them would look at all that lives to the end anyway: in a short script that costs more than our start."""
    source = """
        import gc, sys
        print(any(thing is sys for thing in gc.get_objects(generation=2)), gc.get_freeze_count())
    """
    is_old, frozen = children.run(source, bare=True).stdout.split()
    assert is_old == b"False"
    # 3.12 has some frozen itself, which have to stay so.
    assert children.run(source).stdout == b"%s %s\n" % (b"True" if frozen == b"0" else b"False", frozen)
    # A program that names the endpoint itself has begun already: what it has made may be garbage soon.
    source = """
        import gc, sys
        from monitor_auto import Monitor
        mine = []
        Monitor.init(endpoint="local:")
        print(Monitor.session is not None, any(thing is mine for thing in gc.get_objects(generation=2)))
    """
    assert children.run(source, env={"MONITOR_ENDPOINT": None}).stdout == b"True False\n"


def test_collector_of_ours_is_no_module_that_the_program_has_not_imported(children: Children) -> None:
    """Its `import gc` is then the first one, as ever, and finds the same collector."""
    done = children.twin(
        """
        import sys
        print("gc" in sys.modules)
        import gc
        print(gc.__spec__, gc.isenabled(), gc.get_threshold(), sys.modules["gc"] is gc)
        gc.disable()
        print(gc.isenabled())
        """
    )
    assert done.stdout.startswith(b"False\n")
    assert done.names == ["session.start", "session.end"]


def test_garbage_is_collected_as_soon_as_without_the_monitor(children: Children) -> None:
    """What a program leaves in circles holds its files and its memory until the collector comes."""
    done = children.twin(
        """
        import gc

        class Circle:
            gone = 0

            def __init__(self):
                self.itself = self

            def __del__(self):
                Circle.gone += 1

        for _ in range(20_000):
            Circle()
        print(Circle.gone > 15_000, gc.collect() >= 0, Circle.gone)
        """
    )
    assert done.stdout == b"True True 20000\n"
    assert done.names == ["session.start", "session.end"]


def test_descriptors_are_few_and_high_and_not_inherited(children: Children) -> None:
    """Daemons close low numbers in bulk, and a child that inherits one keeps a lock alive."""
    source = """
        import os
        numbers = sorted(map(int, os.listdir("/proc/self/fd")))[:-1] + [max(map(int, os.listdir("/proc/self/fd")))]
        for number in sorted(set(numbers)):
            try:
                print(number, os.get_inheritable(number), os.readlink(f"/proc/self/fd/{number}"))
            except OSError:
                pass
    """
    before = children.run(source, bare=True).stdout.decode().splitlines()
    done = children.run(source)
    added = [line.split(maxsplit=2) for line in done.stdout.decode().splitlines()[len(before) :]]
    assert 1 <= len(added) <= 3
    assert all(int(number) > 512 and inheritable == "False" for number, inheritable, _ in added)
    assert all(path.startswith(str(done.spool)) for _, _, path in added)


DISGUISES = """
    import copy, inspect, os, pickle, sys
    for function in (sys.exit, os._exit, os.execv, os.execve):
        print(repr(function), str(function), function.__name__, function.__qualname__, function.__module__)
        print(inspect.signature(function), function.__doc__)
        print(pickle.loads(pickle.dumps(function)) is function, pickle.dumps(function, 0), callable(function))
        print(copy.copy(function) is function, copy.deepcopy(function) is function, hash(function) == hash(function))
        print({function: 1}[function], inspect.isfunction(function), inspect.ismethod(function))
    class Program:
        leave = sys.exit
    try:
        Program().leave(3)
    except SystemExit as stop:
        print(stop.code)
    from sys import exit
    import functools
    try:
        functools.partial(exit, "bye")()
    except SystemExit as stop:
        print(stop.args)
"""


def test_replaced_functions_look_like_the_real_ones(children: Children) -> None:
    """They are put into tables, pickled for workers, used as methods and documented by whoever likes to."""
    done = children.twin(DISGUISES)
    assert done.status == 0
    assert [event["data"]["code"] for event in done.named("session.exit")] == [3, 1]


TRACEBACKS = """
    import os, sys, threading, traceback
    def leave(*how):
        sys.exit(*how)
    def show(function, *how, **more):
        try:
            function(*how, **more)
        except BaseException:
            print(traceback.format_exc())
            depth, trace = 0, sys.exc_info()[2]
            while trace:
                depth, trace = depth + 1, trace.tb_next
            print(depth)
    show(leave, 3)
    show(sys.exit, "text")
    show(leave, 1, 2)
    show(sys.exit, status=1)
    show(os._exit)
    show(os._exit, "x")
    show(os._exit, 1 << 40)
    show(os.execv, "/no/such/program", ["x"])
    show(os.execve, "/no/such/program", ["x"], {})
    show(os.execvp, "no-such-program", ["x"])
    show(os.execl, "/no/such/program", "x")
    thread = threading.Thread(target=show, args=(leave, 4))
    thread.start()
    thread.join()
    sys.excepthook = lambda *facts: traceback.print_exception(*facts)
    leave.__code__ = (lambda *how: {}[how]).__code__
    leave("last")
"""


def test_tracebacks_name_nobody_of_ours(children: Children) -> None:
    """The first thing a user sees when something breaks must not be the monitor's file."""
    done = children.twin(TRACEBACKS)
    assert done.status == 1
    assert [event["data"]["code"] for event in done.named("session.exit")] == [3, 1, 4]
    assert done.named("error.KeyError")


WARNING = """
    import os, subprocess, sys, threading, warnings
    print("start")
    pid = os.fork()
    if pid == 0:
        os._exit(3)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    print(subprocess.run([sys.executable, "-W", "error", "-c", "print(1)"], capture_output=True))
    thread = threading.Thread(target=print, args=("thread",))
    thread.start()
    thread.join()
    open(os.devnull)
    import email.message, json, ssl
"""


@pytest.mark.parametrize(
    "flags", [["-X", "dev"], ["-W", "error"], ["-W", "always"], ["-W", "error", "-X", "dev", "-bb"]]
)
def test_warnings_are_only_the_programs_own(children: Children, flags: list[str]) -> None:
    """Warnings of ours on standard error would break every job that compares its output."""
    done = children.twin(WARNING, flags=flags)
    assert b"monitor" not in done.stderr
    assert done.names.count("session.end") == 3


def test_program_that_reads_its_own_modules_finds_them_whole(children: Children) -> None:
    """Tools walk over sys.modules and ask each for its file, spec and source; ours must not make them fail."""
    source = """
        import inspect, pkgutil, sys
        for name, module in list(sys.modules.items()):
            getattr(module, "__spec__", None), getattr(module, "__file__", None), repr(module), dir(module)
            hasattr(module, "no_such_attribute")
            if name.startswith("monitor_auto"):
                inspect.getsource(module)
        for finder in sys.meta_path:
            repr(finder), getattr(finder, "find_spec", None)
        print(len(list(pkgutil.iter_modules())) > 0)
    """
    done = children.run(source)
    assert (done.status, done.stdout, done.stderr) == (0, b"True\n", b"")
    assert "session.end" in done.names


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.activate_stack_trampoline came with 3.12")
def test_perf_trampoline_works(children: Children) -> None:
    """-X perf changes how frames are entered."""
    assert "session.end" in children.twin("print(1)", flags=["-X", "perf"]).names

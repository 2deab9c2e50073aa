"""Hot: `start()`, the order of things, once per process. Runs in every monitored interpreter, from the `.pth` line
while `site` is imported, or from `Monitor.init`. Builtin modules only; nothing gets out but KeyboardInterrupt and
SystemExit.

Modules of this package are hot (needed in every process, loaded at start) or cold (needed in some: an error, a fork, a
call of the API). Both are loaded by `load` below: importlib takes 0.3 M instructions for a module, this 0.04 M, and
there are a dozen. Cold ones are read when they are needed, and only while the package is the one that this process has
started from. The most important of them are in reserve all the time, as one text that the build has made of them: so
that an error can still be recorded when the table of descriptors is full or the package has been replaced.
"""

import atexit
import marshal
import sys

from .. import FOLDER, read, read_bytecode, system

__all__ = ["FOLDER", "marshal", "read_bytecode", "start", "system"]

TYPE_CHECKING = False
if TYPE_CHECKING:  # `load` makes them attributes of this package
    from . import endings, guard, patches, recorder, redact, session, settings, signals, spool, targets

HOT = (
    "formats", "redact", "guard", "settings", "session", "spool", "recorder", "patches", "signals", "targets",
    "endings",
)  # fmt: skip
COLD = (
    "notes",
    "encode",
    "cleaning",
    "errors",
    "exits",
    "leaving",
    "recording",
    "limits",
    "repairs",
    "faulthandling",
    "stdlib",
    "forked",
    "children",
    "starting",
    "unwaited",
)
COLDER = (
    "arrivals", "background", "choosing", "ci", "commandline", "context", "embedded", "entries", "environments",
    "express", "flushing", "handover", "hooked", "inherited", "listening", "loops", "parsing", "relaying", "sampling",
    "selfreport", "shadowing", "splitting", "spreading", "teardown", "terminating", "undoing",
)  # fmt: skip
"""Cold ones that are not in reserve: needed at the start only, or when the program imports something itself."""
CONTENT = ("children", "exits", "express", "handover", "leaving", "stdlib")
"""Cold ones that most programs need, and that import nothing later: only `subprocess` brings what `children` wants."""

_is_started = _is_starting = False
_builtins = None
_exec, _compile, builtin_import = exec, compile, __import__
RESERVE_BYTES = 256 << 10
_reserve = None
"""The texts of the modules in COLD, each behind a form feed and its name, without comments and documentation. A fifth
of a millisecond less than to read what they are compiled to, which is twice as long and in a file each."""
_stamp = None
_settings = _lineage = None
_taken_over = ""


def start(overrides=None):
    """Start the monitor if an endpoint is known. Later calls do nothing. True when a session runs."""
    global _is_started, _is_starting, _reserve
    if _is_started or _is_starting or not is_main_interpreter():
        return _is_started
    _is_starting = True  # an audit hook, a signal handler or a finder may come here again meanwhile
    try:
        check_same()
        environ = sys.modules["os"].environ
        if "MONITOR_EXCLUDE" in environ or "MONITOR_INCLUDE" in environ:
            if load("choosing").leaves_out(environ, inherited_role()):
                return load("choosing").leave_out()
        for name in HOT:
            data = None if name in globals() else read_bytecode(name)
            make(name, marshal.loads(memoryview(data)[16:])) if data else load(name)
        _reserve = read(FOLDER + "/reserve.txt", RESERVE_BYTES)  # before our own files: it may be the last descriptor
        _is_started = start_process(overrides)
    except Exception as error:  # half an installation, an endpoint that cannot be used, no memory: dormant
        try:
            load("notes").tell_failure(error)
        except Exception:  # the installation is damaged: the program runs on unmonitored
            return False
    finally:
        _is_starting = False
    return _is_started


def start_process(overrides):
    """Begin to monitor this process. `overrides` count where the operator has named no endpoint. False: dormant.

    Raises ValueError for an endpoint that cannot be used.
    """
    global _settings, _lineage, _taken_over
    os = sys.modules["os"]
    read = settings.read_settings
    _settings = decided = read(os.environ, sys.prefix) or (overrides and read({**os.environ, **overrides}, sys.prefix))
    role = inherited_role()
    if not decided or role in ("resource_tracker", "monitor-auto"):
        return False
    guard.debug_target = decided.debug
    home = (os.environ.get("HOME") or os.path.expanduser("~")).rstrip("/")
    if home[:1] == "/" or "\\" in home:
        redact.home = home
    if decided.choice and not role and not load("choosing").is_wanted(decided.choice, sys.orig_argv):
        return load("choosing").leave_out()
    if session.PARENT_VARIABLE in os.environ:  # for us alone: the program shall not see it
        text, comma, names = os.environ.pop(session.PARENT_VARIABLE).partition(",")
        _lineage, _taken_over = load("inherited").lineage_of(text, os.environ.get("TRACEPARENT")), comma + names
        if comma and load("inherited").take_over(names):
            decided.exit_timeout_seconds = 0.0  # our parent has the token, and delivers
    atexit.register(endings.on_atexit)
    if hasattr(system, "register_at_fork"):  # there is no way to take it back; it does nothing without a session
        system.register_at_fork(after_in_child=after_fork_in_child)
    signals.install()
    endings.install()
    if hasattr(os, "reload_environ"):  # 3.14
        patches.replace_calls(os, (("reload_environ", "inherited"),))
    targets.install(decided)
    if decided.relay:
        guard.late("relaying", "install")
    if decided.term_timeout_seconds:
        guard.late("terminating", "install")
    if not sys.orig_argv:  # no `python`, but a program that has it inside
        guard.late("embedded", "install")
    if role != "forkserver":
        start_session(decided, _lineage, role or "exec")
    elif _lineage:  # no session itself: its workers are, and their parent is who asked for them
        system.putenv(session.PARENT_VARIABLE, ":".join(_lineage) + _taken_over)
    if decided.problems:
        load("parsing").report(decided)
    # While `site` runs, what there is lives on: let the collector take it for old. Else the young collections to come
    # look at it again, 1.7 M instructions of a script that imports json, 0.3 of 21 ms (3.11; nobody has measured 3.14).
    # What is frozen would be thawed: somebody's, or that of 3.12 itself.
    if overrides is None and sys.version_info < (3, 14):
        gc = targets.collector()
        if hasattr(gc, "freeze") and not gc.get_freeze_count():
            gc.freeze()
            gc.unfreeze()
    return True


def inherited_role():
    """Return what `multiprocessing`, which runs a -c line of its own, or our command started this interpreter as."""
    words = sys.orig_argv[1:3] or [""]
    if words[0][-13:] == "/monitor-auto" or words == ["-m", "monitor_auto"]:
        return "monitor-auto"
    for word in sys.orig_argv:
        if word[:21] == "from multiprocessing.":
            return load("inherited").multiprocessing_role(sys.orig_argv)
    return None


def start_session(decided, parent, start_method):
    """Open the session and its segment, and record `session.start`."""
    global _lineage
    started = session.make(decided, parent, start_method)
    _lineage = started.lineage
    if recorder.segment is None:
        recorder.segment = spool.make(decided, signals.use_file)
    recorder.begin(decided, started)
    spool.start(recorder.segment, started)
    recorder.record_facts("session.start", session.start_facts(started, decided))
    # In the C environment only: the program's os.environ stays as it is.
    system.putenv(session.PARENT_VARIABLE, ":".join(_lineage) + _taken_over)
    if decided.propagate:
        system.putenv("TRACEPARENT", "00-" + "-".join(_lineage[2:5]))


def after_fork_in_child():
    """Runs in every forked child, in C's call, before os.fork returns there."""
    if not guard.late("forked", "become_child", _settings, _lineage, sys._getframe(1)):
        recorder.session = None  # what it records must not pass for its parent's


def load(name):
    """Return a module of this package, from its bytecode without importlib's search; by a plain import failing that."""
    module = globals().get(name)
    if module is None:
        code = code_of(name)
        module = make(name, code) if code else None
        if module is None:
            builtin_import(__name__ + "." + name)
            module = sys.modules[__name__ + "." + name]
    return module


def code_of(name):
    """Return the code of a module of this package, or None where importlib shall look."""
    data, reserve = None, _reserve if name in COLD else None
    try:
        if _is_started:
            check_same()
        data = read_bytecode(name)
    except ImportError:
        if not reserve:
            raise
    if data:
        return marshal.loads(memoryview(data)[16:])
    if not reserve:
        return None
    text = reserve.partition(b"\f%s\n" % name.encode())[2].partition(b"\f")[0]
    return _compile(text, FOLDER + "/" + name + ".py", "exec", 0, True)


cold = load


def check_same():
    """Raise ImportError when the package was upgraded or removed since the start: old and new parts do not fit."""
    global _stamp
    try:
        facts = system.stat(__file__)
        stamp = facts.st_ino, facts.st_mtime
    except OSError as error:
        if error.__traceback__.tb_next is not None:  # raised by a handler of the program's, which has come in between
            raise
        stamp = ()
    if _stamp is None:
        _stamp = stamp
    if stamp != _stamp:
        raise ImportError("monitor_auto was upgraded or removed while this program runs")


def __getattr__(name):
    """Serve `from . import x` among our own modules from what was read at the start."""
    if name in COLD or name in COLDER:
        return load(name)
    raise AttributeError("module %r has no attribute %r" % (__name__, name))


def make(name, code):
    """Make a module of its code. It has no `__spec__` and no `__loader__`: each costs more than most modules do.

    A cold one does not go into `sys.modules`: the program may just be iterating over that when it is needed. And it has
    builtins of its own, taken when the first one is loaded: an `__import__` that the program has replaced does not see
    our imports, and one that it has deleted does not stop them. The copy costs 0.1 M instructions: a module that
    imports nothing later does without, as long as everything is in place.
    """
    global _builtins
    full_name = __name__ + "." + name
    module = type(sys)(full_name)
    module.__file__, module.__package__ = FOLDER + "/" + name + ".py", __name__
    if name in HOT:
        sys.modules[full_name] = module
    elif (
        name not in CONTENT
        or __builtins__.get("__import__") is not builtin_import
        or not getattr(sys, "meta_path", None)
    ):
        _builtins = _builtins or {**__builtins__, "__import__": builtin_import, "exec": _exec}
        module.__builtins__ = _builtins
        if getattr(sys, "meta_path", None) is None and name != "teardown":
            _builtins["__import__"] = load("teardown").make_import(globals())
    try:
        _exec(code, module.__dict__)
    except BaseException:
        sys.modules.pop(full_name, None)
        raise
    # Not before: another thread, or a signal handler, must not meet half a module. Whoever is first has made it.
    return globals().setdefault(name, module)


def is_main_interpreter():
    """False in a sub-interpreter, where `site` runs again but nothing may be started."""
    import _thread

    if hasattr(_thread, "_is_main_interpreter"):  # 3.12
        return _thread._is_main_interpreter()
    import _signal

    try:
        # Allowed in the main thread of the main interpreter only; while `site` runs nobody has set one.
        old = _signal.set_wakeup_fd(-1)
        if old != -1:
            _signal.set_wakeup_fd(old)
        return True
    except ValueError:
        try:
            import _xxsubinterpreters as interpreters
        except ImportError:
            return False
        return interpreters.get_current() == interpreters.get_main()

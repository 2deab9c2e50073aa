"""Hot: `start()`, the order of things, once per process. Runs in every monitored interpreter, from the `.pth` line
while `site` is imported, or from `Monitor.init`. Builtin modules only; nothing gets out but KeyboardInterrupt and
SystemExit.

Modules of this package are hot (needed in every process, loaded at start) or cold (needed in some: an error, a fork, a
call of the API). Both are loaded by `load` below: importlib takes 0.3 M instructions for a module, this 0.04 M, and
there are a dozen. Cold ones are read at the start and decoded when they are needed, so that an error can still be
recorded when the table of descriptors is full, the package has been replaced, or the interpreter is half gone. What is
read later than that is read only while the package is the one that this process has started from.
"""

import marshal
import os
import sys

HOT = (
    "formats", "redact", "guard", "settings", "session", "recorder", "spool", "patches", "signals", "targets",
    "endings", "forks",
)  # fmt: skip
COLD = (
    "notes",
    "encode",
    "cleaning",
    "errors",
    "exits",
    "recording",
    "repairs",
    "faulthandling",
    "stdlib",
    "forked",
)
COLDER = ("arrivals", "express", "handover", "inherited", "parsing", "teardown", "terminating", "undoing")
"""Cold ones that are not kept: needed at the start only, or when the program imports something itself."""

_is_started = _is_starting = False
_builtins = None
_exec, _import = exec, __import__
_kept = {}
_stamp = None


def start(overrides=None):
    """Start the monitor if an endpoint is known. Later calls do nothing. True when a session runs."""
    global _is_started, _is_starting
    if _is_started or _is_starting or not is_main_interpreter():
        return _is_started
    _is_starting = True  # an audit hook, a signal handler or a finder may come here again meanwhile
    try:
        check_same()
        for name in HOT:
            load(name)
        for name in COLD:  # before our own files: there may be no further descriptor
            keep(name)
        _is_started = sys.modules[__name__ + ".forks"].start_process(overrides)
    except Exception as error:  # half an installation, an endpoint that cannot be used, no memory: dormant
        tell_failure(error)
    finally:
        _is_starting = False
    return _is_started


def load(name):
    """Return a module of this package, from its bytecode without importlib's search; by a plain import failing that."""
    module = globals().get(name)
    if module is None:
        full_name = __name__ + "." + name
        data = _kept.pop(name, None)
        if data is None:
            if _is_started:
                check_same()
            data = read_bytecode(name)
        module = decode(name, full_name, data) if data else None
        if module is None:
            _import(full_name)
            module = sys.modules[full_name]
    return module


cold = load


def check_same():
    """Raise ImportError when the package was upgraded or removed since the start: old and new parts do not fit."""
    global _stamp
    try:
        facts = os.stat(__file__)
        stamp = facts.st_ino, facts.st_mtime
    except OSError:
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


def keep(name):
    """Read a cold module's bytecode without decoding it."""
    if name not in globals():
        data = read_bytecode(name)
        if data:
            _kept[name] = data


def read_bytecode(name):
    """Return the bytes of a `.pyc` (PEP 3147) of this Python, or None: then importlib shall look.

    Where we were installed, by pip or a distribution, nobody edits the source: only elsewhere it is compared with the
    source as importlib does (PEP 552). The comparison costs as much as the reading.
    """
    try:
        fd = os.open(_FOLDER + "/__pycache__/" + name + _TAG, _READ)
        try:
            data = os.read(fd, 65536)
        finally:
            os.close(fd)
    except OSError:
        return None
    if data[:4] != _MAGIC or not (_IS_INSTALLED or is_current(name, data)):
        return None
    return data


def is_current(name, data):
    """True when bytecode was made of the source that lies there now."""
    try:
        source = os.stat(_FOLDER + "/" + name + ".py")
    except OSError:
        return False
    size, made = source.st_size & 0xFFFFFFFF, int(source.st_mtime) & 0xFFFFFFFF
    return data[4:16] == b"\0\0\0\0" + made.to_bytes(4, "little") + size.to_bytes(4, "little")


def decode(name, full_name, data):
    """Make a module of a `.pyc`. It has no `__spec__` and no `__loader__`: each costs more than most modules do.

    A cold one does not go into `sys.modules`: the program may just be iterating over that when it is needed. And it has
    builtins of its own, taken when the first one is loaded: an `__import__` that the program has replaced does not see
    our imports, and one that it has deleted does not stop them. A copy at every start would cost 0.06 M instructions.
    """
    global _builtins
    code = marshal.loads(memoryview(data)[16:])
    module = type(sys)(full_name)
    module.__file__, module.__package__ = _FOLDER + "/" + name + ".py", __name__
    globals()[name] = module
    if name in HOT:
        sys.modules[full_name] = module
    else:
        _builtins = _builtins or {**__builtins__, "__import__": _import, "exec": _exec}
        module.__builtins__ = _builtins
        if getattr(sys, "meta_path", None) is None and name != "teardown":
            _builtins["__import__"] = load("teardown").make_import(globals())
    try:
        _exec(code, module.__dict__)
    except BaseException:
        del globals()[name]
        sys.modules.pop(full_name, None)
        raise
    return module


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


def tell_failure(error):
    """Leave a trace of a start that failed, where there is a way to."""
    try:
        guard = load("guard")
        if not load("settings").IS_ELEVATED:
            guard.debug_target = guard.debug_target or os.environ.get("MONITOR_DEBUG") or None
        load("notes").debug("not started: " + type(error).__name__ + ": " + str(error))
    except Exception:  # the installation is damaged: the program runs on unmonitored
        return


_FOLDER = __file__.rpartition("/")[0] or __file__.rpartition("\\")[0]
_IS_INSTALLED = _FOLDER.endswith(("site-packages/monitor_auto/boot", "dist-packages/monitor_auto/boot"))
_MAGIC = sys.modules["_frozen_importlib_external"].MAGIC_NUMBER
_OPTIMIZE = sys.flags.optimize
_TAG = "." + (sys.implementation.cache_tag or "") + (".opt-%d.pyc" % _OPTIMIZE if _OPTIMIZE else ".pyc")
_READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

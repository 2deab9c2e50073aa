"""Hot: `start()`, the order of things, once per process. Runs in every monitored interpreter, from the `.pth` line while
`site` is imported, or from `Monitor.init`. Builtin modules only; nothing gets out but KeyboardInterrupt and SystemExit.

Modules of this package are hot (needed in every process, loaded at start) or cold (needed in some: an error, a fork, a
call of the API). Both are loaded by `load` below: importlib takes 0.3 M instructions for a module, this 0.04 M, and there
are a dozen. Cold ones are read at the start and decoded when they are needed, so that an error can still be recorded
when the table of descriptors is full, the package has been replaced, or the interpreter is half gone.
"""

import os
import sys

HOT = (
    "ids", "json_text", "redact", "guard", "settings", "session", "event", "spool", "patches", "signals", "forks",
    "targets", "importing", "endings",
)  # fmt: skip
COLD = ("notes", "encode", "cleaning", "errors", "exits", "recording", "repairs", "arrivals", "faulthandling", "stdlib")

_is_started = False
_kept = {}


def start(overrides=None):
    """Start the monitor if an endpoint is known. Later calls do nothing. True when a session runs."""
    global _is_started
    if _is_started or not is_main_interpreter():
        return _is_started
    try:
        for name in HOT:
            load(name)
        _is_started = sys.modules[__name__ + ".forks"].start_process(overrides)
        if _is_started:
            for name in COLD:
                keep(name)
    except Exception as error:  # half an installation, an endpoint that cannot be used, no memory: dormant
        tell_failure(error)
    return _is_started


def load(name):
    """Return a module of this package, from its bytecode without importlib's search; by a plain import failing that."""
    full_name = __name__ + "." + name
    module = sys.modules.get(full_name)
    if module is None:
        data = _kept.pop(name, None) or read_bytecode(name)
        module = decode(name, full_name, data) if data else None
        if module is None:
            __import__(full_name)
            module = sys.modules[full_name]
    return module


cold = load


def keep(name):
    """Read a cold module's bytecode without decoding it."""
    if __name__ + "." + name not in sys.modules:
        data = read_bytecode(name)
        if data:
            _kept[name] = data


def read_bytecode(name):
    """Return the bytes of an up-to-date `.pyc` (PEP 3147, PEP 552), or None: then importlib shall look."""
    optimize = sys.flags.optimize
    tag = (sys.implementation.cache_tag or "") + (".opt-%d.pyc" % optimize if optimize else ".pyc")
    try:
        fd = os.open(_FOLDER + "/__pycache__/" + name + "." + tag, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            data = os.read(fd, 1 << 20)
        finally:
            os.close(fd)
        source = os.stat(_FOLDER + "/" + name + ".py")
    except OSError:
        return None
    made_for = (int(source.st_mtime) & 0xFFFFFFFF).to_bytes(4, "little") + (source.st_size & 0xFFFFFFFF).to_bytes(4, "little")
    return data if data[:16] == _MAGIC + b"\0\0\0\0" + made_for else None


def decode(name, full_name, data):
    """Make a module of a `.pyc`, with the `__spec__` and `__loader__` that importlib would have given it."""
    import marshal

    path = _FOLDER + "/" + name + ".py"
    code = marshal.loads(memoryview(data)[16:])
    module = type(sys)(full_name)
    loader = type(__loader__)(full_name, path)
    module.__file__, module.__package__, module.__loader__ = path, __name__, loader
    module.__spec__ = type(__spec__)(full_name, loader, origin=path)
    sys.modules[full_name] = module
    globals()[name] = module
    try:
        exec(code, module.__dict__)
    except BaseException:
        del sys.modules[full_name], globals()[name]
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
        return _is_main_by_id()


def _is_main_by_id():
    try:
        import _xxsubinterpreters as interpreters
    except ImportError:
        return False
    return interpreters.get_current() == interpreters.get_main()


def tell_failure(error):
    """Leave a trace of a start that failed, where there is a way to."""
    try:
        guard = load("guard")
        guard.debug_target = guard.debug_target or os.environ.get("MONITOR_DEBUG") or None
        guard.debug("not started: " + type(error).__name__ + ": " + str(error))
    except Exception:  # the installation is damaged: the program runs on unmonitored
        return


_FOLDER = __file__.rpartition("/")[0] or __file__.rpartition("\\")[0]
_MAGIC = sys.modules["_frozen_importlib_external"].MAGIC_NUMBER

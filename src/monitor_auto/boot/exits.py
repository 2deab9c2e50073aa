"""Cold: what is recorded when sys.exit, os._exit or exec is called and when an exception goes uncaught; flush and close.
Builtin modules only. `endings.py` holds the wrappers that lead here.
"""

import os
import sys
from _thread import allocate_lock, get_ident

from . import errors, guard, patches
from .endings import deliver, end, is_interactive, last_call, replace_hook
from .event import ERROR, LIFECYCLE, recorder
from .repairs import turn


def on_exit_call(args, frame):
    """Record `session.exit`, and in the main thread keep the code as a hint for `session.end`."""
    status = args[0] if args else None
    code = exit_code_of(status)
    session = recorder.session
    is_main = get_ident() == session.main_thread
    if is_main:
        session.has_exited, session.exit_code = True, code
    facts = {"code": code, "thread": thread_name(is_main)}
    if isinstance(status, str):
        facts["message"] = status
    facts["location"] = "%s:%s:%s" % (frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
    recorder.record(LIFECYCLE, "session.exit", facts)


def exit_code_of(status):
    """Return the status that the system sees for a SystemExit code (pythonrun.c: handle_system_exit, 3.10 to 3.15)."""
    if isinstance(status, tuple) and len(status) == 1:
        status = status[0]
    if status is None:
        return 0
    if not isinstance(status, int):
        return 1
    return int(status) & 0xFF if -(1 << 63) <= status < 1 << 63 else 255


def thread_name(is_main):
    """Return the name of the running thread, without importing threading."""
    if is_main:
        return "MainThread"
    threading = sys.modules.get("threading")
    thread = getattr(threading, "_active", {}).get(get_ident())
    return getattr(thread, "_name", None) or str(get_ident())


def on_os_exit(args, kwargs):
    status = kwargs.get("status", args[0] if args else None)
    if isinstance(status, int) and len(args) + len(kwargs) == 1 and -(1 << 31) <= status < 1 << 31:
        end("os._exit", int(status) & 0xFF)


def on_exec(args, kwargs):
    """End the session if the call can succeed: os.execvp tries one folder of PATH after the other."""
    path = kwargs.get("path", args[0] if args else None)
    if not isinstance(path, int) and not os.access(path, os.X_OK):
        return False
    return end("exec", None)


def on_exec_failed():
    """Take the end back."""
    recorder.session.is_ended = False
    error = sys.exc_info()[1]
    recorder.record(LIFECYCLE, "session.resume", {"reason": "exec failed", "error": errors.message(error)})


def on_uncaught(error):
    """Record an exception that ends the program, or that a prompt shows."""
    if not isinstance(error, BaseException) or isinstance(error, SystemExit):
        return
    session = recorder.session
    if get_ident() == session.main_thread and not is_interactive():
        session.uncaught = "error." + type(error).__name__
        record_error(error, "fatal", {})
    else:
        record_error(error, "error", {})


def record_error(error, level, more):
    """Record an exception once, however many hooks see it."""
    if errors.first_time(error):
        recorder.record(ERROR, "error." + type(error).__name__, {**errors.describe(error, "auto", level), **more})


def on_unraisable(unraisable):
    """Record what the hook was told; only the type of the object is kept: its repr is the program's code."""
    error = getattr(unraisable, "exc_value", None)
    if isinstance(error, BaseException) and not isinstance(error, SystemExit):
        where = getattr(unraisable.object, "__qualname__", None) or type(unraisable.object).__qualname__
        message = getattr(unraisable, "err_msg", None)
        record_error(error, "error", {"unraisable": message or "Exception ignored in", "object": where})


def install_threading(module):
    """Post-import hook of `threading`."""
    replace_hook(module, "excepthook", make_thread_excepthook)


def make_thread_excepthook(real_hook):
    """threading.excepthook that records what ended a thread."""

    def monitored_excepthook(*args, **kwargs):
        if recorder.session is not None and len(args) == 1:
            guard.call("threading.excepthook", on_thread_error, args[0])
        return real_hook(*args, **kwargs)

    return patches.disguise(monitored_excepthook, real_hook)


def on_thread_error(facts):
    error = getattr(facts, "exc_value", None)
    if isinstance(error, BaseException) and not isinstance(error, SystemExit):
        record_error(error, "error", {"thread": getattr(getattr(facts, "thread", None), "_name", None)})


def flush(timeout):
    """Deliver what this session has recorded so far, in this thread. True when all of it was answered with success."""
    settings, segment = recorder.settings, recorder.segment
    segment.check()
    if settings.scheme == "local":
        return True
    if not _flushing.acquire(True, max(timeout, 0)):
        return False
    try:
        last = turn(segment)
        lines, segment.queue = [line.rstrip(b"\n") for line in segment.queue], []
        return last_call().deliver_now(settings, segment.directory, segment.base, last, lines, timeout)
    finally:
        _flushing.release()


def close():
    """End the session for good, and deliver."""
    end("close", None)
    deliver()
    recorder.is_closed = True
    recorder.session = None


_flushing = allocate_lock()

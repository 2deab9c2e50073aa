"""Cold: what is recorded when sys.exit, os._exit or exec is called and when an exception goes uncaught; Builtin
modules only. `endings.py` holds the wrappers that lead here.
"""

import _thread
import sys

from . import cold, endings, patches, recorder, redact, system

MAIN_FRAMES = ("<module>", "_run_module_as_main")
"""The outermost functions of scripts and -c, and of -m, zipapps and folders (runpy.py)."""


def on_exit_call(args, kwargs):
    """Record `session.exit`, and in the main thread keep the code as a hint for `session.end`."""
    if kwargs or len(args) > 1:  # a TypeError, no exit
        return
    status = args[0] if args else None
    code = exit_code_of(status)
    if recorder.wake is not None:  # an exec has failed: the session goes on
        wake, recorder.wake = recorder.wake, None
        wake()
    session = recorder.session
    is_main = _thread.get_ident() == session.main_thread
    frame = sys._getframe(2).f_back  # behind guard.late and the stand-in
    # `python -i` goes on to its prompt when a script calls sys.exit; that one it leaves. C calls exit functions.
    if is_main and frame is not None and (hasattr(sys, "ps1") or not sys.flags.inspect) and not session.is_ended:
        session.has_exited, session.exit_code = True, code
        keep_outermost(frame)
    facts = {"code": code, "thread": thread_name(is_main)}
    is_plain = is_main and code is not None
    if isinstance(status, str):
        facts["message"], is_plain = status, False
    if frame is not None:  # C calls it, too: as an exit function, or as a thread
        path, name = redact.without_home(frame.f_code.co_filename), frame.f_code.co_name
        facts["location"] = "%s:%s:%s" % (path, frame.f_lineno, name)
        is_plain = is_plain and len(facts["location"]) < 1000 and not redact.is_suspicious(path + name)
    if is_plain:  # spares most programs that end by sys.exit what recording takes to load: 3.5 M instructions
        recorder.record_facts("session.exit", facts)
    else:
        recorder.record(recorder.LIFECYCLE, "session.exit", facts)


def keep_outermost(frame):
    """Remember the frame of the main program: when all is over it shows whether the exit was caught.

    Only until the end is written: a frame keeps its variables alive, whose `__del__` would not run. That of a function
    which C has called (an exit function, a `__del__`) is not kept at all: its variables are to go when it returns.
    """
    while frame.f_back is not None:
        frame = frame.f_back
    if frame.f_code.co_name in MAIN_FRAMES:
        recorder.session.outermost = frame


def has_returned():
    """True when the main program came to its end after sys.exit, which it must have caught, False when it was left."""
    outermost = recorder.session.outermost
    if outermost is None:
        return False
    # Not by compile(): it makes the types of `ast` first (bltinmodule.c, 3.10 to 3.15), 10 M instructions.
    returns = [code.__code__.co_code[-2] for code in (lambda: None, lambda x: x)]  # two opcodes in 3.12 and 3.13
    return outermost.f_code.co_code[outermost.f_lasti] in returns


def exit_code_of(status):
    """Return the status that the system sees for an argument of sys.exit; None where nobody can know it.

    What follows is pythonrun.c: handle_system_exit (3.10 to 3.15). A tuple is taken for the arguments of SystemExit,
    but up to 3.11 only when something, be it a `finally`, looks at the exception on its way.
    """
    if isinstance(status, tuple) and len(status) < 2:
        if sys.version_info < (3, 12):
            return None
        status = status[0] if status else None
    elif isinstance(status, SystemExit):
        status = status.code
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
    thread = getattr(threading, "_active", {}).get(_thread.get_ident())
    return getattr(thread, "_name", None) or str(_thread.get_ident())


def on_os_exit(args, kwargs, name):
    """End the session, if the call will end the process."""
    if recorder.session.pid != system.getpid():  # forked to exec, which has failed: never was a session
        return
    status = kwargs.get("status", args[0] if args else None)
    if isinstance(status, int) and len(args) + len(kwargs) == 1 and -(1 << 31) <= status < 1 << 31:
        endings.end("os._exit", int(status) & 0xFF)


def on_exec(args, kwargs, name):
    """End the session if the call can succeed: os.execvp tries one folder of PATH after the other.

    Should it fail all the same, the next thing that is recorded takes the end back. A child that was forked to exec
    never was a session.
    """
    path = kwargs.get("path", args[0] if args else None)
    if not can_start(path):
        return None
    if "context" in cold.__globals__:  # there has been a span: what comes is below it
        cold("context").hand_down()
    if recorder.session.pid == system.getpid() and endings.end("exec", None):
        recorder.wake = resume
    return cold("environments").for_exec(args, kwargs) if name == "execve" else None


def can_start(path):
    """False for what is certainly no program: the call is going to raise."""
    if isinstance(path, (str, bytes)):
        return ("\0" if isinstance(path, str) else b"\0") not in path and system.access(path, system.X_OK)
    return isinstance(path, int) or hasattr(path, "__fspath__")


def resume():
    """Take the end back after an exec that failed."""
    if recorder.session.is_ended:
        recorder.session.is_ended = False
        recorder.record_facts("session.resume", {"reason": "exec failed"})


def is_interactive():
    """True at a prompt, also after `-i`: there an exception ends nothing. A script that had one keeps sys.ps1."""
    return bool(sys.flags.interactive or (hasattr(sys, "ps1") and not recorder.session.is_script))


def on_uncaught(*args):
    """Record an exception that ends the program, or that a prompt shows: what sys.excepthook is called with.

    Programs call it, too, and not always with three arguments: to refuse them is the real hook's business.
    """
    if len(args) == 3:
        on_last_exception(args[1])


def on_last_exception(error):
    """Record the exception of the main program, or of an interactive line."""
    if not isinstance(error, BaseException) or isinstance(error, SystemExit):
        return
    session = recorder.session
    if _thread.get_ident() == session.main_thread and not is_interactive():
        session.uncaught = "error." + cold("encode").class_name(error)
        record_error(error, "fatal", {})
    else:
        record_error(error, "error", {})


def find_unseen_exception():
    """Record an uncaught exception that a hook of the program's own has shown (sys.last_exc, 3.12; last_value
    before).
    """
    error = getattr(sys, "last_exc", None) or sys.last_value
    hook = getattr(sys, "excepthook", None)  # Python does without one that the program has deleted
    if not any(ours is hook for _, _, _, ours in patches.replaced) and came_out_of_main(error):
        on_last_exception(error)


def came_out_of_main(error):
    """False for an exception that somebody has caught on its way: pytest and debuggers set sys.last_value, too."""
    trace = getattr(error, "__traceback__", None)
    if trace is None:
        return True  # a syntax error of the program itself
    frame = trace.tb_frame
    main = sys.modules.get("__main__")
    return frame.f_code.co_name == "_run_module_as_main" or main is not None and frame.f_globals is vars(main)


def record_error(error, level, more):
    """Record an exception once, however many hooks see it."""
    errors = cold("errors")
    if errors.first_time(error):
        name = "error." + cold("encode").class_name(error)
        repeated = 0 if level == "fatal" else errors.admit(error, name)
        if repeated is not None:
            more = {**more, "repeated": repeated} if repeated else more
            recorder.record(recorder.ERROR, name, {**errors.describe(error, "auto", level), **more})


def on_unraisable(*args):
    """Record what the hook was told; only the type of the object is kept: its repr is the program's code."""
    unraisable = args[0] if len(args) == 1 else None
    error = getattr(unraisable, "exc_value", None)
    if isinstance(error, BaseException) and not isinstance(error, SystemExit):
        culprit = getattr(unraisable, "object", None)
        where = cold("errors").attribute(culprit, "__qualname__")
        where = where if type(where) is str else cold("encode").class_name(culprit)
        message = getattr(unraisable, "err_msg", None)
        record_error(error, "error", {"unraisable": message or "Exception ignored in", "object": where})


def on_thread_error(*args):
    """Record what ended a thread."""
    facts = args[0] if len(args) == 1 else None
    error = getattr(facts, "exc_value", None)
    if isinstance(error, BaseException) and not isinstance(error, SystemExit):
        record_error(error, "error", {"thread": getattr(getattr(facts, "thread", None), "_name", None)})

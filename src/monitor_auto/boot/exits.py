"""Cold: what is recorded when os._exit or exec is called and when an exception goes uncaught. Builtin modules only.
`endings.py` holds the wrappers that lead here.
"""

import _thread
import sys

from . import cold, endings, patches, recorder, system


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
    """Record what the hook was told; only the type of the object is kept: its repr is the program's code. True: nothing
    is to be printed, since it came out of a hook of ours: a handler of a signal has raised it there.
    """
    unraisable = args[0] if len(args) == 1 else None
    error = getattr(unraisable, "exc_value", None)
    trace = getattr(unraisable, "exc_traceback", None)
    if trace is not None and trace.tb_frame.f_globals.get("__package__") == __package__:
        return cold("starting").put_off(error, trace.tb_frame.f_code.co_name)
    if isinstance(error, BaseException) and not isinstance(error, SystemExit):
        culprit = getattr(unraisable, "object", None)
        where = cold("errors").attribute(culprit, "__qualname__")
        where = where if type(where) is str else cold("encode").class_name(culprit)
        message = getattr(unraisable, "err_msg", None)
        record_error(error, "error", {"unraisable": message or "Exception ignored in", "object": where})
    return False


def on_thread_error(*args):
    """Record what ended a thread."""
    facts = args[0] if len(args) == 1 else None
    error = getattr(facts, "exc_value", None)
    if isinstance(error, BaseException) and not isinstance(error, SystemExit):
        record_error(error, "error", {"thread": getattr(getattr(facts, "thread", None), "_name", None)})

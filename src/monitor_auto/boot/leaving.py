"""Cold: what is recorded when sys.exit is called, as many programs do at their end; `exits.py` has what is rarer.
Builtin modules only.
"""

import _thread
import sys

from . import recorder, redact

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

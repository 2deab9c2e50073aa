"""Hot: how a process ends: return, sys.exit, os._exit, exec, uncaught exceptions. Builtin modules only. What is done
when one of the replaced functions is called is in `exits.py` and `leaving.py`.

Guarantees:
- The program's own call is made exactly once, with exactly its arguments, outside every shield, and last.
- What a hook prints is printed by the hook that was there before; ours only reads.
- One exception object is one error event.
"""

import _thread
import sys
import time

from . import guard, patches, recorder, spool, system

_monotonic = time.monotonic  # the program may replace that of the module

CALLS = (
    ("_exit", "exits:on_os_exit"), ("execv", "exits:on_exec"), ("execve", "exits:on_exec"),
    ("fork", "starting:on_fork"), ("forkpty", "starting:on_fork"), ("system", "starting:on_system"),
    ("posix_spawn", "starting:on_posix_spawn"), ("posix_spawnp", "starting:on_posix_spawn"),
    ("wait", "children:on_wait"), ("waitpid", "children:on_wait"), ("wait3", "children:on_wait"),
    ("wait4", "children:on_wait"), ("waitid", "children:on_wait"), ("closerange", "repairs:on_closerange"),
)  # fmt: skip
"""Functions of `os` that end this process, or start another one or wait for it, and one by which daemons would make it
look dead; and what is done around their calls."""


def install():
    """Replace the attributes through which a process ends."""
    patches.replace_calls(sys, (("exit", None),))
    os = sys.modules["os"]
    patches.replace_calls(os, CALLS)
    real = patches.real_of(getattr(os, "execve", None))
    if real in os.supports_fd:  # programs ask whether os.execve is in there
        os.supports_fd.remove(real)
        os.supports_fd.add(os.execve)
    patches.replace_hook(sys, "excepthook", "on_uncaught")
    patches.replace_hook(sys, "unraisablehook", "on_unraisable")
    # `threading` takes its hook from there when it is imported (threading.py, 3.10 to 3.15): so no import is waited
    # for.
    if hasattr(_thread, "_excepthook"):
        patches.replace_hook(_thread, "_excepthook", "on_thread_error")
    if "threading" in sys.modules:
        patches.replace_hook(sys.modules["threading"], "excepthook", "on_thread_error")


def end(reason, exit_code, **more):
    """Write `session.end` once. True when this call wrote it."""
    session = recorder.session
    if session is None or session.is_ended:
        return False
    loaded = guard.cold.__globals__  # with the first child, and with the first library that is hooked
    children = loaded.get("children")
    if children is not None and (children.known or children.expected):
        guard.late("unwaited", "on_end")
    if "hooked" in loaded:
        more["hooks"] = guard.late("hooked", "on_end")
    session.is_ended = True
    try:
        if reason != "exec":  # which may fail
            session.outermost = None
        if recorder.has_report:
            guard.late("selfreport", "record", True)
        recorder.segment.next_try = 0.0  # the last chance for lines that no disk has taken
        recorder.record_facts("session.end", {**end_facts(session, reason, exit_code), **more})
    except BaseException:  # by a handler of a signal
        session.is_ended = False
        raise
    return True


def end_facts(session, reason, exit_code):
    """Return the data of `session.end`. The peak resident size is VmHWM on Linux (proc(5)); elsewhere it is there only
    if the program has `resource` loaded.
    """
    facts = {"reason": reason, "duration_ms": round((_monotonic() - session.started_monotonic) * 1000, 3)}
    if exit_code is not None:
        facts["exit_code"] = exit_code
    times = system.times()
    facts["cpu_user_ms"] = round(times.user * 1000)
    facts["cpu_system_ms"] = round(times.system * 1000)
    try:
        fd = system.open("/proc/self/status", system.O_RDONLY | system.O_CLOEXEC)
        try:
            text = system.read(fd, 4096)
        finally:
            system.close(fd)
        facts["max_rss_bytes"] = int(text.partition(b"VmHWM:")[2].split(None, 1)[0]) * 1024
    except guard.ours(OSError, AttributeError, IndexError, ValueError):
        if "resource" in sys.modules:
            facts["max_rss_bytes"] = sys.modules["resource"].getrusage(0).ru_maxrss  # RUSAGE_SELF
    return facts


def on_atexit():
    """The last exit function: write the end, then deliver. What is not delivered in time stays in the spool."""
    session, settings = recorder.session, recorder.settings
    if session is None or session.pid != system.getpid():
        return
    for _ in range(9):
        try:
            guard.call("segment check", spool.check, recorder.segment)  # its number may be the program's by now
            guard.call("end", end_normally)
            if "hooked" in guard.cold.__globals__:
                guard.late("hooked", "let_go")
            if settings.exit_timeout_seconds and settings.scheme != "local" or recorder.segment.is_keeper:
                guard.late("handover", "deliver_at_end")
            break
        except BaseException:  # by a handler of a signal: the program that it was meant for is over
            if session.is_ended:  # who presses Ctrl-C does not want to wait
                guard.cold("notes").debug("the last call was interrupted")
                break
    if "background" in guard.cold.__globals__:
        guard.late("background", "stop_for_good")


def end_normally():
    """Tell return, exit and exception apart, as far as Python lets us know."""
    session = recorder.session
    if recorder.wake is not None:
        wake, recorder.wake = recorder.wake, None
        wake()
    if session.uncaught is None and hasattr(sys, "last_value") and exited_for_sure() is not True:
        guard.late("exits", "find_unseen_exception")
    if session.uncaught == "error.KeyboardInterrupt":
        end("signal", None, signal="SIGINT", error=session.uncaught)
    elif session.uncaught is not None:
        end("exception", 1, error=session.uncaught)
    elif session.has_exited and exited_for_sure() is not False and not guard.late("leaving", "has_returned"):
        end("exit", session.exit_code)
    elif exited_for_sure():
        end("exit", None)
    else:
        end("return", 0 if exited_for_sure() is False else None)


def exited_for_sure():
    """True or False where it is known whether a SystemExit ended the main program, else None.

    Up to 3.13 the interpreter deletes `__main__.__file__` when a script has run to its end or died of an exception, but
    not when SystemExit ends it (pythonrun.c: _PyRun_SimpleFile; seen on 3.10 to 3.13, no longer on 3.14).
    """
    main = sys.modules.get("__main__")
    if (
        not recorder.session.is_script
        or sys.version_info >= (3, 14)
        or main is None
        or sys.flags.interactive
        or hasattr(sys, "ps1")
    ):
        return None
    return "__file__" in vars(main)

"""Hot: how a process ends: return, sys.exit, os._exit, exec, uncaught exceptions. Builtin modules only.

Guarantees:
- The program's own call is made exactly once, with exactly its arguments, outside every shield, and last.
- What a hook prints is printed by the hook that was there before; ours only reads.
- One exception object is one error event.
"""

import os
import sys

from . import cold, guard, patches
from .event import recorder
from .spool import is_locked


def install():
    """Replace the attributes through which a process ends."""
    patches.replace(sys, "exit", make_exit(sys.exit))
    patches.replace(os, "_exit", make_os_exit(os._exit))
    for name in ("execv", "execve"):
        if hasattr(os, name):
            patches.replace(os, name, make_exec(getattr(os, name)))
    replace_hook(sys, "excepthook", make_excepthook)
    replace_hook(sys, "unraisablehook", make_unraisablehook)


def replace_hook(owner, name, make):
    """Replace a hook together with its dunder twin, so that "is it the default?" is answered as without us."""
    dunder = "__" + name + "__"
    real = getattr(owner, name)
    monitored = make(real)
    if getattr(owner, dunder, None) is real:
        patches.replace(owner, dunder, monitored)
    patches.replace(owner, name, monitored)


def _late(name, *args):
    """Call what is needed only now."""
    return getattr(cold("exits"), name)(*args)


def make_exit(real_exit):
    """sys.exit that notes the call before the exception is raised: it may be caught, or the process may hang after it."""

    def monitored_exit(*args, **kwargs):
        if recorder.session is not None:
            guard.call("sys.exit", _late, "on_exit_call", args, sys._getframe(1))
        return real_exit(*args, **kwargs)

    return patches.disguise(monitored_exit, real_exit)


def make_os_exit(real_os_exit):
    """os._exit that writes `session.end` first; no network."""

    def monitored__exit(*args, **kwargs):
        if recorder.session is not None:
            guard.call("os._exit", _late, "on_os_exit", args, kwargs)
        return real_os_exit(*args, **kwargs)

    return patches.disguise(monitored__exit, real_os_exit)


def make_exec(real_exec):
    """os.execv or os.execve that ends the session; when the call comes back with an error, the session goes on."""

    def monitored_exec(*args, **kwargs):
        is_ended = recorder.session is not None and guard.call("exec", _late, "on_exec", args, kwargs)
        try:
            return real_exec(*args, **kwargs)
        finally:
            if is_ended:
                guard.call("exec", _late, "on_exec_failed")

    return patches.disguise(monitored_exec, real_exec)


def make_excepthook(real_hook):
    """sys.excepthook that records the exception and lets the hook before it print."""

    def monitored_excepthook(*args, **kwargs):
        if recorder.session is not None and len(args) == 3:
            guard.call("excepthook", _late, "on_uncaught", args[1])
        return real_hook(*args, **kwargs)

    return patches.disguise(monitored_excepthook, real_hook)


def is_interactive():
    """True at a prompt, also after `-i`: there an exception ends nothing."""
    return bool(sys.flags.interactive or hasattr(sys, "ps1"))


def make_unraisablehook(real_hook):
    """sys.unraisablehook that records what `__del__`, callbacks and bare threads could not raise."""

    def monitored_unraisablehook(*args, **kwargs):
        if recorder.session is not None and len(args) == 1:
            guard.call("unraisablehook", _late, "on_unraisable", args[0])
        return real_hook(*args, **kwargs)

    return patches.disguise(monitored_unraisablehook, real_hook)


def end(reason, exit_code, **more):
    """Write `session.end` once. True when this call wrote it."""
    session = recorder.session
    if session is None or session.is_ended:
        return False
    session.is_ended = True
    recorder.record_facts("session.end", {**session.end_facts(reason, exit_code), **more})
    return True


def on_atexit():
    """The last exit function: write the end, then deliver. What is not delivered in time stays in the spool."""
    if recorder.session is None or recorder.session.pid != os.getpid():
        return
    guard.call("end", end_normally)
    guard.call("last call", deliver)


def end_normally():
    """Tell return, exit and exception apart, as far as Python lets us know."""
    session = recorder.session
    if session.uncaught is None:
        guard.call("uncaught", find_unseen_exception)
    if session.uncaught == "error.KeyboardInterrupt":
        end("signal", None, signal="SIGINT", error=session.uncaught)
    elif session.uncaught is not None:
        end("exception", 1, error=session.uncaught)
    elif session.has_exited and exited_for_sure() is not False:
        end("exit", session.exit_code)
    elif exited_for_sure():
        end("exit", None)
    else:
        end("return", 0 if exited_for_sure() is False else None)


def find_unseen_exception():
    """Record an uncaught exception that a hook of the program's own has shown (sys.last_exc, 3.12; last_value before)."""
    if hasattr(sys, "last_value") and not recorder.session.has_exited and not patches.is_ours(sys, "excepthook"):
        cold("exits").on_uncaught(getattr(sys, "last_exc", None) or sys.last_value)


def exited_for_sure():
    """True or False where it is known whether a SystemExit ended the main program, else None.

    Up to 3.13 the interpreter deletes `__main__.__file__` when a script has run to its end or died of an exception, but
    not when SystemExit ends it (pythonrun.c: _PyRun_SimpleFile; seen on 3.10 to 3.13, no longer on 3.14).
    """
    main = sys.modules.get("__main__")
    if not recorder.session.is_script or sys.version_info >= (3, 14) or main is None or is_interactive():
        return None
    return "__file__" in vars(main)


def deliver():
    """Send what can be sent now; a session whose parent lives leaves it to the parent."""
    settings, segment = recorder.settings, recorder.segment
    segment.check()
    if settings.scheme == "local" or not settings.exit_timeout_seconds or has_living_parent():
        return
    directory = segment.directory
    last = segment.seal() if directory else -1
    lines, segment.queue = [line.rstrip(b"\n") for line in segment.queue], []
    last_call().deliver_at_exit(settings, directory, segment.base, last, lines)


def has_living_parent():
    """True when a session that lives, of the same endpoint and spool, has started this one."""
    session, segment = recorder.session, recorder.segment
    if session.parent is None or segment.directory is None:
        return False
    return is_locked(segment.directory + "/" + segment.key + "." + session.tree + "." + session.parent + ".live")


def last_call():
    __import__("monitor_auto.delivery.last_call")
    return sys.modules["monitor_auto.delivery.last_call"]

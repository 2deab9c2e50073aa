"""Cold: with MONITOR_TERM_TIMEOUT a SIGTERM is answered by delivering first: containers vanish with their disk.
Builtin modules only; loaded at the start of a process that asks for it.

Guarantees:
- The process dies of the same signal, with the true status; as PID 1, whom SIGTERM does not kill, by `os._exit(143)`.
- A handler that the program sets replaces ours; one that it has set before, and an inherited SIG_IGN, stay.

Limits: it is a Python handler. It runs in the main thread between two bytecodes, so a program that is blocked in C code
answers late; other threads work on meanwhile; `signal.getsignal` shows it.
"""

import os
from _thread import allocate_lock

from . import endings, errors, guard, handover, patches, recorder
from .recorder import ERROR

TERMINATED_STATUS = 143  # 128 + SIGTERM, as shells count

_dying = allocate_lock()


def install():
    """Handle SIGTERM where its default would kill. Main thread only; elsewhere the default stays."""
    import _signal

    if _signal.getsignal(_signal.SIGTERM) == _signal.SIG_DFL:
        try:
            _signal.signal(_signal.SIGTERM, on_term)
        except ValueError:  # not the main thread: Monitor.init was called elsewhere
            return


def on_term(number, frame):
    """The handler: record, deliver, die. A second SIGTERM meanwhile kills at once."""
    import _signal

    if _dying.acquire(False) and recorder.session is not None:
        guard.call("terminate", finish, frame)
    _signal.signal(_signal.SIGTERM, _signal.SIG_DFL)
    if os.getpid() == 1:
        real_os_exit()(TERMINATED_STATUS)
    os.kill(os.getpid(), _signal.SIGTERM)


def finish(frame):
    """Write how it ended, and deliver for as long as the operator allows."""
    settings = recorder.settings
    while frame is not None and frame.f_globals.get("__package__") == __package__:  # around a call that waits
        frame = frame.f_back
    facts = {"type": "SIGTERM", "message": "killed by SIGTERM", "stack": stack(frame), "location": place(frame)}
    recorder.record(ERROR, "error.SIGTERM", {**facts, "source": "auto", "level": "fatal"})
    endings.end("signal", None, signal="SIGTERM")
    settings.exit_timeout_seconds = settings.term_timeout_seconds
    handover.deliver()


def stack(frame):
    """Return the stack of the interrupted frame, outermost first, as a traceback shows it."""
    lines = []
    while frame is not None and len(lines) < 2 * errors.MAX_FRAMES:
        lines.append('  File "%s", line %s, in %s' % (frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        frame = frame.f_back
    return "\n".join(["Stack (most recent call last):", *reversed(lines)])


def place(frame):
    """Return file:line:function of the interrupted frame."""
    return "%s:%s:%s" % (frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name) if frame is not None else None


def real_os_exit():
    """Return the program's own `os._exit`: ours would write a second end."""
    for owner, name, real, _ in patches.replaced:
        if owner == "os" and name == "_exit":
            return real
    return os._exit

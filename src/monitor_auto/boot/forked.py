"""Cold: a forked child becomes a session of its own. Builtin modules only.

Guarantees: it shares nothing with its parent's session but memory: new ids, lock, segment, before a line of the program
runs in it. No lock of ours that a thread of the parent may have held is waited for. A child that is about to exec
(`preexec_fn`) becomes a session only when it records something.
"""

import sys

from . import cold, recorder, spool, start_session, targets

ABOUT_TO_EXEC = (("subprocess", "_execute_child"), ("os", "_spawnvef"))
"""Module and function of those that fork in order to exec (3.10 to 3.15)."""
HARD_SIGNALS = ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS", "SIGKILL", "SIGSTOP")
"""What a thread's own faults raise: blocked, they would kill without a trace."""


def become_child(settings, lineage, frame):
    """Make the child a session, or a sleeping one if it is `subprocess` or `os.spawn*` about to exec. `frame`
    is who called fork.

    True: it is, or sleeps.

    Signals wait meanwhile: a handler of the program's that raises would leave half a session.
    """
    mask = block_signals()
    again = getattr(start_session.__globals__.get("starting"), "again", None)
    if again:  # for the parent
        again.clear()
    try:
        return become(settings, lineage, frame)
    finally:
        restore_signals(mask)


def become(settings, lineage, frame):
    """Do that."""
    is_child_of_session = recorder.session is not None
    loaded = start_session.__globals__
    if is_child_of_session and "context" in loaded:  # with the first span
        lineage = loaded["context"].lineage()
        loaded["context"].forget()
    if recorder.segment is not None:
        cold("repairs").forget(recorder.segment)
        spool.start(recorder.segment, None)
    if "children" in loaded:  # those are its parent's
        loaded["children"].known.clear()
        loaded["children"].early.clear()
        loaded["children"].expected.clear()
    if "starting" in loaded:
        loaded["starting"].forking.clear()
    for name in ("limits", "sampling", "selfreport", "background", "hooked"):  # those that the parent has needed
        if name in loaded:
            loaded[name].reset()
    if settings.flush_interval_seconds:
        targets.await_life()
    if "flushing" in loaded:
        loaded["flushing"].busy = spool.allocate_lock()  # a thread of the parent may have held it

    def wake():
        start_session(settings, lineage, "fork" if is_child_of_session else "forkserver")

    if is_child_of_session and (frame.f_globals.get("__name__"), frame.f_code.co_name) in ABOUT_TO_EXEC:
        recorder.wake = wake
    else:
        wake()
    return True


def block_signals():
    """Block all signals but those of faults in this thread; return the mask before, or None."""
    signals = sys.modules.get("_signal")
    if signals is None or not hasattr(signals, "pthread_sigmask"):
        return None
    hard = {getattr(signals, name, 0) for name in HARD_SIGNALS}
    mask = signals.pthread_sigmask(signals.SIG_BLOCK, ())
    try:
        signals.pthread_sigmask(signals.SIG_BLOCK, signals.valid_signals() - hard)
    except BaseException:  # a handler, which Python calls there when all are blocked already (signalmodule.c)
        restore_signals(mask)
        raise
    return mask


def restore_signals(mask):
    """Undo that. What has come meanwhile is handled here."""
    if mask is not None:
        sys.modules["_signal"].pthread_sigmask(sys.modules["_signal"].SIG_SETMASK, mask)

"""Cold: writes down what went wrong: the spool's ledger and the debug log. Builtin modules only.

Guarantees: nothing here follows a link, waits for a reader of a pipe, or writes to a file of another user.
"""

import os
import time

from . import check_same, cold, encode, guard
from .formats import wall_clock

MAX_NOTES = 20
"""Internal errors that one process writes to the ledger; a loop that fails must not fill the disk."""
MAX_WAITING = 20

lost_lines = 0
"""Lines that the ledger could not take: the disk that failed us fails the ledger, too."""
_noted = set()


def note(part, error):
    """Write an internal error to ledger and debug log, once for each part and place. False where it is none.

    What cannot be imported because of something that was done to us is no error of ours: a "problem", told once.
    """
    if encode.is_programs(error):
        return False
    reason = _reason(error) if isinstance(error, ImportError) else ""
    part, place = ("package", "") if reason else (part, _place(error))
    if (part, place) in _noted or len(_noted) >= MAX_NOTES:
        return True
    _noted.add((part, place))
    if reason:
        ledger("problem", part=part, reason=reason + ": what is recorded stays in the spool")
        return True
    ledger("internal_error", part=part, error=type(error).__name__, message=str(error)[:500], place=place)
    debug("internal error in " + part + " at " + place + ": " + type(error).__name__ + ": " + str(error)[:500])
    return True


def tell_failure(error):
    """Leave a trace of a start that failed, where there is a way to."""
    if not cold("settings").IS_ELEVATED:
        guard.debug_target = guard.debug_target or os.environ.get("MONITOR_DEBUG") or None
    debug("not started: " + type(error).__name__ + ": " + str(error))


def ledger(what, **facts):
    """Append one line to the ledger, or keep it until there is a spool."""
    line = encode.encode({"at": round(wall_clock(), 3), "pid": os.getpid(), "what": what, **facts}) + "\n"
    if guard.directory is not None:
        _append(line)
    elif len(guard.waiting) < MAX_WAITING:
        guard.waiting.append(line)


def write_waiting():
    """Write the lines that came before there was a spool."""
    while guard.waiting:
        _append(guard.waiting.pop(0))


def _append(line):
    global lost_lines
    try:
        append_private(guard.directory + "/ledger.jsonl", line.encode())
    except guard.ours(OSError):
        lost_lines += 1


def debug(message):
    """Write one line to what MONITOR_DEBUG names, if anything. Never hand a secret to it."""
    if guard.debug_target is None:
        return
    text = encode.encode(message)[1:-1]
    line = ("monitor_auto " + time.strftime("%H:%M:%S") + " [" + str(os.getpid()) + "] " + text + "\n").encode()
    try:
        if guard.debug_target == "stderr":
            os.write(2, line)
        else:
            append_private(guard.debug_target, line)
    except guard.ours(OSError):  # the debug file is not ours, or the disk is full: the log is a courtesy
        return


def append_private(path, data):
    """Append to a file of the user's own. Raises OSError where it is none."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    fd = os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        facts = os.fstat(fd)
        if facts.st_mode & 0o170000 != 0o100000 or (hasattr(os, "geteuid") and facts.st_uid != os.geteuid()):
            raise PermissionError("not a regular file of this user")
        os.write(fd, data)
    finally:
        os.close(fd)


def _reason(error):
    """Say what was done to us, if that is why one of our modules cannot be imported."""
    try:
        check_same()
    except guard.ours(ImportError) as found:
        return str(found)
    is_ours = (error.name or "").startswith("monitor_auto.") and isinstance(error, ModuleNotFoundError)
    return "the program has replaced what finds modules (%s)" % error if is_ours else ""


def _place(error):
    """The innermost line that the error passed."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "?"
    # Not by os.path: that has gone while the interpreter is taken down.
    return trace.tb_frame.f_code.co_filename.rpartition("/")[2] + ":" + str(trace.tb_lineno)

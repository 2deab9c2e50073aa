"""Cold: who delivers what this process has recorded: itself now, its parent, or a later process. Builtin modules only.
`express.py` does it where all is as usual, `flushing.py` else.
"""

import sys

from . import check_same, cold, formats, guard, recorder, spool, system

_READ = system.O_RDONLY | getattr(system, "O_NONBLOCK", 0) | getattr(system, "O_NOFOLLOW", 0)
_READ |= getattr(system, "O_CLOEXEC", 0)


def deliver_at_end():
    """Deliver while the program's own alarms (signal.alarm, setitimer) stand still: it is over, and without us nobody
    would be there any more whom they could kill, or whose handler they could call.
    """
    signals = sys.modules.get("_signal")
    set_timer = getattr(signals, "setitimer", None)
    if set_timer is None:
        deliver()
        return
    left = [
        (which, *set_timer(which, 0.0)) for which in (signals.ITIMER_REAL, signals.ITIMER_VIRTUAL, signals.ITIMER_PROF)
    ]
    try:
        deliver()
    finally:
        for which, seconds, interval in left:
            if seconds:
                set_timer(which, seconds, interval)


def deliver():
    """Send what can be sent now; a session whose parent lives leaves it to the parent."""
    settings, segment = recorder.settings, recorder.segment
    spool.check(segment)
    if settings.scheme == "local" or not settings.exit_timeout_seconds:
        stop_background(None)
        keep_bounds()
        return
    if has_living_parent():
        stop_background(None)
        return
    deadline = formats.monotonic() + settings.exit_timeout_seconds
    stop_background(deadline)
    check_same()
    try:
        is_done, begun = cold("express").deliver(settings, segment, deadline)
        if not is_done:
            cold("flushing").deliver(settings, segment, deadline, begun)
    except guard.ours(OSError) as error:  # a disk that fails: what could not be deleted is delivered again
        cold("notes").debug(f"not all was delivered, or deleted: {error}")
    if deadline - formats.monotonic() > 0.5:  # the deadline is for all that we do here
        keep_bounds()


def stop_background(deadline):
    """End the background thread, if there is one: what it has not sent by then is ours to send."""
    background = cold.__globals__.get("background")
    if background is not None:
        background.stop_at_exit(deadline)


def keep_bounds():
    """Look after the spool's bounds, if it may be full and this session is the one in some that does."""
    segment = recorder.segment
    if segment.is_keeper and segment.directory is not None:
        cold("repairs").keep_bounds(segment)


def has_living_parent():
    """True when a session that lives, of the same endpoint and spool, has started this one, and comes to deliver."""
    session, segment = recorder.session, recorder.segment
    if session.parent is None or segment.directory is None:
        return False
    embedded = cold.__globals__.get("embedded")
    if embedded is not None and embedded.has_forked:
        return False
    base = segment.directory + "/" + segment.key + "." + session.tree + "." + session.parent
    return is_locked(base + ".live") and (not recorder.settings.token or has_token(base + ".0.jsonl"))


def has_token(path):
    """False when the session of a segment had no token: it does not send the events of one that has."""
    try:
        fd = system.open(path, _READ)
        try:
            header = system.read(fd, 16384).partition(b"\n")[0]
        finally:
            system.close(fd)
    except guard.ours(OSError):  # it has begun another one
        return True
    return not header or b',"token":true' in header


def is_locked(path):
    """True when another process holds the lock of a `.live` file, that is: its session lives. Never for our own."""
    try:
        fd = system.open(path, _READ)
    except guard.ours(OSError):
        return False
    try:
        if hasattr(system, "lockf"):
            system.lockf(fd, system.F_TEST, 0)
        return False
    except guard.ours(OSError):
        return True
    finally:
        system.close(fd)

"""Cold: who delivers what this process has recorded: itself now, its parent, or a later process. Builtin modules only.
`delivery/` does the work.
"""

import marshal
import os
import sys
from _thread import _count as other_threads

from . import FOLDER, check_same, cold, endings, guard, read_bytecode, recorder, spool
from .formats import monotonic

DELIVERY = "monitor_auto.delivery"
FOR_OWN = ("", "lines", "segments", "batches", "answers", "exchange", "sending", "call", "sender", "last_call")
FOR_OTHERS = ("strict", "claims", "deaths", "oomkills", "lost")
"""Its modules that take part in every last call, and in one that delivers what others have left, in the order in which
they import each other.
"""

flushing = spool.allocate_lock()


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
    deadline = monotonic() + settings.exit_timeout_seconds
    stop_background(deadline)
    check_same()
    is_done, begun = cold("express").deliver(settings, segment, deadline)
    if not is_done:
        sender = last_call()
        directory = segment.directory
        last = seal(segment) if directory else -1
        lines = [line.rstrip(b"\n") for line in take_queue(segment)]
        sender.deliver_at_exit(settings, directory, segment.base, last, lines, deadline, begun)
    if deadline - monotonic() > 0.5:  # the deadline is for all that we do here
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


def flush(timeout):
    """Deliver what this session has recorded so far, in this thread. True when all of it was answered with success."""
    settings, segment = recorder.settings, recorder.segment
    spool.check(segment)
    if settings.scheme == "local":
        return True
    if sys.is_finalizing():  # called by a `__del__`: nothing can be imported any more
        return False
    deadline = monotonic() + timeout
    if not flushing.acquire(False):
        give_way()
        if not flushing.acquire(True, max(timeout, 0)):
            return False
    try:
        sender = last_call()
        before = segment.number
        last = cold("repairs").turn(segment)
        lines = [line.rstrip(b"\n") for line in take_queue(segment)]
        try:
            is_delivered = sender.deliver_now(
                settings, segment.directory, segment.base, last, lines, deadline - monotonic()
            )
            return is_delivered and (last >= before or segment.directory is None)
        finally:
            segment.queue[:0] = [line + b"\n" for line in lines]
            segment.queue_bytes += sum(map(len, lines)) + len(lines)
    finally:
        flushing.release()


def give_way():
    """Let the background thread go on without the event loop that is blocked by this call: it may wait for it."""
    background = cold.__globals__.get("background")
    loop = cold("loops").running() if background is not None else None
    if loop is not None:
        background.late_to("async_flusher", "give_way", loop)


def take_queue(segment):
    """Take the lines that no disk has taken out of the segment's memory."""
    lines, segment.queue = segment.queue, []
    segment.queue_bytes -= sum(map(len, lines))
    return lines


def close():
    """End the session for good, and deliver."""
    endings.end("close", None)
    if not sys.is_finalizing():
        deliver()
    recorder.is_closed = True
    recorder.session = None


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
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0) | os.O_CLOEXEC)
        try:
            header = os.read(fd, 16384).partition(b"\n")[0]
        finally:
            os.close(fd)
    except OSError:  # it has begun another one
        return True
    return not header or b',"token":true' in header


def seal(segment):
    """End a segment for delivery; later events open another. Return the number of the last one nobody writes to.

    With other threads alive the number of the descriptor is turned to a fresh segment first, so that no line of theirs
    can go into a file that is about to be deleted.
    """
    if other_threads():
        return cold("repairs").turn(segment)
    number = segment.number  # before a signal handler of the program can open the next one
    fd, segment.inode, segment.fd = segment.fd, 0, -1
    if fd >= 0:
        os.close(fd)
    return number


def is_locked(path):
    """True when another process holds the lock of a `.live` file, that is: its session lives. Never for our own."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0) | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if hasattr(os, "lockf"):
            os.lockf(fd, os.F_TEST, 0)
        return False
    except OSError:
        return True
    finally:
        os.close(fd)


def last_call():
    """Import what sends. Raises ImportError when the package was upgraded or removed."""
    check_same()
    name = DELIVERY + ".last_call"
    if name not in sys.modules:
        guard.call("load", make_ready, FOR_OWN)
    __import__(name)
    return sys.modules[name]


def make_ready(names):
    """Load modules of `delivery` without importlib's search, which takes 1 M instructions for each (3.11). They are
    what importlib would make of them; what is not as it should be is left to it.
    """
    if DELIVERY + "." + names[-1] in sys.modules or other_threads():  # another must not meet half a module
        return
    import _frozen_importlib as importlib
    import _frozen_importlib_external as external

    folder = FOLDER.rpartition("/")[0] + "/delivery"
    for name in names:
        full_name = DELIVERY + "." + name if name else DELIVERY
        if full_name in sys.modules:
            continue
        data = read_bytecode("../../delivery/__pycache__/" + (name or "__init__"))
        if data is None:
            return
        path = folder + "/" + (name or "__init__") + ".py"
        module = importlib.module_from_spec(external.spec_from_file_location(full_name, path))
        sys.modules[full_name] = module
        try:
            exec(marshal.loads(memoryview(data)[16:]), module.__dict__)
        except BaseException:
            del sys.modules[full_name]
            raise
        parent, _, child = full_name.rpartition(".")
        setattr(sys.modules[parent], child, module)

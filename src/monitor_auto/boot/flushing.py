"""Cold: what delivers by way of `delivery/`: `Monitor.flush` and `close`, and an end that is not as usual. Builtin
modules only.
"""

import _thread
import sys

from . import (
    FOLDER,
    check_same,
    cold,
    endings,
    formats,
    guard,
    handover,
    marshal,
    read_bytecode,
    recorder,
    spool,
    system,
)

DELIVERY = "monitor_auto.delivery"
FOR_OWN = ("", "lines", "segments", "batches", "answers", "exchange", "sending", "call", "sender", "last_call")
FOR_OTHERS = ("strict", "claims", "deaths", "oomkills", "lost")
"""Its modules that take part in every last call, and in one that delivers what others have left, in the order in which
they import each other.
"""

busy = spool.allocate_lock()
"""Held by who delivers: `flush`, `aflush`, `close` and the background thread do so one at a time."""


def deliver(settings, segment, deadline, begun):
    """Deliver at the end of a root session. `begun` is what `express.deliver` has returned."""
    if is_shut_out(segment):
        return
    sender = last_call()
    directory = segment.directory
    last = seal(segment) if directory else -1
    lines = [line.rstrip(b"\n") for line in take_queue(segment)]
    sender.deliver_at_exit(settings, directory, segment.base, last, lines, deadline, begun)


def flush(timeout):
    """Deliver what this session has recorded so far, in this thread. True when all of it was answered with success."""
    settings, segment = recorder.settings, recorder.segment
    spool.check(segment)
    if settings.scheme == "local":
        return True
    if sys.is_finalizing():  # called by a `__del__`: nothing can be imported any more
        return False
    if is_shut_out(segment):
        return False
    deadline = formats.monotonic() + timeout
    if not busy.acquire(False):
        give_way()
        if not busy.acquire(True, max(timeout, 0)):
            return False
    try:
        sender = last_call()
        before = segment.number
        last = cold("repairs").turn(segment)
        lines = [line.rstrip(b"\n") for line in take_queue(segment)]
        try:
            is_delivered = sender.deliver_now(
                settings, segment.directory, segment.base, last, lines, deadline - formats.monotonic()
            )
            return is_delivered and (last >= before or segment.directory is None)
        finally:
            segment.queue[:0] = [line + b"\n" for line in lines]
            segment.queue_bytes += sum(map(len, lines)) + len(lines)
    finally:
        busy.release()


def is_shut_out(segment):
    """True for a process that has given up the rights by which it made its spool, as servers do that root starts: what
    it records still goes through the open descriptor, and another process of the spool's owner delivers it.
    """
    facts = spool.facts_of(segment.fd, segment.inode) if hasattr(system, "geteuid") else None
    if facts is None or system.geteuid() in (0, facts.st_uid):
        return False
    cold("notes").debug("nothing is delivered: the spool is that of another user, whom this process was before")
    return True


def give_way():
    """Let the background thread go on without the event loop that is blocked by this call: it may wait for it."""
    background = cold.__globals__.get("background")
    loop = cold("loops").running() if background is not None else None
    if loop is not None:
        background.late_to("async_flusher", "give_way", loop)


def take_queue(segment):
    """Take the lines that no disk has taken out of the segment's memory."""
    lines, segment.queue = segment.queue, []
    size = sum(map(len, lines))
    segment.queue_bytes -= size  # in one step: another thread may add to it
    return lines


def close():
    """End the session for good, and deliver."""
    tell_of_haste()
    endings.end("close", None)
    if not sys.is_finalizing():
        handover.deliver()
    recorder.is_closed = True
    recorder.session = None


def tell_of_haste():
    """Say in the debug log that a session is closed before anything could have been delivered in the background."""
    seconds = formats.monotonic() - recorder.session.started_monotonic
    interval = recorder.settings.flush_interval_seconds
    if guard.debug_target is not None and seconds < interval:
        text = "closed after %.1f s, which is less than MONITOR_FLUSH_INTERVAL (%g s): all is delivered by this call"
        cold("notes").debug(text % (seconds, interval))


def seal(segment):
    """End a segment for delivery; later events open another. Return the number of the last one nobody writes to.

    With other threads alive the number of the descriptor is turned to a fresh segment first, so that no line of theirs
    can go into a file that is about to be deleted.
    """
    if _thread._count():
        return cold("repairs").turn(segment)
    number = segment.number  # before a signal handler of the program can open the next one
    fd, segment.inode, segment.fd = segment.fd, 0, -1
    if fd >= 0:
        system.close(fd)
    return number


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
    if DELIVERY + "." + names[-1] in sys.modules or _thread._count():  # another must not meet half a module
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

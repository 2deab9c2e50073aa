"""Cold: what a segment needs when something is wrong: a full disk, a closed descriptor, a deleted directory, too long a
file. Builtin modules only.

Guarantees: at most one thread repairs at a time and nobody waits for it; lines that no disk takes are kept in order, up
to MAX_QUEUE_BYTES, and what is dropped beyond is counted in the ledger.
"""

import os
import sys
from _thread import _count as other_threads

from . import check_same, cold, guard, notes, patches, recorder, spool, stdlib
from .formats import monotonic
from .spool import CROWDED_BYTES, HIGHEST_DESCRIPTOR, MAX_SEGMENT_BYTES, facts_of, raise_descriptor

MAX_QUEUE_BYTES = 4 << 20
RETRY_SECONDS = 5.0
MAX_DESCRIPTOR = (1 << 31) - 1
EFBIG = 27
"""The same on Linux, macOS and Windows; importing `errno` takes longer than everything else here."""
NO_LOCKS = (37, 38, 45, 77, 95, 102)
"""ENOLCK, ENOSYS and EOPNOTSUPP of Linux and macOS: a file system without locks."""
MAX_LINE_BYTES = 66 << 10
KEEPER_SEGMENTS = 128
"""A session that has delivered so many looks after the spool: each leaves a line in the account."""
_told = {}
"""The session's id -> how many lines that no disk took it has told of."""
TURN_SECONDS = 1.0
"""How long a flush waits for a repair: a signal handler that flushes may have interrupted it in its own thread."""


def append_carefully(segment, line):
    """Queue a line, then repair what is broken and write the queue."""
    if segment.is_torn:
        segment.was_torn = True  # from now on lines are looked at one by one (delivery/bulk.py)
    keep(segment, line)
    while segment.busy.acquire(False):
        try:
            is_done = (is_ours(segment) or reopen(segment)) and drain(segment)
        finally:
            segment.busy.release()
        if not (is_done and segment.queue):  # else another thread came between the last look and the release
            break


def check(segment):
    """Put right what is wrong with a segment's files, and rotate a long one."""
    if not segment.busy.acquire(False):
        return
    is_full = False
    try:
        if not is_ours(segment):
            if reopen(segment):
                drain(segment)
        elif not is_live_ours(segment):
            spool.take_lock(segment, segment.directory)
        elif os.fstat(segment.fd).st_size > segment.max_bytes:
            spool.begin(segment, segment.directory)
            is_full = True
    except guard.ours(OSError) as error:  # a full disk, no descriptors: the next check tries again
        notes.debug("segment not put right: " + str(error))
    finally:
        segment.busy.release()
    if is_full:
        guard.call("bounds", keep_bounds, segment)


def on_closerange(args, kwargs, name):
    """Around os.closerange(low, high): a daemon closes all that it may have inherited, and then perhaps sleeps for
    hours. With our descriptors the lock would go that says that it lives. So the range is closed in pieces around them.
    In a child that was forked to exec they are the parent's, and go.
    """
    segment = recorder.segment
    if kwargs or len(args) != 2 or not type(args[0]) is type(args[1]) is int or recorder.session.pid != os.getpid():
        return None
    low, high = args
    if not -MAX_DESCRIPTOR <= low < high <= MAX_DESCRIPTOR:  # nothing to close, or an OverflowError
        return None
    ours = ((segment.fd, segment.inode), (segment.live_fd, segment.live_inode))
    for number in sorted([fd for fd, inode in ours if low <= fd < high and facts_of(fd, inode)]):
        if low < number:  # an empty range that ends at 0 closes everything (3.11)
            patches.real_of(os.closerange)(low, number)
        low = number + 1
    return (low, high), {}, None


def open_anywhere(segment):
    """Open a segment in the best directory that takes it, making it if need be. False where none does."""
    if open_in(segment, segment.settings.spool_directory):
        return True
    try:
        others = cold("parsing").fallback_directories()
    except guard.ours(ImportError, OSError):  # no descriptor left to read the module with
        others = ()
    for directory in others:
        if open_in(segment, directory):
            return True
    segment.fd, segment.inode = -1, 0
    return False


def open_in(segment, directory):
    """Open a segment in this directory, if it can be made private. True when it did."""
    if not os.path.isabs(directory):
        return False
    try:
        directory = private_directory(directory)
        is_crowded = os.lstat(directory).st_size > CROWDED_BYTES
        segment.is_keeper = segment.base[-1] == "0" and (is_crowded or segment.base[-2] == "0")
        return spool.open_in(segment, directory)
    except guard.ours(OSError) as error:
        notes.debug("spool " + directory + " cannot be used: " + str(error))
        if error.errno in NO_LOCKS:
            forget_lock(segment, directory)
        return False


def forget_lock(segment, directory):
    """Delete the lock file of a session that cannot be locked: every program would leave one, for nobody to claim."""
    try:
        os.unlink(directory + "/" + segment.base + ".live")
    except guard.ours(OSError):  # the file system is of no use at all
        return


def is_ours(segment):
    """True while the descriptor is the segment's file and the file has a name."""
    facts = facts_of(segment.fd, segment.inode)
    return facts is not None and facts.st_nlink > 0


def is_live_ours(segment):
    """True while the lock's descriptor is its file and the file has a name."""
    facts = facts_of(segment.live_fd, segment.live_inode)
    return facts is not None and facts.st_nlink > 0


def reopen(segment):
    """Open a further segment; what an unlinked one held goes before the queue. False where no directory takes it."""
    if monotonic() < segment.next_try or segment.session is None:
        return False
    rescued = rescue(segment).splitlines(True)
    if not spool.open_segment(segment):
        segment.next_try = monotonic() + RETRY_SECONDS
        return False
    segment.queue[:0] = rescued
    segment.queue_bytes += sum(map(len, rescued))
    return True


def keep(segment, line):
    """Put a line into the queue; when it is full the oldest line that is no error goes, and is counted."""
    segment.queue.append(line)
    segment.queue_bytes += len(line)
    while segment.queue_bytes > MAX_QUEUE_BYTES and len(segment.queue) > 1:
        victim = next((i for i, kept in enumerate(segment.queue) if not kept.startswith(b'{"v":1,"type":"error"')), 0)
        try:
            segment.queue_bytes -= len(segment.queue.pop(victim))
        except guard.ours(IndexError):  # another thread has written or taken some meanwhile
            break
        segment.dropped += 1


def drain(segment):
    """Write the queue, oldest first; what the disk does not take stays. True when all of it is written."""
    held = []
    try:
        return write_queue(segment, held)
    except BaseException:  # by a handler of a signal of the program; it is too deep for `guard.ours`
        put_back(segment, held)
        raise


def write_queue(segment, held):
    """Do that; `held` has the line that is just being written.

    What a file of this length does not take (RLIMIT_FSIZE) another one does; of a short write the next one says why.
    """
    is_fresh = False
    while segment.queue:
        # Off the queue first: `keep` of another thread may take lines out meanwhile. In one step of C, behind which a
        # handler may raise; a flush of another thread may just have taken all of them.
        try:
            held.extend(map(segment.queue.pop, (0,)))
        except guard.ours(IndexError):
            break
        line = held[0]
        data = b"\n" + line if segment.is_torn else line
        is_at_limit = False
        try:
            written = os.write(segment.fd, data)
        except guard.ours(OSError) as error:
            written, is_at_limit = 0, error.errno == EFBIG
        segment.is_torn = segment.is_torn and not written or 0 < written < len(data)
        if written < len(data):
            if segment.is_torn:
                segment.was_torn = True
            segment.queue[:0] = held
            del held[:]
            if not written and not (is_at_limit and begin_next(segment, is_fresh)):
                return False
            is_fresh = is_fresh or not written
            continue
        is_fresh = False
        segment.queue_bytes -= len(line)
        del held[:]
    if segment.dropped:
        dropped, segment.dropped = segment.dropped, 0
        guard.call("ledger", _tell_dropped, dropped)
    return True


def put_back(segment, held):
    """Put the line that was just being written into the queue again, unless it has been written."""
    segment.queue[:0] = held  # not by a call: the stack may be used up
    for line in held:
        size = os.fstat(segment.fd).st_size
        end = os.pread(segment.fd, len(line), max(0, size - len(line)))
        if end == line:
            segment.queue.remove(line)
            segment.queue_bytes -= len(line)
        elif end[-1:] != b"\n":
            segment.is_torn = segment.was_torn = True


def begin_next(segment, is_fresh):
    """Go on in the place of a segment that is as long as a file may be. False where there can be none just now, or it
    would take no more than this one, which is fresh.
    """
    now = monotonic()
    try:
        cut_torn(segment.fd)
        segment.is_torn = False
        if now < segment.next_try:
            return False
        if not is_fresh:
            spool.begin(segment, segment.directory)
            return True
    except guard.ours(OSError) as error:
        notes.debug("no further segment: " + str(error))
    segment.next_try = now + RETRY_SECONDS
    return False


def cut_torn(fd):
    """Take half a line off the end of a file that is as long as it may be, so that nobody adds to it meanwhile. The
    whole line is in the queue.
    """
    size = os.fstat(fd).st_size
    tail = os.pread(fd, MAX_LINE_BYTES, max(0, size - MAX_LINE_BYTES))
    end = tail.rfind(b"\n") + 1
    if 0 < end < len(tail):
        os.ftruncate(fd, size - len(tail) + end)


def rescue(segment):
    """Return the lines of our segment if somebody deleted it: the open descriptor still has them."""
    try:
        facts = os.fstat(segment.fd)
        if facts.st_ino != segment.inode or facts.st_nlink or facts.st_size > 4 * MAX_SEGMENT_BYTES:
            return b""
        data = os.pread(segment.fd, facts.st_size, 0)
    except guard.ours(OSError):
        return b""
    return data[data.find(b"\n") + 1 :]


def turn(segment):
    """Go on in a fresh segment; return the number of the last one that nobody writes to any more, or -1."""
    if segment.directory is None or not segment.busy.acquire(True, TURN_SECONDS):
        return segment.number - 1
    try:
        last = segment.number
        spool.begin(segment, segment.directory)
        segment.is_keeper = segment.is_keeper or last % KEEPER_SEGMENTS == KEEPER_SEGMENTS - 1
        return last
    except guard.ours(OSError) as error:  # a full disk, no descriptors
        notes.debug("no further segment: " + str(error))
        return segment.number - 1
    finally:
        segment.busy.release()


def forget(segment):
    """Close what a forked child has inherited, without touching the parent's lock (locks are not inherited)."""
    for fd, inode in ((segment.fd, segment.inode), (segment.live_fd, segment.live_inode)):
        if facts_of(fd, inode):
            os.close(fd)
    segment.fd = segment.live_fd = -1


def raise_above_limit(fd):
    """Move a descriptor beyond a soft limit that leaves the program few; just below it where the hard one is low, too.

    The soft limit is lifted for one `dup2`, and only while no other thread can start a child that would inherit it.
    """
    resource = None if other_threads() else stdlib.load("resource")
    if resource is None:
        return raise_descriptor(fd, -1, 0)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[1] == resource.RLIM_INFINITY or limits[1] >= HIGHEST_DESCRIPTOR:
        room = HIGHEST_DESCRIPTOR
    else:
        room = max(limits)
    resource.setrlimit(resource.RLIMIT_NOFILE, (room, limits[1]))
    try:
        return raise_descriptor(fd, -1, 0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def _tell_dropped(count):
    notes.ledger("dropped", reason="no disk took them", count=count)
    session = recorder.session.id
    total = _told.get(session, 0) + count
    _told.clear()
    _told[session] = total
    facts = '{"value":%d,"new":%d,"reason":"no disk took them"}' % (total, count)
    recorder.write(recorder.METRIC, "sdk.events.dropped", facts)


def keep_bounds(segment):
    """Let delivery drop what is beyond the spool's limits."""
    if cold("flushing").is_shut_out(segment):
        return
    check_same()
    __import__("monitor_auto.delivery.bounds")
    sys.modules["monitor_auto.delivery.bounds"].enforce(segment.settings, segment.directory, segment.base)


def private_directory(path):
    """Return a directory that only this user can read, making it if need be. Raises OSError where there can be none."""
    try:
        facts = os.lstat(path)
    except guard.ours(FileNotFoundError):
        os.makedirs(path, 0o700, exist_ok=True)
        os.chmod(path, 0o700)  # whatever the umask has left of it
        facts = os.lstat(path)
    if facts.st_mode & 0o170000 != 0o040000:
        raise NotADirectoryError("it is no directory, or a link")
    if not hasattr(os, "geteuid"):
        return path
    if facts.st_uid != os.geteuid():
        raise PermissionError("it belongs to another user")
    if not facts.st_mode & 0o077:
        return path
    if os.listdir(path):  # somebody's folder: its mode is not ours to change
        return private_directory(path + "/monitor-spool")
    os.chmod(path, 0o700)
    return path

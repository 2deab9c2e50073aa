"""Hot: the segment, one session's append-only file in the spool: open, append, check, rotate, seal. Builtin modules
only.

Guarantees:
- A line is in the file (one write in append mode) or in the bounded queue before the recorder returns. Nobody waits for
  a lock: repairs (`repairs.py`) are made by whoever gets `busy` without waiting; the others put their line into the
  queue that the repairer empties.
- The `.live` file is opened once in the owner's life (closing any descriptor of it would drop the POSIX lock), and is
  locked and linked before the first segment is created.
- Descriptors are high and close-on-exec. A low or stale number is never written to without a look at its inode.
"""

import _thread
import sys

from . import cold, formats, guard, system

# The real ones, also for background.py: later greenlets may take their place.
allocate_lock, get_ident, start_new_thread = _thread.allocate_lock, _thread.get_ident, _thread.start_new_thread

SEGMENT_FORMAT = 1
MAX_SEGMENT_BYTES = 4 << 20
HIGHEST_DESCRIPTOR = 4096
CROWDED_BYTES = 32 << 10
"""The size of a folder with some hundred files: then one session in 16 looks after the spool's bounds when it ends,
else one in 256: a few programs that were killed may have left many bytes in few files."""
LOW_DESCRIPTOR = 512
"""Below this a daemon's closing loop may reach, so the file is looked at before every write."""
_NOFOLLOW = getattr(system, "O_NOFOLLOW", 0)
CREATING = (
    system.O_RDWR
    | system.O_CREAT
    | system.O_EXCL
    | _NOFOLLOW
    | getattr(system, "O_CLOEXEC", 0)
    | getattr(system, "O_BINARY", 0)
)


def make(settings, on_live_file):
    """Return a segment, where one session's lines go, as a namespace: a class costs 0.08 M instructions.

    `on_live_file(fd)` is told whenever the file for native stacks has a (new) descriptor.
    """
    segment = type(sys.implementation)()
    segment.settings = settings
    segment.on_live_file = on_live_file
    segment.key = formats.endpoint_key(settings.endpoint)
    segment.fd = segment.live_fd = -1
    segment.max_bytes = settings.spool_limit_bytes >> 3
    if segment.max_bytes > MAX_SEGMENT_BYTES:
        segment.max_bytes = MAX_SEGMENT_BYTES
    segment.is_keeper = False
    start(segment, None)
    return segment


def start(segment, session):
    """Begin anew for a session, with nothing of the one before but its descriptor numbers."""
    segment.session = session
    segment.directory = segment.base = None
    segment.number = -1
    segment.inode = segment.live_inode = 0
    segment.queue = []
    segment.queue_bytes = segment.dropped = 0
    segment.is_torn = segment.was_torn = segment.is_low = False
    segment.busy = allocate_lock()
    segment.next_try = 0.0
    if session is not None:
        segment.base = segment.key + "." + session.tree + "." + session.id
        open_segment(segment)


def check(segment):
    """Look whether both files are still ours, and rotate a long segment. Once a second, not for every event."""
    facts, live = facts_of(segment.fd, segment.inode), facts_of(segment.live_fd, segment.live_inode)
    if not (facts and live and facts.st_nlink and live.st_nlink) or facts.st_size > segment.max_bytes:
        cold("repairs").check(segment)
    elif facts.st_size > segment.max_bytes >> 5:
        segment.is_keeper = True


def open_segment(segment):
    """Open a (new) segment in the first directory that takes it. False where none does."""
    try:
        directory = segment.settings.spool_directory
        facts = system.lstat(directory)
        if facts.st_mode == 0o040700 and facts.st_uid == system.geteuid():
            segment.is_keeper = segment.base[-1] == "0" and (facts.st_size > CROWDED_BYTES or segment.base[-2] == "0")
            return open_in(segment, directory)
    except guard.ours(OSError, AttributeError):  # not there yet, not ours, full; a system without users
        pass
    return cold("repairs").open_anywhere(segment)


def open_in(segment, directory):
    """Open a segment in this directory, with a lock there first. Raises OSError."""
    live = facts_of(segment.live_fd, segment.live_inode)
    if segment.directory != directory or not (live and live.st_nlink):
        take_lock(segment, directory)
    begin(segment, directory)
    return True


def take_lock(segment, directory):
    """Create and lock the `.live` file: from here on this session counts as alive."""
    for _ in range(8):
        try:
            fd = system.open(directory + "/" + segment.base + ".live", CREATING, 0o600)
        except guard.ours(FileExistsError):  # the program has closed our descriptor, and with it the lock has gone
            fd = system.open(directory + "/" + segment.base + ".live", CREATING & ~system.O_EXCL, 0o600)
        fd = raise_descriptor(fd, segment.live_fd if facts_of(segment.live_fd, segment.live_inode) else -1)
        if hasattr(system, "lockf"):  # on Windows the open file itself has to do
            try:
                system.lockf(fd, system.F_TLOCK, 0)
            except OSError:  # somebody delivers us as dead; a file system without locks
                system.close(fd)
                raise
        facts = system.fstat(fd)
        segment.live_fd, segment.live_inode = fd, facts.st_ino
        if facts.st_nlink:  # else somebody took it for an orphan between its creation and the lock
            segment.on_live_file(fd)
            return
    raise OSError("the lock file of the session was deleted again and again")


def begin(segment, directory):
    """Create the next segment, write its header, and let the descriptor's number mean it from now on."""
    name = directory + "/" + segment.base + "."
    number = segment.number
    while True:
        number += 1
        try:
            fd = system.open(name + str(number) + ".jsonl", CREATING | system.O_APPEND, 0o600)
            break
        except guard.ours(FileExistsError):
            continue
    inode = system.fstat(fd).st_ino
    try:
        data = header(segment, inode, number)
        while data:
            data = data[system.write(fd, data) :]
    except BaseException:  # a full disk still gives names away; a signal handler of the program may raise here
        try:
            system.close(fd)
        finally:  # and here again
            system.unlink(name + str(number) + ".jsonl")
        raise
    segment.fd = raise_descriptor(fd, segment.fd if facts_of(segment.fd, segment.inode) else -1)
    segment.inode, segment.number = inode, number
    segment.is_low = segment.fd < LOW_DESCRIPTOR
    segment.directory = directory
    segment.is_torn = False
    guard.use_directory(directory)


def header(segment, inode, number):
    """Return the first line of a segment."""
    session = segment.session
    endpoint = segment.settings.endpoint.partition("?")[0]  # a query may hold a key
    parent = f'"{session.parent}"' if session.parent else "null"
    machine = formats.quote(one_line("/etc/machine-id"))
    boot = formats.quote(one_line("/proc/sys/kernel/random/boot_id"))
    more = (',"token":true' if segment.settings.token else "") + (',"ended":true' if session.is_ended else "")
    return (
        f'{{"monitor_auto_segment":{SEGMENT_FORMAT},"endpoint":{formats.quote(endpoint)},"session":"{session.id}",'
        f'"parent":{parent},"tree":"{session.tree}","number":{number},"inode":{inode},"machine":{machine},'
        f'"boot":{boot},"pid":{session.pid}{more},"started":"{session.started}"}}\n'
    ).encode()


def facts_of(fd, inode=None):
    """Return the `fstat` of an open descriptor that is still that file, else None. Its file may have lost its name."""
    try:
        facts = system.fstat(fd)
    except guard.ours(OSError):
        return None
    return facts if inode is None or facts.st_ino == inode else None


def raise_descriptor(fd, old, low=LOW_DESCRIPTOR):
    """Move a descriptor to the number of one it replaces, or to a free high one. Closes the low number.

    Daemons close low numbers in bulk and programs expect the lowest free number. 4096 at most: a number of 20,000 made
    a fork 0.1 ms dearer (measured on Linux, CPython 3.12).
    """
    try:
        limit = system.sysconf("SC_OPEN_MAX") if old < 0 else 0
        if 0 < limit <= low:  # the program has few and may count them
            return cold("repairs").raise_above_limit(fd)
        number = (limit if 0 < limit < HIGHEST_DESCRIPTOR else HIGHEST_DESCRIPTOR) - 1
        while old < 0 and number > fd and facts_of(number):
            number -= 1
        number = old if old >= 0 else number
        if number > fd:
            system.dup2(fd, number, inheritable=False)
            system.close(fd)
            return number
    except guard.ours(OSError, ValueError, AttributeError):  # no such limit, or no number left
        pass
    return fd


def one_line(path):
    try:
        fd = system.open(path, system.O_RDONLY | getattr(system, "O_CLOEXEC", 0))
    except guard.ours(OSError):
        return ""
    try:
        return system.read(fd, 64).decode("utf-8", "replace").strip()
    except guard.ours(OSError):
        return ""
    finally:
        system.close(fd)

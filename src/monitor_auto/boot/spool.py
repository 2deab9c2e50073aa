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

import os
from _thread import allocate_lock

from . import cold, guard
from .formats import endpoint_key, quote

SEGMENT_FORMAT = 1
MAX_SEGMENT_BYTES = 4 << 20
HIGHEST_DESCRIPTOR = 4096
CROWDED_BYTES = 32 << 10
"""The size of a folder with some hundred files: then one session in 16 looks after the spool's bounds when it ends."""
LOW_DESCRIPTOR = 512
"""Below this a daemon's closing loop may reach, so the file is looked at before every write."""
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NOFOLLOW | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class Segment:
    """Where one session's lines go."""

    def __init__(self, settings, on_live_file):
        """`on_live_file(fd)` is told whenever the file for native stacks has a (new) descriptor."""
        self.settings = settings
        self.on_live_file = on_live_file
        self.key = endpoint_key(settings.endpoint)
        self.fd = self.live_fd = -1
        self.max_bytes = settings.spool_limit_bytes >> 3
        if self.max_bytes > MAX_SEGMENT_BYTES:
            self.max_bytes = MAX_SEGMENT_BYTES
        self.is_keeper = False
        self.start(None)

    def start(self, session):
        """Begin anew for a session, with nothing of the one before but its descriptor numbers."""
        self.session = session
        self.directory = self.base = None
        self.number = -1
        self.inode = self.live_inode = 0
        self.queue = []
        self.queue_bytes = self.dropped = 0
        self.is_torn = self.is_low = False
        self.busy = allocate_lock()
        self.next_try = 0.0
        if session is not None:
            self.base = self.key + "." + session.tree + "." + session.id
            self.open()

    def check(self):
        """Look whether both files are still ours, and rotate a long segment. Once a second, not for every event."""
        facts, live = facts_of(self.fd, self.inode), facts_of(self.live_fd, self.live_inode)
        if not (facts and live and facts.st_nlink and live.st_nlink) or facts.st_size > self.max_bytes:
            cold("repairs").check(self)
        elif facts.st_size > self.max_bytes >> 5:
            self.is_keeper = True

    def open(self):
        """Open a (new) segment in the first directory that takes it. False where none does."""
        try:
            directory = self.settings.spool_directory
            facts = os.lstat(directory)
            if facts.st_mode == 0o040700 and facts.st_uid == os.geteuid():
                self.is_keeper = facts.st_size > CROWDED_BYTES and self.base[-1] == "0"
                return self.open_in(directory)
        except (OSError, AttributeError):  # not there yet, not ours, full; a system without users
            pass
        return cold("repairs").open_anywhere(self)

    def open_in(self, directory):
        """Open a segment in this directory, with a lock there first. Raises OSError."""
        live = facts_of(self.live_fd, self.live_inode)
        if self.directory != directory or not (live and live.st_nlink):
            self.take_lock(directory)
        self.begin(directory)
        return True

    def take_lock(self, directory):
        """Create and lock the `.live` file: from here on this session counts as alive."""
        for _ in range(8):
            try:
                fd = os.open(directory + "/" + self.base + ".live", _FLAGS, 0o600)
            except FileExistsError:  # the program has closed our descriptor, and with it the lock has gone
                fd = os.open(directory + "/" + self.base + ".live", _FLAGS & ~os.O_EXCL, 0o600)
            fd = raise_descriptor(fd, self.live_fd if facts_of(self.live_fd, self.live_inode) else -1)
            if hasattr(os, "lockf"):  # on Windows the open file itself has to do
                try:
                    os.lockf(fd, os.F_TLOCK, 0)
                except OSError:  # somebody delivers us as dead; a file system without locks
                    os.close(fd)
                    raise
            facts = os.fstat(fd)
            self.live_fd, self.live_inode = fd, facts.st_ino
            if facts.st_nlink:  # else somebody took it for an orphan between its creation and the lock
                self.on_live_file(fd)
                return
        raise OSError("the lock file of the session was deleted again and again")

    def begin(self, directory):
        """Create the next segment, write its header, and let the descriptor's number mean it from now on."""
        name = directory + "/" + self.base + "."
        number = self.number
        while True:
            number += 1
            try:
                fd = os.open(name + str(number) + ".jsonl", _FLAGS | os.O_APPEND, 0o600)
                break
            except FileExistsError:
                continue
        inode = os.fstat(fd).st_ino
        try:
            write_all(fd, self.header(inode, number))
        except BaseException:  # a full disk still gives names away; a signal handler of the program may raise here
            os.close(fd)
            os.unlink(name + str(number) + ".jsonl")
            raise
        self.fd = raise_descriptor(fd, self.fd if facts_of(self.fd, self.inode) else -1)
        self.inode, self.number = inode, number
        self.is_low = self.fd < LOW_DESCRIPTOR
        self.directory = directory
        self.is_torn = False
        guard.use_directory(directory)

    def header(self, inode, number):
        """Return the first line of a segment."""
        session = self.session
        endpoint = self.settings.endpoint.partition("?")[0]  # a query may hold a key
        return (
            '{"monitor_auto_segment":%d,"endpoint":%s,"session":"%s","parent":%s,"tree":"%s","number":%d,"inode":%d,'
            '"machine":%s,"boot":%s,"pid":%d%s,"started":"%s"}\n'
            % (
                SEGMENT_FORMAT, quote(endpoint), session.id, '"%s"' % session.parent if session.parent else "null",
                session.tree, number, inode, quote(_one_line("/etc/machine-id")),
                quote(_one_line("/proc/sys/kernel/random/boot_id")), session.pid,
                ',"ended":true' if session.is_ended else "", session.started,
            )
        ).encode()  # fmt: skip


def facts_of(fd, inode):
    """Return the `fstat` of a descriptor that is still that file, else None. Its file may have lost its name."""
    try:
        facts = os.fstat(fd)
    except OSError:
        return None
    return facts if facts.st_ino == inode else None


def write_all(fd, data):
    while data:
        data = data[os.write(fd, data) :]


def raise_descriptor(fd, old, low=LOW_DESCRIPTOR):
    """Move a descriptor to the number of one it replaces, or to a free high one. Closes the low number.

    Daemons close low numbers in bulk and programs expect the lowest free number. 4096 at most: a number of 20,000 made
    a fork 0.1 ms dearer (measured on Linux, CPython 3.12).
    """
    try:
        limit = os.sysconf("SC_OPEN_MAX") if old < 0 else 0
        if 0 < limit <= low:  # the program has few and may count them
            return cold("repairs").raise_above_limit(fd)
        number = (limit if 0 < limit < HIGHEST_DESCRIPTOR else HIGHEST_DESCRIPTOR) - 1
        while old < 0 and number > fd and is_open(number):
            number -= 1
        number = old if old >= 0 else number
        if number > fd:
            os.dup2(fd, number, inheritable=False)
            os.close(fd)
            return number
    except (OSError, ValueError, AttributeError):  # no such limit, or no number left
        pass
    return fd


def is_open(fd):
    """True when the descriptor is in use."""
    try:
        os.fstat(fd)
        return True
    except OSError:
        return False


def _one_line(path):
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return ""
    try:
        return os.read(fd, 64).decode("utf-8", "replace").strip()
    except OSError:
        return ""
    finally:
        os.close(fd)

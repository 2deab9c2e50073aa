"""Hot: the segment, one session's append-only file in the spool: open, append, check, rotate, seal. Builtin modules only.

Guarantees:
- A line is in the file (one write in append mode) or in the bounded queue before the recorder returns. Nobody waits for
  a lock: repairs (`repairs.py`) are made by whoever gets `busy` without waiting; the others put their line into the queue
  that the repairer empties.
- The `.live` file is opened once in the owner's life (closing any descriptor of it would drop the POSIX lock), and is
  locked and linked before the first segment is created.
- Descriptors are high and close-on-exec. A low or stale number is never written to without a look at its inode.
"""

import os
from _thread import _count as other_threads
from _thread import allocate_lock

from . import cold, guard
from .json_text import quote
from .ids import endpoint_key

SEGMENT_FORMAT = 1
MAX_SEGMENT_BYTES = 4 << 20
HIGHEST_DESCRIPTOR = 4096
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NOFOLLOW | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class Segment:
    """Where one session's lines go."""

    __slots__ = (
        "settings", "session", "key", "directory", "base", "number", "fd", "inode", "live_fd", "live_inode", "queue",
        "queue_bytes", "dropped", "is_torn", "busy", "next_try", "on_live_file",
    )  # fmt: skip

    def __init__(self, settings, on_live_file):
        """`on_live_file(fd)` is told whenever the file for native stacks has a (new) descriptor."""
        self.settings = settings
        self.on_live_file = on_live_file
        self.key = endpoint_key(settings.endpoint)
        self.fd = self.live_fd = -1
        self.start(None)

    def start(self, session):
        """Begin anew for a session, with nothing of the one before but its descriptor numbers."""
        self.session = session
        self.directory = self.base = None
        self.number = -1
        self.inode = self.live_inode = 0
        self.queue = []
        self.queue_bytes = self.dropped = 0
        self.is_torn = False
        self.busy = allocate_lock()
        self.next_try = 0.0
        if session is not None:
            self.base = self.key + "." + session.tree + "." + session.id
            self.open()

    def append_carefully(self, line):
        """Queue a line, then repair what is broken and write the queue."""
        cold("repairs").append_carefully(self, line)

    def is_ours(self):
        """True while the descriptor is our file and the file has a name."""
        try:
            facts = os.fstat(self.fd)
        except OSError:
            return False
        return facts.st_ino == self.inode and facts.st_nlink > 0

    def check(self):
        """Look whether both files are still ours, and rotate a long segment. Called once a second, not for every event."""
        if not self.is_ours() or not self.is_live_ours() or os.fstat(self.fd).st_size > MAX_SEGMENT_BYTES:
            cold("repairs").check(self)

    def is_live_ours(self):
        """True while the lock's descriptor is our file and the file has a name."""
        try:
            facts = os.fstat(self.live_fd)
        except OSError:
            return False
        return facts.st_ino == self.live_inode and facts.st_nlink > 0

    def open(self):
        """Open a (new) segment in the first directory that takes it. False where none does."""
        for directory in self.settings.spool_directories:
            try:
                private = private_directory(directory)
                if self.directory != private or not self.is_live_ours():
                    self.take_lock(private)
                self.begin(private)
                return True
            except OSError as error:
                guard.debug("spool " + directory + " cannot be used: " + str(error))
        self.fd, self.inode = -1, 0
        return False

    def take_lock(self, directory):
        """Create and lock the `.live` file: from here on this session counts as alive."""
        for _ in range(8):
            fd = os.open(directory + "/" + self.base + ".live", _FLAGS, 0o600)
            fd = raise_descriptor(fd, self.live_fd if inode_of(self.live_fd) == self.live_inode else -1)
            lock(fd)
            facts = os.fstat(fd)
            self.live_fd, self.live_inode = fd, facts.st_ino
            if facts.st_nlink:  # else somebody took it for an orphan between its creation and the lock
                self.on_live_file(fd)
                return
        raise OSError("the lock file of the session was deleted again and again")

    def begin(self, directory):
        """Create the next segment, write its header, and let the descriptor's number mean it from now on."""
        name = directory + "/" + self.base + "."
        while True:
            self.number += 1
            try:
                fd = os.open(name + str(self.number) + ".jsonl", _FLAGS | os.O_APPEND, 0o600)
                break
            except FileExistsError:
                continue
        inode = os.fstat(fd).st_ino
        try:
            write_all(fd, self.header(inode))
        except OSError:  # a full disk still gives names away
            os.close(fd)
            os.unlink(name + str(self.number) + ".jsonl")
            raise
        is_old_ours = self.fd >= 0 and inode_of(self.fd) == self.inode
        self.fd = raise_descriptor(fd, self.fd if is_old_ours else -1)
        self.inode = inode
        self.directory = directory
        self.is_torn = False
        guard.use_directory(directory)

    def header(self, inode):
        """Return the first line of a segment."""
        session = self.session
        endpoint = self.settings.endpoint.partition("?")[0]  # a query may hold a key
        return (
            '{"monitor_auto_segment":%d,"endpoint":%s,"session":"%s","parent":%s,"tree":"%s","number":%d,"inode":%d,'
            '"machine":%s,"boot":%s,"pid":%d,"started":"%s"}\n'
            % (
                SEGMENT_FORMAT, quote(endpoint), session.id, '"%s"' % session.parent if session.parent else "null",
                session.tree, self.number, inode, quote(_one_line("/etc/machine-id")),
                quote(_one_line("/proc/sys/kernel/random/boot_id")), session.pid, session.started,
            )
        ).encode()  # fmt: skip

    def seal(self):
        """End the segment for delivery; later events open another. Return the number of the last one nobody writes to.

        With other threads alive the number of the descriptor is turned to a fresh segment first, so that no line of
        theirs can go into a file that is about to be deleted.
        """
        if other_threads():
            return cold("repairs").turn(self)
        fd, self.fd, self.inode = self.fd, -1, 0
        if fd >= 0:
            os.close(fd)
        return self.number

def inode_of(fd):
    if fd < 0:
        return -1
    try:
        return os.fstat(fd).st_ino
    except OSError:
        return -1


def write_all(fd, data):
    while data:
        data = data[os.write(fd, data) :]


def lock(fd):
    """Take the whole-file record lock; where the system has none (Windows) the open file itself has to do."""
    if hasattr(os, "lockf"):
        os.lockf(fd, os.F_TLOCK, 0)


def is_locked(path):
    """True when another process holds the lock of a `.live` file, that is: its session lives. Never for our own."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | _NOFOLLOW | os.O_CLOEXEC)
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


def raise_descriptor(fd, old):
    """Move a descriptor to the number of one it replaces, or to a free high one. Closes the low number.

    Daemons close low numbers in bulk and programs expect the lowest free number. 4096 at most: a number of 20,000 made
    a fork 0.1 ms dearer (measured on Linux, CPython 3.12).
    """
    number = old if old >= 0 else _free_number()
    if number < 0 or number == fd:
        return fd
    try:
        os.dup2(fd, number, inheritable=False)
    except OSError:
        return fd
    os.close(fd)
    return number


def _free_number():
    try:
        limit = os.sysconf("SC_OPEN_MAX")
    except (OSError, ValueError, AttributeError):
        return -1
    highest = HIGHEST_DESCRIPTOR if not 0 < limit < HIGHEST_DESCRIPTOR else limit
    for number in range(highest - 1, max(highest - 64, 3), -1):
        try:
            os.fstat(number)
        except OSError:
            return number
    return -1


def private_directory(path):
    """Return a directory that only this user can read, making it if need be. Raises OSError where there can be none."""
    try:
        facts = os.lstat(path)
    except FileNotFoundError:
        os.makedirs(path, 0o700, exist_ok=True)
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


def _one_line(path):
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return ""
    try:
        return os.read(fd, 64).decode("ascii", "replace").strip()
    except OSError:
        return ""
    finally:
        os.close(fd)

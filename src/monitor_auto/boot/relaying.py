"""Cold: children that are not Python speak through their parent: the lines `monitor-event: {…}` of their output become
events, everything else is passed on. Builtin modules only.

For a child of `subprocess` whose output is captured (`Monitor.relay`, MONITOR_RELAY), a thread stands between its pipe
and the program: the number of the descriptor that the program reads is turned to a second pipe, so that the program's
file object, its buffer and its encoding stay what they are.

Guarantees:
- What the program reads is what the child wrote, but for the lines that were taken. Both learn of each other's end: a
  reader that closes gives the child SIGPIPE or EPIPE, as without us.
- The threads take no signal. A child of `os.fork` keeps no end of a pipe open that would hide the end of the stream.
- A line that is no event is passed on and counted: in the ledger, the first at once, the others when the stream ends.
"""

import atexit
import os
import sys
import time
from _thread import start_new_thread

from . import arrivals, check_same, guard, notes, patches, recorder, splitting, stdlib
from .formats import monotonic
from .spool import facts_of, raise_descriptor

try:
    import _signal
except guard.ours(ImportError):
    _signal = None

BLOCK_BYTES = 65536
HOLD_SECONDS = 1.0
"""How long the beginning of a line may wait in a pipe for its rest before it is shown: it may be a prompt."""
SETTLE_SECONDS = 0.5
KINDS = {"event": recorder.EVENT, "metric": recorder.METRIC, "error": recorder.ERROR}
MAX_DIGITS = 300

pumps = []
"""What runs now."""
_is_ready = _is_watching = False


class Pump:
    """One stream on its way: what is read from `source` is written to `sink`, but for its events."""

    def __init__(self, source, sink, pid=None, hold_seconds=HOLD_SECONDS, stop=-1):
        """`pid` is whose stream it is; `stop` a descriptor that ends the pump when it can be read."""
        self.source, self.sink, self.stop = source, sink, stop
        self.pid = pid
        self.hold_seconds = hold_seconds
        self.splitter = splitting.Splitter(self.take)
        self.is_busy = self.is_ended = self.is_over = False
        self.fault = None
        self._told = {"malformed": 0, "oversized": 0}
        self._poll = _poller(source, stop)

    def take(self, line):
        """Record one line. False where it is none that can be."""
        event = guard.call("relay", read_event, line)
        if event is None:
            return False
        kind, name, data = event
        recorder.record(KINDS[kind], name, data if self.pid is None else {**data, "_pid": self.pid})
        return True

    def run(self):
        """Pass on until the source ends, the sink is closed, or `stop`. Returns True at the end of the source."""
        is_ended = False
        try:
            while True:
                data = self.read()
                if data is None:
                    break
                self.is_busy = True
                write_all(self.sink, self.splitter.feed(data) if data else self.splitter.finish())
                self.is_busy = False
                if not data:
                    is_ended = True
                    break
                self.tell(first_only=True)
        except guard.ours(OSError) as error:  # nobody reads any more; a full disk
            self.fault = error
        self.is_busy = False
        self.tell()
        return is_ended

    def read(self):
        """Return the next block, b"" at the end, None when told to stop. Shows what has been held for too long."""
        while True:
            seconds = self.hold_seconds if self.splitter.is_holding else None
            if self._poll is not None:
                ready = self._poll(seconds)
                if not ready:
                    write_all(self.sink, self.splitter.release())
                    continue
                if self.source not in ready:
                    return None
            try:
                return os.read(self.source, BLOCK_BYTES)
            except guard.ours(BlockingIOError):
                continue
            except OSError as error:
                if error.errno == 5:  # EIO: nobody has the other side of the terminal any more
                    return b""
                raise

    def tell(self, first_only=False):
        """Count in the ledger what began as an event and was none."""
        for reason in self._told:
            count = getattr(self.splitter, reason) - self._told[reason]
            if count and not (first_only and self._told[reason]):
                self._told[reason] += count
                text = "a line began with monitor-event: and was " + (
                    "no event" if reason == "malformed" else "longer than 64 KiB"
                )
                guard.call("relay", _tell, text, count)


def _tell(reason, count):
    notes.ledger("relay", reason=reason, count=count)


def read_event(line):
    """Return (kind, name, data) of a line; None for anything that is no event."""
    prepare()
    try:
        text = line[len(splitting.PREFIX) :].strip().decode()
    except guard.ours(UnicodeDecodeError):
        return None
    if not _strict.is_json_object(text):
        return None
    value = _parse(text)
    name, kind, data = value.get("name"), value.get("type", "event"), value.get("data", {})
    if not (isinstance(name, str) and name.strip() and isinstance(kind, str) and kind in KINDS):
        return None
    if not isinstance(data, dict):
        return None
    if kind == "metric" and type(data.get("value")) not in (int, float):
        return None
    if kind == "error":
        data = {"message": name, "source": "manual", "level": "error", **data}
    return kind, name, data


def prepare():
    """Load what reading a line takes, in the thread that asks for it."""
    global _is_ready, _strict, _parse
    if _is_ready:
        return
    check_same()
    _strict = __import__("monitor_auto.delivery.strict", None, None, ("is_json_object",))
    module = stdlib.load("_json")
    if module is None:
        from json import loads  # an interpreter without the C scanner

        _parse = loads
    else:
        scan = module.make_scanner(_decoding())
        _parse = lambda text: scan(text, 0)[0]  # noqa: E731  # one of two
    _is_ready = True


def _decoding():
    """Return what the C scanner of `_json` asks its caller about."""
    context = type(guard)("decoding")
    context.strict = True
    context.object_hook = context.object_pairs_hook = context.parse_constant = None
    context.array_hook = None  # 3.15
    context.parse_float = float
    context.parse_int = _whole
    return context


def _whole(text):
    return int(text) if len(text) < MAX_DIGITS else text  # int() refuses thousands of digits


def write_all(fd, data):
    """Write everything, also to what does not block. Raises OSError."""
    while data:
        try:
            data = data[os.write(fd, data) :]
        except guard.ours(BlockingIOError):
            _wait_for_room(fd)


def _wait_for_room(fd):
    select = stdlib.load("select")
    if select is None or not hasattr(select, "poll"):
        time.sleep(0.01)
        return
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    poll.poll(1000)


def _poller(source, stop):
    """Return a function that waits, for at most so many seconds, and returns the descriptors that can be read."""
    select = stdlib.load("select")
    if select is None or not hasattr(select, "poll"):
        return None
    poll = select.poll()
    poll.register(source, select.POLLIN)
    if stop >= 0:
        poll.register(stop, select.POLLIN)
    return lambda seconds: [fd for fd, _ in poll.poll(None if seconds is None else seconds * 1000)]


def relay(popen):
    """Relay the captured streams of a child of `subprocess`. What is not captured is left alone."""
    prepare()
    for stream in (popen.stdout, popen.stderr):
        if stream is not None and not getattr(stream, "closed", False):
            divert(stream.fileno(), popen.pid)


def install():
    """MONITOR_RELAY: stand behind what `subprocess` and asyncio start children with. Loads the module of C functions
    that `subprocess` would load; when there is none on this platform, nothing is relayed.
    """
    try:
        module = __import__("_posixsubprocess")
    except guard.ours(ImportError):
        return
    real_fork_exec = module.fork_exec

    def monitored_fork_exec(*args):
        pid = real_fork_exec(*args)
        guard.call("relay", on_fork_exec, args, pid)
        return pid

    patches.replace(module, "fork_exec", arrivals.disguise(monitored_fork_exec, real_fork_exec))
    subprocess = sys.modules.get("subprocess")  # Monitor.init came after the import
    if getattr(subprocess, "_fork_exec", None) is real_fork_exec:
        patches.replace(subprocess, "_fork_exec", monitored_fork_exec)


def on_fork_exec(args, pid):
    """Relay what the caller of `_posixsubprocess.fork_exec` captures: its own ends of the pipes are the 9th and the
    11th argument (3.10 to 3.15). `subprocess` has made its file objects of them already, asyncio makes its own later.
    """
    prepare()
    for fd in (args[8], args[10]):
        if fd >= 0:
            divert(fd, pid)


def divert(fd, pid):
    """Put a pump between a pipe and the descriptor that the program reads it from."""
    if any(facts_of(fd, pump.inode) for pump in pumps):
        return  # relayed already
    begin_watch()
    is_blocking = os.get_blocking(fd)
    source = raise_descriptor(os.dup(fd), -1)
    try:
        read_end, write_end = os.pipe()
    except OSError:
        os.close(source)
        raise
    write_end = raise_descriptor(write_end, -1)
    os.set_blocking(read_end, is_blocking)
    pump = Pump(source, write_end, pid)
    pump.inode = os.fstat(read_end).st_ino
    pump.inodes = ((source, os.fstat(source).st_ino), (write_end, os.fstat(write_end).st_ino))
    pumps.append(pump)
    os.dup2(read_end, fd, inheritable=False)
    os.close(read_end)
    try:
        start_new_thread(run, (pump,))
    except guard.ours(RuntimeError):  # 3.12 starts none any more while the interpreter ends
        os.dup2(source, fd, inheritable=False)
        close(pump)


def run(pump):
    """Be the thread of a pump."""
    without_signals()
    try:
        guard.call("relay", pump.run)
    finally:
        close(pump)


def without_signals():
    """Take no signal in this thread: not the program's, and no SIGPIPE, which would go to this thread and kill."""
    if _signal is not None and hasattr(_signal, "pthread_sigmask"):
        _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())


def close(pump):
    """Close a pump's ends, if they are still ours."""
    if pump in pumps:
        pumps.remove(pump)
    for fd, inode in pump.inodes:
        if facts_of(fd, inode):
            os.close(fd)


def begin_watch():
    """Once in a process: look after forks and the end."""
    global _is_watching
    if _is_watching:
        return
    _is_watching = True
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=forget)
    atexit.register(settle)


def forget():
    """In a forked child: the parent's threads are not here, and its pipes must end when the parent lets go of them."""
    for pump in list(pumps):
        guard.call("relay", close, pump)


def settle():
    """Before the end: let the pumps record what a child has already written, for a moment."""
    deadline = monotonic() + SETTLE_SECONDS
    while monotonic() < deadline and any(guard.call("relay", _has_work, pump) for pump in list(pumps)):
        time.sleep(0.005)


def _has_work(pump):
    poll = _poller(pump.source, -1)
    return pump.is_busy or bool(poll is not None and poll(0))

"""Cold: the usual last call: one segment, one request to a collector on this machine, a plain yes. Builtin modules and
`_socket` only. Whatever is not usual is for `delivery/last_call.py`: before anything is sent, or with the open
connection. That takes 10 M instructions more than this, as much as a fifth of a small program.

Guarantees: those of `delivery/last_call.py`, whose deadline is the same. What is sent here are all lines of the only
segment; they are deleted only after a complete answer that means success, and their account is written first.
"""

import _thread
import sys

from . import cold, formats, guard, handover, recorder, spool, stdlib, system

MAX_BYTES = 128 << 10
MAX_HEAD_BYTES = 16 << 10
MAX_OTHERS = 20
"""Sessions beside this one that are looked at: whether one is dead, and its events have to be delivered, too."""
_HOSTS = ("127.0.0.1", "localhost")
_YES = (b"HTTP/1.1 200 ", b"HTTP/1.1 202 ", b"HTTP/1.1 204 ")
_CONTROLS = bytes(range(10)) + bytes(range(11, 32))  # all but the end of a line
_APPEND = spool.CREATING & ~system.O_EXCL | system.O_APPEND
_APPEND |= getattr(system, "O_NONBLOCK", 0)


def deliver(settings, segment, deadline):
    """Deliver the own session, whose segment is closed then. Return (True, None) when it is delivered and deleted;
    else (False, what `last_call` goes on with: None, or (connection, bytes received), where
    no connection is one that nobody took in time).
    """
    inode = segment.inode
    lines, has_runs = usual_lines(settings, segment)
    if not lines:
        return False, None
    connection = None
    try:
        connection = connect(settings, deadline)
        if connection is None:  # where that has taken all the time, the others have to be told
            return False, None if formats.monotonic() < deadline else (None, b"")
        received, is_yes = exchange(connection, settings, lines, deadline)
        if not is_yes:
            connection, begun = None, (connection, received)
            return False, begun
        forget(segment, inode, lines, has_runs)
    finally:
        if connection is not None:
            connection.close()
    return True, None


def usual_lines(settings, segment):
    """Close the own segment and return its lines, and whether the spool has runs to show; (None, …) where something is
    not as usual, be the segment closed then or not.

    It is taken from the recorder before it is read: what a signal handler records from then on goes into another one.
    """
    token = settings.token or "x"
    is_near = settings.scheme == "http" and settings.host in _HOSTS and settings.path.isascii()
    if not (is_near and token.isascii() and token.isprintable()) or sys.platform in ("darwin", "win32"):
        return None, False
    if segment.number or segment.queue or segment.fd < 0 or _thread._count():
        return None, False
    try:
        names = system.listdir(segment.directory)
        if not is_alone(segment, names):
            return None, False
        fd, segment.inode, segment.fd = segment.fd, 0, -1
        try:
            system.lseek(fd, 0, 0)
            data = system.read(fd, MAX_BYTES + 1)
        finally:
            system.close(fd)
    except guard.ours(OSError):  # no descriptor left, a bad disk
        return None, False
    count = data.count(b"\n") - 1
    is_usual = not segment.was_torn and 0 < count <= settings.batch_size and len(data) <= MAX_BYTES
    return data.split(b"\n")[1:-1] if is_usual and are_whole(data, count) else None, "runs" in names


def is_alone(segment, names):
    """Return whether there is nothing to do for this endpoint but to deliver the own session."""
    key = segment.key
    others = set()
    for name in names:
        if name[:16] == key:
            base, _, kind = name.rpartition(".")
            if kind == "jsonl":
                base = base.rpartition(".")[0]
            elif kind != "live":
                if kind != "account":  # the collector was away, a session was delivered in part
                    return False
                continue
            others.add(base)
    others.discard(segment.base)
    return len(others) <= MAX_OTHERS and all(handover.is_locked(f"{segment.directory}/{base}.live") for base in others)


def are_whole(data, count):
    """Return whether so many lines behind the header are as we have written them ourselves. What a short write has left
    of one, which `segment.was_torn` tells of, and lines of others are for `lines.is_whole` and `strict.is_event`.
    """
    is_plain = len(data.translate(None, _CONTROLS)) == len(data)
    return is_plain and data.count(b'\n{"v":1,"type":"') == data.count(b"}}\n") == count and data[-1:] == b"\n"


def connect(settings, deadline):
    """Return a connection, or None where there is none: `last_call` finds out why."""
    sockets = stdlib.load("_socket")
    if sockets is None:
        return None
    connection = sockets.socket(sockets.AF_INET, sockets.SOCK_STREAM)
    try:
        connection.settimeout(left(deadline))
        connection.connect((_HOSTS[0], settings.port))
        return connection
    except guard.ours(OSError, OverflowError):
        connection.close()
        return None


def left(deadline: float) -> float:
    """Return the seconds left until a deadline on the clock of `time.monotonic()`. Raises TimeoutError."""
    seconds = deadline - formats.monotonic()
    if seconds <= 0:
        raise TimeoutError("timeout")
    return seconds


def exchange(connection, settings, lines, deadline):
    """Send the lines; return what has come of the answer when it was clear what it is, and what `judge` says of it."""
    received, verdict = b"", None
    name = settings.host if settings.port == 80 else f"{settings.host}:{settings.port}"
    body = b'{"batch_id":"%s","events":[%s]}' % (formats.uuid7().encode(), b",".join(lines))
    try:
        connection.settimeout(left(deadline))
        # A program that set SIGPIPE back to its default, as many command-line tools do, must not die of our socket.
        flags = getattr(stdlib.load("_socket"), "MSG_NOSIGNAL", 0)
        connection.sendall(head(name, settings.path, settings.token, len(body)) + body, flags)
        while verdict is None:
            connection.settimeout(left(deadline))
            piece = connection.recv(8192)
            received += piece
            verdict = judge(received) if piece else False
    except guard.ours(OSError):  # the answer may be there all the same, or the time is up: `last_call` looks
        pass
    return received, verdict


def head(name: str, target: str, token: "str | None", size: int) -> bytes:
    """Return the head of a POST."""
    text = (
        f"POST {target} HTTP/1.1\r\nHost: {name}\r\nUser-Agent: monitor-auto\r\nAccept: application/json\r\n"
        "Accept-Encoding: identity\r\n"
        f"Content-Type: application/json\r\nContent-Length: {size}\r\nConnection: close\r\n"
    )
    return (text + (f"Authorization: Bearer {token}\r\n\r\n" if token else "\r\n")).encode()


def judge(answer):
    """Return True for a complete answer of the usual form that means that all was taken, None for what may become one.

    False: something else, be it as good: `exchange.read_answer` knows all forms.
    """
    top, blank, body = answer.partition(b"\r\n\r\n")
    if not blank:
        return None if len(answer) < MAX_HEAD_BYTES else False
    if not top.isascii() or top.count(b"\n") != top.count(b"\r\n") or top[:13] not in _YES:
        return False
    text = top.decode().lower()
    lines = text.split("\r\n")[1:]
    lengths = [line[15:].strip() for line in lines if line[:15] == "content-length:"]
    if len(lengths) != 1 or not lengths[0].isdigit() or len(lengths[0]) > 5 or not all(map(is_header, lines)):
        return False
    if "-encoding:" in text or "text/html" in text or body.lstrip()[:1] == b"<":
        return False
    missing = int(lengths[0]) - len(body)
    return None if missing > 0 else not missing


def is_header(line):
    """Return whether a line of a head is a name and a value."""
    name, colon, _ = line.partition(":")
    return bool(colon and name) and name == name.strip()


def forget(segment, inode, lines, has_runs):
    """Write down that all was sent, then delete the session's files, the lock last."""
    account = f"{segment.directory}/{segment.key}.account"
    line = f"{recorder.session.id}.0.{inode} last={max(map(sequence_of, lines))} sent={len(lines)}\n".encode()
    is_noted = add_to_account(account, line)
    if has_runs:
        retire(segment.directory, segment.base, 0)
    else:
        remove(f"{segment.directory}/{segment.base}.0.jsonl")
    if not is_noted:  # a full disk: now there is room
        add_to_account(account, line)
    remove_lock(segment, 1)


def remove_lock(segment, following):
    """Delete the own `.live`, unless a further segment, which would have this number, was opened meanwhile.

    Whoever would open one now (a signal handler of the program that records, a daemon thread) has to make a repair, of
    which there is one at a time: we are it. Its line waits, and then gets a segment and a new lock.
    """
    if not segment.busy.acquire(False):  # one is just being opened
        return
    try:
        if segment.number < following:
            remove(f"{segment.directory}/{segment.base}.live")
    finally:
        segment.busy.release()
    if segment.queue:
        guard.call("lock", cold("repairs").check, segment)


def retire(directory, base, number):
    """Delete a segment that was delivered, or leave it to the `monitor-auto run` that is going to show it."""
    name = f"{base}.{number}.jsonl"
    try:
        system.rename(f"{directory}/{name}", f"{directory}/runs/{base[17:29]}/{name}")
    except guard.ours(OSError):  # there is no such run, as nearly always
        remove(f"{directory}/{name}")


def remove(path: str) -> None:
    """Delete a file that may be gone already; a folder in its place is nobody's of us and stays."""
    try:
        system.unlink(path)
    except guard.ours(FileNotFoundError, IsADirectoryError):
        return


def sequence_of(line: bytes) -> int:
    """Return the sequence number of an event's line; -1 where it has none."""
    number = line.partition(b'"event_id":"')[2][:64].partition(b'"')[0].rpartition(b"-")[2]
    return int(number) if number.isdigit() and len(number) < 16 else -1


def add_to_account(path: str, line: bytes) -> bool:
    """Append a line to an account, again if somebody has just put a shorter one in its place. False on a full disk."""
    try:
        while True:
            fd = system.open(path, _APPEND, 0o600)
            try:
                if system.fstat(fd).st_size and system.lseek(fd, -1, 2) >= 0 and system.read(fd, 1) != b"\n":
                    line = b"\n" + line  # a full disk has left half of one
                is_all = system.write(fd, line) == len(line)
                if system.fstat(fd).st_nlink or not is_all:
                    return is_all
            finally:
                system.close(fd)
    except guard.ours(OSError) as error:
        cold("notes").debug(f"account not written: {error}")
        return False

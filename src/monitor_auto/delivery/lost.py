"""Says what became of a session that died without an end: `session.lost`, and the error that its native stack shows.

Runs under a claim, before the session's events are delivered; what is written into its segment is written once.
"""

import os

from monitor_auto.boot import encode, guard
from monitor_auto.boot.formats import timestamp, wall_clock

from . import deaths, oomkills, strict
from .segments import READ, Segment, Unreadable, open_own, read_header, session_id

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from typing import Any

    from .claims import Claim

ENDS = (b'\n{"v":1,"type":"lifecycle","name":"session.end"', b'\n{"v":1,"type":"lifecycle","name":"session.lost"')
RESUME = b'\n{"v":1,"type":"lifecycle","name":"session.resume"'
"""An exec that failed takes the end back."""
MAX_STACK_BYTES = 64 * 1024
UNKNOWN_SEQUENCE = 1_000_000_000
"""Where all earlier events were delivered and deleted: a number that the session has not reached."""
_TAIL_BYTES = 192 * 1024
_CHUNK_BYTES = 256 * 1024
_STACK = "Stack (most recent call first):"
_FATAL = "Fatal Python error: "
STACKED = ("SIGTERM", "SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE")
"""Deaths that are errors, and leave a stack as a rule. The others are somebody's will: `session.lost` tells them."""
_SIGNALS = {
    "Segmentation fault": "SIGSEGV",
    "Aborted": "SIGABRT",
    "Bus error": "SIGBUS",
    "Illegal instruction": "SIGILL",
    "Floating-point exception": "SIGFPE",
    "Floating point exception": "SIGFPE",
}


class Remains:
    """What the segments of a dead session say about it."""

    def __init__(self) -> None:
        self.has_end = False
        self.header = b""
        self.last_line = b""
        self.sequence = -1
        self.target: Segment | None = None
        self.last_write = 0.0


def write(claim: "Claim", settings: "Any") -> None:
    """Append what became of the session to its last segment, unless one has its end. Raises OSError, Unreadable."""
    remains = Remains()
    for segment in claim.segments:
        look(claim, segment, remains)
    if remains.has_end or remains.target is None or (not remains.last_line and b'"number":0,' in remains.header):
        return  # nothing of ours, or it died before it had recorded anything
    append(remains.target, b"".join(line.encode() + b"\n" for line in events(claim, settings, remains)))


def look(claim: "Claim", segment: Segment, remains: Remains) -> None:
    """Add what one segment says to the remains."""
    try:
        descriptor, facts = open_own(segment.path)
    except guard.ours(FileNotFoundError, Unreadable):
        return
    try:
        header, _ = read_header(descriptor)
        claim.check(header, facts, segment.number)
        remains.has_end = is_marked(header) or has_end(descriptor, remains.has_end)
        remains.header, remains.target, remains.last_write = header, segment, facts.st_mtime
        tail = tail_of(descriptor, facts.st_size)
        remains.last_line = last_event(tail) or remains.last_line
        remains.sequence = max(remains.sequence, highest_sequence(tail, session_id(claim.base)))
    except guard.ours(Unreadable):  # put aside when it is read for delivery
        return
    finally:
        os.close(descriptor)


def is_marked(header: bytes) -> bool:
    """Return whether a segment says by its header that the end of its session is told elsewhere."""
    return b',"merged":' in header or b',"ended":true' in header


def has_end(descriptor: int, had_end: bool) -> bool:
    """Return whether a session has ended by the end of this segment, given how it was before."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    held = b""
    while chunk := os.read(descriptor, _CHUNK_BYTES):
        held = held[-64:] + chunk
        end, resume = max(held.rfind(mark) for mark in ENDS), held.rfind(RESUME)
        had_end = end > resume if max(end, resume) >= 0 else had_end
    return had_end


def tail_of(descriptor: int, size: int) -> bytes:
    """Return the last part of a segment."""
    os.lseek(descriptor, max(0, size - _TAIL_BYTES), os.SEEK_SET)
    tail = b""
    while len(tail) <= _TAIL_BYTES and (chunk := os.read(descriptor, _CHUNK_BYTES)):
        tail += chunk
    return tail


def last_event(tail: bytes) -> bytes:
    """Return the last whole event of a segment; b"" when there is none in its last part."""
    return next((line for line in reversed(tail.split(b"\n")) if strict.is_event(line)), b"")


def highest_sequence(tail: bytes, session: str) -> int:
    """Return the highest sequence number that a segment's last part has used up, -1 when none.

    It need not be the last line's: threads overtake each other between taking a number and writing. And a kill in the
    middle of a write leaves a line that is torn, and had a number, too.
    """
    highest = -1
    mark = b'"event_id":"' + session.encode() + b"-"
    for piece in tail.split(mark)[1:]:
        number, quote, _ = piece[:20].partition(b'"')
        if quote and number.isdigit():
            highest = max(highest, int(number))
    last = tail.rpartition(b"\n")[2]
    return highest + (last != b"" and mark not in last)


def events(claim: "Claim", settings: "Any", remains: Remains) -> list[str]:
    """Return the lines to write: the death by a signal, if a native stack shows one, then `session.lost`."""
    last = strict.parse(remains.last_line.decode()) if remains.last_line else {}
    sequence = remains.sequence + 1 if remains.sequence >= 0 else UNKNOWN_SEQUENCE
    stack, died = native_stack(claim.descriptor)
    began = deaths.began_at(claim.base)
    seen = deaths.seen_by_parent(claim.directory, claim.base, remains.header, began)
    signal = signal_of(stack, remains.header)
    if signal == "SIGTERM" and "exit_code" in seen:  # somebody has put a handler there after all, and it has returned
        signal = ""
    ended = died if signal else remains.last_write
    rows: list[tuple[str, str, dict[str, Any]]] = []
    name = signal or (seen.get("signal") if seen.get("signal") in STACKED else "")
    if name and not is_written(last, name):
        rows.append(("error", "error." + name, death(name, stack if signal else "")))
    header = deaths.object_of(remains.header)
    pid = deaths.number_of(header.get("pid"))
    facts = {"pid": pid, "signal": signal, **seen}
    if not signal and not seen and deaths.is_there(header, began) == "exec":
        facts["reason"] = "exec"  # by C code: Python's own is seen
    facts["reboot"] = deaths.is_rebooted(remains.header)
    if not facts["reboot"] and facts["signal"] in ("SIGKILL", "") and "exit_code" not in seen:
        facts["oom"] = oomkills.is_killed(pid, remains.last_write, wall_clock())
    facts.update(last_event=last.get("name"), last_event_at=last.get("timestamp"))
    facts["lived_at_least_ms"] = max(0, round((ended - began) * 1000))
    kept = {name: value for name, value in facts.items() if value or name in ("exit_code", "lived_at_least_ms")}
    rows.append(("lifecycle", "session.lost", kept))
    who = identity(remains.last_line) or default_identity(claim, settings, remains.header)
    lines = []
    for kind, name, data in rows:
        facts = {"type": kind, "name": name, "timestamp": timestamp(ended)}
        facts["event_id"] = f"{session_id(claim.base)}-{sequence}"
        # Only the data is redacted: one id in some hundred looks like the number of a card.
        lines.append('{"v":1,' + encode.dense_object(facts)[1:-1] + f',{who},"data":{encode.encode(data)}}}')
        sequence += 1
    return lines


def death(signal: str, stack: str) -> "dict[str, Any]":
    """Return the data of an error that a signal is; a stack is missing where no Python code ran in its thread."""
    error: dict[str, Any] = {"type": signal, "message": "killed by " + signal}
    if stack:
        error.update(stack=stack, location=location(stack))
    return {**error, "source": "auto", "level": "fatal"}


def is_written(last: "dict[str, Any]", signal: str) -> bool:
    """True when somebody who has written the error died before he had written `session.lost`."""
    data = last.get("data")
    return last.get("name") == "error." + signal and isinstance(data, dict) and data.get("source") == "auto"


def identity(line: bytes) -> str:
    """Return source and session as a session's own line has them; "" when it is not written as we write."""
    head, source, rest = line.partition(b',"source":{')
    middle, data, _ = rest.partition(b',"data":')
    is_ours = bool(source and data) and b',"session":{"id":' in middle and b'"data":' not in head
    return '"source":{' + middle.decode() if is_ours else ""


def default_identity(claim: "Claim", settings: "Any", header: bytes) -> str:
    """Return what is known without any line."""
    source = {"sdk": "python", "platform": str(settings.platform)}
    session = {"id": session_id(claim.base), "started": timestamp(deaths.began_at(claim.base))}
    parent = deaths.object_of(header).get("parent")
    if isinstance(parent, str) and len(parent) == 36:
        session["parent"] = parent
    text: str = '"source":' + encode.dense_object(source) + ',"session":' + encode.dense_object(session)
    return text


def native_stack(descriptor: int) -> tuple[str, float]:
    """Return the last stack that faulthandler wrote into the lock file, and when; "" when there is none."""
    if descriptor < 0:
        return "", 0.0
    facts = os.fstat(descriptor)
    os.lseek(descriptor, max(0, facts.st_size - MAX_STACK_BYTES), os.SEEK_SET)
    text = os.read(descriptor, MAX_STACK_BYTES).decode("utf-8", "replace")
    begin = max(text.rfind(_FATAL), text.rfind(_STACK) if _FATAL not in text else -1, 0)
    # Where the program waits for a child, the function that calls os.waitpid is ours.
    lines = [line for line in text[begin:].strip().split("\n") if "/monitor_auto/boot/" not in line]
    return "\n".join(lines), facts.st_mtime


def signal_of(stack: str, header: bytes) -> str:
    """Return the name of the signal that a stack tells of, "" when none.

    faulthandler names fatal ones; the one it is registered for, SIGTERM, leaves a bare stack. As pid 1 a default
    SIGTERM kills nobody, so there the stack says nothing about the death.
    """
    if stack.startswith(_FATAL):
        return _SIGNALS.get(stack[len(_FATAL) :].partition("\n")[0].strip(), "")
    return "SIGTERM" if _STACK in stack and b'"pid":1,' not in header else ""


def location(stack: str) -> "str | None":
    """Return file:line:function of the innermost frame of a native stack."""
    frame = stack.partition('\n  File "')[2].partition("\n")[0]
    path, quote, rest = frame.rpartition('", line ')
    line, word, function = rest.partition(" in ")
    return f"{path}:{line}:{function}" if quote and word else None


def append(segment: Segment, data: bytes) -> None:
    """Append whole lines with one write, behind a newline if the last line was torn. Raises OSError.

    All of them or none: what a full disk has taken is taken back. Nobody else writes to a segment under a claim.
    """
    descriptor, facts = open_own(segment.path)
    try:
        is_torn = facts.st_size and os.pread(descriptor, 1, facts.st_size - 1) != b"\n"
    finally:
        os.close(descriptor)
    descriptor = os.open(segment.path, READ | os.O_WRONLY | os.O_APPEND)
    try:
        data = b"\n" + data if is_torn else data
        if os.write(descriptor, data) != len(data):
            os.ftruncate(descriptor, facts.st_size)
            raise OSError("the disk is full")
        os.utime(segment.path, (wall_clock(), facts.st_mtime))  # age counts from what the session wrote
    finally:
        os.close(descriptor)

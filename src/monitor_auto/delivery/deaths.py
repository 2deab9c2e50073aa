"""What is known of a death from outside: what the parent has seen, and whether the machine was started anew since. Runs
when `session.lost` is written.

A parent that waits for a child learns its exit code or signal, and records it (`process.exit`): in a segment that lies
beside the child's, or that this very process has delivered before.
"""

import os
import time

from monitor_auto.boot import guard
from monitor_auto.boot.formats import wall_clock
from monitor_auto.boot.spool import one_line

from . import claims, strict
from .lines import read_lines
from .segments import PROCESS_EXIT, Segment, Unreadable, open_own, read_header, session_id, sessions

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

MAX_REMEMBERED = 4096
MAX_SESSIONS = 256
MAX_READ_BYTES = 8 << 20
MAX_EXECS = 8
"""A program that replaces itself keeps its pid, and its parent does not learn that it is another session."""
TOLERANCE_SECONDS = 2.0
"""Between the clocks by which parent and child have noted the same moment."""
IS_EXITING = 0x4
"""PF_EXITING (linux/sched.h), in the flags that proc(5) shows."""
_remembered: dict[bytes, list[bytes]] = {}
_count = 0


def remember(line: bytes) -> None:
    """Keep a `process.exit` that is about to be delivered: its child's segment may be read after it is gone."""
    global _count
    if _count >= MAX_REMEMBERED:
        _remembered.clear()
        _count = 0
    _count += 1
    _remembered.setdefault(session_of(line), []).append(line)


def session_of(line: bytes) -> bytes:
    """Return the id of the session that a line is of."""
    return line.partition(b'"event_id":"')[2][:36]


def seen_by_parent(directory: str, base: str, header: bytes, began: float) -> "dict[str, Any]":
    """Return `signal` or `exit_code` of a session, as its parent has seen it; {} where it has not, or nobody knows.

    `header` is the session's, `began` its start in Unix seconds.
    """
    facts = object_of(header)
    pid, parent = number_of(facts.get("pid")), facts.get("parent")
    for _ in range(MAX_EXECS):
        if not isinstance(parent, str) or len(parent) != 36:
            return {}
        segments = segments_of(directory, base[:30] + parent)
        for line in [*_remembered.get(parent.encode(), ()), *exits_in(segments)]:
            data = exit_of(line, pid, began)
            if data:
                return data
        above = object_of(header_of(segments))
        if pid is None or number_of(above.get("pid")) != pid:
            return {}
        parent = above.get("parent")
    return {}


def exit_of(line: bytes, pid: "float | None", began: float) -> "dict[str, Any]":
    """Return how a child ended, if this line is of the child with that pid which had started by then."""
    is_of_it = pid is not None and (b'"pid":%d' % pid in line or b'"pid": %d' % pid in line)  # as two encoders write
    event = object_of(line) if is_of_it else {}
    data = event.get("data")
    if not isinstance(data, dict) or number_of(data.get("pid")) != pid:
        return {}
    if number_of(data.get("exit_code")) is not None:
        data["exit_code"] = int(data["exit_code"])
    ended = unix_time(str(event.get("timestamp")))
    started = ended - (number_of(data.get("duration_ms")) or 0.0) / 1000
    is_it = started - TOLERANCE_SECONDS <= began <= ended + TOLERANCE_SECONDS
    return {name: data[name] for name in ("signal", "exit_code", "core_dumped") if name in data} if is_it else {}


def is_better_known(segments: list[Segment], own: str) -> bool:
    """True while somebody else can say more of a session's death than this one, `own`: its parent, which lives, and is
    going to wait for it, or has just done so.
    """
    parent = parent_of(segments)
    if not parent:
        return False
    if parent != own:
        return claims.is_alive(segments[0].directory, parent)
    base, header = segments[0].base, header_of(segments)
    began = began_at(base)
    presence = is_there(object_of(header), began)
    if presence:
        return presence == "dying"
    # Waited for, but what the thread that did so has learnt may not be written down yet.
    return not is_told(segments) and not seen_by_parent(segments[0].directory, base, header, began)


def is_anothers(segments: list[Segment], own: str) -> bool:
    """The same for who is about to end: only a death that its living parent can tell of is left to that."""
    parent = parent_of(segments)
    return bool(parent) and parent != own and claims.is_alive(segments[0].directory, parent) and not is_told(segments)


def parent_of(segments: list[Segment]) -> str:
    """Return the name, as `Segment.base` is, of the parent of a session; "" where it has none."""
    if not segments:
        return ""
    parent = claims.field(header_of(segments), b"parent").strip(b'"').decode("ascii", "replace")
    return segments[0].base[:30] + parent if len(parent) == 36 else ""


def is_told(segments: list[Segment]) -> bool:
    """Return whether a session has said how it ended."""
    from . import lost

    is_ended = False
    for segment in segments:
        try:
            descriptor, _ = open_own(segment.path)
        except guard.ours(OSError, Unreadable):
            continue
        try:
            header, _ = read_header(descriptor)
            is_ended = lost.is_marked(header) or lost.has_end(descriptor, is_ended)
        except guard.ours(OSError, Unreadable):
            continue
        finally:
            os.close(descriptor)
    return is_ended


def is_there(header: "dict[str, Any]", began: float) -> str:
    """Return what has become of the process of a dead session: "dying" where its parent has not waited for it, "exec"
    where it lives on as another program, "" where it is gone, or cannot be told.
    """
    pid, machine = number_of(header.get("pid")), one_line("/etc/machine-id")
    is_here = bool(machine) and header.get("machine") == machine  # not of another container, with pids of its own
    if not is_here or is_booted_since(header) or pid is None:
        return ""
    try:
        with open(f"/proc/{int(pid)}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        started = wall_clock() - now + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except guard.ours(OSError, AttributeError, ValueError, IndexError):  # gone; no Linux
        return ""
    if started > began + TOLERANCE_SECONDS:  # another process, with the same number
        return ""
    return "dying" if fields[0] in b"ZX" or int(fields[6]) & IS_EXITING else "exec"


def began_at(base: str) -> float:
    """Return when a session started, in Unix seconds: its id, a UUIDv7, begins with the milliseconds."""
    try:
        return int(session_id(base).replace("-", "")[:12], 16) / 1000
    except guard.ours(ValueError):
        return 0.0


def number_of(value: "Any") -> "float | None":
    """Return a number of what `strict.parse` has made of one: it keeps whole ones as texts."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        return int(value)
    return value if isinstance(value, float) else None


def object_of(data: bytes) -> "dict[str, Any]":
    """Return the object that a line holds; {} where it holds something else."""
    try:
        text = data.decode()
    except guard.ours(UnicodeDecodeError):
        return {}
    return strict.parse(text) if strict.is_json_object(text) else {}


def segments_of(directory: str, base: str) -> list[Segment]:
    """Return what lies in the spool of a session, be it alive or dead."""
    try:
        return [Segment(directory, base, number) for number in sessions(directory, base).get(base, [])]
    except guard.ours(OSError):
        return []


def header_of(segments: list[Segment]) -> bytes:
    """Return the header of a session's first segment that has one."""
    for segment in segments:
        try:
            descriptor, _ = open_own(segment.path)
        except guard.ours(OSError, Unreadable):
            continue
        try:
            return read_header(descriptor)[0]
        except guard.ours(OSError, Unreadable):
            continue
        finally:
            os.close(descriptor)
    return b""


def exits_in(segments: list[Segment]) -> "Iterator[bytes]":
    """Yield the lines of `process.exit` in these segments, the newest segment first."""
    left = MAX_READ_BYTES
    for segment in reversed(segments):
        try:
            descriptor, facts = open_own(segment.path)
        except guard.ours(OSError, Unreadable):
            continue
        try:
            left -= facts.st_size
            if left < 0:
                return
            for line, _ in read_lines(descriptor, read_header(descriptor)[1], float("inf")):
                if PROCESS_EXIT in line:
                    yield line
        except guard.ours(OSError, Unreadable):
            continue
        finally:
            os.close(descriptor)


def is_rebooted(header: bytes) -> bool:
    """True when the machine was started anew since the session was. False also where that cannot be known: a container
    has no id of a machine, so that another boot may be another machine that has the same volume.
    """
    return is_booted_since(object_of(header))


def is_booted_since(facts: "dict[str, Any]") -> bool:
    """The same of a header that was read."""
    machine, boot = one_line("/etc/machine-id"), one_line("/proc/sys/kernel/random/boot_id")
    is_here = bool(machine and boot and facts.get("boot")) and facts.get("machine") == machine
    return is_here and facts.get("boot") != boot


def unix_time(text: str) -> float:
    """Return the Unix seconds of an ISO 8601 time as we write it, with milliseconds and offset; 0.0 for anything else.

    datetime would cost a program that exits 2 ms, and may be a file beside its script.
    """
    try:
        year, month, day = int(text[:4]), int(text[5:7]), int(text[8:10])
        seconds = int(text[11:13]) * 3600 + int(text[14:16]) * 60 + float(text[17:23])
        offset = (int(text[24:26]) * 3600 + int(text[27:29]) * 60) * (-1 if text[23] == "-" else 1)
    except guard.ours(ValueError, IndexError):
        return 0.0
    year, month = (year - 1, month + 9) if month < 3 else (year, month - 3)  # years that begin with March
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5 + day - 719469
    return days * 86400 + seconds - offset

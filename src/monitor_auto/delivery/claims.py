"""Dead sessions of a spool: who may deliver them, what became of them, their deletion. Runs at exit and in commands.

Guarantees:
- A claim holds the lock of the session's `.live` and has then seen that the file still has a name, so no two processes
  (nor two threads of one) have the same session, and none has one that lives or is just being created.
- A lock file of this process's own session is never opened: closing it would drop the lock.
- Segments and positions are deleted first, `.live` last. Of several segments none is deleted before all are delivered,
  since the one with `session.end` tells that the others are not of a session that was lost.
"""

import os

from monitor_auto.boot import guard, handover, notes, recorder
from monitor_auto.boot.formats import quote, wall_clock

from . import strict
from .segments import FILE, WITH_TOKEN, Line, Segment, Unreadable, Withheld, remove, session_id, sessions, type_at

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

LONELY_SECONDS = 60.0
"""A lock without a segment may be a session that is just starting; older than this it is a left-over."""
QUIET_SECONDS = 3600.0
"""Where the system has no record locks: how long a session must have been silent to count as dead."""
_held: dict[tuple[int, str], object] = {}


class Claim:
    """A dead session that this process may deliver and delete. `release` must be called."""

    def __init__(self, directory: str, base: str, descriptor: int) -> None:
        self.directory, self.base, self.descriptor = directory, base, descriptor
        self.segments: list[Segment] = []
        self.withheld = 0
        self.is_complete = False

    @property
    def live_path(self) -> str:
        """Where the lock is."""
        return f"{self.directory}/{self.base}.live"

    def lines(
        self,
        settings: "Any",
        numbers: list[int],
        deadline: float,
        is_good: "Callable[[bytes], bool]" = strict.is_event,
        is_sent: bool = True,
    ) -> "Iterator[Line]":
        """Yield what these segments still hold. A segment that is none of ours is put aside, one that fails is left,
        and so is one that had a token when it `is_sent` and we have none. Raises OutOfTime.
        """
        check = self.check_token if is_sent and not settings.token else self.check
        numbers = self.all_numbers(numbers)
        self.segments = [Segment(self.directory, self.base, number, len(numbers) > 1) for number in numbers]
        self.write_what_became(settings)
        for segment in list(self.segments):
            try:
                yield from segment.read(deadline, is_good, check)
            except guard.ours(FileNotFoundError):
                self.segments.remove(segment)
            except guard.ours(Withheld):
                self.withheld += 1
            except guard.ours(Unreadable) as error:
                self.put_aside(segment, str(error))
            except guard.ours(OSError) as error:  # a bad disk, no descriptors left: it stays for another time
                notes.ledger("problem", part="read segment", error=str(error))
        self.is_complete = True

    def all_numbers(self, numbers: list[int]) -> list[int]:
        """Return the segments that there are, among them those that were opened after the spool was listed."""
        if not numbers:
            return sessions(self.directory, self.base).get(self.base, [])
        following = numbers[-1] + 1
        while type_at(Segment(self.directory, self.base, following).path):
            numbers = [*numbers, following]
            following += 1
        return numbers

    def check(self, header: bytes, facts: os.stat_result, number: int) -> None:
        """Raise Unreadable when a segment's header does not fit its file or its name."""
        if field(header, b"inode") != b"%d" % facts.st_ino:
            raise Unreadable("a copy of another segment")
        if field(header, b"session") != quote(session_id(self.base)).encode():
            raise Unreadable("the segment of another session")
        if field(header, b"number") != b"%d" % number:
            raise Unreadable("a second name of another segment")

    def check_token(self, header: bytes, facts: os.stat_result, number: int) -> None:
        """Raise Withheld, too, when the session had a token and we have none."""
        self.check(header, facts, number)
        if WITH_TOKEN in header:
            raise Withheld

    def write_what_became(self, settings: "Any") -> None:
        """Give a session that has no end its `session.lost`, once."""
        from . import lost

        try:
            lost.write(self, settings)
        except guard.ours(
            OSError, Unreadable
        ) as error:  # a full disk, a hostile file: its events are delivered without it
            notes.debug(f"no session.lost for {self.base}: {error}")

    def put_aside(self, segment: Segment, reason: str) -> None:
        """Move a segment that is none of ours out of the way; where that fails it stays where it is."""
        from . import aside

        try:
            aside.put_file(self.directory, os.path.basename(segment.path), reason)
            remove(segment.position_path)
            self.segments.remove(segment)
        except guard.ours(OSError) as error:  # a full disk has no room for the folder
            notes.debug(f"{os.path.basename(segment.path)} not put aside: {error}")

    def is_settled(self) -> bool:
        """Return whether all that this session had was handed out and needs no further attempt."""
        return self.is_complete and all(segment.is_finished for segment in self.segments)

    def release(self) -> None:
        """Delete the session if all of it is settled, and let go of its lock."""
        try:
            if self.is_settled():
                for segment in self.segments:
                    segment.delete(is_sent=True)
                remove(self.live_path)
        finally:
            if self.descriptor >= 0:
                os.close(self.descriptor)
            _held.pop((os.getpid(), self.base), None)


def claim(directory: str, base: str, is_lonely: bool = False) -> "Claim | None":
    """Return a Claim of a session, or None when it lives, somebody else has it, or it is gone.

    `is_lonely`: it has no segment, so that it may be only just starting.
    """
    if recorder.segment is not None and base == recorder.segment.base:
        return None
    mark = object()
    if _held.setdefault((os.getpid(), base), mark) is not mark:
        return None
    descriptor = None
    try:
        descriptor = _lock(f"{directory}/{base}.live", is_lonely)
    finally:
        if descriptor is None:
            _held.pop((os.getpid(), base), None)
    return None if descriptor is None else Claim(directory, base, descriptor)


def is_alive(directory: str, base: str) -> bool:
    """True while another process holds a session's lock: it lives, or is being delivered. One that we have claimed, or
    try to, is dead: looking at its lock would drop it.
    """
    is_ours = recorder.segment is not None and base == recorder.segment.base
    return is_ours or (os.getpid(), base) not in _held and bool(handover.is_locked(f"{directory}/{base}.live"))


def _lock(path: str, is_lonely: bool) -> "int | None":
    if not hasattr(os, "lockf"):
        return _lock_by_silence(path)
    try:
        descriptor = _open(path, is_lonely)
    except guard.ours(OSError):
        _put_aside_if_strange(path)
        return None
    if descriptor is None:
        return None
    try:
        facts = os.fstat(descriptor)
        if facts.st_mode & 0o170000 == 0o100000:
            os.lockf(descriptor, os.F_TLOCK, 0)
            facts = os.fstat(descriptor)
            if facts.st_nlink and not (is_lonely and facts.st_mtime > wall_clock() - LONELY_SECONDS):
                return descriptor
        else:
            _put_aside_if_strange(path)
    except guard.ours(OSError):  # its owner lives, or another process delivers it
        pass
    os.close(descriptor)
    return None


def _open(path: str, is_lonely: bool) -> "int | None":
    """Open a lock; None where the session is gone. One that somebody has deleted is made anew, but not for a session
    that another process has just delivered, the lock last: it would stay behind. Raises OSError.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except guard.ours(FileNotFoundError):
        directory, _, name = path.rpartition("/")
        has_segments = not is_lonely and any(sessions(directory, name.removesuffix(".live")).values())
        return os.open(path, flags | os.O_CREAT, 0o600) if has_segments else None


def _put_aside_if_strange(path: str) -> None:
    """Move away what is no regular file in the place of a lock; the next one who comes makes a new lock."""
    if type_at(path) not in (0, FILE):
        from . import aside

        directory, _, name = path.rpartition("/")
        try:
            aside.put_file(directory, name, "no regular file")
        except guard.ours(OSError) as error:  # a full disk has no room for the folder
            notes.debug(f"{name} not put aside: {error}")


def _lock_by_silence(path: str) -> "int | None":
    """Without record locks: dead is whose files did not change for an hour; `event_id` covers the rest."""
    directory, _, name = path.rpartition("/")
    base = name.removesuffix(".live")
    for other in os.listdir(directory):
        if other.startswith(base) and os.lstat(f"{directory}/{other}").st_mtime > wall_clock() - QUIET_SECONDS:
            return None
    return -1


def field(header: bytes, name: bytes) -> bytes:
    """Return the raw JSON text of a header's number or string; b"" when there is none.

    Looking for the name in quotes is enough: inside a string its quotes would be escaped.
    """
    rest = header.partition(b'"' + name + b'":')[2]
    if not rest.startswith(b'"'):
        return rest.partition(b",")[0].rstrip(b"}")
    end = 1
    while rest[end : end + 1] not in (b'"', b""):
        end += 2 if rest[end : end + 1] == b"\\" else 1
    return rest[: end + 1]

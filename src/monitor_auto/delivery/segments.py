"""The segments of a spool: whose they are, their lines, and what of them was delivered. Runs at exit and in commands.

Guarantees: builtin modules only; only regular files of this user are read, no link is followed, nothing waits for a
pipe; a position is noted in one write of always the same length that says its number twice: half of one counts as none.
"""

import os

from monitor_auto.boot import express, flushing, guard, notes

from .lines import is_whole, read_lines

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HEADER = b'{"monitor_auto_segment":1,'
MAX_HEADER_BYTES = 16384
_PRIVATE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
READ = os.O_RDONLY | _PRIVATE | getattr(os, "O_BINARY", 0)
OVERWRITE = os.O_WRONLY | _PRIVATE | getattr(os, "O_BINARY", 0)
WRITE = OVERWRITE | os.O_CREAT
POSITION_BYTES = 256
KIND, FILE, FOLDER = 0o170000, 0o100000, 0o040000
"""Of `st_mode` (inode(7)); the module `stat` has them, too, and is not loaded everywhere."""
remove, add_to_account = express.remove, express.add_to_account


class Unreadable(Exception):
    """A file that bears a segment's name and is none of ours: a link, a pipe, another user's, no header, a copy."""


class Withheld(Exception):
    """A segment whose session had a token: it does not go to the collector without one."""


WITH_TOKEN = b',"token":true'
"""In the header of a segment whose session had a token; never the token, nor anything that it could be guessed from."""
PROCESS_EXIT = b'"name":"process.exit"'
FATES = ("sent", "rejected", "dropped", "aside", "sampled_out")
"""What can become of an event; `sampled_out` ones were no lines."""


class Line:
    """One line on its way: `text` is an event unless `fault` says why not; `end` is the offset behind it.

    `segment` is None for a line that never was in a file; `fate` is one of FATES, for when the line is settled.
    """

    __slots__ = ("end", "fate", "fault", "segment", "text")

    def __init__(self, text: bytes, segment: "Segment | None", end: int, fault: str) -> None:
        self.text, self.segment, self.end, self.fault = text, segment, end, fault
        self.fate = "aside" if fault else "sent"


class Tally:
    """What became of the lines of one segment, and the highest sequence number among them (-1: none known).

    Of a merged one `counts` has at its end what it was made of, too: `of:<name>` lines of a segment of which
    `had:<name>` others were settled by then.
    """

    __slots__ = ("counts", "last")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.last = -1

    def add(self, line: Line) -> None:
        """Count a line that is settled."""
        self.counts[line.fate] = self.counts.get(line.fate, 0) + 1
        self.see(line.text)

    def see(self, text: bytes) -> None:
        """Look at the sequence number of a line."""
        self.last = max(self.last, express.sequence_of(text))

    def line(self, name: str) -> bytes:
        """Return what is written down of it."""
        counts = b"".join([b" %s=%d" % (fate.encode(), count) for fate, count in self.counts.items()])
        return b"%s last=%d%s\n" % (name.encode(), self.last, counts)

    @classmethod
    def parse(cls, text: bytes) -> "Tally | None":
        """Read it again; None for a torn or strange line."""
        tally = cls()
        for word in text.split():
            name, sign, number = word.decode("ascii", "replace").partition("=")
            if not sign or not number.removeprefix("-").isdigit() or len(number) > 15:
                return None
            if name == "last":
                tally.last = int(number)
            else:
                tally.counts[name] = int(number)
        return tally if text else None


class Segment:
    """Segment `number` of the session `base` ("<key>.<tree>.<session>") in a spool.

    `is_read` turns true when the last line was handed out; `pending` counts lines that were handed out and are not
    settled. With `keep` a finished segment stays, as a sign that its session has ended, until somebody deletes it.
    """

    def __init__(self, directory: str, base: str, number: int, keep: bool = False) -> None:
        self.directory, self.base, self.number, self.keep = directory, base, number, keep
        self.path = f"{directory}/{base}.{number}.jsonl"
        self.position_path = f"{directory}/{base}.{number}.sent"
        self.is_read = self.is_finished = False
        self.pending = self.inode = self.rounds = 0
        self.is_merged = False
        self.sources: dict[str, int] = {}
        self.end = 0
        self.tally = Tally()

    def take_facts(self, header: bytes, facts: os.stat_result) -> None:
        """Remember what names this segment in the account."""
        self.inode = facts.st_ino
        self.is_merged = b'"merged":true,' in header
        self.sources = sources_in(header)
        self.rounds = trimmed(header)

    def account_name(self) -> str:
        """Return the name of this segment's line in the account. Merged ones have lines of many sessions."""
        if self.is_merged:
            self.tally.last = -1
        name = f"{session_id(self.base)}.{self.number}.{self.inode}"
        return f"{name}.{self.rounds}" if self.rounds else name  # trimmed again it may get the inode it once had

    def read(
        self,
        deadline: float,
        is_good: "Callable[[bytes], bool]" = is_whole,
        check: "Callable[[bytes, os.stat_result, int], None] | None" = None,
    ) -> "Iterator[Line]":
        """Yield the lines that were not delivered yet, damaged ones with a `fault`.

        `check` gets the header, the file's facts and the number in its name, and may raise Unreadable. Raises
        Unreadable, OutOfTime, and OSError when there is no such file or the disk fails.
        """
        descriptor, facts = open_own(self.path)
        try:
            header, self.end = read_header(descriptor)
            if check is not None:
                check(header, facts, self.number)
            self.take_facts(header, facts)
            self.end = max(self.end, self.position(facts.st_size))
            for line in self.lines(descriptor, deadline, is_good):
                self.pending += 1
                yield line
        finally:
            os.close(descriptor)
        self.is_read = True
        if not self.pending:
            self.finish()

    def lines(self, descriptor: int, deadline: float, is_good: "Callable[[bytes], bool]") -> "Iterator[Line]":
        """Yield the lines from `end` on, but not what a full disk has left of a line that was then written again."""
        torn: Line | None = None
        for text, end in read_lines(descriptor, self.end, deadline):
            self.end = end
            if not text:
                continue
            line = Line(text, self, end, "" if is_good(text) else "damaged line")
            if PROCESS_EXIT in text:
                guard.call("load", flushing.make_ready, flushing.FOR_OTHERS)
                from . import deaths

                deaths.remember(text)
            if torn is not None and not text.startswith(torn.text):
                if line.fault and torn.text.startswith(text):
                    continue
                yield torn
            torn = line if line.fault else None
            if torn is None:
                yield line
        if torn is not None:
            yield torn

    def position(self, size: int) -> int:
        """Return the offset up to which this segment was delivered; 0 when none, or no sensible one, was noted."""
        try:
            descriptor, _ = open_own(self.position_path)
        except guard.ours(OSError, Unreadable):
            return 0
        try:
            words = os.read(descriptor, POSITION_BYTES).split() or [b""]
        finally:
            os.close(descriptor)
        text = words.pop(0)
        if words and words[-1].startswith(b"=") and words.pop() != b"=" + text:
            return 0
        if not text.isdigit() or len(text) > 15 or int(text) > size:
            return 0
        self.tally = Tally.parse(b" ".join(words)) or self.tally
        return int(text)

    def settle(self, lines: "list[Line]") -> None:
        """Note that so many more lines, in their order, need no further attempt. Raises OSError."""
        for line in lines:
            self.tally.add(line)
        self.pending -= len(lines)
        if self.is_read and not self.pending:
            self.finish()
        else:
            self.note_position(lines[-1].end)

    def settle_block(self, count: int, size: int, last: int) -> None:
        """Note that the next so many lines, of so many bytes in all, were sent; `last`: their highest number."""
        counts = self.tally.counts
        counts["sent"] = counts.get("sent", 0) + count
        self.tally.last = max(self.tally.last, last)
        self.end += size
        self.note_position(self.end)

    def finish(self) -> None:
        """Delete the segment, or keep it with the position at its end."""
        self.is_finished = True
        if self.keep:
            self.note_position(self.end)
        else:
            self.delete(is_sent=True)

    def note_position(self, end: int) -> None:
        """Write down what was delivered. On a full disk it stays unwritten: delivering on is what makes room there."""
        line = self.tally.line(str(end))[:-1]
        check = b" =%d\n" % end
        data = line.ljust(POSITION_BYTES - len(check)) + check
        try:
            if not overwrite(self.position_path, data):
                write_whole(self.position_path, data)
        except guard.ours(OSError) as error:
            notes.debug(f"position of segment {self.number} of {self.base} not noted: {error}")

    def delete(self, is_sent: bool = False) -> None:
        """Delete the segment, then its position: in this order a death in between repeats nothing. One that was sent
        goes to the `monitor-auto run` that is going to show it.
        """
        name = self.account_name()
        self.tally.counts.update(self.sources)
        path, line = account_path(self.directory, self.base[:16]), self.tally.line(name)
        is_noted = not self.inode or add_to_account(path, line)
        if is_sent:
            express.retire(self.directory, self.base, self.number)
        else:
            remove(self.path)
        remove(self.position_path)
        if not is_noted:  # a full disk: now there is room
            add_to_account(path, line)


def type_at(path: str) -> int:
    """Return what is at a path, FILE, FOLDER or another of inode(7), without following a link; 0: nothing. Not by
    os.path: its functions take any OSError for "no", one that a signal handler of the program has raised included.
    """
    try:
        return os.lstat(path).st_mode & KIND
    except guard.ours(OSError):
        return 0


def open_own(path: str) -> tuple[int, os.stat_result]:
    """Open a regular file of this user for reading. Raises Unreadable for anything else, OSError when absent."""
    try:
        descriptor = os.open(path, READ)
    except FileNotFoundError:
        raise
    except guard.ours(OSError) as error:
        # A link (ELOOP), a socket (ENXIO), another user's; but with all descriptors in use it is still a segment.
        if isinstance(error, PermissionError) or type_at(path) != FILE:
            raise Unreadable("no regular file of this user") from error
        raise
    try:
        facts = os.fstat(descriptor)
        if facts.st_mode & KIND != FILE:
            raise Unreadable("no regular file")
        if hasattr(os, "geteuid") and facts.st_uid != os.geteuid():
            raise Unreadable("another user's file")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, facts


def account_path(directory: str, key: str) -> str:
    """Return the path of an endpoint's account."""
    return f"{directory}/{key}.account"


def read_header(descriptor: int) -> tuple[bytes, int]:
    """Return the header line and the offset behind it. Raises Unreadable when there is none of this format."""
    header, newline, _ = os.read(descriptor, MAX_HEADER_BYTES).partition(b"\n")
    if not newline or not header.startswith(HEADER) or not header.endswith(b"}"):
        raise Unreadable("no header of a format that this version knows")
    return header, len(header) + 1


def trimmed(header: bytes) -> int:
    """Return how often a segment was made smaller, which its header says."""
    number = header.partition(b'"trimmed":')[2].partition(b",")[0]
    return int(number) if number.isdigit() and len(number) < 10 else 0


def sources_in(header: bytes) -> "dict[str, int]":
    """Return what the account has to know of the segments that a merged one was made of (rewrite.py: source_words)."""
    words = header.partition(b'"of":"')[2].partition(b'"')[0]
    tally = Tally.parse(words)
    counts = tally.counts if tally is not None else {}
    return {word: count for word, count in counts.items() if word.startswith(("of:", "had:"))}


def write_whole(path: str, data: bytes) -> None:
    """Write a small private file by rename, so that a reader finds the old or the new one. Raises OSError."""
    temporary = f"{path}.{os.getpid()}.tmp"
    descriptor = os.open(temporary, WRITE | os.O_TRUNC, 0o600)
    try:
        if os.write(descriptor, data) != len(data):
            raise OSError("the disk is full")
        os.replace(temporary, path)
    except OSError:
        remove(temporary)
        raise
    finally:
        os.close(descriptor)


def overwrite(path: str, data: bytes) -> bool:
    """Write over a small private file that has the same length; False where there is none, or the disk is full.

    To put a new file in its place by rename takes a hundred times as long: ext4 gives it a place on the disk at once
    (0.4 ms; auto_da_alloc in ext4(5)).
    """
    try:
        descriptor = os.open(path, OVERWRITE)
    except guard.ours(OSError):
        return False
    try:
        facts = os.fstat(descriptor)
        is_own = facts.st_mode & 0o170000 == 0o100000 and facts.st_nlink == 1 and facts.st_size == len(data)
        return is_own and os.write(descriptor, data) == len(data)
    except guard.ours(OSError):
        return False
    finally:
        os.close(descriptor)


def sessions(directory: str, key: str = "") -> "dict[str, list[int]]":
    """Return base -> sorted numbers of its segments, oldest session first; of one endpoint's key, or of all.

    A session without a segment (only its `.live` is there) has an empty list. Raises OSError.
    """
    found: dict[str, list[int]] = {}
    for name in os.listdir(directory):
        base, number = split_name(name) if name.startswith(key) else ("", -1)
        if base:
            numbers = found.setdefault(base, [])
            if number >= 0:
                numbers.append(number)
    if len(found) > 1:  # the ids of sessions sort by the time they were made
        found = {base: found[base] for base in sorted(found, key=session_id)}
    for numbers in found.values():
        numbers.sort()
    return found


def split_name(name: str) -> tuple[str, int]:
    """Return (base, number) of a segment's name, (base, -1) of a lock's, ("", -1) of any other file's."""
    parts = name.split(".")
    if len(parts) < 4 or (len(parts[0]), len(parts[1]), len(parts[2])) != (16, 12, 36):
        return "", -1
    if parts[3:] == ["live"]:
        return name[:66], -1
    number = parts[3]
    if parts[4:] == ["jsonl"] and len(number) < 10 and number.isascii() and number.isdigit():
        return (name[:66], int(number)) if number == str(int(number)) else ("", -1)
    return "", -1


def session_id(base: str) -> str:
    """Return the id of the session that a base names."""
    return base[30:]


def tree_of(base: str) -> str:
    """Return the tree that a base names."""
    return base[17:29]

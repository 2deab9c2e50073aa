"""Reads a segment's lines in bounded memory and tells whole ones from torn ones. Runs at exit and in commands.

Guarantees: builtin modules only; at most one chunk and one line are held, whatever the file's size or content is.
"""

import os

from monitor_auto.boot.formats import monotonic

TYPE_CHECKING = False  # Type checkers take this name for true; importing typing costs an exiting process 10 ms.
if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINE_BYTES = 66 * 1024
"""An event is at most 64 KiB; what is longer was not written by us."""
CHUNK_BYTES = 128 * 1024
KEPT_BYTES = 4096
"""How much of an overlong line is kept to be looked at."""
_CONTROLS = bytes(range(32))


class OutOfTime(Exception):
    """The deadline passed while a file was being read."""


def is_whole(line: bytes) -> bool:
    """Return whether a line that we wrote ourselves is complete.

    The only damage that happens to one is a short write, and no proper beginning of a JSON object has balanced braces
    outside its strings. So counting is exact here; what others may have written is for `strict.is_event`.
    """
    if not (line.startswith(b'{"v":') and line.endswith(b"}")):
        return False
    if b"\\" in line:
        line = line.replace(b"\\\\", b"").replace(b'\\"', b"")
    parts = line.split(b'"')
    outside = b"".join(parts[::2])
    is_balanced = len(parts) % 2 == 1 and outside.count(b"{") == outside.count(b"}")
    return is_balanced and len(line.translate(None, _CONTROLS)) == len(line)


def read_lines(descriptor: int, offset: int, deadline: float) -> "Iterator[tuple[bytes, int]]":
    """Yield (line without its newline, offset behind it), also for a last line that has no newline.

    Of a line longer than MAX_LINE_BYTES only the first KEPT_BYTES come, followed by `…`, which no whole line ends with.
    Raises OutOfTime when `time.monotonic()` passes the deadline, OSError when the disk fails.
    """
    parts: list[bytes] = []
    held = 0
    os.lseek(descriptor, offset, os.SEEK_SET)
    while chunk := os.read(descriptor, CHUNK_BYTES):
        begin = 0
        while (end := chunk.find(b"\n", begin)) >= 0:
            parts.append(chunk[begin:end])
            held += end - begin
            offset += 1
            yield _joined(parts, held), offset + held
            offset += held
            parts, held, begin = [], 0, end + 1
        held += len(chunk) - begin
        if held <= MAX_LINE_BYTES or not parts:
            parts.append(chunk[begin:])
        if monotonic() > deadline:
            raise OutOfTime
    if held:
        yield _joined(parts, held), offset + held


def _joined(parts: list[bytes], held: int) -> bytes:
    line = b"".join(parts)
    return line if held <= MAX_LINE_BYTES else line[:KEPT_BYTES] + "…".encode()

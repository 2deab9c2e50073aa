"""Whom the kernel has killed for want of memory. Runs when `session.lost` is written, of a death by SIGKILL or one that
nobody has seen. Builtin modules only.

The kernel's log names the pid: "6,1234,987654321,-;oom-kill:constraint=…,task=python,pid=4711,uid=1000" (mm/oom_kill.c;
the third number is microseconds of the monotonic clock). The system says who may read it: root, and everybody where
kernel.dmesg_restrict is 0. In a container pids are others than in the log: nothing is found there.

Guarantees: what is not known for certain is False. The log is read once in a process, for 50 ms at the most.
"""

import os

from monitor_auto.boot import guard
from monitor_auto.boot.formats import monotonic, wall_clock

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from collections.abc import Iterator

LOG = "/dev/kmsg"
MAX_SECONDS = 0.05
AGE_SECONDS = 5.0
"""So old may be what was read before."""
TOLERANCE_SECONDS = 2.0
"""Between the kernel's clock and ours."""

_kills: "list[tuple[int, float]]" = []
_read_at = -AGE_SECONDS


def is_killed(pid: "float | None", after: float, before: float) -> bool:
    """True when the log tells of a process with that pid that was killed between two times (Unix seconds)."""
    global _kills, _read_at
    now = monotonic()
    if now - _read_at >= AGE_SECONDS:
        _read_at, _kills = now, list(kills(read_log(), wall_clock() - now))
    return any(killed == pid and after - TOLERANCE_SECONDS <= at <= before for killed, at in _kills)


def kills(records: "Iterator[bytes]", offset: float) -> "Iterator[tuple[int, float]]":
    """Yield pid and Unix time of each kill that the records tell of; `offset` is when the kernel's clock was 0."""
    for record in records:
        head, _, text = record.partition(b";")
        if text.startswith(b"oom-kill:"):
            numbers = head.split(b",")
            pid = text.partition(b",pid=")[2].partition(b",")[0]
            if len(numbers) > 2 and numbers[2].isdigit() and pid.isdigit():
                yield int(pid), offset + int(numbers[2]) / 1e6


def read_log() -> "Iterator[bytes]":
    """Yield the records of the kernel's log, oldest first: each `read` gives one."""
    deadline = monotonic() + MAX_SECONDS
    try:
        log = os.open(LOG, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except guard.ours(OSError, AttributeError):  # not for us, or no Linux
        return
    try:
        while monotonic() < deadline:
            try:
                yield os.read(log, 8192)
            except guard.ours(BrokenPipeError):  # overwritten while we read: the next one is there
                continue
    except guard.ours(OSError):  # the end, for now; a sandbox that does not let us read
        return
    finally:
        os.close(log)

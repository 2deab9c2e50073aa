"""What a session that lives on says of itself: `sdk.heartbeat`, and `process.resources` with a flush. Runs in the
background thread, or the asyncio task.

Guarantees: collections of garbage are timed wholly in C: a callback in Python would have the program's signal handlers
run inside it, where what they raise (KeyboardInterrupt) is printed and lost (gcmodule.c: invoke_gc_callback, 3.10 to
3.15).
"""

import os
import sys

from monitor_auto.boot import encode, guard, recorder
from monitor_auto.boot.formats import monotonic
from monitor_auto.boot.recorder import LIFECYCLE, METRIC

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

MAX_TIMES = 20_000
"""Two for a collection; of what is more between two flushes the oldest are forgotten."""
_times: "Any" = ()
_callback: "Any" = None
more: "dict[str, Any]" = {}
"""Further facts, by name, that somebody else measures (the asyncio task: `loop_lag_ms`): a number, or a function that
returns one, or None, and starts to measure anew."""


def record_heartbeat(own: "list[int]") -> None:
    """Say that the session lives. `own` counts what is recorded here: it is none of the program's."""
    session: Any = recorder.session
    facts = {"uptime_ms": round((monotonic() - session.started_monotonic) * 1000)}
    recorder.write(LIFECYCLE, "sdk.heartbeat", encode.encode(facts))
    own[0] += 1


def record(own: "list[int]") -> None:
    """Say what the process uses."""
    recorder.write(METRIC, "process.resources", encode.encode(facts()))
    own[0] += 1


def facts() -> "dict[str, Any]":
    """Return what the process uses: processor time since its start, memory and threads now, collections since the last
    time."""
    times = os.times()
    found: dict[str, Any] = {
        "cpu_user_ms": round(times.user * 1000),
        "cpu_system_ms": round(times.system * 1000),
        **from_proc(),
        **pauses(),
    }
    for name, value in list(more.items()):
        number = guard.call("process.resources", value) if callable(value) else value
        if number is not None:  # there is none just now
            found[name] = number
    return found


def from_proc() -> "dict[str, int]":
    """Return rss_bytes, max_rss_bytes, threads and open_files from /proc (proc(5)); nothing elsewhere. Our own thread
    is none of the program's."""
    try:
        descriptor = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = os.read(descriptor, 8192)
        finally:
            os.close(descriptor)
        return {
            "rss_bytes": number_after(text, b"VmRSS:") * 1024,
            "max_rss_bytes": number_after(text, b"VmHWM:") * 1024,
            "threads": number_after(text, b"Threads:") - 1,
            "open_files": len(os.listdir("/proc/self/fd")) - 1,
        }
    except (OSError, AttributeError, IndexError, ValueError):
        return {}


def number_after(text: bytes, name: bytes) -> int:
    """Return the number behind a name."""
    return int(text.partition(name)[2].split(None, 1)[0])


def watch_collections() -> None:
    """Time the program's collections of garbage from now on, without a step of Python (see above).

    What `gc` calls is `getattr(module, phase, info)`; the module has no such name and asks its own `__getattr__`, which
    is `next` of an iterator that puts the time into a queue.
    """
    import _collections  # type: ignore[import-not-found]
    import gc

    global _times, _callback
    if _callback is not None and _callback in gc.callbacks:  # a fork has taken it along
        return
    _times = _collections.deque(maxlen=MAX_TIMES)
    method = type(guard.call.__get__(guard))
    asked = type(sys)("monitor_auto_gc")
    asked.__getattr__ = method(next, map(_times.append, iter(monotonic, None)))  # type: ignore[method-assign]
    _callback = method(getattr, asked)
    gc.callbacks.append(_callback)


def pauses() -> "dict[str, float]":
    """Return the number of collections since the last time and how long the program stood still for them."""
    taken = list(take())
    if len(taken) < 2:
        return {"gc_collections": 0, "gc_pause_ms": 0.0}
    # A start and a stop each; which is which is not known where the first was forgotten: pauses are the shorter ones.
    sums = [[b - a for a, b in zip(taken[i::2], taken[i + 1 :: 2], strict=False)] for i in (0, 1)]
    durations = min(sums, key=sum) if len(taken) > 2 else sums[0]
    return {
        "gc_collections": len(durations),
        "gc_pause_ms": round(sum(durations) * 1000, 3),
        "gc_longest_pause_ms": round(max(durations, default=0.0) * 1000, 3),
    }


def take() -> "Iterator[float]":
    """Yield the times that were noted since the last time; the program goes on meanwhile."""
    for _ in range(len(_times)):
        yield _times.popleft()

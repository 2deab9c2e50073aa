"""Cold: the limits of one session: events a second, the same error again and again, children. Builtin modules only.

The recorder takes its sequence numbers from a block (`recorder.sequence`), whose `next` is one step in C. So a limit
costs nothing until a block is used up: then `next_number` looks whether the time that has passed pays for another.

Guarantees:
- All numbers come from one counter, in order, and each is used once, also when threads and signal handlers come here at
  the same time. Nobody waits for a lock; the limit may be exceeded by what the time pays for between two of them.
- One thread at a time gets another block. Each would have paid for one, and all but one thrown theirs away: of 8,000
  events of eight threads 323 were dropped.
- What is dropped or sampled out uses up a number, so that a collector can count what it has not seen.
- Sessions, errors and the monitor's own reports are always recorded; errors and children have limits of their own.
"""

from . import guard, recorder, spool
from .formats import monotonic

END = 1 << 62
BURST_SECONDS = 10
REFILL_SECONDS = 0.1
"""A session over its limit gets what so much time pays for, then waits again: its events come in small runs."""
SAME_ERROR_A_SECOND = 10
MAX_PLACES = 256
REPORT_SECONDS = 60
"""A session that is over its limit all the time says so this often, where nothing flushes."""
PROCESS_SHARE = 10
"""Of the limit, this part is for `process.*`, beside what events have."""

RATE, PROCESS, REPEATED = "rate_limit", "process_limit", "repeated_error"
"""Why an event was dropped."""

dropped = {}
"""(reason, name of the error or "") -> an iterator that was advanced once for each dropped event."""


def reset():
    """Begin anew for the session that the recorder has, or is about to get, in this process."""
    global _report_at, _master, _bucket, _children, _turn
    limit = recorder.settings.rate_limit
    block = recorder.settings.rate_block
    _report_at = monotonic()
    _master = iter(range(block, END))
    _bucket = Bucket(limit, block)
    _children = Bucket(limit / PROCESS_SHARE, 0)
    _turn = spool.allocate_lock()
    dropped.clear()
    _storms.clear()


class Bucket:
    """What may be recorded now: `limit` a second, and what was not used of BURST_SECONDS."""

    def __init__(self, limit, taken):
        """`taken` were handed out at the start, and belong to the burst."""
        self.limit = limit
        self.most = max(limit * BURST_SECONDS - taken, 0)
        self.level = self.most
        self.looked = recorder.session.started_monotonic if recorder.session is not None else monotonic()

    def look(self):
        """Add what the time has paid for."""
        now = monotonic()
        self.level = min(self.most or 1, self.level + (now - self.looked) * self.limit)
        self.looked = now

    def take(self, count):
        """True when so many may be recorded."""
        self.look()
        if self.level < min(count, self.most or 1):
            return False
        self.level -= count
        return True


def next_number(kind, name):
    """Return the number of an event whose block is used up; None when it is over the limit."""
    number = allowed_number()
    if number is not None:
        return number
    number = next(_master)
    if kind in (recorder.ERROR, recorder.LIFECYCLE) or name[:4] == "sdk.":
        return number
    count(RATE)
    return None


def allowed_number():
    """Return a number that the limit allows, of another block, or None. While somebody else is about to get the block,
    another thread or what a signal handler has interrupted, one number is paid for by itself.
    """
    if not _turn.acquire(False):
        return next(_master) if _bucket.take(1) else None
    try:
        while True:
            number = next(recorder.sequence, None)  # somebody may just have got a block
            if number is not None or not refill():
                return number
    finally:
        _turn.release()


def refill():
    """Give the recorder another block, if there is one; False where not."""
    global _report_at
    _bucket.look()
    size = int(min(_bucket.level, recorder.settings.rate_block))
    if size < 1 or size < _bucket.limit * REFILL_SECONDS:
        return False
    _bucket.level -= size
    # `max` gives the second, the larger one: a bounded view of the counter, without a step of Python.
    recorder.sequence = map(max, range(size), _master)
    if recorder.has_report and _bucket.looked - _report_at > REPORT_SECONDS:
        _report_at = _bucket.looked
        guard.late("selfreport", "record", True)
    return True


def skip():
    """Use up the number of an event that is not recorded; it does not count for the limit."""
    try:
        next(recorder.sequence)
    except guard.ours(StopIteration):
        next(_master)
    else:
        _bucket.level += 1


def count(reason, name=""):
    """Count a dropped event."""
    counter = dropped.get((reason, name))
    if counter is None:
        if len(dropped) >= MAX_PLACES:
            name = ""
        counter = dropped.setdefault((reason, name), iter(range(END)))
    next(counter)
    recorder.has_report = True


def counted(counter):
    """Return how often a counter was advanced."""
    return END - counter.__length_hint__()


def produced():
    """Return how many numbers this session has used."""
    left = getattr(recorder.sequence, "__length_hint__", int)()  # of the first block; later ones are views
    return counted(_master) - left


def admit_error(name, place):
    """Return how many like it were left out before this error, which is to be recorded; None when it is not.

    Of the same error (`name`) at the same place the first ten of a second are recorded. `place` is anything hashable.
    """
    if not recorder.settings.rate_limit:
        return 0
    second = int(monotonic())
    storm = _storms.get((name, place))
    if storm is None or storm[0] != second:
        _storms[name, place] = [second, 1, 0]
        if len(_storms) > MAX_PLACES:
            forget_oldest()
        return storm[2] if storm is not None else 0
    storm[1] += 1
    if storm[1] <= SAME_ERROR_A_SECOND:
        return 0
    storm[2] += 1
    skip()
    count(REPEATED, name)
    return None


def forget_oldest():
    """Make room for another place; what was left out there has been counted."""
    try:
        del _storms[next(iter(_storms))]
    except guard.ours(KeyError, RuntimeError, StopIteration):  # another thread does the same
        pass


def place_of(trace):
    """Return what tells the place of an error: the file and line that raised it, as they are."""
    for _ in range(100_000):
        if trace is None or trace.tb_next is None:
            break
        trace = trace.tb_next
    return None if trace is None else (trace.tb_frame.f_code.co_filename, trace.tb_lineno)


def admit_process(events=2):
    """True when a child's events, its start and its exit, may be recorded: a tenth of MONITOR_RATE_LIMIT a second, in
    bursts ten times that. When they may not, they are counted as dropped here, and nothing more is to be done.
    """
    if not recorder.settings.rate_limit or _children.take(events):
        return True
    for _ in range(events):
        skip()
        count(PROCESS)
    return False


_storms = {}
"""(name, place) -> [second, how many then, how many of them were left out]."""
reset()

"""Cold: the session's counts of its own events: produced, sampled, sent, dropped, rejected, failures. Builtin modules
only. Runs after a flush, and before the end of a session that has something to tell.

Guarantees:
- produced = (produced - sampled) + dropped + rejected + sent + what still waits in the spool, of this session's events.
- `value` counts from the session's start, so that a report which is lost is made up for by the next one; `new` is what
  has come since the last one. A report that nothing but reports has changed is not written.
- What never reached a file is entered into the spool's account as well, and what was sampled out at each change of the
  rate: the account adds up where a session has told, and tells all but the last of one that was killed.
"""

from _thread import allocate_lock

from . import cold, encode, notes, recorder
from .formats import monotonic

counts = {}
"""(name of the metric, reason, name of the error) -> how many since the start, of what delivery has seen."""
failure = {}
"""Status and text of the last failure."""
_told = {}
_reports = 0
"""How many events were reports: that they were recorded and sent is no news."""
_entries = _entered = 0
"""Lines of dropped events that the account has of this session, and how many sampled out ones it knows of."""
_at = _full_at = -1e9
FULL_SECONDS = 30.0
"""A session that lives longer reports all of its counts, as often as this at most."""
PAUSE_SECONDS = 60.0
"""Between two reports of trouble alone: a session that is over its limit all day must not fill the ledger."""
SENT = ("sdk.events.sent", "", "")
_busy = allocate_lock()


def add(name, number, reason="", error=""):
    """Count what delivery has done with this session's events: `name` is sent, rejected or dropped, or failures."""
    if number:
        key = ("sdk.flush.failures" if name == "failures" else "sdk.events." + name), reason, error
        counts[key] = counts.get(key, 0) + number
        recorder.has_report = True


def on_failure(status, error):
    """Count a failed attempt to deliver; a collector that is overrun (429) gets less from now on."""
    add("failures", 1)
    failure.update(status=status, error=error)
    if status == 429:
        cold("sampling").halve()


def on_success():
    """Keep again what is to be kept, if less was kept for a while."""
    if is_loaded("sampling"):
        cold("sampling").restore()


def record(is_trouble_only=False):
    """Write down what has changed since the last time; with `is_trouble_only`, in a short life, not how many were
    produced and sent, as long as all of them have reached a file.
    """
    global _at, _full_at
    session, now_seconds = recorder.session, monotonic()
    if session is not None and now_seconds - max(_full_at, session.started_monotonic) >= FULL_SECONDS:
        is_trouble_only = False
    if session is None or is_trouble_only and not session.is_ended and now_seconds < _at + PAUSE_SECONDS:
        return
    if not _busy.acquire(False):
        return
    try:
        recorder.has_report, _at = False, now_seconds
        reports = _reports
        limits, out = cold("limits"), cold("sampling").sampled_out() if is_loaded("sampling") else 0
        now = dict(counts)
        for (reason, name), counter in list(limits.dropped.items()):
            now["sdk.events.dropped", reason, name] = limits.counted(counter)
        fresh = {key: value - _told.get(key, 0) for key, value in now.items() if value > _told.get(key, 0)}
        enter_sampled(out)
        has_gaps = enter(fresh) or out > _told.get("out", 0)
        produced, sent = limits.produced(), fresh.get(SENT, 0)
        own = produced - _reports
        is_more = own > _told.get("own", 0) or sent > _reports - _told.get("reports", 0) or set(fresh) - {SENT}
        if is_trouble_only:
            fresh.pop(SENT, None)
        elif not is_more:  # only the last reports were sent
            return
        if has_gaps or not is_trouble_only:
            write("sdk.events.produced", produced, produced - _told.get("produced", 0))
            _told["produced"] = produced
        if out and (has_gaps or not is_trouble_only):
            write("sdk.events.sampled", produced - out, produced - out - _told.get("sampled", 0))
            _told["sampled"] = produced - out
        for key, new in fresh.items():
            write(key[0], now[key], new, *key[1:])
            _told[key] = now[key]
        _told["out"] = out
        if not is_trouble_only and not session.is_ended and is_loaded("hooked"):
            write_hooks()
        if not is_trouble_only:
            _told["own"], _told["reports"], _full_at = own, reports, now_seconds
    finally:
        _busy.release()


def is_loaded(name):
    """True when a cold module has been needed in this process."""
    return name in cold.__globals__


def reset():
    """Begin anew, in a forked child."""
    global _busy, _reports, _at, _full_at, _entered
    counts.clear()
    _told.clear()
    _busy, _reports, _at, _full_at, _entered = allocate_lock(), 0, -1e9, -1e9, 0
    failure.clear()


def write(metric, value, new, reason="", name=""):
    """Write one of the counts."""
    global _reports
    _reports += 1
    facts = {"value": value, "new": new}
    if metric == "sdk.flush.failures":
        facts.update(failure)
    if reason:
        facts["reason"] = reason
    if name:
        facts["name"] = name
    recorder.write(recorder.METRIC, metric, encode.encode(facts))


def write_hooks():
    """Say what is hooked, and how much each hook has recorded; the end of the session says it by itself."""
    global _reports
    text = cold("hooked").news()
    if text is not None:
        _reports += 1
        recorder.write(recorder.LIFECYCLE, "sdk.hooks", text)


def enter(fresh):
    """Put what was dropped before it reached a file into the ledger and the account. True when there was any."""
    global _entries
    lost = 0
    for (_, reason, name), number in fresh.items():
        if (reason, name) in cold("limits").dropped:
            more = {"name": name} if name else {}
            notes.ledger("dropped", reason=reason, count=number, **more)
            lost += number
    if lost:
        add_to_account("limits.%d" % _entries, "dropped", lost)
        _entries += 1
    return lost > 0


def enter_sampled(out):
    """Put how many were sampled out since the start into the account, where the last line of a name counts."""
    global _entered
    if out > _entered:
        _entered = out
        add_to_account("sampled", "sampled_out", out)


def add_to_account(name, fate, number):
    """Tell the account of events that are in no file."""
    segment = recorder.segment
    if segment.directory is not None:
        line = "%s.%s last=-1 %s=%d\n" % (recorder.session.id, name, fate, number)
        cold("express").add_to_account(segment.directory + "/" + segment.key + ".account", line.encode())

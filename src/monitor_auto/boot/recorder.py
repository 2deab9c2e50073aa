"""Hot: one line for the segment: time, id, source, session, data. Builtin modules only. `recording.py` encodes and
redacts what comes from the program; what we record ourselves at start and end needs neither.

Guarantees: `write` returns the event's id after the line is written (or queued, where no disk takes it), or None for
one that is over the rate limit. It waits for no lock, and a full stack costs no line. A sequence number is used once,
also when threads, signal handlers and `__del__` record at the same time.
"""

import time

from . import cold, formats, guard, spool, system

EVENT = '{"v":1,"type":"event","name":"'
ERROR = '{"v":1,"type":"error","name":"'
METRIC = '{"v":1,"type":"metric","name":"'
LIFECYCLE = '{"v":1,"type":"lifecycle","name":"'

CHECK_EVENTS = 1023
"""The segment's descriptor is looked at once a second, and every this many events (a power of two less one)."""

_time = time.time  # the program may replace that of the module
_shown = {}
"""How milliseconds are shown, once they have been."""

session = None
"""The session that this process is; None: dormant, nothing is recorded."""
segment = None
settings = None
is_closed = False
has_report = False
"""Something was dropped, sampled out or delivered that `selfreport.py` has to tell."""
wake = None
"""Called before the next event is written: in a sleeping child that has no session yet, and after an exec."""


def begin(given_settings, given_session):
    """Record for this session from now on."""
    global settings, session, sequence, has_report, _id_prefix, _clock
    settings = given_settings
    # Its `next` is one step in C (itertools would cost 0.5 M instructions); its end is where limits are looked at.
    sequence = iter(range(given_settings.rate_block))
    has_report = False
    _id_prefix = given_session.id + "-"
    second, before, after = given_session.clock
    _clock = (second, f'","timestamp":"{before}', f'{after}","event_id":"')
    session = given_session


def load_record(kind, name, data):
    """Record an event of anybody: kind is EVENT, ERROR, METRIC or LIFECYCLE. The first one loads what that takes."""
    global record
    if session is None:
        return None
    made = guard.late("recording", "make_record")
    if made is None:
        return None
    record = made
    return record(kind, name, data)


record = load_record


def record_facts(name, facts):
    """Record a lifecycle event whose facts are our own: nothing in them is secret."""
    text = formats.flat_object(facts)
    return write(LIFECYCLE, name, text if len(text) < 15000 else cold("encode").encode(facts))


def write(kind, name, text):
    """Write one event with data that is encoded and redacted. Return its id, or None when it is over the limit."""
    global wake
    if wake is not None:
        call, wake = wake, None
        call()
    now = _time()
    clock = _clock
    since = now - clock[0]
    number = next(sequence, None)
    if number is None:
        number = cold("limits").next_number(kind, name)
        if number is None:
            return None
    if not 0 <= since < 1 or number & CHECK_EVENTS == CHECK_EVENTS:
        try:
            clock = tick(int(now))
            since = now - clock[0]
        except RecursionError:  # no room for a call: better a time that is too early than no event
            since = 0
    event_id = f"{_id_prefix}{number}"
    milliseconds = int(since * 1000)
    shown = _shown.get(milliseconds)  # a format of 03d takes ten times as long
    if not shown:
        shown = _shown[milliseconds] = str(milliseconds + 1000)[1:]
    line = f'{kind}{name}{clock[1]}{shown}{clock[2]}{event_id}",{session.tail}{text}}}\n'.encode()
    try:
        if segment.queue or segment.is_low:
            cold("repairs").append_carefully(segment, line)
            return event_id
        try:
            written = system.write(segment.fd, line)
        except guard.ours(OSError):  # closed by the program, a full disk, a segment not open yet
            cold("repairs").append_carefully(segment, line)
            return event_id
        if written != len(line):
            segment.is_torn = True
            cold("repairs").append_carefully(segment, line)
    except RecursionError:  # the program is so deep that not even our calls have room
        if line not in segment.queue:
            segment.queue.append(line)
            segment.queue_bytes += len(line)
    return event_id


def tick(second):
    """Once a second: make the timestamp's texts and look after the segment."""
    global _clock
    before, after = formats.clock_texts(second)
    _clock = clock = (second, f'","timestamp":"{before}', f'{after}","event_id":"')
    guard.call("segment check", spool.check, segment)
    if settings.flush_interval_seconds:
        show_life()
    return clock


def show_life():
    """The program does something: start the background thread, or tell it so. What comes after the session's end, its
    last line or the interpreter's last collections, is no sign of life: 0.5 M instructions to load what would say so.
    """
    if session is not None and not session.is_ended:
        guard.late("background", "of_life")

"""Hot: one line for the segment: time, id, source, session, data. Builtin modules only. `recording.py` encodes and redacts
what comes from the program; what we record ourselves at start and end needs neither.

Guarantees: `write` returns the event's id after the line is written (or queued, where no disk takes it). It waits for no
lock. A sequence number is used once, also when threads, signal handlers and `__del__` record at the same time.
"""

import os
from itertools import count
from time import time

from . import cold, guard
from .json_text import flat_object
from .session import clock_texts

EVENT = '{"v":1,"type":"event","name":"'
ERROR = '{"v":1,"type":"error","name":"'
METRIC = '{"v":1,"type":"metric","name":"'
LIFECYCLE = '{"v":1,"type":"lifecycle","name":"'

CHECK_EVENTS = 1023
"""The segment's descriptor is looked at once a second, and every this many events (a power of two less one)."""


class Recorder:
    """Records the events of the session that this process is; dormant while `session` is None."""

    __slots__ = ("session", "segment", "settings", "sequence", "id_prefix", "clock", "wake", "is_closed", "record")

    def __init__(self):
        self.session = self.segment = self.settings = self.wake = None
        self.is_closed = False
        self.record = self.load_record

    def start(self, settings, session, segment):
        """Record for this session from now on."""
        self.settings = settings
        self.segment = segment
        self.sequence = count(0)
        self.id_prefix = session.id + "-"
        self.clock = (0, "", "")
        self.session = session

    def load_record(self, kind, name, data):
        """Record an event of anybody: kind is EVENT, ERROR, METRIC or LIFECYCLE. The first one loads what that takes."""
        if self.session is None:
            return None
        self.record = guard.call("recording", self.make_record) or self.load_record
        return self.record(kind, name, data) if self.record != self.load_record else None

    def make_record(self):
        """Return `recording.py`'s function for this recorder."""
        return cold("recording").make_record(self)

    def record_facts(self, name, facts):
        """Record a lifecycle event whose facts are our own: nothing in them is secret."""
        return self.write(LIFECYCLE, name, flat_object(facts))

    def write(self, kind, name, text):
        """Write one event with data that is encoded and redacted. Return its id."""
        if self.wake is not None:
            self.wake_up()
        now = time()
        second = int(now)
        clock = self.clock
        number = next(self.sequence)
        if clock[0] != second or not number & CHECK_EVENTS:
            clock = self.tick(second)
        event_id = f"{self.id_prefix}{number}"
        line = (
            f'{kind}{name}","timestamp":"{clock[1]}{int((now - second) * 1000):03d}{clock[2]}"'
            f',"event_id":"{event_id}",{self.session.tail}{text}}}\n'
        ).encode()
        segment = self.segment
        if segment.queue:
            segment.append_carefully(line)
            return event_id
        try:
            written = os.write(segment.fd, line)
        except OSError:  # closed by the program, a full disk, a segment not open yet
            segment.append_carefully(line)
            return event_id
        if written != len(line):
            segment.is_torn = True
            segment.append_carefully(line)
        return event_id

    def sleep(self, wake):
        """Be no session until somebody records: then `wake` is called first."""
        self.wake = wake

    def wake_up(self):
        """Start the session that a sleeping child has not started yet."""
        wake, self.wake = self.wake, None
        wake()

    def tick(self, second):
        """Once a second: make the timestamp's texts and look after the segment."""
        is_first = not self.clock[0]
        self.clock = clock = (second, *clock_texts(second))
        if not is_first:
            guard.call("segment check", self.segment.check)
        return clock


recorder = Recorder()

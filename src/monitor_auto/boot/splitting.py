"""Cold: finds the lines `monitor-event: {…}` in a stream of bytes. Builtin modules only; knows nothing of events.

Guarantees:
- What is passed on and the lines that were taken, in their order, are the input, whatever way it was cut into blocks.
- A line is held back only while it may still be one of these, and at most MAX_LINE_BYTES of it.
"""

PREFIX = b"monitor-event:"
MAX_LINE_BYTES = 65536
_BREAKS = b"\r\n"


class Splitter:
    """One stream. `take(line)` is asked for each candidate, line end included, and answers whether it was an event.

    A line begins behind a newline, or behind the carriage return by which a progress bar starts over. It ends with a
    newline, or with the stream.
    """

    def __init__(self, take):
        self.take = take
        self.malformed = self.oversized = 0
        self._held = bytearray()
        self._shown = 0  # bytes of what is held that were released
        self._is_begun = False  # the prefix and a brace are there: only the line's end is awaited
        self._is_at_start = True

    @property
    def is_holding(self):
        """True while bytes are held back that nobody has seen yet."""
        return len(self._held) > self._shown

    def feed(self, data):
        """Return what is to be passed on after this block."""
        if not self._held and PREFIX not in data:  # nearly every block
            place = self._tail(data, 0)
            if place < 0:
                self._note_end(data)
                return data
        passed = []
        begin = self._go_on(data, passed) if self._held else 0
        while begin < len(data):
            place = self._candidate(data, begin)
            if place < 0:
                passed.append(data[begin:])
                self._note_end(data)
                break
            passed.append(data[begin:place])
            begin = place + self._go_on(data[place:], passed)
        return b"".join(passed)

    def release(self):
        """Return what is held, because somebody may be waiting for it: a prompt. The line can still become an event."""
        data = bytes(self._held[self._shown :])
        self._shown = len(self._held)
        return data

    def finish(self):
        """Return what is left at the end of the stream; a last line needs no newline."""
        passed = []
        if self._is_begun:
            self._settle(passed)
        elif self._held:
            self.malformed += len(self._held) >= len(PREFIX)
            self._let_go(passed)
        return b"".join(passed)

    def _candidate(self, data, begin):
        """Return where the next line begins that may be one, from `begin` on; -1 for nowhere."""
        place = data.find(PREFIX, begin)
        while place >= 0 and not self._is_start(data, place):
            place = data.find(PREFIX, place + 1)
        return place if place >= 0 else self._tail(data, begin)

    def _is_start(self, data, place):
        return data[place - 1] in _BREAKS if place else self._is_at_start

    def _tail(self, data, begin):
        """Return where a beginning of the prefix ends the block; -1 for nowhere."""
        last = data[-len(PREFIX) + 1 :]
        place = len(data) - len(last) + max(last.rfind(b"\n"), last.rfind(b"\r")) + 1
        is_beginning = begin <= place < len(data) and PREFIX.startswith(data[place:])
        return place if is_beginning and self._is_start(data, place) else -1

    def _note_end(self, data):
        if data:
            self._is_at_start = data[-1] in _BREAKS

    def _go_on(self, data, passed):
        """Add to the line that is held; return how many bytes of the block belong to it."""
        held = self._held
        room = MAX_LINE_BYTES + 1 - len(held)
        end = data.find(b"\n", 0, room)
        piece = data[: end + 1] if end >= 0 else data[:room]
        before = len(held)
        held += piece
        if not self._is_begun and not self._may_be(held):
            self.malformed += before >= len(PREFIX) or held.startswith(PREFIX)
            return self._refuse(before, held, passed)
        if end >= 0:
            self._settle(passed)
        elif len(held) > MAX_LINE_BYTES:
            self.oversized += 1
            last = held[-1]
            self._let_go(passed)
            self._is_at_start = last in _BREAKS
        return len(piece)

    def _may_be(self, held):
        """True while the line begins as an event's: the prefix, blanks, a brace."""
        if len(held) < len(PREFIX):
            return PREFIX.startswith(held)
        if not held.startswith(PREFIX):
            return False
        rest = held[len(PREFIX) :].lstrip(b" \t")
        self._is_begun = rest[:1] == b"{"
        return self._is_begun or not rest

    def _refuse(self, before, held, passed):
        """Pass on what was held before this block, and one byte: what follows is looked at as any text."""
        count = max(before, 1)
        del held[count:]
        self._let_go(passed)
        self._is_at_start = False
        return count - before

    def _settle(self, passed):
        """The line is complete: take it, or pass it on. Of one that was released in part the rest is passed on, too."""
        line = bytes(self._held)
        is_taken = self.take(line)
        self.malformed += not is_taken
        if is_taken and not self._shown:
            self._held.clear()
            self._is_begun = False
        else:
            self._let_go(passed)
        self._is_at_start = True

    def _let_go(self, passed):
        passed.append(bytes(self._held[self._shown :]))
        self._held.clear()
        self._shown = 0
        self._is_begun = False

"""The splitter: whatever way a stream is cut into blocks, what passes and what is taken are the whole stream."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitor_auto.boot import splitting

EVENT = b'monitor-event: {"name": "a.b"}'
PIECES = st.one_of(
    st.sampled_from(
        [EVENT, EVENT + b"\n", EVENT + b"\r\n", b"monitor-event:", b"monitor-event: ", b"monitor-", b"m", b"{", b"\n",
         b"\r", b"\r\n", b"\0", b"\xff\xfe", b'monitor-event:{"name":"x"}\n', b"monitor-event: [1]\n", b" ", b"\t",
         b"monitor-event: {no json}\n", b"50%\r", b"text", b"\x1b[31mred\x1b[0m"]
    ),
    st.binary(max_size=20),
)  # fmt: skip
STREAMS = st.lists(PIECES, max_size=30).map(b"".join)


def is_event(line: bytes) -> bool:
    """Take what is JSON behind the prefix."""
    try:
        return isinstance(json.loads(line.removeprefix(splitting.PREFIX)), dict)
    except ValueError:
        return False


class Recording:
    """A splitter and, in their order, what it passed on and what it took."""

    def __init__(self) -> None:
        self.parts: list[tuple[str, bytes]] = []
        self.splitter = splitting.Splitter(self.take)

    def take(self, line: bytes) -> bool:
        if is_event(line):
            self.parts.append(("taken", line))
            return True
        return False

    def feed(self, *blocks: bytes) -> "Recording":
        for block in blocks:
            self.parts.append(("passed", self.splitter.feed(block)))
        return self

    def finish(self) -> "Recording":
        self.parts.append(("passed", self.splitter.finish()))
        return self

    @property
    def passed(self) -> bytes:
        return b"".join(part for kind, part in self.parts if kind == "passed")

    @property
    def taken(self) -> list[bytes]:
        return [part for kind, part in self.parts if kind == "taken"]

    @property
    def counts(self) -> tuple[int, int]:
        return self.splitter.malformed, self.splitter.oversized


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """Cut a stream at these places."""
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[begin:end] for begin, end in zip(edges, edges[1:], strict=False)]


def expected(stream: bytes) -> tuple[bytes, list[bytes]]:
    """Say it in the plainest way: look at the stream from one beginning of a line to the next."""
    passed, taken, place, is_start = b"", [], 0, True
    while place < len(stream):
        end = stream.find(b"\n", place)
        line = stream[place : end + 1] if end >= 0 else stream[place:]
        rest = line.removeprefix(splitting.PREFIX).lstrip(b" \t")
        is_candidate = is_start and line.startswith(splitting.PREFIX) and rest.startswith(b"{")
        if is_candidate and len(line.removesuffix(b"\n")) > splitting.MAX_LINE_BYTES:
            line = line[: splitting.MAX_LINE_BYTES + 1]
            passed += line
        elif is_candidate and is_event(line):
            taken.append(line)
        elif is_candidate:
            passed += line
        else:
            line = stream[place : place + 1]
            passed += line
        place += len(line)
        is_start = line[-1:] in (b"\r", b"\n")
    return passed, taken


@settings(max_examples=400, deadline=None)
@given(stream=STREAMS, places=st.lists(st.integers(0, 10_000), max_size=12))
@example(stream=EVENT, places=[1])
@example(stream=b"monitor-event:x\r" + EVENT + b"\n", places=[15])
@example(stream=b"monimonitor-event: {}\n" + EVENT, places=[4])
def test_passed_and_taken_are_the_input_whatever_the_blocks(stream: bytes, places: list[int]) -> None:
    """A byte too many or too few in somebody's output, now and then, is what nobody would ever find."""
    done = Recording().feed(*cut(stream, places)).finish()
    assert (done.passed, done.taken) == expected(stream)
    assert done.counts == Recording().feed(stream).finish().counts
    assert sorted(done.passed + b"".join(done.taken)) == sorted(stream)


@settings(max_examples=100, deadline=None)
@given(stream=STREAMS)
def test_byte_for_byte_is_no_other_than_at_once(stream: bytes) -> None:
    """A program without a buffer writes one byte at a time."""
    slow = Recording().feed(*[stream[index : index + 1] for index in range(len(stream))]).finish()
    assert (slow.passed, slow.taken) == expected(stream)


@settings(max_examples=100, deadline=None)
@given(stream=STREAMS)
def test_released_bytes_are_shown_once_and_the_event_is_still_taken(stream: bytes) -> None:
    """What waited too long is shown: it may be a prompt. If its line ends as an event after all, that counts, too."""
    done = Recording()
    for index in range(len(stream)):
        done.feed(stream[index : index + 1])
        done.parts.append(("passed", done.splitter.release()))
        assert not done.splitter.is_holding
        assert done.passed == stream[: index + 1]
    done.finish()
    assert (done.passed, done.taken) == (stream, expected(stream)[1])


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b""])
@pytest.mark.parametrize("more", [-1, 0, 1, 70_000])
@pytest.mark.parametrize("block", [1000, 65536, 1 << 20])
def test_line_of_64_kib_is_the_longest(ends: bytes, more: int, block: int) -> None:
    """A child that writes gigabytes without a newline must not fill our memory."""
    head, tail = b'monitor-event: {"k":"', b'"}'
    carriage = len(ends.removesuffix(b"\n"))
    size = splitting.MAX_LINE_BYTES - len(head) - len(tail) - carriage + more
    stream = b"before\n" + head + b"x" * size + tail + ends
    done = Recording()
    for index in range(0, len(stream), block):
        done.feed(stream[index : index + block])
        assert len(done.splitter._held) <= splitting.MAX_LINE_BYTES + 1
    done.finish()
    assert len(done.taken) == (more <= 0)
    assert done.splitter.oversized == (more > 0)
    assert done.passed == (b"before\n" if more <= 0 else stream)


def test_line_is_held_only_while_it_may_be_an_event() -> None:
    """A prompt or a progress bar has no newline, and must be seen at once."""
    done = Recording()
    for block, shown in ((b"$ ", b"$ "), (b"monitor", b"monitor"), (b"\nmoni", b"\n"), (b"tor> ", b"monitor> "),
                         (b"\r50%", b"\r50%"), (b"\rmonitor-event:", b"\r"), (b"x", b"monitor-event:x")):  # fmt: skip
        assert done.splitter.feed(block) == shown
    assert done.counts == (1, 0)


def test_line_begins_behind_a_newline_or_a_carriage_return_only() -> None:
    """What quotes an event in a sentence is no event."""
    stream = b"see " + EVENT + b"\n" + EVENT + b"\n50%\r" + EVENT + b"\r\nend"
    done = Recording().feed(stream).finish()
    assert done.taken == [EVENT + b"\n", EVENT + b"\r\n"]
    assert done.passed == b"see " + EVENT + b"\n50%\rend"


def test_what_began_as_an_event_and_is_none_is_counted() -> None:
    """The author of a script has to learn of a typo in a line that vanishes in a log."""
    stream = b"monitor-event: {oops\nmonitor-event: no\nmonitor-event:\nmonitor\nmonitor-event: [1]\nmonitor-event: {"
    done = Recording().feed(stream).finish()
    assert (done.passed, done.taken, done.counts) == (stream, [], (5, 0))

"""What reads segments, as pure functions: any bytes at all, compared with simpler code or with the standard library."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor_auto.delivery.lines import KEPT_BYTES, MAX_LINE_BYTES, is_whole, read_lines
from monitor_auto.delivery.segments import session_id, split_name, tree_of
from monitor_auto.delivery.strict import MAX_DEPTH, is_event, is_json_object

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
KEYS = ("type", "name", "timestamp", "event_id")
EXAMPLES = settings(max_examples=100, deadline=None)


@contextmanager
def file_of(data: bytes) -> Iterator[int]:
    """Yield a descriptor of a file with this content."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        yield file.fileno()


@st.composite
def events(draw: st.DrawFn) -> bytes:
    """Make lines as a session writes them."""
    facts: dict[str, Any] = {"v": 1, **{key: draw(st.text(max_size=20)) for key in KEYS}}
    facts.update(source=draw(st.dictionaries(st.text(max_size=5), JSON, max_size=3)), session={"id": "x"})
    facts["data"] = draw(JSON)
    return json.dumps(facts, separators=(",", ":"), ensure_ascii=draw(st.booleans())).encode("utf-8", "replace")


def strict_loads(text: str) -> Any:
    """Parse as the standard says: without NaN and Infinity."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


def depth(value: Any) -> int:
    """Return how deep a value is nested."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


@EXAMPLES
@given(
    st.lists(st.binary(max_size=200) | st.binary(min_size=1, max_size=3).map(lambda part: part * 70_000), max_size=8)
)
def test_lines_are_those_of_the_file_wherever_the_chunks_end(parts: list[bytes]) -> None:
    """A position that is off by one skips an event or delivers half of one."""
    data = b"\n".join(parts)
    with file_of(data) as descriptor:
        found = list(read_lines(descriptor, 0, float("inf")))
        whole = data.split(b"\n")
        whole = whole[:-1] if not whole[-1] else whole
        assert len(found) == len(whole)
        offset = 0
        for (text, end), line in zip(found, whole, strict=True):
            offset = min(offset + len(line) + 1, len(data))
            assert end == offset
            if len(line) <= MAX_LINE_BYTES:
                assert text == line
            else:
                assert text == line[:KEPT_BYTES] + "…".encode()
        for _, end in found[:3]:
            assert [text for text, _ in read_lines(descriptor, end, float("inf"))] == [
                text for text, other in found if other > end
            ]


@EXAMPLES
@given(events(), st.data())
def test_whole_is_what_was_not_torn(line: bytes, data: st.DataObject) -> None:
    """A short write leaves the beginning of a line: none of them may pass for an event, and no event for torn."""
    assert is_whole(line)
    assert is_event(line)
    cut = line[: data.draw(st.integers(1, len(line) - 1))]
    assert not is_whole(cut)
    assert not is_event(cut)
    assert not is_whole(cut + line)


@EXAMPLES
@given(JSON)
def test_every_json_object_is_one(value: Any) -> None:
    """An event that the grammar wrongly refuses is set aside: lost."""
    for text in (json.dumps(value), json.dumps(value, indent=1, ensure_ascii=False).replace("\n", " ")):
        assert is_json_object(text) == (isinstance(value, dict) and depth(value) <= MAX_DEPTH)


ALPHABET = '{}[],:" \\/bfnrtu0123456789aAeE+-.truefalsn\x00\x1f\x7f\u00e9\u2028'


@EXAMPLES
@given(st.text(ALPHABET, max_size=40) | st.text(max_size=40), JSON, st.data())
def test_grammar_agrees_with_the_standard_library(noise: str, value: Any, data: st.DataObject) -> None:
    """Whatever passes here goes to the collector within a batch; one bad line there refuses a hundred good ones."""
    text = json.dumps({"a": value})
    place = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(place, min(len(text), place + 5)))
    for candidate in (noise, "{" + noise + "}", text[:place] + noise + text[end:], text[:place] + text[end:]):
        if "\n" in candidate:
            continue
        try:
            parsed = strict_loads(candidate)
        except (ValueError, RecursionError):
            assert not is_json_object(candidate)
        else:
            expected = isinstance(parsed, dict) and depth(parsed) <= MAX_DEPTH
            assert is_json_object(candidate) == expected or not expected


@EXAMPLES
@given(st.binary(max_size=300))
def test_any_bytes_are_judged_without_an_error(line: bytes) -> None:
    """What another program wrote into our folder must not stop what stands behind it."""
    for candidate in (line, b'{"v":1,' + line + b"}"):
        if is_event(candidate):
            assert isinstance(json.loads(candidate), dict)
        is_whole(candidate)


@EXAMPLES
@given(
    st.text(max_size=90) | st.from_regex(r"[0-9a-f]{16}\.[0-9a-f]{12}\.[0-9a-f-]{36}\.[0-9a-z.]{0,12}", fullmatch=True)
)
def test_only_exact_names_are_segments(name: str) -> None:
    """A name that two parsers read differently is how a file is delivered twice."""
    base, number = split_name(name)
    if number >= 0:
        assert name == f"{base}.{number}.jsonl"
    elif base:
        assert name == f"{base}.live"
    if base:
        assert [len(part) for part in base.split(".")] == [16, 12, 36]
        assert base == f"{base[:16]}.{tree_of(base)}.{session_id(base)}"


def test_names_as_they_are_written() -> None:
    """The property above holds for a function that knows no name at all."""
    base = f"{'a' * 16}.{'b' * 12}.{'c' * 36}"
    assert split_name(f"{base}.0.jsonl") == (base, 0)
    assert split_name(f"{base}.12.jsonl") == (base, 12)
    assert split_name(f"{base}.live") == (base, -1)
    for name in (f"{base}.012.jsonl", f"{base}.0.jsonl.17.tmp", f"{base}.0.sent", f"{base}.٣.jsonl", "ledger.jsonl"):
        assert split_name(name) == ("", -1)
    assert os.path.basename(base) == base

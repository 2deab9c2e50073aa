"""Values: whatever a program records becomes one line of valid JSON, bounded, and what was cut says so."""

import json
import math
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor_auto.boot import encode, errors, recording
from support.children import Children
from support.collector import MAX_EVENT_BYTES
from support.spool import segments


class Marker(Exception):
    """Raised by misbehaving objects below."""


class Misbehaving:
    """Raises in everything that an encoder could ask it."""

    def fail(self, *args: object) -> Any:
        raise Marker

    __repr__ = __str__ = __len__ = __iter__ = __getitem__ = keys = items = __bool__ = fail
    __index__ = __float__ = __int__ = __hash__ = __eq__ = fail


class Liar(Misbehaving):
    """Says that it is an int."""

    __class__ = int  # type: ignore[assignment]


class RaisingClass(Misbehaving):
    """Raises when it is asked for its class."""

    @property
    def __class__(self) -> type:
        raise Marker


class HostileType(type):
    """A metaclass that answers nothing."""

    def __getattribute__(cls, name: str) -> Any:
        raise Marker


class OfHostileType(metaclass=HostileType):
    """Its class has no name that can be asked for."""


class HostileInt(int):
    __repr__ = __str__ = __format__ = bit_length = __index__ = __sub__ = Misbehaving.fail  # type: ignore[assignment]


class HostileFloat(float):
    __repr__ = __str__ = __format__ = __sub__ = __eq__ = Misbehaving.fail  # type: ignore[assignment]


class HostileStr(str):
    __repr__ = __str__ = __len__ = __getitem__ = lower = encode = translate = Misbehaving.fail  # type: ignore[assignment]
    __eq__ = Misbehaving.fail  # type: ignore[assignment]
    __hash__ = str.__hash__


class HostileDict(dict):  # type: ignore[type-arg]
    keys = items = __iter__ = __len__ = __getitem__ = __repr__ = Misbehaving.fail  # type: ignore[assignment]


class HostileList(list):  # type: ignore[type-arg]
    __len__ = __getitem__ = __repr__ = Misbehaving.fail  # type: ignore[assignment]

    def __iter__(self) -> Iterator[int]:
        yield 1
        raise Marker


class Endless:
    """A mapping whose keys never end."""

    def keys(self) -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1

    def __getitem__(self, key: int) -> int:
        return key


def encoded(value: object) -> Any:
    """Return a value as a reader of the spool would see it, after the checks that hold for every one."""
    text = encode.encode(value)
    data = text.encode()
    assert len(data) <= encode.MAX_DATA_BYTES
    assert not set(data) & set(range(32)), "a control character: readers split at some of them"
    assert "\u2028" not in text and "\u2029" not in text
    return json.loads(text, parse_constant=pytest.fail)


HOSTILE = [
    (Misbehaving(), "reading stopped: Marker"),
    (Liar(), "reading stopped: Marker"),
    (RaisingClass(), "reading stopped: Marker"),
    (OfHostileType(), "OfHostileType"),
    (HostileInt(7), 7),
    (HostileFloat(0.5), 0.5),
    (HostileStr("text"), "text"),
    (HostileDict(a=1), {"a": 1}),
    (HostileList([1, 2]), "reading stopped: Marker"),
]


@pytest.mark.parametrize("value, expected", HOSTILE, ids=[type.__repr__(type(value)) for value, _ in HOSTILE])
def test_misbehaving_object_costs_its_own_value_only(value: object, expected: object) -> None:
    """A program that records its state must not lose the rest of it to one odd object."""
    seen = encoded({"before": 1, "odd": value, "after": 2})
    assert (seen["before"], seen["after"]) == (1, 2)
    assert seen["odd"] == expected or str(expected) in str(seen["odd"])


@pytest.mark.parametrize("failure", [SystemExit, MemoryError, RecursionError, GeneratorExit])
def test_repr_that_raises_anything_is_named(failure: type[BaseException]) -> None:
    """What a __repr__ raises is its class's business; recording never raises."""

    class Odd:
        def __repr__(self) -> str:
            raise failure

    assert encoded([Odd()]) == [f"<Odd whose repr raised {failure.__name__}>"]


def test_repr_without_end_does_not_reach_the_program() -> None:
    """Two objects that print each other are a classic."""

    class Odd:
        def __repr__(self) -> str:
            return repr([self])

    assert "RecursionError" in encoded({"odd": Odd()})["odd"]


def test_interrupt_during_repr_gets_through() -> None:
    """Ctrl-C belongs to the user."""

    class Slow:
        def __repr__(self) -> str:
            raise KeyboardInterrupt

    for value in (Slow(), {"a": [Slow()]}):
        with pytest.raises(KeyboardInterrupt):
            encode.encode(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_has_not_become_text(value: float) -> None:
    """`NaN` in a line would make the whole batch unreadable for a strict collector."""
    assert encoded({"value": value}) == {"value": str(value)}


def test_integers_that_other_languages_cannot_hold_become_text() -> None:
    """A collector in JavaScript would round them; Python itself refuses to print the largest."""
    assert encoded([2**53, -(2**70)]) == [2**53, str(-(2**70))]
    assert encoded(1 << 100_000) == "<int of 100001 bits>"


def test_text_of_ten_megabytes_is_cut_and_says_so() -> None:
    """A response body that slipped into an event must not fill the spool."""
    (seen,) = encoded(["x" * 10_000_000])
    assert len(seen) < 33_000
    assert seen.endswith("… [cut, 10000000 characters]")


def test_depth_count_and_cycles_are_bounded_and_say_so() -> None:
    """Any object graph may be handed over."""
    cycle: dict[str, Any] = {"name": "loop"}
    cycle["self"] = cycle
    assert "… [cut, dict]" in json.dumps(encoded(cycle), ensure_ascii=False)
    assert encoded(list(range(500)))[-1] == "… [400 more items cut]"
    assert encoded({str(number): number for number in range(500)})["_cut"] == "400 more items cut"
    assert encoded(Endless())["_cut"] == "some more items cut"


def test_much_of_everything_leaves_more_than_a_note() -> None:
    """The largest data is what somebody records when something is badly wrong: some of it has to be seen."""
    wide = {f"{number:03}" + "\x01" * 125: ["\x02" * 3000] * 40 for number in range(100)}
    assert any(key.startswith("000") for key in encoded(wide))


def test_names_and_keys_that_are_no_text_become_some() -> None:
    """JSON has only texts as keys."""
    assert encoded({1: "a", None: "b", (1, 2): "c", b"k": "d"}) == {"1": "a", "None": "b", "(1, 2)": "c", "b'k'": "d"}


def test_surrogates_and_line_separators_are_escaped() -> None:
    """File names that are not UTF-8 reach programs as lone surrogates; they must not break the line."""
    assert encoded({"\udcff": "a\ud800b\u2028\n\0"}) == {"\\udcff": "a\\ud800b\u2028\n\0"}


# By number: hypothesis prints what it samples from.
hostile = st.integers(0, len(HOSTILE) - 1).map(lambda number: HOSTILE[number][0])
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates() | st.decimals()
    | st.characters(categories=["Cs"]) | hostile,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
)  # fmt: skip


@given(anything)
@settings(deadline=None)
def test_any_value_is_one_line_of_json(value: object) -> None:
    """The one promise that every reader of the spool relies on."""
    encoded(value)


@given(st.text() | st.binary() | st.none() | st.integers() | hostile)
@settings(deadline=None)
def test_any_name_becomes_a_name(given_name: object) -> None:
    """A collector groups by name: it has no spaces, no line ends, a bounded length, and is never empty."""
    remarks: list[str] = []
    name = recording.learn_name(given_name, remarks)
    assert 0 < len(name) <= recording.MAX_NAME_CHARS + 13
    assert name.isascii() and name.isprintable() and not set(name) & set(" \"'\\")
    assert remarks or name == encode.plain(given_name)


def test_exception_of_a_hostile_class_is_described() -> None:
    """The odder the exception, the more somebody wants to know of it."""

    class Odd(Exception):
        __str__ = __repr__ = __getattribute__ = Misbehaving.fail  # type: ignore[assignment]

    try:
        raise Odd("lost") from LookupError("the cause")
    except Odd as error:
        facts = errors.describe(error, "manual", "error")
    assert facts["type"].endswith("Odd")
    assert "LookupError: the cause" in facts["stack"]
    assert "whose repr raised Marker" in facts["message"]


def test_long_stack_keeps_both_ends_and_says_what_it_lost() -> None:
    """Where it began and what was raised are read first."""
    error: BaseException = ValueError("first " + "x" * 20_000)
    for number in range(7):
        try:
            raise RuntimeError(f"level {number} " + "y" * 20_000) from error
        except RuntimeError as caught:
            error = caught
    facts = errors.describe(error, "manual", "error")
    assert facts["stack"].startswith("ValueError: first ")
    assert "… [cut, " in facts["stack"] and "level 6 " in facts["stack"]
    assert len(encode.encode(facts)) < MAX_EVENT_BYTES


EVERYTHING = """
    import dataclasses, datetime, decimal, enum, fractions, io, os, pathlib, sys, threading, uuid
    from monitor_auto import Monitor

    class Color(enum.Enum):
        RED = "red"

    class Level(enum.IntEnum):
        HIGH = 3

    @dataclasses.dataclass
    class Point:
        x: int
        y: int = 2

    class Scalar:
        dtype = "float64"
        def __float__(self): return 1.5
        def item(self): return 1.5
        def __repr__(self): return "np.float64(1.5)"

    class Key(str):
        def __hash__(self): return hash("hook")
        def __eq__(self, other): raise RuntimeError("compared")

    def count():
        yield 1

    values = {
        "enum": Color.RED, "int_enum": Level.HIGH, "dataclass": Point(1), "scalar": Scalar(), "set": {1},
        "frozenset": frozenset(), "generator": count(), "decimal": decimal.Decimal("1.10"), "bytes": b"\\xff",
        "date": datetime.date(2026, 1, 2), "path": pathlib.Path("/a b"), "uuid": uuid.UUID(int=1), "class": dict,
        "function": count, "module": sys, "range": range(3), "complex": 1j, "ellipsis": ..., "file": io.BytesIO(),
        "lock": threading.Lock(), "fraction": fractions.Fraction(1, 3), "memoryview": memoryview(b"x"),
        "environ": os.environ.__class__, "slice": slice(1), "big": 10 ** 5000, "nan": float("nan"),
    }
    for name, value in values.items():
        assert Monitor.event("value." + name, {"value": value, "hook": 1}), name
    assert Monitor.event("hook.run", {"hook": 1})
    assert Monitor.event("hook.run", {Key("other"): 2, "unit": 1})
    assert Monitor.event("wide.text", {"hook": "\\U0001f600" * 14_990})
    assert Monitor.event("wide.text", {"hook": "\\U0001f600" * 14_900})
    assert Monitor.event("wide.text", {"hook": "\\x01" * 14_900})
"""


def test_every_type_of_the_standard_library_is_recorded_in_its_nearest_form(children: Children) -> None:
    """Programs record what they have at hand."""
    done = children.run(EVERYTHING)
    assert (done.status, done.stderr) == (0, b"")
    seen = {event["name"]: event["data"]["value"] for event in done.events if event["name"].startswith("value.")}
    assert len(seen) == 26
    assert seen["value.int_enum"] == 3
    assert seen["value.dataclass"].endswith("Point(x=1, y=2)")
    assert (seen["value.scalar"], seen["value.decimal"]) == ("np.float64(1.5)", "Decimal('1.10')")
    assert (seen["value.bytes"], seen["value.date"]) == ("b'\\xff'", "datetime.date(2026, 1, 2)")
    assert seen["value.big"].endswith("bits>")
    assert [event["data"].get("other") for event in done.named("hook.run")] == [None, 2]
    assert len(done.named("wide.text")) == 3
    assert max(len(line) for path in segments(done.spool) for line in path.read_bytes().splitlines()) <= MAX_EVENT_BYTES


NEAREST = """
    from monitor_auto import Monitor
    class Name(str):
        pass
    for name in (None, "two words\\nand a line", "Hook.RUN", "", 7, Name("hook.run"), "x" * 500, "error.", "ünder"):
        Monitor.event(name, {"given": repr(name)[:20]})
    for data in (5, "text", [1], {1, 2}, object, b"bytes"):
        Monitor.event("data.odd", data)
        Monitor.metric("metric.odd", 1, data)
        Monitor.error("odd", data)
        with Monitor.span("span.odd", data):
            pass
    Monitor.metric("metric.text", "many", {"value": 3, "unit": "ms"})
    Monitor.error(ValueError("real"), {"message": "given", "stack": "given", "step": 1})
    Monitor.error(12)
"""


def test_names_and_data_that_are_none_are_recorded_with_a_note(children: Children) -> None:
    """An exception in a recording call would be worse than an ugly event."""
    done = children.twin(NEAREST)
    assert (done.status, done.stderr) == (0, b"")
    named = [event for event in done.events if "given" in event["data"]]
    notes = [event["data"].get("_note", "none")[:9] for event in named]
    assert [event["name"] for event in named][:6] == [
        "event.unnamed", "two_words_and_a_line", "hook.run", "event.unnamed", "7", "hook.run"
    ]  # fmt: skip
    assert notes == ["name was "] * 5 + ["none"] + ["name was "] * 3
    odd = [event["data"] for event in done.events if event["name"].endswith("odd") or event["name"] == "error.message"]
    assert len(odd) == 25
    assert [facts.get("_note") for facts in odd].count("data was no mapping") == 24
    (metric,) = done.named("metric.text")
    assert metric["data"] == {"value": "many", "unit": "ms", "_given": {"value": 3}}
    (error,) = done.named("error.ValueError")
    assert (error["data"]["message"], error["data"]["step"]) == ("real", 1)
    assert error["data"]["_given"] == {"message": "given", "stack": "given"}


CHANGING = """
    import sys, threading
    from monitor_auto import Monitor
    sys.setswitchinterval(1e-6)
    shared = {"a": 1}
    stop = threading.Event()
    def change():
        number = 0
        while not stop.is_set():
            number += 1
            shared[f"key{number % 40}"] = (number, [number])
            if not number % 40:
                for key in list(shared)[1:]:
                    del shared[key]
    thread = threading.Thread(target=change)
    thread.start()
    for _ in range(3000):
        assert Monitor.event("shared.state", shared)
    stop.set()
    thread.join()
"""


def test_dict_that_another_thread_changes_is_recorded_whole(children: Children) -> None:
    """State that is shared is exactly what people record."""
    done = children.run(CHANGING)
    assert (done.status, done.stderr) == (0, b"")
    states = [event["data"] for event in done.named("shared.state")]
    assert len(states) == 3000
    assert all(state["a"] == 1 and "_cut" not in state for state in states)
    assert len({len(state) for state in states}) > 1, "it did change meanwhile"


LONG = """
    import os, sys
    os.chdir(sys.argv[1])
    os.execv(sys.executable, [sys.executable, "-c", "pass"] + ["\\x01" * 900 for _ in range(150)])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no exec")
def test_facts_of_the_session_are_bounded_too(children: Children) -> None:
    """A command line may have megabytes; the start of its process is the event that must not be lost."""
    done = children.run(LONG, argv=["/"], env={"MONITOR_APP": "a" * 50_000, "MONITOR_APP_VERSION": "v" * 50_000})
    assert done.status == 0
    assert done.names.count("session.start") == 2
    lines = [line for path in segments(done.spool) for line in path.read_bytes().splitlines()]
    assert max(map(len, lines)) <= MAX_EVENT_BYTES
    argv = done.named("session.start")[1]["data"]["argv"]
    assert "cut" in json.dumps(argv[-1])

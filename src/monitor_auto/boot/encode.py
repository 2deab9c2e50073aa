"""Cold: any value -> JSON text, redacted and bounded, whatever it is. Pure Python on builtins: it works in signal
handlers, half-dead interpreters and without `json`. Used for all that the fast path of `recording.py` does not take.

Guarantees: returns text that is one line of valid UTF-8 JSON below MAX_DATA_BYTES; what was cut says so; an object that
misbehaves (in `__repr__`, `keys`, iteration, `__class__`, its metaclass) costs its own value and nothing else.
"""

import sys

from . import cleaning, guard, redact
from .formats import quote

MAX_DATA_BYTES = 60 * 1024
"""Of an event's 64 KiB; the rest is for source, session and name."""
MAX_DEPTH = 8
MAX_ITEMS = 100
MAX_KEY_CHARS = 128
LIMITS = ((32 * 1024, 2000), (2048, 2000), (200, 1000), (40, 200), (40, 40))
"""Characters of a string and number of values that are kept; the next is tried when the whole is too large. The last
one fits always: a character takes at most six bytes."""
LIBRARIES = ("builtins", "monitor_auto", "httpx", "httpcore", "h11", "anyio", "trio", "wrapt")
"""Whose errors our own code comes to see."""
LOOK_AHEAD = 512
"""Characters behind a cut that are redacted with the rest: what the cut goes through would not be recognised."""


safe_keys = set()
"""Keys that are no secrets and hold none."""
ESCAPES = {code: "\\u%04x" % code for code in range(32)}
ESCAPES.update({34: '\\"', 92: "\\\\", 10: "\\n", 13: "\\r", 9: "\\t", 0x2028: "\\u2028", 0x2029: "\\u2029"})


def quote_any(text):
    """Return a JSON string literal of any text; lone surrogates become their escaped form."""
    try:
        text.encode()
    except guard.ours(UnicodeEncodeError):
        text = text.encode("utf-8", "backslashreplace").decode()
    return '"' + text.translate(ESCAPES) + '"'


class Budget:
    """What one encoding may still use."""

    __slots__ = ("nodes", "chars", "left")

    def __init__(self, chars, nodes):
        self.nodes = nodes
        self.chars = chars
        self.left = MAX_DATA_BYTES


def encode(value):
    """Return the JSON text of a value, with smaller strings and fewer values until the whole fits."""
    for chars, nodes in LIMITS:
        budget = Budget(chars, nodes)
        text = _any(value, budget, 0, False)
        if budget.left < 0:
            continue
        if len(text) * 4 < MAX_DATA_BYTES or len(text.encode()) <= MAX_DATA_BYTES:
            return text
    return '{"_cut":"the data was larger than an event may be"}'


class Clean(str):
    """A text that was redacted piece by piece."""

    __slots__ = ()


def dense_object(facts):
    """Return the JSON of what `formats.flat_object` takes, for any texts and without blanks between."""
    parts = []
    for name, value in facts.items():
        if value is not None:
            kind = type(value)
            text = quote(value) if kind is str else repr(value)
            if kind is list:
                text = "[" + ",".join(map(quote, value)) + "]"
            elif kind is bool:
                text = text.lower()
            parts.append('"' + name + '":' + text)
    return "{" + ",".join(parts) + "}"


def plain(text):
    """Return the characters of a str or of an object of a subclass of str, whatever that overrides."""
    return text if type(text) is str else str.__str__(text)


_trace_of = BaseException.__dict__["__traceback__"].__get__
_cause_of = BaseException.__dict__["__cause__"].__get__
_args_of = BaseException.__dict__["args"].__get__


def class_name(value):
    """Return the name of a value's class, whatever its metaclass answers."""
    return _name_of(type(value))


_name_of = type.__dict__["__name__"].__get__


SIGINT = 2


def let_through(error):
    """Raise again what an object has not raised itself: Ctrl-C, what a handler of a signal has raised meanwhile, and
    what another thread has thrown in. That is without arguments, as a class is what it throws (pystate.c); with some it
    may be by the object's code, written in C.
    """
    if is_from_signal_handler(error) or (is_thrown_in(error) and not _args_of(error)):
        raise error


def is_programs(error):
    """True when what was raised while our code ran is the program's own, and must get through: by a handler of a signal
    (a TimeoutError of an alarm), or by another thread (ctypes: PyThreadState_SetAsyncExc): then it is of a class of the
    program's, and our innermost frame has not called anybody.
    """
    return is_from_signal_handler(error) or is_thrown_in(error)


def is_from_signal_handler(error):
    """True when a handler of the program's, which a signal has called while our code ran, has raised an exception."""
    return signal_of(error) is not None


def signal_of(error):
    """Return the number of the signal whose handler has raised an exception while our code ran; None: it was none.

    Such a handler is told by its second argument: the frame it has interrupted (signal.signal, 3.10 to 3.15). From a
    generator of ours its StopIteration comes as the cause of a RuntimeError (PEP 479).
    """
    trace = _trace_of(error)
    while trace is not None and trace.tb_next is not None:
        interrupted, trace = trace.tb_frame, trace.tb_next
        values = []
        for value in list(trace.tb_frame.f_locals.values()):
            # `def handler(*_)` has its arguments in a tuple, as a method behind its object.
            values += value[:3] if type(value) is tuple else (value,)
        if any(value is interrupted or is_of_importlib(value) for value in values):
            return next((value for value in values if type(value) is int), 0)
    if isinstance(error, KeyboardInterrupt):
        return SIGINT  # by Python's own handler, which is in C
    cause = _cause_of(error) if type(error) is RuntimeError else None
    return signal_of(cause) if type(cause) is StopIteration else None


def is_of_importlib(value):
    """True for a frame of the import machinery: tracebacks lose those (import.c: remove_importlib_frames)."""
    return type(value) is type(sys._getframe()) and value.f_code.co_filename[:17] == "<frozen importlib"


CALLED = ("os", "posixpath", "genericpath", "importlib", "zipimport", "_frozen_importlib", "_frozen_importlib_external")
"""Modules of the standard library whose functions, written in Python, we call. Not all of it: a Mock that stands for
`__repr__` raises in a frame of unittest.
"""


def is_thrown_in(error):
    """True for an exception of a class of the program's in a frame of ours, or of what we call of the standard library:
    neither raises one of those.
    """
    trace = _trace_of(error)
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = str(trace is not None and trace.tb_frame.f_globals.get("__name__")).partition(".")[0]
    if where != __package__.partition(".")[0] and where not in CALLED:
        return False
    module = type.__dict__["__module__"].__get__(type(error))
    package = module.partition(".")[0] if type(module) is str else ""
    return package not in sys.stdlib_module_names and package not in LIBRARIES


def safe_repr(value):
    """Return `repr(value)`; where that raises, the type's name. Ctrl-C still gets through."""
    try:
        return plain(repr(value))
    except BaseException as error:  # `__repr__` is the program's code and may raise anything, SystemExit too
        let_through(error)
        return "<" + class_name(value) + " whose repr raised " + class_name(error) + ">"


def _any(value, budget, depth, is_secret):
    budget.nodes -= 1
    kind = type(value)
    if is_secret and value is not None:
        return '"' + redact.MARK + '"'
    if value is None or kind is bool:
        return "null" if value is None else "true" if value else "false"
    # Not isinstance: that asks `__class__`, which is the program's code and may answer anything.
    if issubclass(kind, int):
        return _integer(value, budget)
    if issubclass(kind, float) and float.__sub__(value, value) == 0:
        return float.__repr__(value)
    if issubclass(kind, str):
        return _string(plain(value), budget, kind is Clean)
    if issubclass(kind, (dict, list, tuple)) or is_mapping(value):
        return _container(value, budget, depth)
    return _string(safe_repr(value), budget)


def _integer(value, budget):
    """An int as number; as text where other parsers would not hold it; a card number may come as a number, too."""
    bits = int.bit_length(value)
    if bits > 4096:  # `repr` of a very large one raises since Python 3.11
        return quote("<int of " + str(bits) + " bits>")
    text = int.__repr__(value)
    if bits < 43:  # too short for a card
        return text
    cleaned = cleaning.clean_text(text) if redact.is_suspicious(text) else text
    return text if bits < 64 and cleaned == text else quote(cleaned)


def _string(text, budget, is_clean=False):
    total = len(text)
    budget.left -= min(total, budget.chars)
    if budget.left < 0:  # too large in any case: no more of it is looked at
        budget.nodes = 0
        return '""'
    if total > budget.chars:
        return quote(cut(text, budget.chars) + "… [cut, " + str(total) + " characters]")
    if total > 3 and not is_clean and redact.is_suspicious(text):
        text = cleaning.clean_text(text)
    return quote(text)


def cut(text, chars):
    """Return the redacted beginning of a text."""
    text = text[: chars + LOOK_AHEAD]
    if redact.is_suspicious(text):
        text = cleaning.clean_text(text)
    return text[:chars]


def is_mapping(value):
    """True for what behaves as a mapping, told without isinstance of an ABC (that would import and run code)."""
    kind = type(value)
    if issubclass(kind, (dict, type)):
        return issubclass(kind, dict)
    try:
        return hasattr(kind, "keys") and hasattr(kind, "__getitem__")
    except BaseException as error:  # the metaclass is the program's code
        let_through(error)
        return False


def _container(value, budget, depth):
    if depth >= MAX_DEPTH or budget.nodes <= 0:
        return quote("… [cut, " + class_name(value) + "]")
    parts = []
    is_list = issubclass(type(value), (list, tuple))
    try:
        for item in value if is_list else pairs(value):
            if len(parts) >= MAX_ITEMS or budget.nodes <= 0:
                parts.append(_cut_mark(value, is_list, len(parts)))
                break
            parts.append(_any(item, budget, depth + 1, False) if is_list else _pair(item, budget, depth))
    except BaseException as error:  # a mapping's own code, or one that changed while we read it
        let_through(error)
        parts.append(_note("reading stopped: " + class_name(error), is_list))
    return ("[" + ",".join(parts) + "]") if is_list else ("{" + ",".join(parts) + "}")


def pairs(value):
    """Return what yields the keys and values of a mapping; of a small dict all at once, so that no thread that
    changes it comes between.
    """
    if issubclass(type(value), dict):
        return list(dict.items(value)) if dict.__len__(value) <= MAX_ITEMS else dict.items(value)
    return ((key, value[key]) for key in value.keys())


def facts(data):
    """Return a new dict of what the caller gave, with keys that are plain str, whatever it is."""
    if data is None:
        return {}
    if not is_mapping(data):
        return {"value": data, "_note": "data was no mapping"}
    made = {}
    try:
        for key, value in pairs(data):
            if len(made) > MAX_ITEMS:
                break
            made[plain(key) if issubclass(type(key), str) else safe_repr(key)] = value
    except BaseException as error:  # the mapping's own code
        let_through(error)
        made["_cut"] = "reading stopped: " + class_name(error)
    return made


def _pair(item, budget, depth):
    key, value = item
    if type(key) is str and key in safe_keys:
        return quote(key) + ":" + _any(value, budget, depth + 1, False)
    name = plain(key) if issubclass(type(key), str) else safe_repr(key)
    is_secret = cleaning.is_secret_key(name)
    if len(name) > MAX_KEY_CHARS:
        name = cut(name, MAX_KEY_CHARS) + "…"
    elif redact.is_suspicious(name):
        name = cleaning.clean_text(name)
    return quote(name) + ":" + _any(value, budget, depth + 1, is_secret)


def _cut_mark(value, is_list, shown):
    try:
        left = str(len(value) - shown)
    except BaseException as error:  # `__len__` is the program's code, or absent
        let_through(error)
        left = "some"
    return _note(left + " more items cut", is_list)


def _note(text, is_list):
    return quote("… [" + text + "]") if is_list else '"_cut":' + quote(text)

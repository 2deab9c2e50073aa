"""Cold: any value -> JSON text, redacted and bounded, whatever it is. Pure Python on builtins: it works in signal
handlers, half-dead interpreters and without `json`. Used for all that the fast path of `recording.py` does not take.

Guarantees: returns text that is one line of valid UTF-8 JSON below MAX_DATA_BYTES; what was cut says so; an object that
misbehaves (in `__repr__`, `items`, iteration) costs its own value and nothing else.
"""

from . import cleaning, redact
from .formats import quote

MAX_DATA_BYTES = 60 * 1024
"""Of an event's 64 KiB; the rest is for source, session and name."""
MAX_DEPTH = 8
MAX_ITEMS = 100
MAX_NODES = 2000
MAX_KEY_CHARS = 128
STRING_LIMITS = (32 * 1024, 2048, 200, 40)
"""Characters of a string that are kept; the next is tried when the whole is too large."""


ESCAPES = {code: "\\u%04x" % code for code in range(32)}
ESCAPES.update({34: '\\"', 92: "\\\\", 10: "\\n", 13: "\\r", 9: "\\t", 0x2028: "\\u2028", 0x2029: "\\u2029"})


def quote_any(text):
    """Return a JSON string literal of any text; lone surrogates become their escaped form."""
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-8", "backslashreplace").decode()
    return '"' + text.translate(ESCAPES) + '"'


class Budget:
    """What one encoding may still use."""

    __slots__ = ("nodes", "chars")

    def __init__(self, chars):
        self.nodes = MAX_NODES
        self.chars = chars


def encode(value):
    """Return the JSON text of a value, with smaller strings until the whole fits."""
    for chars in STRING_LIMITS:
        text = _any(value, Budget(chars), 0, False)
        if len(text) * 4 < MAX_DATA_BYTES or len(text.encode()) <= MAX_DATA_BYTES:
            return text
    return '{"_cut":"the data was larger than an event may be"}'


def safe_repr(value):
    """Return `repr(value)`; where that raises, the type's name. Ctrl-C still gets through."""
    try:
        text = repr(value)
        return text if type(text) is str else str.__str__(text)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # `__repr__` is the program's code and may raise anything, SystemExit too
        return "<" + type(value).__name__ + " whose repr raised " + type(error).__name__ + ">"


def _any(value, budget, depth, is_secret):
    budget.nodes -= 1
    kind = type(value)
    if is_secret and value is not None:
        return '"' + redact.MARK + '"'
    if value is None or kind is bool:
        return "null" if value is None else "true" if value else "false"
    if isinstance(value, int):
        return _integer(value, budget)
    if isinstance(value, float) and value - value == 0:
        return float.__repr__(value)
    if kind is str:
        return _string(value, budget)
    if kind is dict or kind is list or kind is tuple or _is_mapping(value):
        return _container(value, budget, depth)
    if isinstance(value, str):
        return _string(str.__str__(value), budget)
    return _string(safe_repr(value), budget)


def _integer(value, budget):
    """An int as number; as text where other parsers would not hold it; a card number may come as a number, too."""
    bits = int.bit_length(value)
    if bits > 4096:  # `repr` of a very large one raises since Python 3.11
        return quote("<int of " + str(bits) + " bits>")
    text = int.__repr__(value)
    return text if bits < 43 else _string(text, budget) if bits > 63 or redact.is_suspicious(text) else text


def _string(text, budget):
    total = len(text)
    if total > budget.chars:
        # Redact with some of what follows, or a secret that the cut goes through would not be recognised.
        text = cleaning.clean_text(text[: budget.chars + 512])[: budget.chars]
        return quote(text + "… [cut, " + str(total) + " characters]")
    if total > 3 and redact.is_suspicious(text):
        text = cleaning.clean_text(text)
    return quote(text)


def _is_mapping(value):
    """True for what behaves as a mapping, told without isinstance of an ABC (that would import and run code)."""
    kind = type(value)
    return hasattr(kind, "keys") and hasattr(kind, "__getitem__") and not isinstance(value, type)


def _container(value, budget, depth):
    if depth >= MAX_DEPTH or budget.nodes <= 0:
        return quote("… [cut, " + type(value).__name__ + "]")
    parts = []
    is_list = isinstance(value, (list, tuple))
    try:
        for item in value if is_list else _pairs(value):
            if len(parts) >= MAX_ITEMS or budget.nodes <= 0:
                parts.append(_cut_mark(value, is_list, len(parts)))
                break
            parts.append(_any(item, budget, depth + 1, False) if is_list else _pair(item, budget, depth))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a mapping's own code, or one that changed while we read it
        parts.append(_note("reading stopped: " + type(error).__name__, is_list))
    return ("[" + ",".join(parts) + "]") if is_list else ("{" + ",".join(parts) + "}")


def _pairs(value):
    if isinstance(value, dict):
        return dict.items(value)
    return ((key, value[key]) for key in value.keys())


def _pair(item, budget, depth):
    key, value = item
    name = key if type(key) is str else str.__str__(key) if isinstance(key, str) else safe_repr(key)
    is_secret = cleaning.is_secret_key(name)
    if len(name) > MAX_KEY_CHARS:
        name = name[:MAX_KEY_CHARS] + "…"
    if redact.is_suspicious(name):
        name = cleaning.clean_text(name)
    return quote(name) + ":" + _any(value, budget, depth + 1, is_secret)


def _cut_mark(value, is_list, shown):
    try:
        left = str(len(value) - shown)
    except Exception:  # `__len__` is the program's code, or absent
        left = "some"
    return _note(left + " more items cut", is_list)


def _note(text, is_list):
    return quote("… [" + text + "]") if is_list else '"_cut":' + quote(text)

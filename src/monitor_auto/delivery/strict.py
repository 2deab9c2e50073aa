"""Tells whether a line is an event, by the grammar of JSON alone. Runs where segments of other processes are read.

The C scanner of `_json` would be faster, but it imports `json.decoder` to raise its error (seen in CPython 3.11 to
3.13), and that may be a `json.py` beside the program's script. So this is plain Python on builtins.
"""

from monitor_auto.boot import guard, stdlib

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from typing import Any

MAX_DEPTH = 64
_REQUIRED = (b'"type":', b'"name":', b'"timestamp":', b'"event_id":', b'"source":{', b'"session":{')
_AFTER_BACKSLASH = frozenset('"\\/bfnrtu')
_HEX = frozenset("0123456789abcdefABCDEF")
_LITERALS = frozenset(("true", "false", "null"))
_PUNCTUATION = frozenset("{}[],:")


def is_event(line: bytes) -> bool:
    """Return whether a line is one JSON object in UTF-8 with every field that an event must have."""
    if not line.startswith(b'{"v":') or not all(name in line for name in _REQUIRED):
        return False
    try:
        return is_json_object(line.decode())
    except guard.ours(UnicodeDecodeError):
        return False


def is_json_object(text: str) -> bool:
    """Return whether a text is exactly one JSON object, nested at most MAX_DEPTH deep."""
    tokens = _tokens(text)
    if not tokens or tokens[0] != "{":
        return False
    stack: list[str] = []
    expect = "value"
    for place, token in enumerate(tokens):
        expect = _next(expect, token, stack)
        if not expect or len(stack) > MAX_DEPTH:
            return False
        if not stack:
            return place == len(tokens) - 1
    return False


class _Decoding:
    """What the C scanner of `_json` asks its caller about."""

    strict = True
    object_hook = object_pairs_hook = parse_constant = None
    array_hook = None  # 3.15 asks for it
    parse_float = float
    parse_int = str  # a number of 64,000 digits is nothing that int() takes


def parse(text: str) -> "dict[str, Any]":
    """Return the object of a text that `is_json_object` has found good, so that no scanner has an error to raise."""
    scanner = stdlib.load("_json")
    if scanner is None:
        from json import loads  # an interpreter without the C scanner

        value: dict[str, Any] = loads(text)
    else:
        value, _ = scanner.make_scanner(_Decoding())(text, 0)
    return value


def _next(expect: str, token: str, stack: list[str]) -> str:
    """Return what may follow a token, or "" when the token may not stand here. Keeps the stack of open brackets."""
    if expect in ("value", "value or ]"):
        if token in ("{", "["):
            stack.append(token)
            return "key or }" if token == "{" else "value or ]"
        if token == "]" and expect != "value":
            return _close("[", stack)
        return "comma" if token == '"' or token in _LITERALS or _is_number(token) else ""
    if expect in ("key", "key or }"):
        return "colon" if token == '"' else _close("{", stack) if token == "}" and expect != "key" else ""
    if expect == "colon":
        return "value" if token == ":" else ""
    if token == ",":
        return "key" if stack[-1] == "{" else "value"
    return _close("{", stack) if token == "}" else _close("[", stack) if token == "]" else ""


def _close(opening: str, stack: list[str]) -> str:
    return "comma" if stack and stack.pop() == opening else ""


def _tokens(text: str) -> list[str]:
    """Return the tokens, every string shortened to a quote mark; an empty list when a string is no JSON string."""
    tokens: list[str] = []
    place, size = 0, len(text)
    while place < size:
        character = text[place]
        if character == '"':
            place = _end_of_string(text, place + 1)
            if not place:
                return []
            tokens.append('"')
        elif character in _PUNCTUATION:
            tokens.append(character)
            place += 1
        elif character in " \t\r":
            place += 1
        else:
            end = place
            while end < size and text[end] not in '{}[],:" \t\r':
                end += 1
            tokens.append(text[place:end])
            place = end
    return tokens


def _end_of_string(text: str, begin: int) -> int:
    """Return the place behind the closing quote, or 0 when there is none or the string holds what JSON forbids."""
    place = begin
    while True:
        end = text.find('"', place)
        if end < 0:
            return 0
        escape = text.find("\\", place, end)
        if escape < 0:
            return end + 1 if _is_printable(text[begin:end]) else 0
        mark = text[escape + 1 : escape + 2]
        if mark not in _AFTER_BACKSLASH:
            return 0
        if mark == "u" and not (len(code := text[escape + 2 : escape + 6]) == 4 and _HEX.issuperset(code)):
            return 0
        place = escape + (6 if mark == "u" else 2)


def _is_printable(text: str) -> bool:
    return text.isprintable() or min(text) >= " "


def _is_number(token: str) -> bool:
    mantissa, sign, exponent = token.replace("E", "e").partition("e")
    if sign and not _is_digits(exponent[1:] if exponent[:1] in ("+", "-") else exponent):
        return False
    whole, point, fraction = mantissa.partition(".")
    whole = whole[1:] if whole.startswith("-") else whole
    return _is_digits(whole) and (whole == "0" or whole[0] != "0") and (not point or _is_digits(fraction))


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()

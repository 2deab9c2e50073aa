"""Cold: removes what `redact.is_suspicious` has found: secrets in texts and command lines, home directories. Builtin
modules only, and no `re` (5.5 ms, and a `re.py` beside the script would be imported instead).
"""

from . import redact
from .redact import CARD_RUN, DIGITS, MARK, TOKEN_SHAPES, is_suspicious

SECRET_WORDS = (
    "password", "passwd", "secret", "token", "api_key", "apikey", "authorization", "cookie",
    "credential", "ssn", "credit_card", "cvv", "private_key",
)  # fmt: skip

_TOKEN_CHARS = frozenset(redact.TOKEN_CHARS)
_WORD_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")
_VALUE_ENDS = frozenset(" \t\r\n,;&\"')}]<>|")
_ASCII_LOWER = {code: code + 32 for code in range(65, 91)}


def add_rules(patterns):
    """Add a user's rules: key patterns, or the names `email` and `ip` of rules for values."""
    for pattern in patterns:
        pattern = pattern.strip().lower().replace("-", "_")
        if pattern in ("email", "ip"):
            redact.value_rules.add(pattern)
        elif pattern and pattern not in redact.extra_words:
            redact.extra_words.append(pattern)


def use_home(directory):
    """Replace this directory by `~` from now on, if it is one that can be told from others."""
    if len(directory) > 1:
        redact.home = directory.rstrip("/")
        redact.home_bytes = redact.home.encode("utf-8", "replace")


def is_secret_key(key):
    """True when a value under this key must not be recorded."""
    key = key.lower().replace("-", "_")
    if key == "auth":
        return True
    for word in SECRET_WORDS:
        if word in key:
            return True
    return any(word in key for word in redact.extra_words)


def clean_text(text):
    """Return the text without secrets, home directories and, if asked for, addresses."""
    if "-----BEGIN" in text:
        text = _without_pem(text)
    if "://" in text and "@" in text:
        text = _without_userinfo(text)
    text = _without_tokens(text)
    text = _without_bearer(text)
    text = _without_assignments(text)
    if CARD_RUN in text.encode("utf-8", "replace").translate(DIGITS, b" -"):
        text = _without_cards(text)
    if redact.value_rules:
        text = _without_addresses(text)
    return redact.without_home(text)


def _lower(text):
    """Lower case of the same length (`str.lower` makes two characters of some), with `-` as `_`."""
    lower = text.lower()
    if len(lower) != len(text):
        lower = text.translate(_ASCII_LOWER)
    return lower.replace("-", "_")


def _run_end(text, start, allowed):
    end = start
    length = len(text)
    while end < length and text[end] in allowed:
        end += 1
    return end


def _value_end(text, start, ends=_VALUE_ENDS):
    end = start
    length = len(text)
    while end < length and text[end] not in ends:
        end += 1
    return end


def _without_pem(text):
    start = text.find("-----BEGIN")
    while start >= 0:
        finish = text.find("-----END", start)
        if finish < 0:
            return text[:start] + MARK
        close = text.find("-----", finish + 8)
        text = text[:start] + MARK + (text[close + 5 :] if close >= 0 else "")
        start = text.find("-----BEGIN", start)
    return text


def _without_userinfo(text):
    start = text.find("://")
    while start >= 0:
        end = _value_end(text, start + 3, _AUTHORITY_ENDS)
        at = text.rfind("@", start + 3, end)
        if at >= 0:
            text = text[: start + 3] + text[at + 1 :]
        start = text.find("://", start + 3)
    return text


_AUTHORITY_ENDS = frozenset(" \t\r\n\"'<>")


def _without_tokens(text):
    for prefix, least in TOKEN_SHAPES:
        start = text.find(prefix)
        while start >= 0:
            end = _run_end(text, start, _TOKEN_CHARS)
            is_word_start = start == 0 or not text[start - 1].isalnum()
            if is_word_start and end - start - len(prefix) >= least and (prefix != "eyJ" or "." in text[start:end]):
                text = text[:start] + MARK + text[end:]
            start = text.find(prefix, start + 1)
    return text


def _without_bearer(text):
    lower = _lower(text)
    start = lower.find("bearer ")
    while start >= 0:
        begin = start + 7
        end = _value_end(text, begin)
        if text[begin:end] != MARK[:-1]:
            text = text[:begin] + MARK + text[end:]
            lower = _lower(text)
        start = lower.find("bearer ", begin)
    return text


def _without_assignments(text):
    lower = _lower(text)
    for word in (*SECRET_WORDS, *redact.extra_words, "auth"):
        start = lower.find(word)
        while start >= 0:
            span = _assigned(text, lower, start, word)
            if span is not None and text[span[0] : span[1]].strip("[]") != "REDACTED":
                text = text[: span[0]] + MARK + text[span[1] :]
                lower = _lower(text)
            start = lower.find(word, start + len(word))
    return text


def _assigned(text, lower, start, word):
    """Return where the value stands that is assigned to the word here: `w=v`, `w: v`, `'w': 'v'`, `'--w', 'v'`, `--w
    v`.
    """
    first = start
    while first > 0 and lower[first - 1] in _WORD_CHARS:
        first -= 1
    end = _run_end(lower, start + len(word), _WORD_CHARS)
    if word == "auth" and lower[first:end].strip("_") != "auth":
        return None
    is_option = lower[first : first + 2] == "__" or (first == start and text[max(0, start - 2) : start] == "--")
    closing = _run_end(text, end, _QUOTES)
    sign = _run_end(text, closing, _BLANKS)
    mark = text[sign : sign + 1]
    if mark == "=" or mark == ":" or (mark == "," and closing > end):
        begin = _run_end(text, sign + 1, _AFTER_SIGN)
        opening = text[begin : begin + 1]
        if mark == "," and opening not in ("'", '"', "\\"):
            return None
    elif is_option and closing == end and sign > end and mark and mark != "-":
        begin, opening = sign, mark
    else:
        return None
    return _value_span(text, begin, word in ("authorization", "cookie") and mark == ":")


_QUOTES = frozenset("\"'\\")
_BLANKS = frozenset(" \t")
_AFTER_SIGN = frozenset(" \t=>")


def _value_span(text, begin, to_line_end):
    if text[begin : begin + 2] in ('\\"', "\\'"):
        finish = text.find(text[begin : begin + 2], begin + 2)
        return begin + 2, finish if finish >= 0 else len(text)
    if text[begin : begin + 1] in ("'", '"'):
        finish = text.find(text[begin], begin + 1)
        return begin + 1, finish if finish >= 0 else len(text)
    end = _value_end(text, begin, _LINE_ENDS if to_line_end else _VALUE_ENDS)
    return (begin, end) if end > begin else None


_LINE_ENDS = frozenset("\r\n\"'")


def is_card(digits):
    """True when 13 to 19 digits pass the Luhn check (ISO/IEC 7812-1)."""
    total = 0
    for position, digit in enumerate(reversed(digits)):
        number = ord(digit) - 48
        if position % 2:
            number = number * 2 - 9 if number > 4 else number * 2
        total += number
    return total % 10 == 0 and len(set(digits)) > 1


def _without_cards(text):
    position = 0
    while position < len(text):
        if text[position] not in _ASCII_DIGITS:
            position += 1
            continue
        end, digits = _digit_group(text, position)
        if 13 <= len(digits) <= 19 and is_card(digits):
            text = text[:position] + MARK + text[end:]
            end = position + len(MARK)
        position = end
    return text


_ASCII_DIGITS = frozenset("0123456789")


def _digit_group(text, position):
    """Return the end and the digits of a run in which single spaces and dashes may stand."""
    digits = ""
    while position < len(text):
        character = text[position]
        if character in _ASCII_DIGITS:
            digits += character
        elif character not in " -" or text[position + 1 : position + 2] not in _ASCII_DIGITS:
            break
        position += 1
    return position, digits


def _without_addresses(text):
    words = []
    for word in _split_keeping(text):
        bare = word.strip(".,;:")
        if "email" in redact.value_rules and "@" in word[1:-1]:
            word = MARK
        elif "ip" in redact.value_rules and _is_ip(bare):
            word = MARK
        words.append(word)
    return "".join(words)


_WORD_BREAKS = frozenset(" \t\r\n,;\"'()[]{}<>=/|")


def _split_keeping(text):
    start = 0
    for position, character in enumerate(text):
        if character in _WORD_BREAKS:
            yield text[start:position]
            yield character
            start = position + 1
    yield text[start:]


def _is_ip(word):
    host, _, port = word.partition(":")
    parts = host.split(".")
    if len(parts) == 4 and all(part.isdigit() and len(part) < 4 and int(part) < 256 for part in parts):
        return not port or port.isdigit()
    return word.count(":") > 1 and all(character in "0123456789abcdefABCDEF:." for character in word)


def clean_arguments(arguments, how):
    """Return a command line that may be recorded. `how` is `scrubbed`, `full` (only certain secrets go) or `name`."""
    cleaned = []
    hide_next = is_code_next = False
    in_options = True
    for argument in arguments[:100]:
        argument = argument if len(argument) < 2000 else argument[:2000] + "…"
        if is_code_next and how == "scrubbed":
            cleaned.append("[code]")
        elif hide_next and not argument.startswith("-"):
            cleaned.append(MARK)
        else:
            cleaned.append(clean_text(argument) if is_suspicious(argument) else argument)
        is_code_next = in_options and argument == "-c"
        hide_next = argument.startswith("-") and "=" not in argument and is_secret_key(argument)
        in_options = not is_code_next and (argument.startswith("-") or len(cleaned) == 1)
    return [cleaned[0].rpartition("/")[2]] if how == "name" and cleaned else cleaned

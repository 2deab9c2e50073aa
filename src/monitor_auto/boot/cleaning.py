"""Cold: removes what `redact.is_suspicious` has found: secrets in texts and command lines, home directories. Builtin
modules only, and no `re` (5.5 ms, and a `re.py` beside the script would be imported instead).

Guarantees: cleaning twice changes nothing more. Each rule goes over a text once, so that the time grows with its length
and not faster, whatever it holds.
"""

from . import redact
from .redact import CARD_RUN, DIGITS, MARK, TOKEN_STARTS, is_suspicious

TOKEN_LEAST = (
    16, 16, 20, 20, 20, 20, 20, 20, 16, 10, 10, 10, 10, 10, 20, 10, 10, 10, 30, 20, 30, 30, 20, 20, 30, 13,
)  # fmt: skip
TOKEN_SHAPES = tuple(zip(TOKEN_STARTS, TOKEN_LEAST, strict=True))
"""How well-known tokens begin, and how many token characters follow at least."""

SECRET_WORDS = (
    "password", "passwd", "secret", "token", "api_key", "apikey", "authorization", "cookie",
    "credential", "ssn", "credit_card", "cvv", "private_key",
)  # fmt: skip

_TOKEN_CHARS = frozenset(redact.TOKEN_CHARS)
_WORD_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")
_VALUE_ENDS = frozenset(" \t\r\n,;&\"')}]<>|")
MAX_ROUNDS = 6
"""What a rule leaves may be something that another one knows; seen in made-up texts only."""
_ASCII_LOWER = {code: code + 32 for code in range(65, 91)}


_known = {}
MAX_KNOWN = 2000


def add_rules(patterns):
    """Add a user's rules: key patterns, or the names `email` and `ip` of rules for values."""
    _known.clear()
    for pattern in patterns:
        pattern = pattern.strip().lower().replace("-", "_")
        if pattern in ("email", "ip"):
            redact.value_rules.add(pattern)
        elif pattern and pattern not in redact.extra_words:
            redact.extra_words.append(pattern)


def use_home(directory):
    """Replace this directory by `~` from now on, if it is one that can be told from others."""
    if len(directory) > 1:
        _known.clear()
        redact.home = directory.rstrip("/")


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
    for _ in range(MAX_ROUNDS):
        cleaned = _without_secrets(text)
        if cleaned == text:
            break
        text = cleaned
    return text


def clean_often(text):
    """Return a cleaned text that comes again and again: the path of a file of code, the name of a class."""
    cleaned = _known.get(text)
    if cleaned is None:
        cleaned = clean_text(text) if is_suspicious(text) else text
        if len(_known) < MAX_KNOWN:
            _known[text] = cleaned
    return cleaned


def _without_secrets(text):
    if "-----BEGIN" in text:
        text = _without_pem(text)
    if "://" in text and "@" in text:
        text = _without(text, _userinfo_spans(text), "")
    text = _without_tokens(text)
    text = _without_assignments(_without_bearer(text))
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


def _without(text, spans, mark=MARK):
    """Return the text with a mark in the place of each span; spans are in order and do not overlap."""
    parts = []
    kept = 0
    for begin, end in spans:
        parts += (text[kept:begin], mark)
        kept = end
    return "".join(parts) + text[kept:] if parts else text


def _without_pem(text):
    return _without(text, _pem_spans(text))


def _pem_spans(text):
    start = text.find("-----BEGIN")
    while start >= 0:
        finish = text.find("-----END", start)
        close = text.find("-----", finish + 8) if finish >= 0 else -1
        end = close + 5 if close >= 0 else len(text)
        yield start, end
        start = text.find("-----BEGIN", end)


def _userinfo_spans(text):
    """Where user and password stand in URLs. An "@" behind the host is part of a path, unless what looks like the host
    and its port cannot be: `scheme://user:pass/word@host`.
    """
    clear = 0  # what lies before this place and was not yielded has no "@"
    start = text.find("://")
    while start >= 0:
        begin = start + 3
        end = _value_end(text, begin, _AUTHORITY_ENDS)
        at = text.rfind("@", begin, end)
        port = text[begin:end].rpartition(":")[2] if at < 0 and begin >= clear else ""
        if port and end - begin > len(port) and not port.isdigit():
            clear = _value_end(text, end, _URL_ENDS)
            at = text.rfind("@", end, clear)
        if at >= 0:
            yield begin, at + 1
        start = text.find("://", max(begin, at + 1))


_URL_ENDS = frozenset(" \t\r\n\"'<>")
_AUTHORITY_ENDS = _URL_ENDS | frozenset("/?#")


def _without_tokens(text):
    for prefix, least in TOKEN_SHAPES:
        if prefix in text:
            text = _without(text, _token_spans(text, prefix, least + len(prefix)))
    return text


def _token_spans(text, prefix, least):
    start = text.find(prefix)
    while start >= 0:
        if start and text[start - 1].isalnum():
            start = text.find(prefix, start + 1)
            continue
        end = _run_end(text, start, _TOKEN_CHARS)
        if end - start >= least and (prefix != "eyJ" or "." in text[start:end]):
            yield start, end
        start = text.find(prefix, end)


def _without_bearer(text):
    lower = _lower(text)
    return _without(text, _bearer_spans(text, lower)) if "bearer " in lower else text


def _bearer_spans(text, lower):
    start = lower.find("bearer ")
    while start >= 0:
        begin = start + 7
        end = _value_end(text, begin)
        if end > begin and text[begin:end] != MARK[:-1]:
            yield begin, end
        start = lower.find("bearer ", end)


def _without_assignments(text):
    lower = _lower(text)
    for word in (*SECRET_WORDS, *redact.extra_words, "auth"):
        if word in lower:
            text = _without(text, _assignment_spans(text, lower, word))
            lower = _lower(text)
    return text


def _assignment_spans(text, lower, word):
    start = lower.find(word)
    while start >= 0:
        first = start
        while first > 0 and lower[first - 1] in _WORD_CHARS:
            first -= 1
        end = _run_end(lower, start + len(word), _WORD_CHARS)
        if word != "auth" or lower[first:end].strip("_") == word:
            span = _assigned(text, first, end, word)
            if span is not None and text[span[0] : span[1]].strip("[]") != "REDACTED":
                yield span
                end = max(end, span[1])
        start = lower.find(word, end)


def _assigned(text, first, end, word):
    """Return where the value stands that is assigned to the key from `first` to `end`: `w=v`, `w: v`, `'w': 'v'`,
    `'--w', 'v'`, `--w v`.
    """
    closing = _run_end(text, end, _QUOTES)
    sign = _run_end(text, closing, _BLANKS)
    mark = text[sign : sign + 1]
    if mark == "=" or mark == ":" or (mark == "," and closing > end):
        begin = _run_end(text, sign + 1, _AFTER_SIGN)
        if mark == "," and text[begin : begin + 1] not in _QUOTES:
            return None
    elif text[first : first + 2] == "--" and closing == end and sign > end and mark and mark != "-":
        begin = sign
    else:
        return None
    return _value_span(text, begin, word in ("authorization", "cookie"))


_QUOTES = frozenset("\"'\\")
_BLANKS = frozenset(" \t")
_AFTER_SIGN = frozenset(" \t=>")


def _value_span(text, begin, to_line_end):
    quote = _run_end(text, begin, _BACKSLASH)  # a text in a text: each layer puts more of them before a quote
    if text[quote : quote + 1] in ("'", '"'):
        return quote + 1, _closing(text, quote + 1, text[begin : quote + 1])
    end = _value_end(text, begin, _LINE_ENDS if to_line_end else _VALUE_ENDS)
    return (begin, end) if end > begin else None


def _closing(text, begin, quote):
    """Where a quoted value ends; a quote behind a backslash is part of it."""
    end = text.find(quote, begin)
    while end > begin and text[end - 1] == "\\":
        end = text.find(quote, end + 1)
    return end if end >= 0 else len(text)


_BACKSLASH = frozenset("\\")
_LINE_ENDS = frozenset("\r\n\"'")


def is_card(digits):
    """True when 13 to 19 digits pass the Luhn check (ISO/IEC 7812-1). Every tenth Unix time in milli-, micro- or
    nanoseconds does; no card begins and is as long as one of these years.
    """
    if len(digits) in (13, 16, 19) and "15" <= digits[:2] <= "19":
        return False
    total = 0
    for position, digit in enumerate(reversed(digits)):
        number = ord(digit) - 48
        if position % 2:
            number = number * 2 - 9 if number > 4 else number * 2
        total += number
    return total % 10 == 0 and len(set(digits)) > 1


def _without_cards(text):
    return _without(text, _card_spans(text))


def _card_spans(text):
    position = 0
    while position < len(text):
        if text[position] not in _ASCII_DIGITS:
            position += 1
            continue
        runs = _digit_runs(text, position)
        yield from _cards_in(text, runs)
        position = runs[-1][1]


_ASCII_DIGITS = frozenset("0123456789")


def _digit_runs(text, position):
    """Return (begin, end) of runs of digits from here on with a single space or dash between them."""
    runs = []
    while text[position : position + 1] in _ASCII_DIGITS:
        end = _run_end(text, position, _ASCII_DIGITS)
        runs.append((position, end))
        position = end + 1 if text[end : end + 1] in (" ", "-") else len(text)
    return runs


def _cards_in(text, runs):
    """Yield where cards stand: all of the runs together, or among them what is written as one."""
    sizes = tuple(end - begin for begin, end in runs)
    if 13 <= sum(sizes) <= 19:
        if is_card("".join([text[begin:end] for begin, end in runs])):
            yield runs[0][0], runs[-1][1]
        return
    index = 0
    while index < len(runs):
        count = 1
        for shape in _card_shapes(sizes[index]):
            if sizes[index : index + len(shape)] == shape:
                begin, end = runs[index][0], runs[index + len(shape) - 1][1]
                if is_card(text[begin:end].replace(" ", "").replace("-", "")):
                    yield begin, end
                    count = len(shape)
                    break
        index += count


def _card_shapes(size):
    """Return how a card may be written whose first run has that many digits."""
    if size == 4:
        return (4, 4, 4, 4), (4, 6, 5), (4, 6, 4)
    return ((size,),) if 13 <= size <= 19 else ()


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
    word = word.partition("%")[0]
    return ("::" in word or word.count(":") == 7) and all(character in _IPV6_CHARS for character in word)


_IPV6_CHARS = frozenset("0123456789abcdefABCDEF:.")
MAX_ARGUMENTS = 100
MAX_ARGUMENT_CHARS = 2000
MAX_COMMAND_CHARS = 16000


def clean_arguments(arguments, how):
    """Return a command line that may be recorded. `how` is `scrubbed`, `full` (only certain secrets go) or `name`."""
    if how == "name":
        return [clean_argument(arguments[0].rpartition("/")[2])] if arguments else []
    code = code_position(arguments) if how == "scrubbed" else None
    cleaned = []
    hide_next = False
    chars = 0
    for index, argument in enumerate(arguments[:MAX_ARGUMENTS]):
        if code is not None and index == code[0]:
            argument = argument[: code[1]] + "[code]"
        elif hide_next and (argument[:1] != "-" or len(argument) > 2 and argument[1] != "-"):
            argument = MARK
        else:
            argument = clean_argument(argument)
        hide_next = argument[:1] == "-" and "=" not in argument and is_secret_key(argument)
        cleaned.append(argument)
        chars += len(argument)
        if chars > MAX_COMMAND_CHARS:
            break
    if len(cleaned) < len(arguments):
        cleaned.append("… [%d more cut]" % (len(arguments) - len(cleaned)))
    return cleaned


def clean_argument(text):
    """Return one argument without secrets: all that is assigned to a secret's name goes, spaces and all."""
    name, sign, _ = text[:MAX_ARGUMENT_CHARS].partition("=")
    if sign and " " not in name and is_secret_key(name.lstrip("-")):
        return (clean_text(name) if is_suspicious(name) else name) + sign + MARK
    if len(text) > MAX_ARGUMENT_CHARS:
        return clean_text(text[: MAX_ARGUMENT_CHARS + 512])[:MAX_ARGUMENT_CHARS] + "…"
    return clean_text(text) if is_suspicious(text) else text


def code_position(arguments):
    """Return (index, offset in the argument) of an interpreter's `-c` code, which may be joined to its option or to
    others before it (`-Ic`), or None.
    """
    position = 1
    while position < len(arguments):
        argument = arguments[position]
        if argument[:1] != "-" or argument == "-":
            return None
        for index, flag in enumerate(argument[1:] if argument[1] != "-" else "", 2):
            if flag == "c":
                return (position, index) if index < len(argument) else (position + 1, 0)
            if flag == "m":
                return None
            if flag in "WX":
                position += index == len(argument)
                break
        position += 2 if argument == "--check-hash-based-pycs" else 1
    return None

"""Hot: tells what might be secret; `cleaning.py` then removes it. Builtin modules only.

Guarantees: `is_suspicious` is cheap and has no false "no": a text that `clean_text` would change is suspicious
(a property test holds that). User rules only add.
"""

from . import cold

MARK = "[REDACTED]"
SECRET_WORDS = (
    "password", "passwd", "secret", "token", "api_key", "apikey", "authorization", "cookie",
    "credential", "ssn", "credit_card", "cvv", "private_key",
)  # fmt: skip
TOKEN_SHAPES = (
    ("AKIA", 16), ("ASIA", 16), ("ghp_", 20), ("gho_", 20), ("ghu_", 20), ("ghs_", 20), ("ghr_", 20),
    ("github_pat_", 20), ("glpat-", 16), ("xoxb-", 10), ("xoxp-", 10), ("xoxa-", 10), ("xoxr-", 10), ("xoxs-", 10),
    ("sk-", 20), ("sk_live_", 10), ("sk_test_", 10), ("rk_live_", 10), ("AIza", 30), ("ya29.", 20), ("npm_", 30),
    ("pypi-", 30), ("hf_", 20), ("SG.", 20), ("dop_v1_", 30), ("eyJ", 13),
)  # fmt: skip
"""How well-known tokens begin, and how many token characters follow at least. `eyJ` is `{"` in base64: a JWT."""
SHORTEST_TOKEN = 14

TOKEN_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-."


def _table(default, **classes):
    table = bytearray([ord(default)]) * 256
    for mark, characters in classes.items():
        for character in characters:
            table[ord(character)] = ord(mark)
    return bytes(table)


# One pass over the bytes sorts them: "x" needs a closer look, "a" can be part of a token, "_" is neither. In the JSON of
# a flat object the colons and quotes are its own: colons are counted, and a quote inside a string has a backslash.
_KINDS = _table("_", x="@=\\\"':", a=TOKEN_CHARS)
_JSON_KINDS = _table("_", x="@=\\'", a=TOKEN_CHARS)
DIGITS = _table("_", d="0123456789")
_LONG_RUN = b"a" * SHORTEST_TOKEN
CARD_RUN = b"d" * 13

extra_words = []
value_rules = set()
home = ""
home_bytes = b""


def configure(patterns, home_directory):
    """Add user rules (key patterns, or the names `email` and `ip`) and set the home directory."""
    global home, home_bytes
    if len(home_directory) > 1:
        home = home_directory.rstrip("/")
        home_bytes = home.encode("utf-8", "replace")
    for pattern in patterns:
        pattern = pattern.strip().lower().replace("-", "_")
        if pattern in ("email", "ip"):
            value_rules.add(pattern)
        elif pattern and pattern not in extra_words:
            extra_words.append(pattern)


def is_secret_key(key):
    """True when a value under this key must not be recorded."""
    key = key.lower().replace("-", "_")
    if key == "auth":
        return True
    for word in SECRET_WORDS:
        if word in key:
            return True
    return any(word in key for word in extra_words)


def is_suspicious(text):
    """True when the text might hold something to remove; False is certain."""
    data = text.encode("utf-8", "replace")
    return _needs_look(data, data.translate(_KINDS))


def is_suspicious_json(data, colons):
    """The same for the bytes of a flat JSON object with that many keys."""
    return data.count(b":") != colons or _needs_look(data, data.translate(_JSON_KINDS))


def _needs_look(data, kinds):
    if b"x" in kinds or b"--" in data or b"/home/" in data or b"/Users/" in data or (home and home_bytes in data):
        return True
    if _LONG_RUN in kinds and has_token_start(data):
        return True
    if CARD_RUN in data.translate(DIGITS, b" -") or b"bearer " in data.lower():
        return True
    return bool(extra_words or value_rules)


def has_token_start(data):
    """True when a well-known token may begin somewhere in these bytes."""
    for start in _TOKEN_STARTS:
        if start in data:
            return True
    return False


_TOKEN_STARTS = tuple(prefix.encode() for prefix, _ in TOKEN_SHAPES)


def clean_text(text):
    """Return the text without secrets, home directories and, if asked for, addresses."""
    return cold("cleaning").clean_text(text)


def clean_arguments(arguments, how):
    """Return a command line that may be recorded. `how` is `scrubbed`, `full` (only certain secrets go) or `name`."""
    return cold("cleaning").clean_arguments(arguments, how)

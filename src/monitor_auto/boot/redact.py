"""Hot: tells what might be secret; `cleaning.py` then removes it. Builtin modules only.

Guarantees: `is_suspicious` is cheap and has no false "no": a text that `clean_text` would change is suspicious
(a property test holds that). User rules only add.
"""

from . import cold

MARK = "[REDACTED]"
TOKEN_SHAPES = (
    ("AKIA", 16), ("ASIA", 16), ("ghp_", 20), ("gho_", 20), ("ghu_", 20), ("ghs_", 20), ("ghr_", 20),
    ("github_pat_", 20), ("glpat-", 16), ("xoxb-", 10), ("xoxp-", 10), ("xoxa-", 10), ("xoxr-", 10), ("xoxs-", 10),
    ("sk-", 20), ("sk_live_", 10), ("sk_test_", 10), ("rk_live_", 10), ("AIza", 30), ("ya29.", 20), ("npm_", 30),
    ("pypi-", 30), ("hf_", 20), ("SG.", 20), ("dop_v1_", 30), ("eyJ", 13),
)  # fmt: skip
"""How well-known tokens begin, and how many token characters follow at least. `eyJ` is `{"` in base64: a JWT."""
SHORTEST_TOKEN = 14

TOKEN_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-."


# What one pass over the bytes can count or sort is cheap; a search in bytes costs 130 ns, four times one in a str
# (CPython 3.11).
_MARKS = b"@=\\\"':"
_DIGITS = b"0123456789"
_KINDS = bytes.maketrans(TOKEN_CHARS.encode(), b"a" * len(TOKEN_CHARS))
DIGITS = bytes.maketrans(b"0123456789d", b"dddddddddd_")
_LONG_RUN = b"a" * SHORTEST_TOKEN
CARD_RUN = b"d" * 13

extra_words = []
value_rules = set()
home = ""


def is_suspicious(text):
    """True when the text might hold something to remove; False is certain."""
    data = text.encode("utf-8", "replace")
    return len(data.translate(None, _MARKS)) != len(data) or needs_look(text, data)


def needs_look(text, data):
    """Look for what has none of the marks."""
    if "--" in text or "/" in text and ("/home/" in text or "/Users/" in text or home and home in text):
        return True
    if _LONG_RUN in data.translate(_KINDS):
        for start in _TOKEN_STARTS:
            if start in text:
                return True
    if len(data) - len(data.translate(None, _DIGITS)) > 12 and CARD_RUN in data.translate(DIGITS, b" -"):
        return True
    return "bearer " in text.lower() or bool(extra_words or value_rules)


_TOKEN_STARTS = tuple(dict(TOKEN_SHAPES))


def tidy(text):
    """Return a path or name of ours that may be recorded: home directories are common there, secrets are not."""
    if text and is_suspicious(text):
        text = without_home(text)
        if is_suspicious(text):
            return cold("cleaning").clean_text(text)
    return text


def without_home(text):
    """Return the text with `~` for home directories, the user's own and those in the usual places."""
    for path in (home, "/home/", "/Users/"):
        if not path or path not in text:
            continue
        is_root = path is not home  # what lies below it is a home directory
        parts = []
        kept = 0
        start = text.find(path)
        while start >= 0:
            end = start + len(path)
            while is_root and ((text[end : end + 1] or "/") in TOKEN_CHARS or text[end : end + 1] > "\x7f"):
                end += 1
            is_whole = end > start + len(path) if is_root else (text[end : end + 1] or "/") not in TOKEN_CHARS
            if is_whole and not (start and text[start - 1] in TOKEN_CHARS + "~"):
                parts += (text[kept:start], "~")
                kept = end
            start = text.find(path, max(start + 1, kept))
        text = "".join(parts) + text[kept:]
    return text

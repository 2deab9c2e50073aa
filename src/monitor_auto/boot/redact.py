"""Hot: tells what might be secret; `cleaning.py` then removes it. Builtin modules only.

Guarantees: `is_suspicious` is cheap and has no false "no": a text that `clean_text` would change is suspicious
(a property test holds that). User rules only add.
"""

from . import cold

MARK = "[REDACTED]"
TOKEN_STARTS = (
    "AKIA ASIA ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glpat- xoxb- xoxp- xoxa- xoxr- xoxs- sk- sk_live_ sk_test_ "
    "rk_live_ AIza ya29. npm_ pypi- hf_ SG. dop_v1_ eyJ"
).split()
"""How well-known tokens begin; `cleaning.py` says in the same order how many characters follow. `eyJ` is `{"` in
base64: a JWT."""
SHORTEST_TOKEN = 14

TOKEN_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-."

# One pass over the bytes sorts them: a for what tokens are made of, d for digits, @ for marks, and " for itself (in the
# JSON of a flat object quotes and colons are its own). Then `count` and `partition` are cheap; `in` is not: for bytes
# it raises and drops an exception (CPython 3.11).
KINDS = bytes.maketrans(TOKEN_CHARS.encode() + b"@=\\':\"", b"a" * 52 + b"d" * 10 + b'aaa@@@@@"')
DIGITS = bytes.maketrans(b"0123456789d", b"dddddddddd_")
_LONG_RUN = b"a" * SHORTEST_TOKEN
CARD_RUN = b"d" * 13

extra_words = []
value_rules = set()
home = ""


def is_suspicious(text):
    """True when the text might hold something to remove; False is certain."""
    data = text.encode("utf-8", "replace")
    if len(data) < 13 and data.isalnum() and not extra_words and not value_rules:
        return False
    kinds = data.translate(KINDS)
    return kinds.count(b"@") + kinds.count(b'"') > 0 or needs_look(text, kinds)


def needs_look(text, kinds):
    """True when a text without marks might hold something to remove. `kinds` is what its bytes are sorted to."""
    if "--" in text or "/" in text and ("/home/" in text or "/Users/" in text or home and home in text):
        return True
    if kinds.replace(b"d", b"a").partition(_LONG_RUN)[1]:
        for start in TOKEN_STARTS:
            if start in text:
                return True
    if kinds.count(b"d") > 12 and CARD_RUN in text.encode("utf-8", "replace").translate(DIGITS, b" -"):
        return True
    has_bearer = ("r " in text or "R " in text) and "bearer " in text.lower()
    return has_bearer or bool(extra_words or value_rules)


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

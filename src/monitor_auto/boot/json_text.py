"""Hot: JSON of what we know ourselves: quoted strings and flat objects of facts. Builtin modules only.

For values of the program there is `encode.py`, which redacts and bounds; here the caller knows that nothing is secret.
"""

ESCAPES = {code: "\\u%04x" % code for code in range(32)}
ESCAPES.update({34: '\\"', 92: "\\\\", 10: "\\n", 13: "\\r", 9: "\\t", 0x2028: "\\u2028", 0x2029: "\\u2029"})


def quote(text):
    """Return a JSON string literal; lone surrogates become their escaped form, as text."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return '"' + text + '"'
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-8", "backslashreplace").decode()
    return '"' + text.translate(ESCAPES) + '"'


def flat_object(facts):
    """Return the JSON of str, int, float and lists of str under known keys, without those that are None."""
    parts = []
    for name, value in facts.items():
        if value is not None:
            kind = type(value)
            text = quote(value) if kind is str else repr(value)
            if kind is list:
                text = "[" + ",".join([quote(item) for item in value]) + "]"
            parts.append('"' + name + '":' + text)
    return "{" + ",".join(parts) + "}"

"""Hot: the small texts that records are made of: ids, timestamps, JSON of what we know ourselves. Builtin modules only.

For values of the program there is `encode.py`, which redacts and bounds; here the caller knows that nothing is secret.
"""

import time

from . import cold, system


def uuid7():
    """Return a new UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, then random bits."""
    clock = "%012x" % (time.time_ns() // 1_000_000)
    noise = system.urandom(10).hex()
    variant = "89ab"[int(noise[3], 16) & 3]
    return clock[:8] + "-" + clock[8:] + "-7" + noise[:3] + "-" + variant + noise[4:7] + "-" + noise[7:19]


def endpoint_key(endpoint):
    """Return 16 hex digits that stand for an endpoint in file names: FNV-1a, 64 bit, of its UTF-8 bytes."""
    value = 0xCBF29CE484222325
    for byte in endpoint.encode("utf-8", "replace"):
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return "%016x" % value


def timestamp(now):
    """Return Unix seconds as ISO 8601 local time with milliseconds and offset."""
    prefix, offset = clock_texts(int(now))
    return "%s%03d%s" % (prefix, (now - int(now)) * 1000, offset)


def clock_texts(second):
    """Return what stands before and after the milliseconds of a second's timestamps."""
    local = time.localtime(second)
    minutes = local.tm_gmtoff // 60
    sign, minutes = ("-", -minutes) if minutes < 0 else ("+", minutes)
    return "%04d-%02d-%02dT%02d:%02d:%02d." % local[:6], "%s%02d:%02d" % (sign, minutes // 60, minutes % 60)


def quote(text):
    """Return a JSON string literal; lone surrogates become their escaped form, as text."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return '"' + text + '"'
    return cold("encode").quote_any(text)


def flat_object(facts):
    """Return the JSON of str, int, float and lists of str under known keys, without those that are None."""
    parts = []
    for name, value in facts.items():
        if value is not None:
            kind = type(value)
            text = quote(value) if kind is str else repr(value)
            if kind is list:
                text = "[" + ",".join(map(quote, value)) + "]"
            parts.append('"' + name + '":' + text)
    return "{" + ",".join(parts) + "}"

"""Hot: the small texts that records are made of: ids, timestamps, JSON of what we know ourselves. Builtin modules only.

For values of the program there is `encode.py`, which redacts and bounds; here the caller knows that nothing is secret.
"""

import time

from . import cold, system

# The program may replace those of the module, also for a while: a mock that counts its calls must not count ours.
monotonic, wall_clock, _time_ns, _localtime = time.monotonic, time.time, time.time_ns, time.localtime


def uuid7():
    """Return a new UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, then random bits."""
    clock = "%012x" % (_time_ns() // 1_000_000)
    noise = system.urandom(10).hex()
    variant = "89ab"[int(noise[3], 16) & 3]
    return clock[:8] + "-" + clock[8:] + "-7" + noise[:3] + "-" + variant + noise[4:7] + "-" + noise[7:19]


def endpoint_key(endpoint):
    """Return 16 hex digits that stand for an endpoint in file names: its UTF-8 bytes as a number, modulo the largest
    prime below 2**64. A loop over the bytes (FNV-1a) takes 40 times the instructions.
    """
    return "%016x" % (int.from_bytes(endpoint.encode("utf-8", "replace"), "big") % 0xFFFFFFFFFFFFFFC5)


def timestamp(now, texts=None):
    """Return Unix seconds as ISO 8601 local time with milliseconds and offset. `texts` are what `clock_texts` says."""
    prefix, offset = texts or clock_texts(int(now))
    return "%s%03d%s" % (prefix, (now - int(now)) * 1000, offset)


def clock_texts(second):
    """Return what stands before and after the milliseconds of a second's timestamps."""
    local = _localtime(second)
    minutes = local.tm_gmtoff // 60
    sign, minutes = ("-", -minutes) if minutes < 0 else ("+", minutes)
    return "%04d-%02d-%02dT%02d:%02d:%02d." % local[:6], "%s%02d:%02d" % (sign, minutes // 60, minutes % 60)


def quote(text):
    """Return a JSON string literal; lone surrogates become their escaped form, as text."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return '"' + text + '"'
    return cold("encode").quote_any(text)


def flat_object(facts):
    """Return the JSON of str, int, float, bool and lists of str under known keys, without those that are None.

    Python's own text of a dict is JSON but for the quotes, unless a text in it holds a quote, a backslash or what is
    not ASCII: a fifth of the instructions of putting it together.
    """
    facts = {name: value for name, value in facts.items() if value is not None}
    text = repr(facts)
    if text.isascii() and '"' not in text and "\\" not in text and bool not in map(type, facts.values()):
        return text.replace("'", '"')
    return cold("encode").dense_object(facts)

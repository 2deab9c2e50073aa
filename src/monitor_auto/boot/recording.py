"""Cold: what the program records -> a name and redacted JSON. Loaded with the first event that is not our own.

Guarantees: `record` returns the event's id, or None where nothing was recorded. It raises nothing but what a signal
handler of the program raises meanwhile. Redaction happens here, before anything is written.
"""

from . import cleaning, cold, encode, guard, recorder, redact, spool, stdlib

MAX_NAME_CHARS = 120
MAX_KNOWN = 4096
MAX_FAST_CHARS = 15000
"""A character takes at most four bytes, an event 64 KiB."""
LONG_CHARS = 1000
"""From here on events are counted by their bytes: a thousand of them may be more than a small spool holds."""
USUAL_BYTES = 512
PLAIN = frozenset((str, int, float, bool, type(None)))
"""What JSON holds as it is: no code of the program runs when it is encoded."""
safe_keys = encode.safe_keys
plain_keys = set()
"""The same, as long as there are no rules of the user's: with one of those every text is looked at with care."""
LOOKS = bytes.maketrans(redact.TOKEN_CHARS.encode() + b"@=\\':/ ", b"a" * len(redact.TOKEN_CHARS) + b"@" * 7)
SHORT_RUN = b"a" * (redact.SHORTEST_TOKEN - 1)
"""Without a longer one, and without a blank, there is no token in a text, and no card."""
_NAME_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")
_CLASS_CHARS = _NAME_CHARS | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")

names = set()
"""Names that need no change."""


def make_record():
    """Return the function behind all recording calls: one closure, since look-ups would cost a fifth of it."""
    write = recorder.write
    look_often(recorder.segment.max_bytes)
    encode_flat = make_flat_encoder()
    is_plain = PLAIN.issuperset
    is_safe = plain_keys.issuperset
    needs_look, kinds_of, looks_of, short_run = redact.needs_look, redact.KINDS, LOOKS, SHORT_RUN

    def record(kind, name, data):
        if recorder.session is None:
            return None
        try:
            try:
                if (
                    type(data) is dict
                    and type(name) is str
                    and name in names
                    and is_safe(data)
                    and is_plain(map(type, data.values()))
                ):
                    text = "".join(encode_flat(data, 0))
                    encoded = text.encode()
                    # The colons and quotes of a flat object are its own: a quote inside a string has a backslash. Most
                    # have no other mark, and no long word: that is seen for half of what the next look costs.
                    looks = encoded.translate(looks_of)
                    rest = looks.replace(b'"@', b'"')
                    is_plain_text = (
                        len(looks) - len(rest) == len(data)
                        and not rest.partition(b"@")[1]
                        and not rest.partition(short_run)[1]
                        and "--" not in text
                    )
                    if not is_plain_text:
                        kinds = encoded.translate(kinds_of)
                        is_plain_text = kinds.count(b"@") == len(data) and not needs_look(text, kinds)
                    if is_plain_text and len(text) < LONG_CHARS:
                        return write(kind, name, text)
                    if is_plain_text and len(text) < MAX_FAST_CHARS:
                        return write_long(kind, name, text, len(encoded))
            except guard.ours(Exception):  # NaN, surrogates, a dict that a thread is changing, a key's own `__eq__`
                pass
            name, text = careful(name, data)
            return write(kind, name, text) if len(text) < LONG_CHARS else write_long(kind, name, text, len(text))
        except guard.ours(Exception) as error:  # no memory or stack, an interpreter half gone, a bug of ours
            guard.note("record", error)
            return None

    if recorder.settings.sample or "sampling" in cold.__globals__:
        return cold("sampling").install(record)
    return record


def look_often(max_bytes):
    """Have the segment looked at every so many events that they do not fill more than a segment, small as it may be."""
    events = 16
    while events <= min(recorder.CHECK_EVENTS, max_bytes // USUAL_BYTES // 2):
        events *= 2
    recorder.CHECK_EVENTS = events - 1


_long_bytes = 0


def write_long(kind, name, text, size):
    """Write an event of so many bytes, and look at the segment when such ones have filled half of it. Whether it is too
    long is else seen once a second, in which a program may write 50 MB.
    """
    global _long_bytes
    event_id = recorder.write(kind, name, text)
    _long_bytes += size
    if _long_bytes > recorder.segment.max_bytes >> 1:
        _long_bytes = 0
        guard.call("segment check", spool.check, recorder.segment)
    return event_id


def careful(given_name, data):
    """Return (name, JSON text) for anything; learn the name and the keys for the next time."""
    remarks = []
    is_known = type(given_name) is str and given_name in names
    name = given_name if is_known else learn_name(given_name, remarks)
    if type(data) is dict:
        learn_keys(data)
    elif data is None:
        data = {}
    elif not encode.is_mapping(data):
        data = {"value": data}
        remarks.append("data was no mapping")
    text = encode.encode(data)
    if remarks:
        extra = '{"_note":' + encode.encode("; ".join(remarks))
        text = extra + ("," + text[1:] if len(text) > 2 else "}")
    return name, text


def learn_name(given, remarks):
    """Return the nearest valid name; where it is another than the given one, say so in a note."""
    is_text = issubclass(type(given), str)
    text = encode.plain(given) if is_text else "" if given is None else encode.safe_repr(given)
    name = valid_name(encode.cut(text, MAX_NAME_CHARS))  # redacted first: in lower case a token is not recognised
    if name != text or not is_text:
        remarks.append("name was " + encode.cut(encode.safe_repr(given), 200))
    elif len(names) < MAX_KNOWN:
        names.add(name)
    return name


def valid_name(text):
    """Return the nearest name in lower case with dots; an error's class keeps its capitals."""
    if text.startswith("error."):
        return "error." + ("".join([c if c in _CLASS_CHARS else "_" for c in text[6:]]).strip("_.") or "unnamed")
    return "".join([c if c in _NAME_CHARS else "_" for c in text.strip().lower()]).strip("_.") or "event.unnamed"


def learn_keys(data):
    """Remember the keys that are no secrets, so that the fast path need not look at them again."""
    has_rules = redact.extra_words or redact.value_rules
    for key in list(data)[:64]:
        if type(key) is str and key not in safe_keys and len(key) < 64 and len(safe_keys) < MAX_KNOWN:
            if not cleaning.is_secret_key(key) and not redact.is_suspicious(key):
                safe_keys.add(key)
                if not has_rules:
                    plain_keys.add(key)


def forget_keys():
    """Look at every key again, and at what hooks have encoded: the rules have changed."""
    safe_keys.clear()
    plain_keys.clear()
    cold("hooked").kept.clear()


def make_flat_encoder():
    """Return `_json`'s C encoder for one call without the json package (8 ms to import), or one that always refuses."""
    try:
        module = stdlib.load("_json")
    except guard.ours(ImportError, OSError, MemoryError):  # a shared object takes a descriptor and memory
        module = None
    if module is None or not hasattr(module, "make_encoder"):
        return _refuse
    return module.make_encoder(None, _refuse, module.encode_basestring, None, ":", ",", False, False, False)


def _refuse(*values):
    raise TypeError

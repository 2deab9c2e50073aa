"""What the events of requests begin with: the JSON that all requests of a kind have in common, encoded and redacted
once. Most programs make and answer the same requests again and again. For hooks; loads nothing before the first one.

Guarantees: a rule of redaction that is added later applies to what is recorded later: `recording.forget_keys` empties
`known`.
"""

from .. import boot
from ..boot import hooked, recorder, redact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_KNOWN = 500
MAX_KNOWN_CHARS = 500

known: "dict[tuple[Any, ...], Any]" = hooked.kept
_encode_flat: "Any" = None


def keep(key: "tuple[Any, ...]", value: "Any", text: str) -> "Any":
    """Keep a value that was made of this text under a key, unless it is too long; return it."""
    if len(text) < MAX_KNOWN_CHARS:
        if len(known) >= MAX_KNOWN:
            known.clear()
        known[key] = value
    return value


def text_of(facts: "dict[str, Any]") -> str:
    """Return the JSON of facts that are text and numbers, redacted, without the brace at its end."""
    global _encode_flat
    recording: Any = boot.load("recording")
    if _encode_flat is None:
        _encode_flat = recording.make_flat_encoder()
    text = ""
    try:
        text = "".join(_encode_flat(facts, 0))
        kinds = text.encode().translate(redact.KINDS)  # as in `recording.record`
        is_plain = kinds.count(b"@") == len(facts) and not redact.needs_look(text, kinds)
    except (TypeError, UnicodeEncodeError):  # no `_json`, a lone surrogate
        is_plain = False
    return str(text if is_plain and len(text) < recording.MAX_FAST_CHARS else boot.load("encode").encode(facts))[:-1]


def is_left_out(name: str) -> bool:
    """True when MONITOR_SAMPLE, or a collector that is overrun, wants this event left out, which is counted then. To be
    asked only where there is a sample, or the module of sampling.
    """
    return bool(boot.load("sampling").leaves_out(recorder.EVENT, name))

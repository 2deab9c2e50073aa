"""Hot: identifiers, from the kernel's randomness and the clock. Builtin modules only."""

import os
import time


def uuid7():
    """Return a new UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, then random bits."""
    clock = "%012x" % (time.time_ns() // 1_000_000)
    noise = os.urandom(10).hex()
    variant = "89ab"[int(noise[3], 16) & 3]
    return clock[:8] + "-" + clock[8:] + "-7" + noise[:3] + "-" + variant + noise[4:7] + "-" + noise[7:19]


def endpoint_key(endpoint):
    """Return 16 hex digits that stand for an endpoint in file names: FNV-1a, 64 bit, of its UTF-8 bytes."""
    value = 0xCBF29CE484222325
    for byte in endpoint.encode("utf-8", "replace"):
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return "%016x" % value

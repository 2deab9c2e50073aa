"""What hooks of HTTP clients share: one `http.client.request` for each request on the wire, and its `traceparent`.

A request is a span: its event has an id of its own and names what was running. Nothing is entered for it, so that a
call costs no more than its event. Loads nothing before the first request: many programs import http.client and make
none.

Guarantees: headers, queries and bodies are never recorded; of a header that is to be sent we only ask whether it is
there. What is recorded of a path is redacted like everything else.
"""

import os
import time

from .. import boot
from ..boot import hooked, recorder, redact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, TypeAlias

    Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]
    Begun: TypeAlias = tuple[float, str, Headers]
    Address: TypeAlias = tuple[str, int | None]

NAME = "http.client.request"
PORTS = {"http": 80, "https": 443}
MAX_PATH_CHARS = 1000
MAX_KNOWN = 500
MAX_KNOWN_CHARS = 500
SOME_IDS = 32
MAX_STATE_CHARS = 512
"""W3C Trace Context, 3.3.1.5: at least so many have to be passed on; more is no header to send unasked."""

_urandom, _perf_counter = os.urandom, time.perf_counter  # the program may replace those of the modules
_beginnings: "dict[tuple[Any, ...], str]" = {}
_hosts: "dict[str, bool]" = {}
_boot = vars(boot)
_ids: "Iterator[str]" = iter(())
_owner: "Any" = None
"""The session that these ids were made for."""


def begin(host: str) -> "Begun":
    """Begin a request to a host. Return what `end` takes; its last item are the headers to add."""
    context = _boot.get("context") or boot.load("context")
    trace, parent, flags = context.current() or ("0" * 32, "0" * 16, "00")
    session = recorder.session
    own = next(_ids, None) if _owner is session else None
    own = own or new_ids(session)
    member = f',"span":{{"trace_id":"{trace}","span_id":"{own}","parent_span_id":"{parent}"}}'
    headers: Headers = ()
    is_told = _hosts.get(host)
    if is_told or is_told is None and propagates_to(host):
        headers = ((b"traceparent", f"00-{trace}-{own}-{flags}".encode()),)
        if session is not None and session.outer_span_id and session.trace_id == trace:
            headers += tracestate()
    return _perf_counter(), member, headers


def new_ids(session: "Any") -> str:
    """Return an id of a span, and keep some for later: asking the system for each costs more than the rest of it.

    A forked child is a session of its own, and gets its own.
    """
    global _ids, _owner
    text = _urandom(8 * SOME_IDS).hex()
    ids = iter([text[place : place + 16] for place in range(0, len(text), 16)])
    own = next(ids)
    _owner = None  # another thread must not take ids that another session has had
    _ids = ids
    _owner = session
    return own


def propagates_to(host: str) -> bool:
    """True unless MONITOR_PROPAGATE or MONITOR_PROPAGATE_EXCLUDE says that this host gets no trace."""
    settings: Any = recorder.settings
    is_told = settings.propagate
    if is_told and settings.propagate_exclude:
        matches, known = boot.load("choosing").matches, host.lower().rstrip(".")
        is_told = not any(matches(known, glob) for glob in settings.propagate_exclude)
    if len(_hosts) < MAX_KNOWN:
        _hosts[host] = is_told
    return bool(is_told)


def tracestate() -> "Headers":
    """Return the header that goes with the trace that the environment has brought, with the state that came along."""
    state = os.environ.get("TRACESTATE", "").strip()
    is_state = "=" in state and state.isascii() and state.isprintable() and len(state) <= MAX_STATE_CHARS
    return ((b"tracestate", state.encode()),) if is_state else ()


def add_to_buffer(lines: "list[bytes]", headers: "Headers") -> None:
    """Add the headers of the trace to the lines of a request that http.client is about to send, unless the program has
    given one.
    """
    if headers and not any(line[:12].lower() == b"traceparent:" for line in lines):
        lines.extend([name + b": " + value for name, value in headers])


def end(
    begun: "Begun",
    library: str,
    method: str,
    address: "Address",
    path: "str | None",
    status: "Any",
    error: "BaseException | None",
) -> None:
    """Record a request that has got its status, or an error."""
    took = (_perf_counter() - begun[0]) * 1000
    settings: Any = recorder.settings
    if recorder.session is None or (settings.sample or "sampling" in _boot) and is_left_out():
        return
    hooked.add(library)
    has_rules = redact.extra_words or redact.value_rules  # of the user, who may add some at any time
    text = None if has_rules else _beginnings.get((library, method, address, path))
    text = text or beginning(library, method, address, path)
    if type(status) is int:
        text = f'{text},"status":{status}'
    elif status is not None:
        text = f'{text},"status":{int(status)}'
    if error is not None:
        encode = boot.load("encode")
        text = f'{text},"error":{encode.encode(encode.class_name(error))}'
    context = _boot["context"]
    write: Any = recorder.write if context.variable is None else context._write
    write(recorder.EVENT, NAME, f'{text},"duration_ms":{took:.3f}}}{begun[1]}')


def is_left_out() -> bool:
    """True when MONITOR_SAMPLE, or a collector that is overrun, wants this one left out."""
    return bool(boot.load("sampling").leaves_out(recorder.EVENT, NAME))


def beginning(library: str, method: str, address: "Address", path: "str | None") -> str:
    """Return the JSON that all requests of a kind begin with, redacted; most programs make the same ones again."""
    facts: dict[str, Any] = {"library": library, "method": method, "host": address[0]}
    if address[1] is not None:
        facts["port"] = address[1]
    if path is not None:
        facts["path"] = path if len(path) <= MAX_PATH_CHARS else path[:MAX_PATH_CHARS] + "…"
    text = str(boot.load("encode").encode(facts))[:-1]
    if len(text) < MAX_KNOWN_CHARS:
        if len(_beginnings) >= MAX_KNOWN:
            _beginnings.clear()
        _beginnings[library, method, address, path] = text
    return text


def where(target: str, host: str, port: "int | None") -> "tuple[Address, str]":
    """Return ((host, port), path) of the target of a request line (RFC 9112, 3.2). In the form for proxies it names
    the host; else that is who we are connected to.
    """
    scheme, sign, rest = target.partition("://") if target[:4].lower() == "http" else ("", "", "")
    if sign:
        authority = rest.partition("/")[0].partition("?")[0]
        target = rest[len(authority) :]
        host, colon, digits = authority.rpartition("@")[2].rpartition(":")
        if not colon or digits.endswith("]"):
            host, digits = host + colon + digits, ""
        port = int(digits) if digits.isdigit() else PORTS.get(scheme.lower())
    path = target.partition("?")[0].partition("#")[0]
    return (host.strip("[]"), port), path if path or not sign else "/"

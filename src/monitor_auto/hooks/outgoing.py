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
from ..boot import hooked, recorder
from . import beginnings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, TypeAlias

    Ticket: TypeAlias = tuple[str, bytes]
    Address: TypeAlias = tuple[str, int | None]
    Kind: TypeAlias = tuple[str, str, bool]
    Begun: TypeAlias = tuple[Kind, str, float, bytes | None, bytes | None]

NAME = "http.client.request"
SOME_TICKETS = 32
PORTS = {"http": 80, "https": 443}
MAX_PATH_CHARS = 1000
MAX_STATE_CHARS = 512
"""W3C Trace Context, 3.3.1.5: at least so many have to be passed on; more is no header to send unasked."""

_perf_counter = time.perf_counter  # the program may replace that of the module
_boot = vars(boot)
known = beginnings.known
_counts: "dict[str, Any]" = hooked.counts
_context: "Any" = None
_held: "tuple[Any, Any, Iterator[Ticket], bytes | None]" = (None, None, iter(()), None)
"""Tickets, the session and the span that they are for, and the `tracestate` that goes with them."""


def kind_of(library: str, method: str, address: "Address", path: "str | None") -> "Kind":
    """Return what all requests that look like this one have in common: (library, beginning of the event, whether the
    host is told of the trace).
    """
    key = library, method, address, path
    kind: Kind = known.get(key) or beginnings.keep(key, *make_kind(library, method, address, path))
    return kind


def make_kind(library: str, method: str, address: "Address", path: "str | None") -> "tuple[Kind, str]":
    """Return a new kind, and its text."""
    facts: dict[str, Any] = {"library": library, "method": method, "host": address[0]}
    if address[1] is not None:
        facts["port"] = address[1]
    if path is not None:
        facts["path"] = path if len(path) <= MAX_PATH_CHARS else path[:MAX_PATH_CHARS] + "…"
    text = beginnings.text_of(facts)
    return (library, text, propagates_to(address[0])), text


def propagates_to(host: str) -> bool:
    """True unless MONITOR_PROPAGATE or MONITOR_PROPAGATE_EXCLUDE says that this host gets no trace."""
    settings: Any = recorder.settings
    if not settings.propagate or not host or not settings.propagate_exclude:
        return bool(settings.propagate and host)
    matches, known = boot.load("choosing").matches, host.lower().rstrip(".")
    return not any(matches(known, glob) for glob in settings.propagate_exclude)


def begin(kind: "Kind") -> "Begun":
    """Begin a request. Return what `end` takes; its last items are the `traceparent` to add, None for none, and the
    `tracestate` that goes with it, if there is one.
    """
    variable = (_context or load_context()).variable
    span = None if variable is None else variable.get()
    session, owner, tickets, state = _held  # read once: another thread may put its own there
    is_same = owner is span and session is recorder.session
    ticket = next(tickets, None) if is_same else None
    if ticket is None:
        ticket, state = new_tickets(span, is_same)
    if kind[2]:
        return kind, ticket[0], _perf_counter(), ticket[1], state
    return kind, ticket[0], _perf_counter(), None, None


def load_context() -> "Any":
    """Load what knows the current span."""
    global _context
    _context = boot.load("context")
    return _context


def new_tickets(span: "Any", is_same: bool) -> "tuple[Ticket, bytes | None]":
    """Return the member `span` of a request's event with its `traceparent`, and the `tracestate` for it. Where more
    are asked for the same span some are made ahead: one by one they take three times as long, and in C a third of that.

    A forked child is a session of its own, and makes its own.
    """
    global _held
    session: Any = recorder.session
    trace, parent, flags = (span[0], span[1], span[4]) if span else _context.current() or _context.NOWHERE
    given = span[6] if span else None
    is_outer = session is not None and session.outer_span_id and session.trace_id == trace
    state = tracestate(given) if given is not None or is_outer else None
    ids = _context.new_ids(SOME_TICKETS) if is_same else [_context.new_id()]
    member = f',"span":{{"trace_id":"{trace}","span_id":"%s","parent_span_id":"{parent}"}}'
    # Of two threads none gets one that the other has: `next` is one step in C.
    made = zip(map(member.__mod__, ids), map(str.encode, map(f"00-{trace}-%s-{flags}".__mod__, ids)), strict=False)
    ticket = next(made)
    _held = session, span, made, state
    return ticket, state


def tracestate(given: "str | None") -> "bytes | None":
    """Return what goes with a trace: what came along with it, in a request or in the environment."""
    state = (os.environ.get("TRACESTATE", "") if given is None else given).strip()
    while len(state) > MAX_STATE_CHARS:
        state = state.rpartition(",")[0].rstrip()
    return state.encode() if "=" in state and state.isascii() and state.isprintable() else None


def add_to_buffer(lines: "list[bytes]", begun: "Begun") -> None:
    """Add the headers of the trace to the lines of a request that http.client is about to send, unless the program has
    given one.
    """
    value = begun[3]
    if value is None or b"\n".join(lines).lower().partition(b"\ntraceparent:")[1]:
        return
    lines.append(b"traceparent: " + value)
    if begun[4] is not None:
        lines.append(b"tracestate: " + begun[4])


def end(begun: "Begun", status: "Any", error: "BaseException | None") -> None:
    """Record a request that has got its status, or an error."""
    (library, text, _), member, started, _, _ = begun
    took = (_perf_counter() - started) * 1000
    settings: Any = recorder.settings
    if recorder.session is None or (settings.sample or "sampling" in _boot) and beginnings.is_left_out(NAME):
        return
    try:
        _counts[library] += 1
    except (KeyError, TypeError):  # not hooked by ourselves, or off
        hooked.add(library)
    write: Any = recorder.write if _context.variable is None else _context._write
    if type(status) is int and error is None:
        write(recorder.EVENT, NAME, f'{text},"status":{status},"duration_ms":{took:.3f}}}{member}')
    else:
        write(recorder.EVENT, NAME, f'{text}{outcome(status, error)},"duration_ms":{took:.3f}}}{member}')


def outcome(status: "Any", error: "BaseException | None") -> str:
    """Return the JSON of how a request has ended that has no plain number, or an error."""
    text = "" if status is None else f',"status":{int(status)}'
    if error is not None:
        encode = boot.load("encode")
        text += f',"error":{encode.encode(encode.class_name(error))}'
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

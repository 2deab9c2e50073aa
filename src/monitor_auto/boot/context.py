"""Cold: the span that is running: a request, a call, a piece of work of `Monitor.span`. Loaded when the first span
begins; a process without spans has nothing of it. Builtin modules only.

What is recorded inside a span names it in its member `span`; the span's own event names its parent as well. Which span
that is follows `contextvars`: tasks have it from where they were made; `spreading.py` sees to threads and executors.

Guarantees: `leave` always ends what `enter` began, also in another context than it began in (a generator that somebody
else goes on with, an abandoned one that is closed by the garbage collector): then nothing is current there.
"""

import os

from . import guard, recorder, stdlib

variable = None
"""A ContextVar, once there has been a span. It holds the current one: (trace id, span id, member of events inside it,
member of its own event, trace flags, the request that it is part of); None: there is none."""

_write = None


def enter(remote=None, request=None):
    """Begin a span below the current one, or below `remote`, a (trace id, span id, flags) that came with a request
    (`inherited.context_of` reads it). `request` is what `request()` answers inside it; None: what it has answered
    before. Returns (span, token), both for `leave`.
    """
    if variable is None:
        install()
    if remote is not None:
        trace, parent, flags = remote
    else:
        trace, parent, flags = current() or ("0" * 32, "0" * 16, "00")
    own = os.urandom(8).hex()
    inside = ',"span":{"trace_id":"' + trace + '","span_id":"' + own + '"'
    outer = variable.get()
    if request is None and outer is not None:
        request = outer[5]
    span = (trace, own, inside + "}", inside + ',"parent_span_id":"' + parent + '"}', flags, request)
    return span, variable.set(span)


def leave(span, token):
    """End a span: what was current before it is current again."""
    try:
        variable.reset(token)
    except ValueError:  # begun in another context
        if variable.get() is span:
            variable.set(None)


def record(kind, name, facts, span):
    """Record the event that a span itself is. Returns its id, or None where nothing was recorded."""
    token = variable.set((span[0], span[1], span[3], span[3], span[4], span[5]))
    try:
        return recorder.record(kind, name, facts)
    finally:
        variable.reset(token)


def record_within(span, call, *args):
    """Call what records something that belongs to a span that is not the current one here, or not any more."""
    token = variable.set(span)
    try:
        return call(*args)
    finally:
        variable.reset(token)


def request():
    """Return what was given to `enter` for the request that is being served here, or None."""
    span = None if variable is None else variable.get()
    return None if span is None else span[5]


def current():
    """Return (trace id, span id, flags) of what is running now; None without a session."""
    span = None if variable is None else variable.get()
    if span is not None:
        return span[0], span[1], span[4]
    session = recorder.session
    return None if session is None else (session.trace_id, session.span_id, session.trace_flags)


def traceparent():
    """Return the W3C `traceparent` that an outgoing request or a child is to carry; None without a session."""
    ids = current()
    return None if ids is None else "00-" + "-".join(ids)


def holding(span):
    """Return a new Context with nothing but this span as the current one."""
    made = stdlib.load("_contextvars").Context()
    made.run(variable.set, span)
    return made


def install():
    """Let everything that is recorded from now on say in which span it was."""
    global variable, _write
    # An extension module in many builds, and `contextvars` may be a file of the program.
    made = stdlib.load("_contextvars").ContextVar("monitor_auto_span", default=None)
    if variable is not None:  # another thread, or a signal handler, was faster
        return
    _write, variable = recorder.write, made
    recorder.write = write
    recorder.record = recorder.load_record  # what has taken the function before is made anew
    guard.late("spreading", "install")


def write(kind, name, text):
    """`recorder.write`, with the member `span` where there is a current span."""
    span = variable.get()
    return _write(kind, name, text if span is None else text + span[2])

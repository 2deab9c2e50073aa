"""Cold: the span that is running: a request, a call, a piece of work of `Monitor.span`. Loaded when the first span
begins; a process without spans has nothing of it. Builtin modules only.

What is recorded inside a span names it in its member `span`; the span's own event names its parent as well. Which span
that is follows `contextvars`: tasks have it from where they were made; `spreading.py` sees to threads and executors.

Guarantees: `leave` always ends what `enter` began, also in another context than it began in (a generator that somebody
else goes on with, an abandoned one that is closed by the garbage collector): then nothing is current there.
"""

import os

from . import cold, guard, recorder, stdlib

variable = None
"""A ContextVar, once there has been a span. It holds the current one: (trace id, span id, member of events inside it,
member of its own event, trace flags, the request that it is part of, the `tracestate` that came with the trace); None:
there is none."""
NOWHERE = "0" * 32, "0" * 16, "00"
SOME_IDS = 32

ids = iter(())
owner = None
"""The session that these ids were made for."""
_urandom = os.urandom  # the program may replace that of the module
_write = None
_handed = None
"""The lineage in the C environment, where it is not as the session has put it."""


def enter(remote=None, request=None, state=None):
    """Begin a span below the current one, or below `remote`, a (trace id, span id, flags) that came with a request
    (`inherited.context_of` reads it), and `state` with it. `request` is what `request()` answers inside it; None: what
    it has answered before. Returns (span, token), both for `leave`.
    """
    if variable is None:
        install()
    outer = variable.get()
    if outer is not None:
        request = request or outer[5]
        if remote is None:
            remote, state = (outer[0], outer[1], outer[4]), outer[6]
    trace, parent, flags = remote or current() or NOWHERE
    own = new_id()
    inside = f',"span":{{"trace_id":"{trace}","span_id":"{own}"'
    span = (trace, own, inside + "}", f'{inside},"parent_span_id":"{parent}"}}', flags, request, state)
    return span, variable.set(span)


def new_id():
    """Return a new id of a span. A forked child is a session of its own, and gets its own."""
    own = next(ids, None) if owner is recorder.session else None
    return own or more_ids()


def more_ids():
    """Return an id of a span, and keep some for later: asking the system for each costs more than the rest of it."""
    global ids, owner
    session = recorder.session
    made = iter(new_ids(SOME_IDS))
    own = next(made)
    owner = None  # another thread must not take ids that another session has had
    ids = made
    owner = session
    return own


def new_ids(count):
    """Return a list of new ids of spans."""
    return _urandom(8 * count).hex(" ", 8).split(" ")


def leave(span, token):
    """End a span: what was current before it is current again."""
    try:
        variable.reset(token)
    except guard.ours(ValueError, RuntimeError):  # begun in another context; ended already
        if variable.get() is span:
            variable.set(None)


def record(kind, name, facts, span):
    """Record the event that a span itself is. Returns its id, or None where nothing was recorded."""
    token = variable.set((span[0], span[1], span[3], span[3], *span[4:]))
    try:
        return recorder.record(kind, name, facts)
    finally:
        variable.reset(token)


def write_own(kind, name, text, span):
    """Write the event that a span itself is, its data encoded and redacted. Returns its id, or None."""
    return _write(kind, name, text + span[3])


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


def lineage():
    """Return the lineage that a child is to find: this session's, with the current span in the place of its own."""
    own = recorder.session.lineage
    span = None if variable is None else variable.get()
    return own if span is None else (*own[:2], span[0], span[1], span[4], own[5])


def hand_down(given=None):
    """Have a child that inherits the C environment find the current span there, or the `given` lineage.

    It is put there before each child that is started while there is a span, and taken back afterwards, so of two
    threads that start a child in the same moment each has its own. A TRACEPARENT that the program has set itself stays.
    """
    global _handed
    wanted = given or lineage()
    if recorder.session is None or wanted[2:4] == (_handed or recorder.session.lineage)[2:4]:
        return
    _handed = wanted
    taken_over = cold.__globals__["_taken_over"]
    os.putenv("MONITOR_PARENT", ":".join(wanted) + taken_over)
    outer = cold("inherited").context_of(os.environ.get("TRACEPARENT"))
    if recorder.settings.propagate and (outer[1] if outer else "") == wanted[5]:
        os.putenv("TRACEPARENT", "00-" + "-".join(wanted[2:5]))


def forget():
    """In a forked child: what its parent has handed down is nothing to it."""
    global _handed
    _handed = None


def take_back():
    """Have the C environment name the session again."""
    if _handed is not None and recorder.session is not None:
        hand_down(recorder.session.lineage)


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

"""Cold: what a process has inherited: its parent session, a trace, a CI job, its part in `multiprocessing`. Builtin
modules only.

Guarantees: what is malformed counts as absent. `os.environ` keeps the TRACEPARENT that the process was started with:
only children see ours, by the C environment (`os.putenv`).
"""

import os

from . import cold, patches, redact
from .session import PARENT_VARIABLE

TRACE_FLAGS = 3
"""The bits of W3C's trace flags that have a meaning (sampled, random trace id); the others must not be passed on."""
_LENGTHS = ((36, 12, 32, 16, 2, 0), (36, 12, 32, 16, 2, 16))
_CI_MARKS = ("CI", "GITHUB_ACTIONS", "GITLAB_CI", "JENKINS_URL", "BUILD_TAG", "TF_BUILD", "TEAMCITY_VERSION")
_surroundings = None

TOKEN_HELD_BACK = "!"
"""Stands among the names of variables that a parent has added."""
taken = {}
"""Variables that the parent has added: they are in the C environment alone."""


def handed_down(session):
    """Return the variables that link a child to a session, or to the span that it is in; for a child whose environment
    is given by the program.

    The trace is in there: a child session of ours needs no TRACEPARENT.
    """
    spans = cold.__globals__.get("context")  # with the first span
    return {PARENT_VARIABLE: ":".join(session.lineage if spans is None else spans.lineage())}


def lineage_of(text, traceparent):
    """Return what a parent session left in MONITOR_PARENT, the lineage of that session; None for anything else.

    A TRACEPARENT that the parent has neither handed down nor inherited was put there on purpose, by a program between
    the two: then that is the trace and the span, and the parent session is the parent still.
    """
    parts = text.split(":")
    if tuple(map(len, parts)) not in _LENGTHS or parts[0].count("-") != 4:
        return None
    if not _is_hex(text.replace("-", "").replace(":", "")):
        return None
    session_id, tree, trace, span, flags, outer = parts
    context = context_of(traceparent)
    if context is not None and context[1] not in (span, outer):
        trace, span, flags = context
    return session_id, tree, trace, span, flags, context[1] if context is not None else ""


def take_over(names):
    """Take out of os.environ what our parent has added to the environment that it was asked to give us: its names.

    Our own children are to get it: it stays in the C environment. True where a token was held back.
    """
    for name in names.split(","):
        value = os.environ.pop(name, None)
        if value is not None:
            taken[name] = value
            os.putenv(name, value)
    return TOKEN_HELD_BACK in names


def context_of(text):
    """Return (trace id, span id, flags) of a valid W3C TRACEPARENT, else None. Of a version that is to come only the
    part that this one knows is read (W3C Trace Context, 3.2.4).
    """
    parts = (text or "").strip().split("-")
    if len(parts) < 4 or [len(part) for part in parts[:4]] != [2, 32, 16, 2] or not _is_hex("".join(parts[:4])):
        return None
    version, trace, span, flags = parts[:4]
    if version == "ff" or version == "00" and len(parts) > 4 or not trace.strip("0") or not span.strip("0"):
        return None
    return trace, span, "%02x" % (int(flags, 16) & TRACE_FLAGS)


def _is_hex(text):
    return not text.strip("0123456789abcdef")


def adopt(session):
    """Hang a session that has no parent below the trace or the CI job around it. Return the facts of the CI job.

    They are read once: a fork of a program that has changed its environment belongs to the same job.
    """
    global _surroundings
    if _surroundings is None:
        is_job = any(name in os.environ for name in _CI_MARKS)
        _surroundings = cold("ci").facts_and_trace(os.environ) if is_job else ({}, None)
    facts, trace = _surroundings
    if session.trace_id is None:
        context = context_of(os.environ.get("TRACEPARENT"))
        if context is not None:
            session.trace_id, session.parent_span_id, session.trace_flags = context
            session.outer_span_id = context[1]
        else:
            session.trace_id = trace
    return facts


def reload_environ():
    """Do what os.reload_environ (3.14) does, and leave out what is in the C environment for our children only.

    What the program has set itself since then is there: it is not what we have put.
    """
    before = os.environ.get("TRACEPARENT")
    (real,) = [real for owner, name, real, _ in patches.replaced if (owner, name) == ("os", "reload_environ")]
    real()
    data = os.environ._data
    parent = data.pop(PARENT_VARIABLE.encode(), b"").split(b":")
    if data.get(b"TRACEPARENT") == b"00-" + b"-".join(parent[2:5]):
        del data[b"TRACEPARENT"]
        if before is not None:
            data[b"TRACEPARENT"] = os.fsencode(before)
    for name, value in taken.items():
        if data.get(os.fsencode(name)) == os.fsencode(value):
            del data[os.fsencode(name)]


def multiprocessing_role(arguments):
    """Return "spawn", "forkserver", "resource_tracker" or None: what `multiprocessing` started this interpreter as."""
    for index, argument in enumerate(arguments[:-1]):
        if argument == "-c" and arguments[index + 1].startswith("from multiprocessing."):
            role = arguments[index + 1][21:].partition(" ")[0]
            return role if role in ("spawn", "forkserver", "resource_tracker") else None
    return None


def program_name(arguments):
    """Return the program of a command line with options (script path, module of -m, "-c", or "python" for a prompt)
    and whether it is a script file; or the program that has this interpreter inside.
    """
    if not arguments:
        return redact.tidy(cold("embedded").program()) or "python", False
    name, is_script = cold("commandline").program_of(arguments)
    return (redact.tidy(name.rpartition("/")[2]) if is_script else name), is_script

"""Hot: a process becomes a session, at its start and after a fork. Builtin modules only.

Guarantees: a forked child shares nothing with its parent's session but memory: new ids, lock, segment, before a line of
the program runs in it. No lock of ours that a thread of the parent may have held is waited for. A child that is about to
exec (`preexec_fn`) becomes a session only when it records something.
"""

import os
import sys

from . import guard, signals
from .event import LIFECYCLE, recorder
from .session import PARENT_VARIABLE, Session
from .spool import Segment

_settings = None
_lineage = None


def install(settings, parent):
    """Register the one fork callback. There is no way to take it back; it does nothing without a session."""
    global _settings, _lineage
    _settings, _lineage = settings, parent
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=after_fork_in_child)


def start_session(settings, parent, start_method):
    """Open the session and its segment, and record `session.start`."""
    global _lineage
    session = Session(settings, parent, start_method)
    _lineage = (session.id, session.tree, session.trace_id)
    segment = recorder.segment
    if segment is None:
        segment = Segment(settings, signals.use_file)
    recorder.start(settings, session, segment)
    segment.start(session)
    recorder.record(LIFECYCLE, "session.start", session.start_facts(settings))
    pass_on(_lineage)


def pass_on(lineage):
    """Let children know their parent: in the C environment only, the program's os.environ stays as it is."""
    if lineage is not None:
        os.putenv(PARENT_VARIABLE, ":".join(lineage))


def after_fork_in_child():
    """Runs in every forked child, in C's call, before os.fork returns there."""
    guard.call("fork", become_child, sys._getframe(1))


def become_child(frame):
    """Make the child a session, or a sleeping one if it is `subprocess` about to exec."""
    if recorder.segment is not None:
        recorder.segment.forget()
        recorder.segment.start(None)
    if frame.f_code.co_name == "_execute_child" and frame.f_globals.get("__name__") == "subprocess":
        recorder.sleep(wake)
        return
    start_session(_settings, _lineage, "fork" if recorder.session is not None else "forkserver")


def wake():
    """Start the session of a sleeping child that records something after all."""
    start_session(_settings, _lineage, "fork")

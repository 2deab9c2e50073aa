"""Hot: a process becomes a session, at its start and after a fork. Builtin modules only.

Guarantees: a forked child shares nothing with its parent's session but memory: new ids, lock, segment, before a line of
the program runs in it. No lock of ours that a thread of the parent may have held is waited for. A child that is about
to exec (`preexec_fn`) becomes a session only when it records something.
"""

import atexit
import os
import sys

from . import cold, endings, guard, recorder, redact, session, signals, targets
from .settings import read_settings
from .spool import Segment

_settings = None
_lineage = None


def start_process(overrides):
    """Begin to monitor this process. `overrides` count where the operator has named no endpoint. False: dormant.

    Raises ValueError for an endpoint that cannot be used.
    """
    global _settings, _lineage
    _settings = settings = read_settings(os.environ, sys.prefix) or (
        overrides and read_settings({**os.environ, **overrides}, sys.prefix)
    )
    role = inherited_role()
    if not settings or role in ("resource_tracker", "monitor-auto"):
        return False
    guard.debug_target = settings.debug
    home = (os.environ.get("HOME") or os.path.expanduser("~")).rstrip("/")
    if home[:1] == "/" or "\\" in home:
        redact.home = home
    if session.PARENT_VARIABLE in os.environ:  # for us alone: the program shall not see it
        _lineage = cold("inherited").parent_of(os.environ.pop(session.PARENT_VARIABLE))
    atexit.register(endings.on_atexit)
    if hasattr(os, "register_at_fork"):  # there is no way to take it back; it does nothing without a session
        os.register_at_fork(after_in_child=after_fork_in_child)
    signals.install()
    endings.install()
    targets.install(settings)
    if settings.term_timeout_seconds:
        guard.late("terminating", "install")
    if role != "forkserver":
        start_session(settings, _lineage, role or "exec")
    elif _lineage:  # no session itself: its workers are, and their parent is who asked for them
        os.putenv(session.PARENT_VARIABLE, ":".join(_lineage))
    if settings.problems:
        cold("parsing").report(settings)
    return True


def inherited_role():
    """Return what `multiprocessing`, which runs a -c line of its own, or our command started this interpreter as."""
    words = sys.orig_argv[1:3] or [""]
    if words[0][-13:] == "/monitor-auto" or words == ["-m", "monitor_auto"]:
        return "monitor-auto"
    for word in sys.orig_argv:
        if word[:21] == "from multiprocessing.":
            return cold("inherited").multiprocessing_role(sys.orig_argv)
    return None


def start_session(settings, parent, start_method):
    """Open the session and its segment, and record `session.start`."""
    global _lineage
    started = session.make(settings, parent, start_method)
    _lineage = (started.id, started.tree, started.trace_id)
    if recorder.segment is None:
        recorder.segment = Segment(settings, signals.use_file)
    recorder.begin(settings, started)
    recorder.segment.start(started)
    recorder.record_facts("session.start", session.start_facts(started, settings))
    # In the C environment only: the program's os.environ stays as it is.
    os.putenv(session.PARENT_VARIABLE, ":".join(_lineage))


def after_fork_in_child():
    """Runs in every forked child, in C's call, before os.fork returns there."""
    if not guard.late("forked", "become_child", _settings, _lineage, sys._getframe(1)):
        recorder.session = None  # what it records must not pass for its parent's

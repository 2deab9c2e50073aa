"""Cold: a server that has this interpreter inside (uWSGI) and forks in C, where Python's own fork hooks do not run.
Builtin modules only.

In every process that it has forked uWSGI calls `uwsgi.post_fork_hook`, if there is one (python_plugin.c:
uwsgi_python_post_fork, 2.0.21 and 2.0.30). It makes the module `uwsgi` by PyImport_AddModule, after the start of the
interpreter, and takes the one that is there: so the hook can be in it from the beginning.
"""

import os
import sys

from . import after_fork_in_child, guard, recorder

has_forked = False
"""This is a worker. Its parent, which runs no Python any more, will not deliver for it, not even at its end."""


def install():
    """Wait for forks, if it is uWSGI that we are inside of."""
    if program().startswith("uwsgi"):
        install_uwsgi(None)


def program():
    """Return the name of the program that has this interpreter inside; "" where the system does not tell."""
    words = command_line()
    return os.path.basename(words[0]) if words else ""


def command_line():
    """Return the words that this process was started with: `sys.orig_argv` has none of them (proc(5))."""
    try:
        fd = os.open("/proc/self/cmdline", os.O_RDONLY | os.O_CLOEXEC)
    except guard.ours(OSError):
        return []
    try:
        return [os.fsdecode(word) for word in os.read(fd, 65536).rstrip(b"\0").split(b"\0")]
    finally:
        os.close(fd)


def install_uwsgi(pyuwsgi):
    """Put our hook into the module `uwsgi`. Called at the start, or after `import pyuwsgi`, uWSGI as a library."""
    uwsgi = sys.modules.setdefault("uwsgi", type(sys)("uwsgi"))
    if not hasattr(uwsgi, "post_fork_hook"):
        uwsgi.post_fork_hook = on_forked


def install_uwsgidecorators(uwsgidecorators):
    """Go before the hook that the module has put in the place of ours. Called after `import uwsgidecorators`."""
    uwsgi = sys.modules.get("uwsgi")
    real = getattr(uwsgi, "post_fork_hook", None)
    if real is None or real is on_forked:
        return

    def post_fork_hook():
        on_forked()
        return real()

    uwsgi.post_fork_hook = post_fork_hook


def on_forked():
    """Make the forked process a session, unless Python's own hooks have done so (`--py-call-osafterfork`)."""
    global has_forked
    session = recorder.session
    if session is not None and session.pid != os.getpid():
        has_forked = True
        guard.call("uwsgi", after_fork_in_child)

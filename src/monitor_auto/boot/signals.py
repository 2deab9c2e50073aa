"""Hot: deaths that no Python code sees: SIGTERM and fatal signals, recorded in C by `faulthandler` into the `.live`
file.

Guarantees:
- No Python signal handler: `getsignal(SIGTERM)` answers SIG_DFL, the default action still kills with the true status,
  an inherited SIG_IGN stays, and a handler that the program sets replaces ours.
- `all_threads=False`: walking the frames of other threads crashed in up to 17 of 80 tries (3.10 to 3.15).
- A SIGTERM that the kernel gives to a thread which has no Python state yet, or none any more, kills as ever and leaves
  no stack (faulthandler.c: faulthandler_dump_traceback). That takes a main thread that is just starting another one. A
  parent that sees the signal makes up for it (delivery/deaths.py).
- `faulthandler` behaves for the program as if nobody had enabled it (`faulthandling.py`).
"""

import sys

from . import patches, system

try:
    import faulthandler
except ImportError:  # a build without it
    faulthandler = None

SIGTERM = 15  # as on every POSIX system that has the `register` of faulthandler
PROGRAM_CALLS = tuple(
    [(name, "faulthandling") for name in ("is_enabled", "enable", "disable", "register", "unregister")]
)

real = {}
"""faulthandler's own functions by name."""
is_owner = False
"""True while the fatal signals' handler is ours and not the program's."""
term_owner = None
"""Whose C handler SIGTERM has, as far as we know: "us", "program" or None."""
fd = -1


def install():
    """Give `faulthandler` back to the program before we use it."""
    global is_owner
    if faulthandler is None:
        return
    is_owner = not faulthandler.is_enabled()  # -X faulthandler, -X dev and PYTHONFAULTHANDLER own it
    for name, _ in PROGRAM_CALLS:
        if hasattr(faulthandler, name):
            real[name] = getattr(faulthandler, name)
    patches.replace_calls(faulthandler, PROGRAM_CALLS)


def use_file(number):
    """Write native stacks to this descriptor from now on.

    Where the number is the old one nothing has to be done, and nothing is: a handler that the program or a C library
    has installed meanwhile must not be replaced.
    """
    global fd, term_owner
    if faulthandler is None or number == fd:
        return
    fd = number
    if is_owner:
        real["enable"](file=fd, all_threads=False)
    if term_owner != "program" and has_default_term():
        real["register"](SIGTERM, file=fd, all_threads=False, chain=True)
        term_owner = "us"


def has_default_term():
    """True where SIGTERM would kill: default action, and not PID 1, whom the kernel spares."""
    if "register" not in real or system.getpid() == 1:
        return False
    signals = sys.modules.get("_signal")  # not held, see `system`
    return signals is not None and signals.getsignal(SIGTERM) == signals.SIG_DFL

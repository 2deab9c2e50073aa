"""Hot: the one shield between our errors and the program. Builtin modules only. What it catches, `notes.py` writes
down.

Guarantees: `call` lets no `Exception` of ours out, never stops KeyboardInterrupt, SystemExit or what a signal handler
of the program raises meanwhile, and leaves one line in the spool's ledger (`what`: "internal_error") for each part and
place, so that nothing fails unseen.
"""

import sys

from . import cold

directory = None
"""The spool in use, where `ledger.jsonl` is; None until there is one."""
debug_target = None
"""The value of MONITOR_DEBUG."""
PROGRAMS_CLASS = 1 << 9
"""Of `type.__flags__`: not made in C (object.h: Py_TPFLAGS_HEAPTYPE; 3.10 to 3.15), as no builtin exception is."""
waiting = []
"""Lines for the ledger that came before there was a spool."""


def call(part, function, *args):
    """Call our own function; on an error note it under the name of the part and return None."""
    try:
        return function(*args)
    except ours(Exception) as error:  # a bug of ours, no memory, no descriptor left, a hostile object of the program
        note(part, error)
        return None


def late(module, function, *args):
    """Call a function of one of our cold modules; on an error note it and return None."""
    try:
        return getattr(cold(module), function)(*args)
    except ours(Exception) as error:  # the same, and half an installation
        note(function, error)
        return None


def ours(*kinds):
    """Return what an `except` clause is to catch: these kinds, but nothing where what was raised is the program's own,
    by a handler of a signal that came while our code ran.

    What the very frame that asks has raised, or C for it, is ours: for that nothing is loaded and no traceback read.
    """
    error = sys.exc_info()[1]
    if not type(error).__flags__ & PROGRAMS_CLASS and error.__traceback__.tb_next is None:
        return kinds
    return () if cold("encode").is_programs(error) else kinds


def note(part, error):
    """Write an internal error down: where, what, once for each part and place. What is the program's own is raised
    again.
    """
    try:
        is_ours = cold("notes").note(part, error)
    except ours(Exception):  # no disk, no memory, an interpreter half gone: nobody left to tell
        return
    if is_ours is False:
        raise error


def use_directory(path):
    """Name the spool, and write what waited for it."""
    global directory
    directory = path
    if waiting:
        cold("notes").write_waiting()

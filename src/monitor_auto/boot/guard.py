"""Hot: the one shield between our errors and the program. Builtin modules only. What it catches, `notes.py` writes
down.

Guarantees: `call` lets no `Exception` of ours out, never stops KeyboardInterrupt, SystemExit or what a signal handler
of the program raises meanwhile, and leaves one line in the spool's ledger (`what`: "internal_error") for each part and
place, so that nothing fails unseen.
"""

from . import cold

directory = None
"""The spool in use, where `ledger.jsonl` is; None until there is one."""
debug_target = None
"""The value of MONITOR_DEBUG."""
waiting = []
"""Lines for the ledger that came before there was a spool."""


def call(part, function, *args):
    """Call our own function; on an error note it under the name of the part and return None."""
    try:
        return function(*args)
    except (
        Exception
    ) as error:  # a bug of ours, MemoryError, a full table of descriptors, a hostile object of the program
        note(part, error)
        return None


def late(module, function, *args):
    """Call a function of one of our cold modules; on an error note it and return None."""
    try:
        return getattr(cold(module), function)(*args)
    except Exception as error:  # the same, and half an installation
        note(function, error)
        return None


def note(part, error):
    """Write an internal error down: where, what, once for each part and place. What a handler of a signal has raised is
    none: it is raised again.
    """
    try:
        is_ours = cold("notes").note(part, error)
    except Exception:  # no disk, no memory, an interpreter half gone: nobody left to tell
        return
    if is_ours is False:
        raise error


def use_directory(path):
    """Name the spool, and write what waited for it."""
    global directory
    directory = path
    if waiting:
        cold("notes").write_waiting()

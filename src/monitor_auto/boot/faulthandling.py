"""Cold: `faulthandler` as the program sees it: as if we did not use it. Builtin modules only.

Each function stands in for faulthandler's of the same name. What the program owns is the program's: its `enable` and
`register` replace ours, and only what it has given up itself is taken over again.
"""

from . import signals


def is_enabled(*args, **kwargs):
    """True only for the program's own use."""
    return signals.real["is_enabled"](*args, **kwargs) and not signals.is_owner


def enable(*args, **kwargs):
    """The program takes the fatal signals over."""
    result = signals.real["enable"](*args, **kwargs)
    signals.is_owner = False
    return result


def disable(*args, **kwargs):
    """The program gives them up: they are ours again."""
    was_enabled = signals.real["disable"](*args, **kwargs)
    if signals.is_owner and was_enabled is not None:
        was_enabled = False
    signals.is_owner = True
    if signals.fd >= 0:
        signals.real["enable"](file=signals.fd, all_threads=False)
    return was_enabled


def register(*args, **kwargs):
    """The program's own registration of SIGTERM replaces ours."""
    result = signals.real["register"](*args, **kwargs)
    if _is_term(args, kwargs):
        signals.term_owner = "program"
    return result


def unregister(*args, **kwargs):
    """What the program has not registered it cannot unregister."""
    if signals.term_owner == "us" and len(args) == 1 and not kwargs and _is_term(args, kwargs):
        return False
    return signals.real["unregister"](*args, **kwargs)


def _is_term(args, kwargs):
    number = kwargs.get("signum", args[0] if args else None)
    return isinstance(number, int) and number == signals.SIGTERM

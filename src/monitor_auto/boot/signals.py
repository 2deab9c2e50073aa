"""Hot: deaths that no Python code sees: SIGTERM and fatal signals, recorded in C by `faulthandler` into the `.live` file.

Guarantees:
- No Python signal handler: `getsignal(SIGTERM)` answers SIG_DFL, the default action still kills with the true status, an
  inherited SIG_IGN stays, and a handler that the program sets replaces ours.
- `all_threads=False`: walking the frames of other threads crashed in up to 17 of 80 tries (3.10 to 3.15).
- `faulthandler` behaves for the program as if nobody had enabled it.
"""

import os

from . import patches

try:
    import faulthandler
except ImportError:  # a build without it
    faulthandler = None
try:
    import _signal
except ImportError:
    _signal = None

_is_owner = False
"""True while the fatal signals' handler is ours and not the program's."""
_term_owner = None
"""Whose C handler SIGTERM has, as far as we know: "us", "program" or None."""
_fd = -1


def install():
    """Give `faulthandler` back to the program before we use it."""
    global _is_owner
    if faulthandler is None:
        return
    _is_owner = not faulthandler.is_enabled()  # -X faulthandler, -X dev and PYTHONFAULTHANDLER own it
    for name, make in (("is_enabled", make_is_enabled), ("enable", make_enable), ("disable", make_disable)):
        patches.replace(faulthandler, name, make(getattr(faulthandler, name)))
    for name, make in (("register", make_register), ("unregister", make_unregister)):
        if hasattr(faulthandler, name):
            patches.replace(faulthandler, name, make(getattr(faulthandler, name)))


def use_file(fd):
    """Write native stacks to this descriptor from now on.

    Where the number is the old one nothing has to be done, and nothing is: a handler that the program or a C library has
    installed meanwhile must not be replaced.
    """
    global _fd, _term_owner
    if faulthandler is None or fd == _fd:
        return
    _fd = fd
    if _is_owner:
        _real("enable")(file=fd, all_threads=False)
    if _term_owner != "program" and has_default_term():
        _real("register")(_signal.SIGTERM, file=fd, all_threads=False, chain=True)
        _term_owner = "us"


def has_default_term():
    """True where SIGTERM would kill: default action, and not PID 1, whom the kernel spares."""
    if _signal is None or not hasattr(faulthandler, "register") or os.getpid() == 1:
        return False
    return _signal.getsignal(_signal.SIGTERM) == _signal.SIG_DFL


def _real(name):
    function = getattr(faulthandler, name)
    return getattr(function, "_monitor_auto_real", function)


def make_is_enabled(real_is_enabled):
    """True only for the program's own use."""

    def monitored_is_enabled(*args, **kwargs):
        return real_is_enabled(*args, **kwargs) and not _is_owner

    return _marked(monitored_is_enabled, real_is_enabled)


def make_enable(real_enable):
    """The program takes the fatal signals over."""

    def monitored_enable(*args, **kwargs):
        global _is_owner
        result = real_enable(*args, **kwargs)
        _is_owner = False
        return result

    return _marked(monitored_enable, real_enable)


def make_disable(real_disable):
    """The program gives them up: they are ours again."""

    def monitored_disable(*args, **kwargs):
        global _is_owner
        was_enabled = real_disable(*args, **kwargs)
        if _is_owner:
            was_enabled = False if was_enabled is not None else None
        _is_owner = True
        if _fd >= 0:
            _real("enable")(file=_fd, all_threads=False)
        return was_enabled

    return _marked(monitored_disable, real_disable)


def make_register(real_register):
    """The program's own registration of SIGTERM replaces ours."""

    def monitored_register(*args, **kwargs):
        global _term_owner
        result = real_register(*args, **kwargs)
        if _is_term(args, kwargs):
            _term_owner = "program"
        return result

    return _marked(monitored_register, real_register)


def make_unregister(real_unregister):
    """What the program has not registered it cannot unregister."""

    def monitored_unregister(*args, **kwargs):
        if _term_owner == "us" and _is_term(args, kwargs) and len(args) + len(kwargs) == 1:
            return False
        return real_unregister(*args, **kwargs)

    return _marked(monitored_unregister, real_unregister)


def _is_term(args, kwargs):
    signum = kwargs.get("signum", args[0] if args else None)
    return isinstance(signum, int) and _signal is not None and signum == _signal.SIGTERM


def _marked(monitored, real):
    patches.disguise(monitored, real)
    monitored._monitor_auto_real = real
    return monitored

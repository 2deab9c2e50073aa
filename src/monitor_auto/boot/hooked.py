"""Cold: what is hooked in fact, and how many events each hook has recorded: said by `session.end`, and by `sdk.hooks`
with the reports of a session that lives long. Loaded with the first hook of a library. Builtin modules only.
"""

import sys

from . import formats, guard, patches

counts = {}
"""Name of the instrumentation -> how many events it has recorded; of other packages' hooks "on", or why it is off."""
kept = {}
"""What hooks have encoded and will need again, redacted by the rules of now."""
at_end = []
"""Functions of hooks that the end of the session calls, before it is written."""
at_report = []
"""Functions of hooks that are called before a session that lives long says what is hooked."""
_told = None

NAMES = {"_pytest.runner": "pytest", "http.client": "http.client"}
"""Those that users know by another name than that of the module's package."""


class Counts(dict):
    """Counts whose repr is JSON: encode.dense_object takes it as it is."""

    __slots__ = ()

    def __repr__(self):
        parts = [formats.quote(k) + ":" + (formats.quote(v) if type(v) is str else str(v)) for k, v in self.items()]
        return "{" + ",".join(parts) + "}"


def name_of(target):
    """Return the name by which users know what is hooked in a module."""
    return NAMES.get(target) or target.partition(".")[0].lower()


def begin(target):
    """The hook of a module has been installed."""
    counts.setdefault(name_of(target), 0)


def begin_foreign(target):
    """The hook of another package has been installed; what it records it does not tell us."""
    counts.setdefault(name_of(target), "on")


def fail(target, reason):
    """A hook could not be installed, and is off."""
    counts[name_of(target)] = "off: " + reason


def add(name):
    """Count an event that a hook has recorded."""
    number = counts.get(name, 0)
    counts[name] = number + 1 if type(number) is int else 1


def on_end():
    """Return what `session.end` says of hooks, after what they have to say themselves."""
    for function in list(at_end):
        guard.call("hooks", function)
    return Counts(counts) if counts else None


def let_go():
    """The program is over. What we hold of the modules that are hooked, so that it could be undone, we let go: else
    Python clears them and all that they have imported name by name, 2.5 M instructions for http.client (pylifecycle.c:
    finalize_modules, 3.10 to 3.15).
    """
    patches.replaced.clear()
    for name, module in list(sys.modules.items()):
        if type(name) is str and name.startswith("monitor_auto.hooks."):
            for holding in ("_undo", "_replaced"):
                vars(module).get(holding, []).clear()


def news():
    """Return what has changed since the last report, as JSON; None if nothing has."""
    global _told
    for function in list(at_report):
        guard.call("hooks", function)
    now = dict(counts)
    if now == _told or not now:
        return None
    _told = now
    return '{"hooks":' + repr(Counts(now)) + "}"


def reset():
    """Begin anew in a forked child: what is hooked stays hooked."""
    global _told
    _told = None
    for name, number in list(counts.items()):
        if type(number) is int:
            counts[name] = 0

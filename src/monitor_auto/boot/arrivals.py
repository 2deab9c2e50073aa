"""Cold: what happens when the program imports a target: its hook is installed after the module has been executed.
Builtin modules only; asks the other finders directly, so that the import machinery is not re-entered.

Guarantees:
- wrapt is loaded before the first third-party target is, and only if no file of the program would be loaded in place of
  a module that wrapt needs; from there on wrapt's own post-import hooks do the work.
- A hook that fails is switched off and noted once; the program's import succeeds or fails as it would without us.
"""

import sys

from . import cold, guard, notes, stdlib, targets
from .targets import STDLIB, THIRD_PARTY


def arrive(name, path, target):
    """Return the spec of a target, with its hook behind it; None where nobody finds it."""
    hook = targets.waiting.pop(name)
    if not is_wanted(targets.settings, name):
        return None
    if name in THIRD_PARTY:
        guard.call("wrapt", hand_over)
        return ask(name, path, target)
    return chain(ask(name, path, target), name, hook)


def install_late(name):
    """Give a module its hook that had been imported before we came."""
    hook = targets.waiting.pop(name)
    if not is_wanted(targets.settings, name):
        return
    if name in THIRD_PARTY:
        targets.waiting[name] = hook
        hand_over()
    else:
        install(name, hook, sys.modules[name])


def is_wanted(settings, name):
    """True unless MONITOR_INSTRUMENT or MONITOR_SKIP says otherwise; the standard library's are part of the endings."""
    short = name.partition(".")[0].lower()
    if name in STDLIB:
        return True
    return short not in settings.skip and (not settings.instrument or short in settings.instrument)


def ask(name, path, target):
    """Return what the finders after ours find. A copy: a finder may change sys.meta_path."""
    for other in list(sys.meta_path):
        if other is not targets and hasattr(other, "find_spec"):
            spec = other.find_spec(name, path, target)
            if spec is not None:
                return spec
    return None


def chain(spec, name, hook):
    """Let the hook run after the module; the loader takes our step out before it does."""
    if spec is not None and hasattr(spec.loader, "exec_module"):
        spec.loader = ChainedLoader(spec.loader, lambda module: install(name, hook, module))
    return spec


def install(name, hook, module):
    """Run one hook on its module."""
    guard.call("hook of " + name, run_hook, hook, module)
    targets.installed.append(name)


def hand_over():
    """Load wrapt and leave every third-party target to its post-import hooks."""
    names = {name: hook for name, hook in THIRD_PARTY.items() if is_wanted(targets.settings, name)}
    for name in THIRD_PARTY:
        targets.waiting.pop(name, None)
    in_the_way = stdlib.shadowed()
    if in_the_way:
        text = ", ".join(sorted(in_the_way)[:10])
        notes.ledger("problem", part="hooks", reason="files of the program hide modules that wrapt needs: " + text)
        return
    __import__("monitor_auto.hooks.wrapping")
    sys.modules["monitor_auto.hooks.wrapping"].register(names, targets.installed)


class ChainedLoader:
    """Stands in for a loader until it has executed the module once."""

    def __init__(self, real_loader, after):
        self._real_loader = real_loader
        self._after = after

    def __getattr__(self, name):
        return getattr(self._real_loader, name)

    def create_module(self, spec):
        return self._real_loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self._real_loader
        self._real_loader.exec_module(module)
        self._after(module)


def run_hook(hook, module):
    """Load "module:function" and call it with the target."""
    name, _, function = hook.partition(":")
    package, _, short = name.rpartition(".")
    if package == __package__:
        owner = cold(short)
    else:
        __import__(name)
        owner = sys.modules[name]
    getattr(owner, function)(module)

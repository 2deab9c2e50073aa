"""Hot: the finder that waits for targets. Builtin modules only; asks the other finders directly.

Guarantees:
- A module that is no target costs one dict look-up. A program that imports no third-party target never loads wrapt.
- The module's `__spec__`, `__loader__` and import errors are what they would be without us.
- wrapt is loaded before the first third-party target is, and only if no file of the program would be loaded in place of a
  module that wrapt needs; from there on wrapt's own post-import hooks do the work.
"""

import sys

from . import guard
from .targets import STDLIB, THIRD_PARTY


class Finder:
    """First in `sys.meta_path`; finds nothing itself."""

    def __init__(self, settings):
        self.settings = settings
        self.waiting = {**STDLIB, **THIRD_PARTY}
        self.installed = []

    def find_spec(self, name, path=None, target=None):
        """Return None for what is no target, else the real finders' spec with our step after its execution."""
        if name not in self.waiting:
            return None
        hook = self.waiting.pop(name)
        if not self.is_wanted(name):
            return None
        if name in THIRD_PARTY:
            guard.call("wrapt", self.hand_over)
            return self.ask(name, path, target)
        return self.chain(self.ask(name, path, target), name, hook)

    def is_wanted(self, name):
        """True unless MONITOR_INSTRUMENT or MONITOR_SKIP says otherwise; `threading` is part of the endings."""
        short = name.partition(".")[0].lower()
        if short in self.settings.skip:
            return False
        return not self.settings.instrument or short in self.settings.instrument or name in STDLIB

    def ask(self, name, path, target):
        """Return what the finders after us find. A copy: a finder may change sys.meta_path."""
        for finder in list(sys.meta_path):
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    return spec
        return None

    def chain(self, spec, name, hook):
        """Let the hook run after the module; the loader takes our step out before it does."""
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = ChainedLoader(spec.loader, lambda module: self.install(name, hook, module))
        return spec

    def install(self, name, hook, module):
        """Run one hook on its module."""
        guard.call("hook of " + name, run_hook, hook, module)
        self.installed.append(name)

    def hand_over(self):
        """Load wrapt and leave every third-party target to its post-import hooks."""
        from .stdlib import shadowed

        names = {name: hook for name, hook in THIRD_PARTY.items() if self.is_wanted(name)}
        for name in THIRD_PARTY:
            self.waiting.pop(name, None)
        in_the_way = shadowed()
        if in_the_way:
            text = ", ".join(sorted(in_the_way)[:10])
            guard.ledger("problem", part="hooks", reason="files of the program hide modules that wrapt needs: " + text)
            return
        __import__("monitor_auto.hooks.wrapping")
        sys.modules["monitor_auto.hooks.wrapping"].register(names, self.installed)


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
    """Import "module:function" and call it with the target."""
    name, _, function = hook.partition(":")
    __import__(name)
    getattr(sys.modules[name], function)(module)

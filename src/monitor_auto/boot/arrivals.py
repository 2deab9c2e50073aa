"""Cold: what happens when the program imports a target: its hook is installed after the module has been executed.
Builtin modules only; asks the other finders directly, so that the import machinery is not re-entered.

A third-party target is then given to wrapt's post-import hooks, which call the hook at once. They do not do the
waiting: a finder at the head of `sys.meta_path`, a proxy in place of the loader, and frames in the traceback of an
import that fails are all things that a program can see.

Guarantees:
- wrapt is loaded after the first third-party target has been, and only if no file of the program would be loaded in
  place of a module that wrapt needs.
- A hook that fails is switched off and noted once; the program's import succeeds or fails as it would without us.
- A target that is only looked for (`importlib.util.find_spec`) loads nothing and keeps its hook for the import.
"""

import marshal
import sys

from . import FOLDER, check_same, cold, guard, read_bytecode, targets

HOOKS = "monitor_auto.hooks"
IMPORTLIB = "<frozen importlib._bootstrap>"
"""Frames of code with this file name are cut out of the tracebacks of imports (import.c: remove_importlib_frames, 3.10
to 3.15)."""

ALSO = {
    "http.client": ("urllib", "urllib.request"),
    "urllib3.connectionpool": ("requests",),
    "_pytest.runner": ("pytest",),
    "starlette.applications": ("fastapi",),
    "starlette.routing": ("fastapi",),
}
"""By which other names users know an instrumentation: what calls through the module, and what they have installed."""


def finder_of(name):
    """Return what finds a target for the import machinery; None for one that nobody wants."""
    if is_wanted(targets.settings, name):
        return find
    del targets.waiting[name]
    return None


def install_late(name):
    """Give a module its hook that had been imported before we came."""
    if is_wanted(targets.settings, name):
        install(name, sys.modules[name])
    else:
        del targets.waiting[name]


def is_wanted(settings, name):
    """True unless MONITOR_INSTRUMENT or MONITOR_SKIP says otherwise, which name a module or its package; what shows the
    endings always is. With `all` MONITOR_INSTRUMENT names what is only hooked where it is asked for, beside the rest.
    """
    if name in targets.STDLIB:
        return True
    names = {name.lower(), name.partition(".")[0].lower()}.union(ALSO.get(name, ()))
    wanted = settings.instrument
    return names.isdisjoint(settings.skip) and (not wanted or "all" in wanted or not names.isdisjoint(wanted))


def find(name, path, target):
    """Return what the finders behind ours find, with the hook behind its execution; None where nobody finds it."""
    finders = list(sys.meta_path)  # a copy: a finder may change it
    behind = finders[finders.index(targets) + 1 :] if targets in finders else finders
    for other in behind:
        if hasattr(other, "find_spec"):
            spec = other.find_spec(name, path, target)
            if spec is not None:
                guard.call("finder", chain, spec)
                return spec
    return None


def chain(spec):
    """Let the hook run after the module. The step is an attribute of the loader, which the loader loses when it loads:
    so the loader is the real one whoever looks at it.
    """
    loader = spec.loader
    if isinstance(loader, type) or not hasattr(loader, "__dict__") or not hasattr(loader, "exec_module"):
        return  # builtin, frozen, a namespace: there is nothing to hook
    real_exec_module = loader.exec_module

    def exec_module(module):
        if module.__spec__ is not spec:  # one loader may serve many modules
            return real_exec_module(module)
        vars(loader).pop("exec_module", None)
        result = real_exec_module(module)
        install(spec.name, module)
        return result

    exec_module.__code__ = exec_module.__code__.replace(co_filename=IMPORTLIB)
    loader.exec_module = exec_module


def install(name, module):
    """Run the hooks of a target on its module, once."""
    for hook in targets.waiting.pop(name, "").split():
        is_ours = hook.startswith("monitor_auto.")
        if is_ours and guard.call("hook of " + name, run_hook, name, hook, module):
            targets.installed.append(name)
            if name not in targets.STDLIB:
                cold("hooked").begin(name)
        elif not is_ours:
            guard.call("hook of " + name, run_foreign, name, hook, module)


def run_foreign(name, hook, module):
    """Run a hook that another package has brought; one that raises is off, and `monitor-auto doctor` names it."""
    owner_name, _, function = hook.partition(":")
    if owner_name.partition(".")[0].lower() in targets.settings.skip or not is_way_clear():
        return
    try:
        __import__(owner_name)
        getattr(sys.modules[owner_name], function)(module)
    except guard.ours(
        Exception, SystemExit, GeneratorExit
    ) as error:  # its own, whatever it is; a script calls sys.exit
        text = cold("encode").class_name(error) + ": " + cold("errors").message(error)[:200]
        cold("notes").ledger("problem", part="hooks", reason="the hook " + hook + " of " + name + " is off: " + text)
        cold("hooked").fail(name, text)
    else:
        targets.installed.append(name)
        cold("hooked").begin_foreign(name)


def run_hook(name, hook, module):
    """Load "module:function" and call it with the target. True unless it could not be loaded safely."""
    owner_name, _, function = hook.partition(":")
    package, _, short = owner_name.rpartition(".")
    if package == __package__:
        owner = cold(short)
        getattr(owner, function)(module)
        return True
    if name in targets.THIRD_PARTY and not is_way_clear():
        return False
    load(HOOKS)
    if name in targets.THIRD_PARTY:
        register = load(HOOKS + ".wrapping").register
        register(name, getattr(load(owner_name), function))
    else:
        getattr(load(owner_name), function)(module)
    return True


def load(full_name):
    """Return a module of `hooks`, or the package."""
    module = sys.modules.get(full_name) or make(full_name)
    if module is None:
        __import__(full_name)
        module = sys.modules[full_name]
    return module


def make(full_name):
    """Load a module of `hooks` and return it. importlib takes 0.3 M instructions to find one, this 0.1 M. It is what
    importlib would make of it; None where its bytecode is not as it should be: then importlib shall look.

    Not before it is complete it is in `sys.modules`: another thread must not meet half a module. Whoever is first has
    made it; importing a file of ours does nothing.
    """
    check_same()
    parent, _, short = full_name.rpartition(".")
    short = short if parent == HOOKS else "__init__"
    data = read_bytecode("../../hooks/__pycache__/" + short)
    try:
        code = marshal.loads(memoryview(data or b"")[16:])
    except guard.ours(EOFError, ValueError, TypeError):  # there is none, or a full disk has cut it off
        return None
    import _frozen_importlib as importlib
    import _frozen_importlib_external as external

    folder = FOLDER[: -len("boot")] + "hooks"
    path = folder + "/" + short + ".py"
    loader = external.SourceFileLoader(full_name, path)
    spec = importlib.ModuleSpec(full_name, loader, origin=path, is_package=parent != HOOKS)
    spec.has_location = True
    module = type(sys)(full_name)
    facts = vars(module)
    facts.update(__spec__=spec, __loader__=loader, __file__=path, __package__=spec.parent)
    if parent != HOOKS:
        facts["__path__"] = spec.submodule_search_locations = [folder]
    exec(code, facts)
    module = sys.modules.setdefault(full_name, module)
    setattr(sys.modules[parent], full_name[len(parent) + 1 :], module)
    return module


def is_way_clear():
    """True when no file of the program would be loaded in place of what wrapt needs; else the hooks stay off."""
    in_the_way = cold("shadowing").shadowed(("wrapt",))
    if in_the_way:
        text = ", ".join(sorted(in_the_way)[:10])
        cold("notes").ledger(
            "problem", part="hooks", reason="files of the program hide modules that wrapt needs: " + text
        )
        for name in targets.THIRD_PARTY:
            targets.waiting.pop(name, None)
    return not in_the_way


def disguise(monitored, real):
    """Give our function the name, module, documentation and signature of the real one."""
    try:
        monitored.__name__, monitored.__qualname__ = real.__name__, real.__qualname__
        monitored.__doc__, monitored.__module__ = real.__doc__, real.__module__
    except guard.ours(AttributeError):  # a callable object that another tool has put there
        pass
    monitored.__wrapped__ = real  # inspect.signature looks there
    return monitored

"""Hot: the ledger of every foreign attribute that we replaced. Builtin modules only.

Guarantees: `replace` keeps what was there, so that `undoing.restore` can put it back.
"""

import sys

from . import cold, guard, recorder, system

replaced = []
"""(owner, name, what was there, what is there now). A module is there by its name, see `system`."""


def replace(owner, name, monitored):
    """Put our object in the place of a foreign attribute and return what was there."""
    real = getattr(owner, name)
    setattr(owner, name, monitored)
    replaced.append((owner.__name__ if type(owner) is type(sys) else owner, name, real, monitored))
    return real


class StandIn:
    """Stands in for a builtin function and looks like it: repr, type, signature, documentation, pickling.

    What is called in fact is looked up in `__call__` by C code, before the arguments are known: the real function
    itself where no session runs, else a method that hands the real function to this class. So `type.__call__` calls
    `__new__`, and then what it finds as `__init__`, and an exception passes no frame of ours: that of a plain wrapper
    would show up in the program's tracebacks. Like a builtin it does not become a method where a class has it as an
    attribute.

    Without a hook of its own `leaving.on_exit_call` is called in `__new__`, and then the real function in C as
    `__init__` (catching SystemExit would change it: up to 3.11 sys.exit((3,)) ends with 3 only when somebody has looked
    at it).
    With one, "module:function", `children.call_of` says what to call; ":function" of `exits` is called before the real
    function, a hook of the interpreter; a module alone has a function of the same name, which is called instead, with
    or without a session.
    """

    __slots__ = ("__init__", "hook", "real")

    def __new__(cls, call, /, *args, **kwargs):
        if type(call) is tuple:
            return call[0](cls, call, args, kwargs)
        guard.late("leaving", "on_exit_call", args, kwargs)
        made = object.__new__(cls)
        made.__init__ = type(call).__call__
        return made

    def __getattribute__(self, name):
        return getattr(real_of(self), name)

    def __repr__(self):
        return repr(real_of(self))

    @property
    def __call__(self):
        if real_of is None:  # our modules were cleared before the one that is cleared now
            return object.__getattribute__(self, "real")
        real = real_of(self)
        module, colon, function = (object.__getattribute__(self, "hook") or ":").partition(":")
        if not colon:
            instead = guard.call(module, cold, module)  # None in half an installation
            return getattr(instead, real.__name__) if instead else real
        if recorder.session is None:
            return real
        if module:
            return guard.late("children", "call_of", real, module, function) or real
        return bind(StandIn, (on_hook, real, function) if function else real)

    __doc__ = property(lambda self: real_of(self).__doc__)  # pydoc asks object


bind = type(guard.call.__get__(guard))
"""Makes a method: a call in C with a first argument."""


def real_of(function):
    """Return the real function behind one of our stand-ins; any other as it is."""
    return object.__getattribute__(function, "real") if type(function) is StandIn else function


def replace_calls(owner, hooks):
    """Have hooks called around the calls of builtin functions: pairs of a name and a hook, see `StandIn`.

    os takes its functions from posix, and there pickle looks for them: so they are replaced there, too.
    """
    found = vars(owner)
    home = found if owner.__name__ != "os" else vars(system)
    set_real, set_hook, make = StandIn.real.__set__, StandIn.hook.__set__, object.__new__
    for name, hook in hooks:
        if name in found:
            monitored = make(StandIn)
            real = found[name]
            set_real(monitored, real)
            set_hook(monitored, hook)
            replaced.append((owner.__name__, name, real, monitored))
            found[name] = monitored
            if home.get(name) is real:
                home[name] = monitored


def on_hook(kind, call, args, kwargs):
    """Call a hook of the interpreter, after `exits` has looked at what it is told; True: that was all."""
    _, real, function = call
    is_done = False
    try:
        is_done = guard.late("exits", function, *args)
    finally:  # whatever a handler of a signal raises
        if not is_done:
            real(*args, **kwargs)


def replace_hook(owner, name, on_call):
    """Have `exits.<on_call>(*args)` called before a hook is, which may have a twin with a dunder name.

    The twin is replaced, too, so that "is it the default?" is answered as without us.
    """
    real = getattr(owner, name)
    replace_calls(owner, ((name, ":" + on_call),))
    if getattr(owner, "__" + name + "__", None) is real:
        replace(owner, "__" + name + "__", getattr(owner, name))

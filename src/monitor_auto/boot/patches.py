"""Hot: the ledger of every foreign attribute that we replaced. Builtin modules only.

Guarantees: `replace` keeps what was there, so that `undoing.restore` can put it back.
"""

import sys

from . import guard, recorder

replaced = []


def replace(owner, name, monitored):
    """Put our object in the place of a foreign attribute and return what was there."""
    real = getattr(owner, name)
    setattr(owner, name, monitored)
    replaced.append((owner, name, real, monitored))
    return real


def disguise(monitored, real):
    """Give our function the name, module, documentation and signature of the real one."""
    try:
        monitored.__name__, monitored.__qualname__ = real.__name__, real.__qualname__
        monitored.__doc__, monitored.__module__ = real.__doc__, real.__module__
    except AttributeError:  # a callable object that another tool has put there
        pass
    monitored.__wrapped__ = real  # inspect.signature looks there
    return monitored


class StandIn:
    """Stands in for a builtin function and looks like it: repr, type, signature, documentation, pickling.

    What is called in fact is looked up in `__call__` by C code, before the arguments are known: the real function
    itself where no session runs, else what `calls.py` makes of it. In neither case does an exception pass a frame of
    ours (a plain wrapper would show up in the program's tracebacks), and like a builtin it does not become a method
    where a class has it as an attribute.
    """

    __slots__ = ("hook", "real")

    def __getattribute__(self, name):
        return getattr(real_of(self), name)

    def __repr__(self):
        return repr(real_of(self))

    __doc__ = property(lambda self: real_of(self).__doc__)  # pydoc asks object

    @property
    def __call__(self):
        if recorder.session is None:
            return real_of(self)
        return guard.late("calls", "call_of", self) or real_of(self)


def real_of(function):
    """Return the real function behind one of our stand-ins; any other as it is."""
    return object.__getattribute__(function, "real") if type(function) is StandIn else function


def replace_calls(owner, hooks):
    """Have hooks called around the calls of builtin functions: pairs of a name and "module:function".

    os takes its functions from posix, and there pickle looks for them: so they are replaced there, too.
    """
    set_real, set_hook = StandIn.real.__set__, StandIn.hook.__set__
    for name, hook in hooks:
        real = getattr(owner, name, None)
        if real is not None:
            monitored = StandIn()
            set_real(monitored, real)
            set_hook(monitored, hook)
            setattr(owner, name, monitored)
            replaced.append((owner, name, real, monitored))
            home = sys.modules.get(real.__module__)
            if home is not owner and getattr(home, name, None) is real:
                setattr(home, name, monitored)
                replaced.append((home, name, real, monitored))


def replace_hook(owner, name, on_call):
    """Have `exits.<on_call>(*args)` called before a hook is, which returns nothing and has a twin with a dunder name.

    The twin is replaced, too, so that "is it the default?" is answered as without us.
    """
    real = getattr(owner, name)

    def monitored_hook(*args, **kwargs):
        if recorder.session is not None:
            guard.late("exits", on_call, *args)
        return real(*args, **kwargs)

    disguise(monitored_hook, real)
    if getattr(owner, "__" + name + "__", None) is real:
        replace(owner, "__" + name + "__", monitored_hook)
    replace(owner, name, monitored_hook)

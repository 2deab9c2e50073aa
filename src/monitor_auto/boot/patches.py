"""Hot: the ledger of every foreign attribute that we replaced. Builtin modules only.

Guarantees: `replace` keeps what was there, so that `undoing.restore` can put it back.
"""

import sys

from . import recorder
from .guard import late

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


class Before(type):
    """Makes what looks and acts like a builtin function and has something done before each call.

    It is a class whose `__new__` does that and whose `__init__` is the real function: `type.__call__` calls one after
    the other in C, so what the real function raises passes no frame of ours (a plain wrapper would show up in the
    program's tracebacks), and like a builtin it does not become a method where a class has it as an attribute.
    """

    def __repr__(cls):
        return repr(cls.__init__)

    @property
    def __signature__(cls):
        if "inspect" not in sys.modules:  # it is who asks
            raise AttributeError("__signature__")
        return sys.modules["inspect"].signature(cls.__init__)


def replace_before(owner, name, on_call):
    """Have `exits.<on_call>(args, kwargs)` called before each call of a function that returns nothing."""
    real = getattr(owner, name)

    def monitored_new(cls, *args, **kwargs):
        if recorder.session is not None:
            late("exits", on_call, args, kwargs)
        return object.__new__(cls)

    facts = {"__new__": monitored_new, "__init__": staticmethod(real), "__doc__": real.__doc__}
    facts["__module__"], facts["__qualname__"] = real.__module__, real.__qualname__
    monitored = Before(real.__name__, (), facts)
    replace(owner, name, monitored)
    home = sys.modules.get(real.__module__)  # os takes its functions from posix, and there pickle looks for them
    if home is not owner and getattr(home, name, None) is real:
        replace(home, name, monitored)


def replace_hook(owner, name, on_call):
    """Have `exits.<on_call>(*args)` called before a hook is, which returns nothing and has a twin with a dunder name.

    The twin is replaced, too, so that "is it the default?" is answered as without us.
    """
    real = getattr(owner, name)

    def monitored_hook(*args, **kwargs):
        if recorder.session is not None:
            late("exits", on_call, *args)
        return real(*args, **kwargs)

    disguise(monitored_hook, real)
    if getattr(owner, "__" + name + "__", None) is real:
        replace(owner, "__" + name + "__", monitored_hook)
    replace(owner, name, monitored_hook)

"""Hot: the ledger of every foreign attribute that we replaced. Builtin modules only.

Guarantees: `replace` keeps what was there, so that `undoing.restore` can put it back.
"""

import sys

from . import guard, recorder

replaced = []
on_calls = {}
"""What `exits.py` does before a call, by the id of the real function."""


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


class Before:
    """What looks and acts like a builtin function, with something done before each call of it.

    A call goes through C alone but for `__new__`, which has returned when the real function is called: a slot named
    `__call__` holds a method that hands `real` to this class, `type.__call__` calls `__new__` and then what a slot
    named `__init__` holds, which is what calls things of real's type. So what the real function raises passes no frame
    of ours (that of a plain wrapper would show up in the program's tracebacks). Like a builtin it says so when it is
    asked for `__class__` or `repr`, and does not become a method where a class has it as an attribute. One class for
    all of them: a class costs 0.08 M instructions.
    """

    __slots__ = ("__call__", "__class__", "__dict__", "__init__", "__repr__", "__weakref__")

    def __new__(cls, real, /, *args, **kwargs):
        if recorder.session is not None:
            guard.late("exits", on_calls[id(real)], args, kwargs)
        made = object.__new__(cls)
        made.__init__ = type(real).__call__
        return made

    def __getattr__(self, name):
        return getattr(object.__getattribute__(self, "__call__").__self__, name)


def replace_before(owner, name, on_call):
    """Have `exits.<on_call>(args, kwargs)` called before each call of a function that returns nothing."""
    real = getattr(owner, name)
    on_calls[id(real)] = on_call
    monitored = object.__new__(Before)
    bound_method = type(monitored.__getattr__)
    monitored.__call__, monitored.__class__ = bound_method(Before, real), type(real)
    monitored.__repr__, monitored.__reduce_ex__ = real.__repr__, real.__reduce_ex__  # pickle: by its name
    monitored.__doc__, monitored.__module__ = real.__doc__, real.__module__
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
            guard.late("exits", on_call, *args)
        return real(*args, **kwargs)

    disguise(monitored_hook, real)
    if getattr(owner, "__" + name + "__", None) is real:
        replace(owner, "__" + name + "__", monitored_hook)
    replace(owner, name, monitored_hook)

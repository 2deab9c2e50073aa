"""Cold: what is called in the place of a builtin function that we stand in for (`patches.StandIn`). Builtin modules
only.

A hook is `hook(args, kwargs, name)`. It is called before the real function and returns None, or (args, kwargs, after):
what to call it with, and a function for its result, or None.

Guarantees:
- The real function is called exactly once, outside every shield, and what it returns or raises is what the program
  gets.
- An exception passes no frame of ours: the traceback that a program prints is the one of a bare run. Also where a
  handler of the program's own, called by a signal while our code ran, has raised it.
- os.fork and its kin are called with no frame of ours on the stack: from Python 3.12 they warn about threads, and the
  warning names the frame that called.
"""

import sys

from . import guard, patches


def call_of(stand_in):
    """Return what shall be called for a function that the program has just asked for."""
    module, _, function = patches.StandIn.hook.__get__(stand_in).partition(":")
    real = patches.real_of(stand_in)
    if function == "on_fork":
        return guard.cold(module).on_fork(real)
    if function == "on_fork_exec":
        caller = sys._getframe(3)  # behind guard.late and the stand-in
        if caller.f_code.co_name == "_execute_child" and caller.f_locals.get("preexec_fn") is not None:
            guard.late("starting", "expect", caller)
            return real
    if function == "on_exit_call":
        return before(real, module, function)
    return _bind(Around, (real, module, function))


def before(real, module, function):
    """Return what has a hook called before the real function, which is then called by C alone.

    Up to Python 3.11 catching SystemExit changes it: sys.exit((3,)) ends with 3 only when somebody has looked at it.
    """
    made = _before.get(real)
    if made is None:

        def monitored_new(cls, *args, **kwargs):
            guard.late(module, function, args, kwargs, real.__name__)
            return object.__new__(cls)

        facts = {"__new__": monitored_new, "__init__": staticmethod(real)}
        made = _before[real] = type(real.__name__, (), facts)
    return made


class Around:
    """Called like a function, as a class: C calls `__new__`, then `__init__` of what it has returned.

    `__new__` calls the real function. A result is no Around, so C takes it for the result of all and is done. An
    exception is caught, our frames are cut off its traceback, and an Around is returned that holds it: looking up
    `__init__` raises it again, all in C, so that the next frame on the traceback is that of the program.
    (typeobject.c: type_call, slot_tp_init, slot_tp_iternext; 3.10 to 3.15.) No module is imported for it: the program
    may be iterating over sys.modules.
    """

    __slots__ = ("__next__",)

    def __new__(cls, call, *args, **kwargs):
        real, module, function = call
        try:
            changed = guard.late(module, function, args, kwargs, real.__name__)
            if changed is None:
                return real(*args, **kwargs)
            args, kwargs, after = changed
            result = real(*args, **kwargs)
            if after is not None:
                guard.call(function, after, result)
            return result
        except BaseException as error:  # of the program: it gets it back from `__init__`
            trace = error.__traceback__
            while trace is not None and trace.tb_frame.f_globals.get("__package__") == __package__:
                trace = trace.tb_next
            error.__traceback__ = trace
            failed = object.__new__(cls)
            failed.__next__ = _bind(_ended.throw, error)
            return failed

    __init__ = property(next)


def _end():
    yield


_bind = type(guard.call.__get__(guard))  # types.MethodType: a function of C that gives its first argument
_ended = _end()  # one that has come to its end raises what it is told to without a frame (genobject.c)
_ended.close()
_before = {}

"""Calls of a library that pass through us and leave no trace: what they raise has no frame of ours in its traceback.
For hooks; loads nothing, so that those of the standard library cost no import. For what is awaited: `coroutines.py`.

A watch is `(part, begin, end)`: `begin(instance, args, kwargs)` is called before, and returns what `end(state, result,
error)` gets afterwards; None: this call is not watched. Both run shielded, under the name of the part.

Guarantees: the real function is called exactly once, outside every shield, with exactly the program's arguments.
"""

from ..boot import guard, patches, recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    Begin: TypeAlias = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]
    End: TypeAlias = Callable[[Any, Any, BaseException | None], None]
    Watch: TypeAlias = tuple[str, Begin, End]
    Undo: TypeAlias = Callable[[], None]

OURS = (__package__, patches.__package__)
bind: "Any" = patches.bind
_trace_of: "Any" = BaseException.__dict__["__traceback__"].__get__


def called_as(kind: "type") -> "Any":
    """Return a property that is, of an object, `kind` with that object as its first argument: made by C, called by C,
    as a method is.
    """
    return property(bind(bind, kind))


class Passing:
    """Called like a function, as a class: C calls `__new__`, then `__init__` of what it has returned.

    A result is no Passing, so C takes it for the result of all and is done. An exception is caught, and a Passing is
    returned that holds it: looking up `__init__` raises it again, all in C, so that the next frame on the traceback is
    that of who has called. (typeobject.c: type_call, slot_tp_init, slot_tp_iternext; genobject.c: a generator that has
    come to its end raises what it is told to without a frame; 3.10 to 3.15.)
    """

    __slots__ = ("__next__",)
    __init__: "Any" = property(next)


def _end() -> "Any":
    yield


_ended = _end()
_ended.close()


def failed(cls: "type[Passing]", error: BaseException) -> "Passing":
    """Return what raises this error, without our frames, when C looks for its `__init__`."""
    trace = _trace_of(error)
    while trace is not None and is_ours(trace.tb_frame.f_globals):
        trace = trace.tb_next
    BaseException.with_traceback(error, trace)  # not by its own attribute: a frozen dataclass refuses that
    made: Any = object.__new__(cls)
    made.__next__ = bind(_ended.throw, error)
    return made  # type: ignore[no-any-return]


def is_ours(found: "dict[str, Any]") -> bool:
    """True for the globals of a frame of ours. A program's may be a kind of dict of its own, with anything in it."""
    package = dict.get(found, "__package__")
    return type(package) is str and package in OURS


class Around(Passing):
    """What wrapt calls for a function: `Around(watch, wrapped, instance, args, kwargs)`."""

    __slots__ = ()

    def __new__(
        cls, watch: "Watch", wrapped: "Any", instance: "Any", args: "tuple[Any, ...]", kwargs: "dict[str, Any]"
    ) -> "Any":
        part, begin, end = watch
        try:
            state = None
            if recorder.session is not None:
                try:
                    state = begin(instance, args, kwargs)
                except Exception as error:  # a bug of ours, or an object of the program that answers with an error
                    guard.note(part, error)
            if state is None:
                return wrapped(*args, **kwargs)
            try:
                result = wrapped(*args, **kwargs)
            except BaseException as error:
                guard.call(part, end, state, None, error)
                raise
            try:
                end(state, result, None)
            except Exception as error:  # the same
                guard.note(part, error)
            return result
        except BaseException as error:  # the program's own: C raises it again, behind our frames
            return failed(cls, error)


class AroundOne(Passing):
    """A call of a function of one argument: `AroundOne(watch, real, given)`. Its `begin` gets nothing but that."""

    __slots__ = ()

    def __new__(cls, watch: "tuple[Any, ...]", real: "Any", given: "Any") -> "Any":
        part, begin, end = watch
        try:
            try:
                state = begin(given)
            except Exception as error:  # as in Around
                guard.note(part, error)
                state = None
            if state is None:
                return real(given)
            try:
                result = real(given)
            except BaseException as error:
                guard.call(part, end, state, None, error)
                raise
            try:
                end(state, result, None)
            except Exception as error:  # the same
                guard.note(part, error)
            return result
        except BaseException as error:  # the program's own: C raises it again, behind our frames
            return failed(cls, error)


def unwatched(*given: "Any") -> None:
    """Begin nothing."""


class Call(Passing):
    """`bind(Call, (function, …))(*args, **kwargs)` calls `function((function, …), args, kwargs)` in the same way."""

    __slots__ = ()

    def __new__(cls, call: "tuple[Any, ...]", /, *args: "Any", **kwargs: "Any") -> "Any":
        try:
            return call[0](call, args, kwargs)
        except BaseException as error:  # the same
            return failed(cls, error)


def around(*watch: "Any") -> "Any":
    """Return a wrapper for `wrapping.wrap`, around a function: `around(part, begin, end)`."""
    return bind(Around, watch)


class Method:
    """Stands in for a method written in Python and looks like it: type, signature, source, documentation, pickling.

    What is called is the class in its slot `__call__`, found there and called by C, so that no frame of ours is on the
    stack of what it raises.
    """

    __slots__ = ("__call__", "real")
    __qualname__: str

    def __getattribute__(self, name: str) -> "Any":
        if name == "__reduce_ex__":  # pickled, as a function is, by its name
            return lambda protocol: self.__qualname__
        return getattr(object.__getattribute__(self, "real"), name)

    def __get__(self, instance: "Any", owner: "Any" = None) -> "Any":
        return self if instance is None else bind(self, instance)

    def __repr__(self) -> str:
        return repr(object.__getattribute__(self, "real"))

    __doc__ = property(lambda self: object.__getattribute__(self, "real").__doc__)  # pydoc asks object


real_of: "Any" = Method.real.__get__  # type: ignore[attr-defined]


def make_method(real: "Any", call: type, kind: "type[Method]" = Method) -> "Any":
    """Return a stand-in for a method that calls this class."""
    method = object.__new__(kind)
    object.__setattr__(method, "real", real)
    object.__setattr__(method, "__call__", call)
    return method


def replace_method(
    owner: "Any", name: str, part: str, begin: "Any", end: "Any", fail: "Any" = None, kind: "type[Method]" = Method
) -> "Undo":
    """Have calls of a class's own method watched, without wrapt; return what undoes it, if ours is still in place.

    `begin(instance)` is all that is asked before. `end(state, result, error)` gets what came of it, `fail`, if there is
    one, an error, and then `end` may be None.
    """
    real = vars(owner)[name]
    fail = fail or end

    def monitored_new(cls: "Any", *args: "Any", **kwargs: "Any") -> "Any":
        try:
            state = None
            if args and recorder.session is not None:
                try:
                    state = begin(args[0])
                except Exception as error:  # as in Around
                    guard.note(part, error)
            if state is None:
                return real(*args, **kwargs)
            try:
                result = real(*args, **kwargs)
            except BaseException as error:
                guard.call(part, fail, state, None, error)
                raise
            if end is not None:
                try:
                    end(state, result, None)
                except Exception as error:  # the same
                    guard.note(part, error)
            return result
        except BaseException as error:  # the program's own: C raises it again, behind our frames
            return failed(cls, error)

    return put(
        owner, name, make_method(real, type(name, (Passing,), {"__new__": monitored_new, "__slots__": ()}), kind)
    )


def replace_call(owner: "Any", name: str, part: str, begin: "Any", end: "Any") -> "Undo":
    """The same for a method whose arguments are asked for: `begin(args, kwargs)`, the instance first among them."""
    real = vars(owner)[name]

    def monitored_new(cls: "Any", *args: "Any", **kwargs: "Any") -> "Any":
        try:
            state = None
            if args and recorder.session is not None:
                try:
                    state = begin(args, kwargs)
                except Exception as error:  # as in Around
                    guard.note(part, error)
            if state is None:
                return real(*args, **kwargs)
            try:
                result = real(*args, **kwargs)
            except BaseException as error:
                guard.call(part, end, state, None, error)
                raise
            try:
                end(state, result, None)
            except Exception as error:  # the same
                guard.note(part, error)
            return result
        except BaseException as error:  # the program's own: C raises it again, behind our frames
            return failed(cls, error)

    return put(owner, name, make_method(real, type(name, (Passing,), {"__new__": monitored_new, "__slots__": ()})))


def replace_around(owner: "Any", name: str, around: "Any") -> "Undo":
    """Have `around(real, args, kwargs)` called in the place of a class's own method, the instance first among the
    arguments; return what undoes it, if ours is still in place. What it raises has no frames of ours.
    """
    real = vars(owner)[name]

    def monitored_new(cls: "Any", *args: "Any", **kwargs: "Any") -> "Any":
        try:
            return around(real, args, kwargs)
        except BaseException as error:  # the same
            return failed(cls, error)

    return put(owner, name, make_method(real, type(name, (Passing,), {"__new__": monitored_new, "__slots__": ()})))


def put(owner: "Any", name: str, ours: "Any") -> "Undo":
    """Put a descriptor of ours into a class; return what undoes it, if ours is still in place."""
    real = vars(owner)[name]
    setattr(owner, name, ours)
    patches.replaced.append((owner, name, real, ours))

    def undo() -> None:
        if vars(owner).get(name) is ours:
            setattr(owner, name, real)
        patches.replaced[:] = [patch for patch in patches.replaced if patch[3] is not ours]

    return undo

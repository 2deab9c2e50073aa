"""Coroutines of a library that pass through us and leave no trace: what they raise has no frame of ours in its
traceback, and every step of them is taken by C. For hooks; loads nothing. A watch is what it is in `passing.py`.

Guarantees: the real function is called exactly once, outside every shield, with exactly the program's arguments; a
coroutine function is watched from the first step of its coroutine to the last, in the context that it runs in.
"""

from ..boot import guard, recorder
from . import passing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

bind: "Any" = passing.bind


def around(*watch: "Any") -> "Any":
    """Return a wrapper for `wrapping.wrap`, around a coroutine function."""
    return bind(passing.Call, (call_coroutine_function, watch))


def call_coroutine_function(call: "Any", given: "Any", more: "Any") -> "Any":
    """What wrapt calls for a coroutine function: (wrapped, instance, args, kwargs)."""
    return awaiting(call[1], *given)


def awaiting(
    watch: "passing.Watch", wrapped: "Any", instance: "Any", args: "tuple[Any, ...]", kwargs: "dict[str, Any]"
) -> "Any":
    """Return the Awaiting of a call; the real coroutine itself where there is nothing to watch. Raises only for wrong
    arguments.
    """
    real = wrapped(*args, **kwargs)
    if recorder.session is None or not hasattr(real, "send"):
        return real
    made: Any = object.__new__(Awaiting)
    made._real, made._state, made._call = real, None, (watch, instance, args, kwargs)
    return made


class Next(passing.Passing):
    """A step of an Awaiting: what `await` looks up as its `__next__`."""

    __slots__ = ()

    def __new__(cls, waiting: "Awaiting") -> "Any":
        try:
            if waiting._call is not None:
                start(waiting)
            return waiting._real.send(None)
        except StopIteration as stop:
            if waiting._state is not None:
                finish(waiting, stop.value, None)
            if cls is Next:  # `await` takes the value, and nobody gets to see the rest
                raise
            return passing.failed(cls, stop)
        except BaseException as error:
            finish(waiting, None, error)
            return passing.failed(cls, error)


class Send(passing.Passing):
    """What an Awaiting has as `send`."""

    __slots__ = ()

    def __new__(cls, waiting: "Awaiting", *given: "Any") -> "Any":
        is_plain = len(given) == 1 and given[0] is None
        return Next.__new__(cls, waiting) if is_plain else step(cls, waiting, "send", given)


class Throw(passing.Passing):
    """What an Awaiting has as `throw`."""

    __slots__ = ()

    def __new__(cls, waiting: "Awaiting", *given: "Any") -> "Any":
        if len(given) > 1 and isinstance(given[1], BaseException):
            given = given[1:2]  # Python 3.12 warns of the old form, which `await` itself still uses
        return step(cls, waiting, "throw", given)


class Close(passing.Passing):
    """What an Awaiting has as `close`."""

    __slots__ = ()

    def __new__(cls, waiting: "Awaiting", *given: "Any") -> "Any":
        return step(cls, waiting, "close", given)


def step(cls: "type[passing.Passing]", waiting: "Awaiting", name: str, given: "tuple[Any, ...]") -> "Any":
    """Let the real coroutine do a step that is no plain one. What begins so is not watched."""
    waiting._call = None
    try:
        return getattr(waiting._real, name)(*given)
    except StopIteration as stop:
        finish(waiting, stop.value, None)
        return passing.failed(cls, stop)
    except BaseException as error:
        finish(waiting, None, error)
        return passing.failed(cls, error)


class Awaiting:
    """The coroutine of a watched coroutine function, each of its steps taken by C: `await` and its kin look these up
    here. Whatever else it is asked for is the real coroutine's: `cr_frame`, `cr_await`, names.
    """

    __slots__ = ("__weakref__", "_call", "_real", "_state")
    _call: "Any"
    _real: "Any"
    _state: "Any"

    __class__: "Any" = property(lambda self: type(self._real))  # inspect.iscoroutine asks for it

    def __await__(self) -> "Any":
        return self

    def __iter__(self) -> "Any":
        return self

    __next__: "Any" = passing.called_as(Next)
    send: "Any" = passing.called_as(Send)
    throw: "Any" = passing.called_as(Throw)
    close: "Any" = passing.called_as(Close)

    def __getattr__(self, name: str) -> "Any":
        return getattr(self._real, name)


def start(waiting: "Awaiting") -> None:
    """Tell the watch the beginning: the first step is about to be done."""
    (part, begin, end), instance, args, kwargs = waiting._call
    waiting._call = None
    state = guard.call(part, begin, instance, args, kwargs)
    waiting._state = None if state is None else (part, end, state)


def finish(waiting: "Awaiting", result: "Any", error: "BaseException | None") -> None:
    """Tell the watch the end, once."""
    state, waiting._state = waiting._state, None
    if state is not None:
        part, end, begun = state
        guard.call(part, end, begun, result, error)

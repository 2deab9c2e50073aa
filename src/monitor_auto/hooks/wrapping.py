"""The only file that imports wrapt. Loaded after the first third-party target; from there on wrapt registers the
post-import hooks and does the wrapping.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any

import wrapt

Undo = Callable[[], None]


def register(name: str, install: Callable[[Any], None]) -> None:
    """Give a hook to wrapt's post-import hooks. Its module is loaded, so wrapt calls it before this returns.

    The finder that wrapt adds for modules that are still to come is not needed, and a program that has not asked for it
    would find it at the head of `sys.meta_path`. So it goes again, and wrapt adds it when somebody else registers.
    """
    before = list(sys.meta_path)
    wrapt.register_post_import_hook(install, name)
    importer: Any = sys.modules[wrapt.register_post_import_hook.__module__]
    for finder in [finder for finder in sys.meta_path if type(finder).__module__ == importer.__name__]:
        if finder not in before and hasattr(importer, "_post_import_hooks_init"):
            sys.meta_path.remove(finder)
            importer._post_import_hooks_init = False


if TYPE_CHECKING:
    BoundFunctionWrapper = wrapt.BoundFunctionWrapper[..., Any]
    FunctionWrapper = wrapt.FunctionWrapper[..., Any]
else:  # before 2.0 they are no generic classes
    BoundFunctionWrapper, FunctionWrapper = wrapt.BoundFunctionWrapper, wrapt.FunctionWrapper


class Bound(BoundFunctionWrapper):
    """A watched method of an instance: for pickle and `repr` the real one, which pickle finds again by its name."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__wrapped__.__reduce_ex__(protocol)

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: Any) -> Any:
        real: Any = self.__wrapped__
        return getattr(sys.modules["copy"].deepcopy(real.__self__, memo), real.__name__)

    def __repr__(self) -> str:
        return repr(self.__wrapped__)


class Watched(FunctionWrapper):
    """A watched function. As Python's functions are, it is itself for copy, and its name for pickle."""

    __bound_function_wrapper__ = Bound
    _self_monitor_auto_place = (object, "")  # an annotation would be taken for one of the real function's

    def __reduce_ex__(self, protocol: Any) -> Any:
        name = self.__wrapped__.__qualname__
        place = self._self_monitor_auto_place
        return name if name.rpartition(".")[2] == place[1] else (getattr, place)  # structlog's `error` is its `msg`

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: Any) -> Any:
        return self

    def __repr__(self) -> str:
        return repr(self.__wrapped__)


class WatchedMethod(Watched):
    """A watched function in a class. Asked for it, the class hands out the one object: `Sub.send is Base.send` is how
    programs find out whether a method was overridden, and wrapt makes a new object for each question.
    """

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else get_bound(self, instance, owner)

    # What C calls, so that no frame of ours is on the stack.
    __call__ = property(lambda self: get_bound(self, None, self._self_monitor_auto_place[0]))


get_bound: Any = wrapt.FunctionWrapper.__get__


def wrap(owner: Any, name: str, wrapper: Callable[..., Any]) -> Undo:
    """Replace a function or method by a wrapt wrapper and return what undoes it.

    `wrapper(wrapped, instance, args, kwargs)` is wrapt's signature. The undo puts the original back only where our
    wrapper is still what is found there, so that nobody else's patch is undone.
    """
    original = vars(owner).get(name, getattr(owner, name))
    is_method = isinstance(owner, type) and isinstance(original, FunctionType)
    wrapt.wrap_object(owner, name, WatchedMethod if is_method else Watched, (wrapper,))
    ours = vars(owner)[name]
    ours._self_monitor_auto_place = owner, name

    def undo() -> None:
        if vars(owner).get(name) is ours:
            setattr(owner, name, original)

    return undo

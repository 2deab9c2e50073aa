"""What stands in for a method of the standard library and calls a class in C: no frame of ours is on the stack while
the real method runs, or none is left in the traceback of what it raises. For hooks; loads nothing.
"""

from ..boot import guard, patches
from . import passing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def replace_before(owner: "Any", name: str, part: str, before: "Any") -> None:
    """Have `before(args, kwargs)` called, shielded, the instance first among them, before a method that returns None.
    C calls both (type_call: `__new__`, then `__init__` of what that has returned).
    """
    real = vars(owner)[name]

    def monitored_new(cls: "Any", *args: "Any", **kwargs: "Any") -> "Any":
        guard.call(part, before, args, kwargs)
        return object.__new__(cls)

    replace(owner, name, real, (), {"__new__": monitored_new, "__init__": staticmethod(real), "__slots__": ()})


def replace_around(owner: "Any", name: str, around: "Any") -> None:
    """Have `around(real, *args, **kwargs)` called in the place of a method; what it raises loses our frames."""
    real = vars(owner)[name]

    def monitored_new(cls: "Any", *args: "Any", **kwargs: "Any") -> "Any":
        try:
            return around(real, *args, **kwargs)
        except BaseException as error:  # the program's own: C raises it again, behind our frames
            return passing.failed(cls, error)

    replace(owner, name, real, (passing.Passing,), {"__new__": monitored_new, "__slots__": ()})


def replace(owner: "Any", name: str, real: "Any", bases: "tuple[Any, ...]", facts: "dict[str, Any]") -> None:
    """Put a stand-in that calls a class of these bases and facts into the place of a method."""
    patches.replace(owner, name, passing.make_method(real, type(name, bases, facts)))

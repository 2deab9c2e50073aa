"""What stands in for a method of the standard library, as a class that C calls: no frame of ours is on the stack while
the real method runs, or none is left in the traceback of what it raises. For hooks; loads nothing.
"""

from ..boot import guard, patches
from . import passing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

bind: "Any" = patches.bind


class Bound(type):
    """The type of classes that, found in an instance's class, are called with the instance first: like a method."""

    def __get__(cls, instance: "Any", owner: "Any" = None) -> "Any":
        return cls if instance is None else bind(cls, instance)


def replace_before(owner: "Any", name: str, part: str, before: "Any") -> None:
    """Have `before(args, kwargs)` called, shielded, the instance first among them, before a method that returns None.
    C calls both (type_call: `__new__`, then `__init__` of what that has returned).
    """
    real = vars(owner)[name]

    def monitored_new(cls: "Any", *args: "Any", **kwargs: "Any") -> "Any":
        guard.call(part, before, args, kwargs)
        return object.__new__(cls)

    facts = {"__new__": monitored_new, "__init__": staticmethod(real), "__slots__": ()}
    patches.replace(owner, name, patches.disguise(Bound(name, (), facts), real))


def replace_around(owner: "Any", name: str, around: "Any") -> None:
    """Have `around(real, *args, **kwargs)` called in the place of a method; what it raises loses our frames."""
    real = vars(owner)[name]

    def monitored_new(cls: "Any", *args: "Any", **kwargs: "Any") -> "Any":
        try:
            return around(real, *args, **kwargs)
        except BaseException as error:  # the program's own: C raises it again, behind our frames
            return passing.failed(cls, error)

    facts = {"__new__": monitored_new, "__slots__": ()}
    patches.replace(owner, name, patches.disguise(Bound(name, (passing.Passing,), facts), real))

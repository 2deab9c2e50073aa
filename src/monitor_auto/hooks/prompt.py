"""Prompts that the standard library's `code` makes: from 3.13 the interpreter's own, `code.interact`, many debuggers'.

While sys.excepthook is the default they write tracebacks themselves: no hook of Python is called. Needs no wrapt.
Guarantees: the real method is called first, once, with exactly its arguments; of what it has shown we only read.
"""

import sys

from .. import boot
from ..boot import arrivals, guard, patches, recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SHOWING = ("showtraceback", "showsyntaxerror")


def install(module: "Any") -> None:
    """Have every error recorded that a prompt shows. Called after `import code`; `boot/undoing.py` undoes it."""
    kind = getattr(module, "InteractiveInterpreter", None)
    if isinstance(kind, type):  # else it is a code.py of the program's own
        for name in SHOWING:
            patches.replace(kind, name, make_show(getattr(kind, name)))


def make_show(real_show: "Callable[..., Any]") -> "Any":
    """Return what stands in for one of the methods."""

    def monitored_show(*args: "Any", **kwargs: "Any") -> "Any":
        result = real_show(*args, **kwargs)
        if recorder.session is not None:
            guard.call("prompt", record_shown)
        return result

    return arrivals.disguise(monitored_show, real_show)


def record_shown() -> None:
    """Record the exception that was shown last (sys.last_exc from 3.12, sys.last_value before)."""
    error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    if isinstance(error, BaseException) and not isinstance(error, SystemExit):
        boot.load("exits").record_error(error, "error", {})

"""What the hooks of pytest and unittest share: the event `test.result`, and what is said of an exception. Loads nothing
before the first test.
"""

from .. import boot
from ..boot import hooked, recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_REASON_CHARS = 1000


def describe(error: "Any") -> "dict[str, Any]":
    """Return what was raised, and where; an empty dict for what is no exception."""
    if not isinstance(error, BaseException):
        return {}
    errors = boot.load("errors")
    return {
        "type": errors.Clean(errors.type_name(error)),
        "message": errors.Clean(errors.message(error)),
        "location": place_of(errors.attribute(error, "__traceback__")),
    }


def place_of(trace: "Any") -> "Any":
    """Return file:line:function of the innermost frame that is shown: assert methods hide theirs."""
    place = trace
    for _ in range(10_000):
        if trace is None:
            break
        if not is_hidden(trace.tb_frame):
            place = trace
        trace = trace.tb_next
    if place is None:
        return None
    errors, code = boot.load("errors"), place.tb_frame.f_code
    text = "%s:%s:%s" % (errors.clean_often(code.co_filename), place.tb_lineno, errors.clean_often(code.co_name))
    return errors.Clean(text)


def is_hidden(frame: "Any") -> bool:
    """Return whether unittest or pytest leave a frame out of tracebacks."""
    return "__unittest" in frame.f_globals or frame.f_locals.get("__tracebackhide__") is True


def record(library: str, nodeid: str, outcome: str, facts: "dict[str, Any]", span: "Any" = None) -> None:
    """Record one test: `span` is what began when it did; without, one of no length."""
    context = boot.load("context")
    if span is None:
        span, token = context.enter()
        context.leave(span, token)
    hooked.add(library)
    facts = {"library": library, "nodeid": nodeid, "outcome": outcome, **facts}
    context.record(recorder.EVENT, "test.result", facts, span)

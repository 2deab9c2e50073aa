"""warnings: how many were shown of each category, as the metric `python.warnings`. Off unless asked for. No wrapt.

What is watched is what C and Python call for a warning that has passed the filters (`_warnings.c: call_show_warning`,
3.10 to 3.15). The real function is called by C: what a program puts into the place of `showwarning` sees the stack of a
bare run. The first warning of a category is recorded at once, with its text and place; how many there are by then is
said with the reports of a session that lives long, and at its end.
"""

from .. import boot
from ..boot import hooked, patches, recorder
from . import methods

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAME = "python.warnings"
MAX_CATEGORIES = 100
OTHER = "other"
"""Where a program makes more categories than that, the rest is one."""
END = 1 << 62

_replaced: "list[tuple[Any, ...]]" = []
_counts: "dict[str, list[Any]]" = {}
"""Category -> an iterator that was advanced once for each warning (a step in C, in any thread), and how many of them
were told."""
_session: "Any" = None


def install(module: "Any") -> None:
    """Count every warning that is shown. Called once, after `import warnings`."""
    if not _replaced and callable(getattr(module, "_showwarnmsg", None)):
        methods.replace_before(module, "_showwarnmsg", "warnings", on_warning)
        _replaced.append((module, *patches.replaced[-1][1:]))
        hooked.at_report.append(report)
        hooked.at_end.append(report)


def uninstall() -> None:
    """Put the original back where nobody has put something on top."""
    while _replaced:
        module, name, real, ours = _replaced.pop()
        if vars(module).get(name) is ours:
            setattr(module, name, real)
        patches.replaced[:] = [patch for patch in patches.replaced if patch[3] is not ours]
    for functions in (hooked.at_report, hooked.at_end):
        functions[:] = [function for function in functions if function is not report]


def on_warning(args: "Any", kwargs: "Any") -> None:
    """`warnings._showwarnmsg(msg)`: a WarningMessage."""
    shown = args[0] if args else kwargs.get("msg")
    warning = getattr(shown, "message", None)
    if recorder.session is None or not isinstance(warning, BaseException):
        return
    errors: Any = boot.load("errors")
    category = errors.type_name(warning)
    counts = own_counts()
    count = counts.get(category)
    if count is None and len(counts) >= MAX_CATEGORIES:
        category = OTHER
        count = counts.get(OTHER)
    if count is not None:
        next(count[0])
        return
    count = counts.setdefault(category, [iter(range(END)), 0])
    next(count[0])
    place = f"{shown.filename}:{shown.lineno}"
    tell(category, count, {"message": errors.Clean(errors.message(warning)), "location": place})


def own_counts() -> "dict[str, list[Any]]":
    """Return this session's counts: a forked child begins anew."""
    global _session
    if _session is not recorder.session:
        _session = recorder.session
        _counts.clear()
    return _counts


def report() -> None:
    """Say how many there are of each category of which there are more than was said."""
    for category, count in list(own_counts().items()):
        if counted(count[0]) > count[1]:
            tell(category, count, {})


def tell(category: str, count: "list[Any]", more: "dict[str, Any]") -> None:
    """Record the count of one category."""
    value, known = counted(count[0]), count[1]
    count[1] = value
    hooked.add("warnings")
    recorder.record(recorder.METRIC, NAME, {"category": category, "value": value, "new": value - known, **more})


def counted(counter: "Any") -> int:
    """Return how often a counter was advanced."""
    return END - int(counter.__length_hint__())

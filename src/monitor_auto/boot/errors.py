"""Cold: an exception -> the data of an error event. Builtin modules only, no source lines (a line of code may hold a
secret, and reading it needs linecache), no local variables. Bounded in frames, chain and groups.
"""

from . import encode

MAX_FRAMES = 40
MAX_CHAIN = 8
MAX_GROUP = 15
MARK = "_monitor_auto_recorded"


def describe(error, source, level):
    """Return type, message, stack, location, source and level of an exception."""
    return {
        "type": type_name(error),
        "message": message(error),
        "stack": stack(error),
        "location": location(error.__traceback__),
        "source": source,
        "level": level,
    }


def type_name(error):
    """Return the class with its module, as a traceback shows it."""
    kind = type(error)
    module = kind.__module__
    if module in ("builtins", "__main__") or type(module) is not str:
        return kind.__qualname__
    return module + "." + kind.__qualname__


def message(error):
    """Return `str(error)`, whatever the class does with it."""
    try:
        text = str(error)
        return text if type(text) is str else str.__str__(text)
    except KeyboardInterrupt:
        raise
    except BaseException:  # `__str__` is the program's code
        return encode.safe_repr(error)


def location(trace):
    """Return file:line:function of the innermost frame."""
    if trace is None:
        return None
    for _ in range(100_000):
        if trace.tb_next is None:
            break
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    return "%s:%s:%s" % (code.co_filename, trace.tb_lineno, code.co_name)


def stack(error):
    """Return the text of the traceback with its causes, the oldest first, without lines of source."""
    parts = []
    seen = set()
    _chain(error, parts, seen, "")
    return "\n".join(parts)


def _chain(error, parts, seen, indent):
    links = []
    while error is not None and id(error) not in seen and len(links) < MAX_CHAIN:
        seen.add(id(error))
        cause = error.__cause__
        context = None if error.__suppress_context__ else error.__context__
        links.append((error, "caused by it:" if cause is not None else "while handling it:"))
        error = cause if cause is not None else context
    links.reverse()
    for position, (link, joint) in enumerate(links):
        if position:
            parts.append(indent + joint)
        _one(link, parts, seen, indent)


def _one(error, parts, seen, indent):
    if error.__traceback__ is not None:
        parts.append(indent + "Traceback (most recent call last):")
        parts.extend(_frames(error.__traceback__, indent))
    text = message(error)
    parts.append(indent + type_name(error) + (": " + text[:4000] if text else ""))
    notes = getattr(error, "__notes__", None)
    if isinstance(notes, (list, tuple)):
        parts.extend(indent + note[:1000] for note in notes[:10] if isinstance(note, str))
    members = getattr(error, "exceptions", None)
    if isinstance(members, tuple) and hasattr(error, "subgroup") and len(indent) < 16:
        for number, member in enumerate(members[:MAX_GROUP]):
            if isinstance(member, BaseException):
                parts.append(indent + "  [" + str(number + 1) + " of " + str(len(members)) + "]")
                _chain(member, parts, seen, indent + "  ")


def _frames(trace, indent):
    lines = []
    total = 0
    while trace is not None and total < 100_000:
        total += 1
        code = trace.tb_frame.f_code
        line = '%s  File "%s", line %s, in %s' % (indent, code.co_filename, trace.tb_lineno, code.co_name)
        lines.append(line)
        if len(lines) > 2 * MAX_FRAMES:
            del lines[MAX_FRAMES]
        trace = trace.tb_next
    if total > len(lines):
        lines.insert(MAX_FRAMES, "%s  … %d frames" % (indent, total - len(lines)))
    return lines


def first_time(error):
    """True once for each exception object, however many hooks see it."""
    try:
        if MARK in error.__dict__:
            return False
        error.__dict__[MARK] = True
    except AttributeError:  # a class that hides its __dict__: better twice than never
        return True
    return True

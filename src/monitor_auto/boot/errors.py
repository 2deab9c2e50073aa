"""Cold: an exception -> the data of an error event. Builtin modules only, no source lines (a line of code may hold a
secret, and reading it needs linecache), no local variables. Bounded in frames, chain, groups and characters.

Guarantees: nothing of the exception is changed; code of its class (`__str__`, attributes) costs its own part only.
Texts are redacted piece by piece: a message whole, the path of a file once.
"""

from . import cleaning, cold, encode, guard

try:
    from _weakref import ref
except ImportError:  # the interpreter is being taken down: then the dict has to do
    ref = None  # type: ignore[misc]

# A cold module is an attribute of the package and not in sys.modules: `from .encode import` would load it twice.
Clean, class_name, cut, plain = encode.Clean, encode.class_name, encode.cut, encode.plain
let_through, safe_repr = encode.let_through, encode.safe_repr
clean_often = cleaning.clean_often

MAX_FRAMES = 40
MAX_CHAIN = 8
MAX_GROUP = 15
MAX_MESSAGE_CHARS = 8000
MAX_STACK_CHARS = 24000
MAX_RECENT = 256

# What every exception has, whatever its class makes of these names.
_trace_of = BaseException.__dict__["__traceback__"].__get__
_cause_of = BaseException.__dict__["__cause__"].__get__
_context_of = BaseException.__dict__["__context__"].__get__
_is_without_context = BaseException.__dict__["__suppress_context__"].__get__
_dict_of = BaseException.__dict__["__dict__"].__get__

_recent = {}
"""id of an exception -> what proves that it still is the same one."""


def describe(error, source, level):
    """Return type, message, stack, location, source and level of an exception."""
    text = message(error)
    return {
        "type": Clean(type_name(error)),
        "message": Clean(text),
        "stack": Clean(stack(error, text)),
        "location": location(_trace_of(error)),
        "source": source,
        "level": level,
    }


def type_name(error):
    """Return the class with its module, as a traceback shows it."""
    kind = type(error)
    module, name = attribute(kind, "__module__"), attribute(kind, "__qualname__")
    if type(name) is not str:
        name = class_name(error)
    if type(module) is str and module not in ("builtins", "__main__"):
        name = module + "." + name
    return clean_often(name)


def message(error):
    """Return `str(error)`, redacted and bounded, whatever the class does with it."""
    try:
        text = plain(str(error))
    except BaseException as failure:  # `__str__` is the program's code
        let_through(failure)
        text = safe_repr(error)
    return _bounded(text, MAX_MESSAGE_CHARS)


def _bounded(text, chars):
    cleaned = cut(text, chars)
    return cleaned if len(text) <= chars else cleaned + "… [cut, %d characters]" % len(text)


def attribute(owner, name):
    """Return an attribute of an object of the program, or None where it cannot be had."""
    try:
        return getattr(owner, name, None)
    except BaseException as failure:  # the program's code
        let_through(failure)
        return None


def location(trace):
    """Return file:line:function of the innermost frame."""
    if trace is None:
        return None
    for _ in range(100_000):
        if trace.tb_next is None:
            break
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    return Clean("%s:%s:%s" % (clean_often(code.co_filename), trace.tb_lineno, clean_often(code.co_name)))


def stack(error, text):
    """Return the redacted text of the traceback with its causes, the oldest first, without lines of source. `text` is
    the exception's message.
    """
    parts = []
    _chain(error, parts, set(), "", text)
    whole = "\n".join(parts)
    if len(whole) <= MAX_STACK_CHARS:
        return whole
    half = MAX_STACK_CHARS // 2
    return "%s\n… [cut, %d characters]\n%s" % (whole[:half], len(whole), whole[-half:])


def _chain(error, parts, seen, indent, text):
    links = []
    while error is not None and id(error) not in seen and len(links) < MAX_CHAIN:
        seen.add(id(error))
        cause = _cause_of(error)
        context = None if _is_without_context(error) else _context_of(error)
        links.append((error, "caused by it:" if cause is not None else "while handling it:"))
        error = cause if cause is not None else context
    for position in range(len(links) - 1, -1, -1):
        link, joint = links[position]
        if position < len(links) - 1:
            parts.append(indent + joint)
        _one(link, parts, seen, indent, text if text is not None and position == 0 else message(link))


def _one(error, parts, seen, indent, text):
    trace = _trace_of(error)
    if trace is not None:
        parts.append(indent + "Traceback (most recent call last):")
        parts.extend(_frames(trace, indent))
    parts.append(indent + type_name(error) + (": " + text[:4000] if text else ""))
    notes = attribute(error, "__notes__")
    if type(notes) is list:
        parts.extend([indent + _bounded(plain(note), 1000) for note in notes[:10] if issubclass(type(note), str)])
    members = attribute(error, "exceptions")
    if type(members) is tuple and attribute(type(error), "subgroup") is not None and len(indent) < 16:
        for number, member in enumerate(members[:MAX_GROUP]):
            if issubclass(type(member), BaseException):
                parts.append(indent + "  [" + str(number + 1) + " of " + str(len(members)) + "]")
                _chain(member, parts, seen, indent + "  ", None)


def _frames(trace, indent):
    lines = []
    total = 0
    while trace is not None and total < 100_000:
        total += 1
        code = trace.tb_frame.f_code
        place = indent, clean_often(code.co_filename), trace.tb_lineno, clean_often(code.co_name)
        lines.append('%s  File "%s", line %s, in %s' % place)
        if len(lines) > 2 * MAX_FRAMES:
            del lines[MAX_FRAMES]
        trace = trace.tb_next
    if total > len(lines):
        lines.insert(MAX_FRAMES, "%s  … %d frames" % (indent, total - len(lines)))
    return lines


def admit(error, name):
    """Return how many errors like it were left out before this one; None when this one is to be left out, too."""
    limits = cold("limits")
    return limits.admit_error(name, limits.place_of(_trace_of(error)))


def first_time(error):
    """True once for each exception object, however many hooks see it.

    A mark on the exception would show in `vars`, in comparisons and when it is pickled. Its id alone may be another
    one's by now. So what is kept with the id can only be its own: a weak reference, which Python makes but once, or
    (builtin classes have none) the dict of its attributes, which as long as we hold it is no other exception's.
    """
    try:
        proof = ref(error)
    except guard.ours(TypeError):  # a builtin class, or no `ref`
        proof = _dict_of(error)
    if _recent.get(id(error)) is proof:
        return False
    if len(_recent) >= MAX_RECENT:
        try:
            del _recent[next(iter(_recent))]
        except guard.ours(KeyError, RuntimeError, StopIteration):  # another thread does the same
            pass
    _recent[id(error)] = proof
    return True

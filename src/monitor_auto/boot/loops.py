"""Cold: asyncio's loops and uvloop's: which one runs, and what nothing catches in their tasks and callbacks. Builtin
modules only; loaded after the program has imported asyncio.

asyncio hands such an error to `loop.call_exception_handler(context)`, which first of all looks whether the loop has a
handler of its own. That look is what we wait for: a property in the place of the private attribute reads `context` from
the frame that asks. The method itself stays what it is, no frame of ours stands in a stack or a traceback, and what a
loop is asked for and what it prints is asyncio's own.

Guarantees: the property keeps a handler in the loop's `__dict__`, under its name, as without us; the error is only
read, and recorded before anything is printed. A loop's `__dict__` is made when somebody asks for it, as without us:
before 3.13 the interpreter takes twice as long for every attribute of an object that has one.
"""

import sys
from _weakref import ref

from . import arrivals, cold, guard, patches, recorder

HANDLER = "_exception_handler"
"""BaseEventLoop's attribute, read first in its call_exception_handler (asyncio/base_events.py, 3.10 to 3.15)."""

INITIALISED = "_closed"
"""What a loop has that is initialised (the same versions)."""

_noticed = None
"""A weak reference to a loop in which something was recorded: we keep no loop of the program alive."""


def running():
    """Return asyncio's loop that runs in this thread, or None: asyncio is not imported for it."""
    module = sys.modules.get("_asyncio") or sys.modules.get("asyncio.events")
    get = getattr(module, "_get_running_loop", None)
    return None if get is None else get()


def notice():
    """Remember the loop that runs in this thread, unless another one is remembered that still runs."""
    global _noticed
    loop = running()
    if loop is not None and current() is None:
        try:
            _noticed = ref(loop)
        except guard.ours(TypeError):  # some object that a test has put there
            _noticed = None


def current():
    """Return the loop that was noticed, while it runs; else None."""
    loop = None if _noticed is None else _noticed()
    return loop if hasattr(loop, "is_running") and loop.is_running() else None


def install(module):
    """Watch asyncio's loops. Called after `import asyncio.base_events`; `undoing.py` undoes it."""
    kind = getattr(module, "BaseEventLoop", None)
    if isinstance(kind, type) and HANDLER not in vars(kind):  # else it is an asyncio of somebody else
        setattr(kind, HANDLER, None)
        patches.replace(kind, HANDLER, property(get_handler, set_handler))


def get_handler(loop):
    """Return the loop's handler; when it is asked for to handle an error, record that."""
    facts = vars(loop)
    if HANDLER not in facts and INITIALISED not in facts:
        raise AttributeError("%r object has no attribute %r" % (type(loop).__name__, HANDLER))
    handler = facts.setdefault(HANDLER, None)
    frame = sys._getframe(1)
    if recorder.session is not None and frame.f_code.co_name == "call_exception_handler":
        guard.call("asyncio", record, frame.f_locals.get("context"))
    return handler


def set_handler(loop, handler):
    """Keep the loop's handler where it is without us; a new loop has none, and is left without a `__dict__`."""
    if handler is not None or sys._getframe(1).f_code.co_name != "__init__":
        vars(loop)[HANDLER] = handler


def install_uvloop(module):
    """Watch uvloop's loops, which are written in C. Called after `import uvloop`."""
    kind = getattr(module, "Loop", None)
    if not isinstance(kind, type) or not hasattr(kind, "call_exception_handler"):
        return
    real_call = kind.call_exception_handler

    def monitored_call_exception_handler(*args, **kwargs):
        if recorder.session is not None:
            guard.call("uvloop", record, kwargs.get("context", args[-1] if args else None))
        return real_call(*args, **kwargs)

    patches.replace(kind, "call_exception_handler", arrivals.disguise(monitored_call_exception_handler, real_call))


def record(context):
    """Record the error of a context, if it has one: also what only says that something is odd comes as a context."""
    error = context.get("exception") if type(context) is dict else None
    if not isinstance(error, BaseException) or isinstance(error, SystemExit):
        return
    facts = {"asyncio": occasion(context.get("message"))}
    get_name = cold("errors").attribute(context.get("task") or context.get("future"), "get_name")
    if type(get_name) is type(len):  # asyncio's own; one of the program's would be the program's code
        facts["task"] = get_name()
    cold("exits").record_error(error, "error", facts)


def occasion(message):
    """Return what asyncio says has happened; of a callback without its `repr`, which shows what it was called with."""
    if not isinstance(message, str):
        return "Unhandled exception in event loop"
    head = "Exception in callback"
    return head if message.startswith(head) else message

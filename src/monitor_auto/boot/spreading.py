"""Cold: the current span goes with the work that a program gives to threads and executors. Builtin modules only; loaded
with the first span, and installed where the program has imported, or imports later, what it is about.

Tasks of asyncio, `asyncio.to_thread` and what else copies a context need nothing of this.

Guarantees: nothing of ours is on the stack of a thread or of a piece of work. A thread's context holds what it would
hold without us, and the span. A thread that works for a pool begins without a span: each piece of work has the one that
it was given in, or none.
"""

import sys

from . import arrivals, context, guard, listening, patches, targets

TARGETS = {
    "threading": "monitor_auto.boot.spreading:install_threads",
    "concurrent.futures.thread": "monitor_auto.boot.spreading:install_executors",
}
STARTING = ("_start_new_thread", "_start_joinable_thread")
"""What `threading.Thread.start` calls: the first up to 3.12, the second from 3.13."""
POOLS = ("concurrent.futures.", "multiprocessing.", "anyio.")
"""Whose threads live on from one piece of work to the next."""
SPAN = "_monitor_auto_span"

_bind = type(guard.call.__get__(guard))  # types.MethodType: a function of C that gives its first argument


def install():
    """Watch the modules that are there, and wait for the others. Called with the first span."""
    for name, hook in TARGETS.items():
        if name not in targets.STDLIB:
            targets.STDLIB[name] = targets.waiting[name] = hook
            if name in sys.modules:
                arrivals.install_late(name)


def install_threads(module):
    """Let threads begin in the span in which they are started. `undoing.py` undoes it."""
    patches.replace_calls(module, [(name, "spreading:on_start_thread") for name in STARTING])


def on_start_thread(args, kwargs, name):
    """Around `_start_new_thread(thread._bootstrap, ())`: have the thread begin in a context that holds the span."""
    span = context.variable.get()
    thread = getattr(args[0], "__self__", None) if args else None
    if span is None or thread is None or is_of_pool(thread):
        return None
    given = getattr(thread, "_context", None)  # 3.14: what its `run` will be called in, but not its excepthook
    if given is not None and not len(given):
        try:
            given.run(context.variable.set, span)
        except guard.ours(RuntimeError):  # the program's own, which is in use
            pass
    return (_bind(context.holding(span).run, args[0]), *args[1:]), kwargs, None


def is_of_pool(thread):
    """True for a thread that a pool starts for its own purposes."""
    target = getattr(thread, "_target", None)
    owner = getattr(type(thread), "__module__", None)
    owners = owner, getattr(target, "__module__", None)
    return any(type(name) is str and name.startswith(POOLS) for name in owners)


def install_executors(module):
    """Let what is given to a ThreadPoolExecutor run in the span that it was given in: all that is goes into an item of
    work. `undoing.py` undoes it.
    """
    kind = getattr(module, "_WorkItem", None)
    if isinstance(kind, type) and "run" in vars(kind) and "__init__" in vars(kind):
        patches.replace(kind, "__init__", listening.Noticed(kind.__init__, on_submit))
        patches.replace(kind, "run", listening.Noticed(kind.run, on_run))


def on_submit(item):
    """Keep the span that is current where the work is given."""
    span = context.variable.get()
    if span is not None:
        vars(item)[SPAN] = span


def on_run(item):
    """Make that span the worker's: until the next piece of work nothing of the program runs in this thread."""
    span = vars(item).pop(SPAN, None)
    if span is not context.variable.get():
        context.variable.set(span)

"""Cold: the children of this process, Python or not: `process.start` and `process.exit`. Builtin modules only. Loaded
with the first one, or when the program imports `subprocess`. Every code object costs all who start one: what is not
needed for that is in `starting.py` and `unwaited.py`.

What starts them is a handful of C functions: `_posixsubprocess.fork_exec` (subprocess, asyncio, os.popen,
multiprocessing), os.fork (os.spawn*, multiprocessing), os.forkpty, os.posix_spawn(p), os.system. What waits for them
are os.wait and its kin. Those are what we stand in for: `subprocess.Popen` and all else in Python stays as it is.

A hook is `hook(args, kwargs, name)`. It is called before the real function and returns None, or (args, kwargs, after,
…): what to call it with, and a function for its result and what follows, or None.

Guarantees:
- The real function is called exactly once, outside every shield, and what it returns or raises is what the program
  gets. An exception passes no frame of ours, also where a handler of the program's own has raised it while our code
  ran.
- os.fork and its kin are called with no frame of ours on the stack: from Python 3.12 they warn about threads, and the
  warning names the frame that called.
- We look and never reap: what the program waits for it gets.
- An exit is recorded when the program learns of it; at the end of the session, with `waited` false, where it never did.
  Where that end was taken back (an exec that failed) there may be a second one, which says `again`.
- A child that another thread, or a handler of SIGCHLD, has waited for before its start could be recorded is told, too.
"""

import sys

from . import cold, formats, guard, patches, recorder, session

monotonic = formats.monotonic

known = {}
"""pid -> (number, when it was started on the monotonic clock) of children that nobody has waited for. A third member
stands for an exit that was told already, or is just being told. Of shells of os.system the pid is unknown: there it is
the number, negative."""
early = {}
"""pid -> (when, facts, flags) of children that were waited for before they were known."""
expected = []
"""Children whose pid is seen later, see `starting.expect`."""
numbers = iter(range(1, 1 << 62))


def call_of(real, module, function):
    """Return what shall be called for a function that the program has just asked for."""
    if function == "on_fork":
        return cold(module).on_fork(real)
    if function == "on_fork_exec":
        caller = sys._getframe(3)  # behind guard.late and the stand-in
        if caller.f_code.co_name == "_execute_child" and caller.f_locals.get("preexec_fn") is not None:
            guard.late("starting", "expect", caller)
            return real
    return patches.bind(patches.StandIn, (around, real, module, function))


def around(kind, call, args, kwargs):
    """Call the real function, with its hook around it; what it raises is returned as what raises it again in C.

    C also keeps what it returns: a handler of a signal that comes as it does may raise, and then the child has been
    started, or has been waited for, all the same.
    """
    _, real, module, function = call
    changed, results = None, []
    try:
        changed = guard.late(module, function, args, kwargs, real.__name__)
        if changed is None:
            return real(*args, **kwargs)
        args, kwargs, after, *more = changed
        if kwargs:
            results.append(real(*args, **kwargs))
        else:
            next(map(results.append, map(type(real).__call__, (real,), *zip(args))))
        if after is not None:
            guard.call(function, after, results[0], *more)
        return results[0]
    except BaseException as error:
        return cold("starting").failed(error, changed, results)


def install(subprocess):
    """Stand in for what `subprocess` starts children with; None: before it is imported."""
    try:
        module = __import__("_posixsubprocess")
    except guard.ours(ImportError):  # no such thing on this platform
        return
    real = module.fork_exec
    patches.replace_calls(module, (("fork_exec", "children:on_fork_exec"),))
    if subprocess is not None:  # Monitor.init came after the import
        cold("starting").exchange(subprocess, real, module.fork_exec)


def on_fork_exec(args, kwargs, name):
    """Around `_posixsubprocess.fork_exec(args, executables, close_fds, fds, cwd, env, …)`."""
    if len(args) < 6:
        return None  # a TypeError
    if args[5] is not None:
        changed = guard.late("environments", "for_list", args[1], args[0], args[4], args[5])
        if changed is not None:
            args = (*args[:5], changed, *args[6:])
    if "context" in cold.__globals__:  # there has been a span
        cold("context").hand_down()
    began = monotonic()
    method = "subprocess"
    if sys._getframe(3).f_back.f_globals.get("__name__") != method:
        method = cold("starting").method_of(args[0])
    return args, kwargs, started, began, args[0], method


def on_wait(args, kwargs, name):
    """Around os.wait, waitpid, wait3, wait4 and waitid."""
    if expected:
        cold("starting").settle()
    return args, kwargs, on_wait_result if name == "waitpid" else getattr(cold("unwaited"), "on_" + name)


def on_wait_result(result):
    """Record the exit that os.waitpid has returned, if any."""
    pid, status = result
    if pid and not status & 0x7F:
        exited(pid, {"exit_code": status >> 8})
    elif pid:  # by a signal; or it was stopped or continued
        cold("unwaited").on_wait(result)


def started(pid, began, words, method, worker=None):
    """Record a child, and its exit if somebody has seen that already. Return its number in this session, None where
    nothing is recorded. The limit on children counts from the 17th on, which spares most programs a look.
    """
    if "context" in cold.__globals__:
        cold("context").take_back()
    number = next(numbers)
    if number > 16 or recorder.settings.rate_limit < 1000:
        if not cold("limits").admit_process():
            return None
    facts = {"child": number, "pid": pid, "method": method, "worker": worker}
    if type(words) in (list, tuple):
        texts = [word if type(word) is str else cold("starting").text_of(word) for word in words[:100]]
        facts["argv"] = session.command_line(texts, recorder.settings.argv)
    # Known before it is told: should a handler of a signal raise in between, there still is an exit.
    key = pid or -number
    if key in known or number > 4096:
        cold("unwaited").make_room(key)
    known[key] = (number, began)
    if not write("process.start", facts):
        known.pop(key, None)
        return None
    if key in early:
        cold("unwaited").catch_up(key)
    return number


def exited(pid, facts):
    """Record the exit of a child that the program has learnt of."""
    child = known.get(pid)
    now = monotonic()
    if child is not None:
        duration_ms = round((now - child[1]) * 1000, 3)
        if len(child) > 2:  # before an exec that has failed, or a handler of a signal has come between
            facts = {**facts, "again": True}
        known[pid] = told = (child[0], child[1], "told")
        write("process.exit", {"child": child[0], "pid": pid if pid > 0 else None, "duration_ms": duration_ms, **facts})
        if known.get(pid) is told:  # else another thread has started one with its pid
            del known[pid]
    elif len(early) < 64 or not early.clear():
        early[pid] = (now, facts)


def write(name, facts):
    """Record facts of ours; not after the end of the session: what `__del__` methods do is none of the program's."""
    ended = recorder.session is None or recorder.session.is_ended and recorder.wake is None
    return None if ended else recorder.record_facts(name, facts)

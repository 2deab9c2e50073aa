"""Cold: the children of this process, Python or not: `process.start` and `process.exit`. Builtin modules only. Loaded
with the first one, or when the program imports `subprocess`. Half a million instructions for one child: what is not
needed for it is in `starting.py` and `unwaited.py`.

What starts them is a handful of C functions: `_posixsubprocess.fork_exec` (subprocess, asyncio, os.popen,
multiprocessing), os.fork (os.spawn*, multiprocessing), os.forkpty, os.posix_spawn(p), os.system. What waits for them
are os.wait and its kin. Those are what we stand in for: `subprocess.Popen` and all else in Python stays as it is.

Guarantees:
- We look and never reap: what the program waits for it gets.
- An exit is recorded when the program learns of it; at the end of the session, with `waited` false, where it never did.
- A child that another thread, or a handler of SIGCHLD, has waited for before its start could be recorded is told, too.
"""

import os
import sys
import time

from . import cold, formats, patches, recorder, redact, session

monotonic = time.monotonic  # the program may replace that of the module
MAX_KNOWN = 4096
"""Children that nobody has waited for; from there on we look which are gone."""
MAX_EARLY = 64
MAX_UNLIMITED = 16
MAX_WORDS = 100
MAX_CHARS = 15000
FLAGS = ("core_dumped", "running", "waited")

known = {}
"""pid -> (number, when it was started on the monotonic clock) of children that nobody has waited for."""
early = {}
"""pid -> (when, facts) of children that were waited for before they were known."""
expected = []
"""Children whose pid is seen later, see `starting.expect`."""
_numbers = iter(range(1, 1 << 62))


def install(subprocess):
    """Stand in for what `subprocess` starts children with; None: before it is imported."""
    try:
        module = __import__("_posixsubprocess")
    except ImportError:  # no such thing on this platform
        return
    real = module.fork_exec
    patches.replace_calls(module, (("fork_exec", "children:on_fork_exec"),))
    if subprocess is not None:  # Monitor.init came after the import
        cold("starting").exchange(subprocess, {real: module.fork_exec, patches.real_of(os.waitpid): os.waitpid})


def reset():
    """In a forked child: those were its parent's."""
    known.clear()
    early.clear()
    del expected[:]


def on_fork_exec(args, kwargs, name):
    """Around `_posixsubprocess.fork_exec(args, executables, close_fds, fds, cwd, env, …)`."""
    if len(args) < 6:
        return None  # a TypeError
    if args[5] is not None:
        changed = cold("environments").for_list(args[1], args[0], args[4], args[5])
        if changed is not None:
            args = (*args[:5], changed, *args[6:])
    began = monotonic()
    words = args[0]
    method = "subprocess"
    if sys._getframe(2).f_back.f_globals.get("__name__") == "multiprocessing.util":
        role = cold("inherited").multiprocessing_role([os.fsdecode(word) for word in words])
        method = "multiprocessing." + (role if role == "spawn" else "helper")

    def after_fork_exec(pid):
        started(pid, began, words, method)

    return args, kwargs, after_fork_exec


def on_wait(args, kwargs, name):
    """Around os.wait, waitpid, wait3, wait4 and waitid."""
    if expected:
        cold("starting").settle()
    return args, kwargs, cold("unwaited").on_waitid_result if name == "waitid" else on_wait_result


def on_wait_result(result):
    """Record the exit that os.wait and its kin have returned: (pid, status) and perhaps what the child has used."""
    pid, status = result[:2]
    if not pid:
        return
    facts = {"exit_code": status >> 8} if os.WIFEXITED(status) else cold("unwaited").facts_of_status(status)
    if facts is not None and len(result) > 2:
        facts.update(cold("unwaited").facts_of_usage(result[2]))
    if facts is not None:
        exited(pid, facts)


def is_recording():
    """False after the end of the session: what our own delivery starts then, and what `__del__` methods do."""
    session = recorder.session
    return session is not None and not (session.is_ended and recorder.wake is None)


def started(pid, began, words, method, worker=None):
    """Record a child, and its exit if somebody has seen that already."""
    if pid in known:  # reused: the one before is gone, and somebody has reaped it where we could not see
        cold("unwaited").tell(pid)
    number = record_start(pid, words, method, worker)
    if number is None:
        return
    if len(known) >= MAX_KNOWN:
        cold("unwaited").sweep()
    known[pid] = (number, began)
    seen = early.pop(pid, None)
    if seen is not None and seen[0] >= began:
        exited(pid, seen[1])


def record_start(pid, words, method, worker=None):
    """Record `process.start` and return the child's number in this session; None where nothing is recorded."""
    if not is_recording():
        return None
    number = next(_numbers)
    is_plenty = number <= MAX_UNLIMITED and recorder.settings.rate_limit >= 1000  # spares most programs the look
    if not is_plenty and not cold("limits").admit_process():
        return None
    facts = {"child": number, "pid": pid, "method": method}
    if type(words) in (list, tuple):
        texts = [word if type(word) is str else cold("starting").text_of(word) for word in words[:MAX_WORDS]]
        facts["argv"] = session.command_line(texts, recorder.settings.argv)
    if type(worker) is str:
        facts["worker"] = redact.tidy(worker[:200])
    write("process.start", facts)
    return number


def write(name, facts):
    """Record a fact of ours; what is true or false comes last."""
    flags = ""
    for key in FLAGS:
        if key in facts:
            flags += ',"' + key + ('":true' if facts.pop(key) else '":false')
    text = formats.flat_object(facts)
    if len(text) > MAX_CHARS:
        text = cold("encode").encode(facts)
    recorder.write(recorder.LIFECYCLE, name, text[:-1] + flags + "}")


def exited(pid, facts):
    """Record the exit of a child that the program has learnt of."""
    child = known.pop(pid, None)
    if child is not None:
        record_exit(child[0], pid, child[1], facts)
    else:
        if len(early) >= MAX_EARLY:
            early.clear()
        early[pid] = (monotonic(), facts)


def record_exit(number, pid, began, facts):
    """Record `process.exit`."""
    if is_recording():
        facts = {"child": number, "pid": pid, "duration_ms": round((monotonic() - began) * 1000, 3), **facts}
        write("process.exit", facts)


def on_end():
    """The session ends: tell of those that nobody has waited for. Should it go on after all (an exec that fails), they
    are waited for as if nothing had been told.
    """
    if expected:
        cold("starting").settle()
    for pid in list(known):
        cold("unwaited").tell(pid, False)

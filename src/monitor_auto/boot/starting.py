"""Cold: the ways to start a child that most programs never go: os.fork, os.forkpty, os.posix_spawn(p), os.system, a
preexec_fn of `subprocess`, the workers of a fork server. Builtin modules only. `children.py` does the rest.
"""

import os
import sys
from _thread import get_ident, interrupt_main, start_new_thread
from _weakref import ref

from . import children, cold, guard, patches, redact, stdlib
from .formats import monotonic

never = object()
again = None
"""Numbers of signals that are to come again after a fork."""
FORKING = {
    ("os", "_spawnvef"): "os.spawn",
    ("multiprocessing.popen_fork", "_launch"): "multiprocessing.fork",
}
"""Who calls os.fork for others (module, function), and what the program has called."""
forking = {}
"""The threads that are or were in a call of os.fork or os.forkpty, and a weak reference to what ends with it."""


class Failed(patches.StandIn):
    """What holds an exception. `type.__call__` looks up `__init__` of what `__new__` has returned. Here
    that raises it again, all in C, so that the next frame on the traceback is that of the program (typeobject.c:
    type_call, slot_tp_init, slot_tp_iternext; 3.10 to 3.15). No module is imported for it: the program may be iterating
    over sys.modules.
    """

    __slots__ = ("__next__",)

    __init__ = property(next)


def _end():
    yield


_ended = _end()  # one that has come to its end raises what it is told to without a frame (genobject.c)
_ended.close()


def failed(error, changed=None, results=()):
    """Return what raises an error again that our own frames are cut off from. `changed` is what the hook has returned,
    `results` has what the real function has.
    """
    if changed is not None and changed[2] is not None:
        guard.call("after " + type(error).__name__, after_all, results, *changed[2:])
    if "context" in cold.__globals__:
        guard.late("context", "take_back")
    made = object.__new__(Failed)
    made.__next__ = raising(error)
    return made


def raising(error):
    """Return what raises an error, without our frames, when it is called."""
    trace = BaseException.__dict__["__traceback__"].__get__(error)
    while trace is not None and trace.tb_frame.f_globals.get("__package__") == __package__:
        trace = trace.tb_next
    BaseException.with_traceback(error, trace)  # not by its own attribute: a frozen dataclass refuses that
    return patches.bind(_ended.throw, error)


def after_all(results, after, *more):
    """Record what a call has done that a handler of a signal has then broken off, in our own code or just before. What
    was recorded by then is not recorded again.
    """
    if not results:
        if hasattr(after, "give_up"):
            after.give_up()
    elif after is not children.started or children.known.get(results[0], (0, None))[1] != more[0]:
        after(results[0], *more)


def hand_down():
    """Name the current span to a child, if there has been one in this process."""
    if "context" in cold.__globals__:
        cold("context").hand_down()


def exchange(subprocess, real_fork_exec, fork_exec):
    """Replace what `subprocess` had taken before we came by our own."""
    ours = {real_fork_exec: fork_exec, patches.real_of(os.waitpid): os.waitpid}
    for owner in (subprocess, getattr(subprocess, "_del_safe", None)):
        for name in ("_fork_exec", "_waitpid", "waitpid"):
            taken = getattr(owner, name, None)
            if taken in ours:
                patches.replace(owner, name, ours[taken])
    poll = subprocess.Popen._internal_poll  # holds os.waitpid as a default (3.10 to 3.12)
    patches.replace(poll, "__defaults__", tuple([ours.get(taken, taken) for taken in poll.__defaults__]))


def method_of(words):
    """Return how `multiprocessing` says what it starts: a worker, its fork server or its tracker of resources."""
    if type(words) not in (list, tuple):
        return "fork_exec"
    role = cold("inherited").multiprocessing_role([text_of(word) for word in words])
    return "multiprocessing." + (role if role == "spawn" else "helper") if role else "fork_exec"


def text_of(word):
    """Return a word of a command line; of a path object only if it is the standard library's: others are code."""
    if isinstance(word, (str, bytes)):
        return os.fsdecode(word)
    return str(word) if type(word).__module__.startswith("pathlib") else "<" + type(word).__name__ + ">"


def install_forkserver(forkserver):
    """Stand in for what tells of a fork server's workers: they are no children of ours, and nobody waits for them."""
    patches.replace_calls(forkserver, (("read_signed", "starting:on_read_signed"),))


def watch_forks(is_behind=False):
    """From now on signals that were put off (`put_off`) come again after a fork. The hook for that is in C, so that
    behind it no step of ours is taken. With `is_behind` there is another hook of ours before it, since just now.
    """
    global again
    functools = stdlib.load("_functools") if again is None or is_behind else None
    if functools is not None:
        again = []  # the one before may be asked too early, and stays empty
        hook = functools.partial(again.sort, key=interrupt_main)
        os.register_at_fork(after_in_child=hook, after_in_parent=hook)
    if again:
        again.clear()


def put_off(error, hook):
    """Have a signal come again whose handler has raised this in what C has called of ours, and would print. `hook` is
    the name of that. False where it is not known which signal that was.
    """
    number = cold("encode").signal_of(error)
    if number is None or again is None and "fork" in hook:
        return False
    if "fork" in hook:
        again.append(number)
    elif hook != "on_atexit":  # a collection of garbage; at the exit there is nobody left whom it could interrupt
        start_new_thread(interrupt_main, (number,))
    return True


def on_fork(real):
    """Return what calls os.fork or os.forkpty in C, and then tells us the result."""
    watch_forks()
    hand_down()
    began = monotonic()
    name = real.__name__

    def after_fork(result):
        try:
            pid = result if name == "fork" else result[0]
            forking.pop(get_ident(), None)
            if pid:
                background = cold.__globals__.get("background")  # if it is loaded
                if background is not None:
                    background.go_on()
                guard.call("fork", on_forked, pid, name, began, sys._getframe(1))
            return patches.bind(next, iter((result,)))
        except BaseException as error:  # a handler of the program's: raised again, behind our frame
            return raising(error)

    forking[get_ident()] = ref(after_fork)  # it lives as long as the call: a fork that fails does not tell us
    # All in C but for that function, until fork returns `never`; what it returns is called for the result.
    return map(patches.bind.__call__, map(after_fork, iter(real, never))).__next__


def on_forked(pid, name, began, frame):
    """Record a forked child. `frame` is who called."""
    caller = (frame.f_globals.get("__name__"), frame.f_code.co_name)
    method = FORKING.get(caller, "os." + name)
    words = worker = None
    if caller == ("os", "_spawnvef"):
        words = frame.f_locals.get("args")
    elif caller == ("multiprocessing.popen_fork", "_launch"):
        worker = name_of(frame.f_locals.get("process_obj"))
    children.started(pid, began, words, method, worker=worker)


def is_forking():
    """True while a thread is in a call of os.fork or os.forkpty."""
    return any(alive() is not None for alive in list(forking.values()))


def name_of(process):
    """Return the name of a multiprocessing.Process."""
    name = getattr(process, "_name", None)
    return redact.tidy(name[:200]) if type(name) is str else None


def expect(frame):
    """`subprocess` is about to fork with a preexec_fn. No frame of ours may be between, see `children.py`, so what is
    started is told by its Popen afterwards: (weak reference to that, words, when).
    """
    watch_forks()
    values = frame.f_locals
    environment = values.get("env_list")
    if environment is not None:
        facts = (values["executable_list"], values["args"], values["cwd"], environment)
        changed = guard.late("environments", "for_list", *facts)
        if changed is not None:  # Popen has made the list, and nobody else has seen it
            environment[:] = changed
    hand_down()
    children.expected.append((ref(values["self"]), values["args"], monotonic()))


def settle():
    """Record those whose pid has not been known."""
    for entry in children.expected[:]:
        popen = entry[0]()
        pid = None if popen is None else vars(popen).get("pid")
        if popen is None or pid is not None:
            try:
                children.expected.remove(entry)
            except guard.ours(ValueError):  # a `__del__` or a handler of a signal was faster
                continue
        if pid is not None:
            children.started(pid, entry[2], entry[1], "subprocess")


def on_posix_spawn(args, kwargs, name):
    """Around os.posix_spawn and os.posix_spawnp (path, argv, env, …)."""
    if len(args) != 3:
        return None  # a TypeError
    path, words, environment = args
    if environment is not None:
        # Where no descriptor is left that cannot be loaded: the child is recorded all the same.
        changed = guard.late("environments", "for_mapping", path, words, environment, name == "posix_spawnp")
        if changed is not None:
            args = (path, words, changed)
    hand_down()
    return args, kwargs, children.started, monotonic(), words, "os." + name


def on_system(args, kwargs, name):
    """Around os.system: nobody tells the pid of its shell."""
    command = args[0] if args else kwargs.get("command")
    try:
        if not isinstance(command, (str, bytes)) or b"\0" in os.fsencode(command):
            return None  # an error, or an object that has code
    except guard.ours(UnicodeError):  # which the real function raises, too
        return None
    began = monotonic()
    number = children.started(None, began, ["sh", "-c", command], "os.system")

    hand_down()

    def after_system(status):
        if "context" in cold.__globals__:
            cold("context").take_back()
        if number is not None:
            # -1: the system itself has reaped it (SIGCHLD is ignored), or it could not be started.
            children.exited(-number, cold("unwaited").facts_of_status(status) if status >= 0 else {"waited": False})

    if number is not None:  # nothing was started, or nobody knows how it has ended
        after_system.give_up = lambda: children.exited(-number, {"waited": False})
    return args, kwargs, after_system


def on_read_signed(args, kwargs, name):
    """Around multiprocessing.forkserver.read_signed: in `_launch` it reads the pid of a new worker, in `poll` how it
    has ended.
    """
    frame = sys._getframe(3).f_back
    if frame.f_code.co_name not in ("_launch", "poll"):
        return None
    popen = frame.f_locals.get("self")
    worker = name_of(frame.f_locals.get("process_obj"))
    is_launch = frame.f_code.co_name == "_launch"
    began = monotonic()

    def after_read_signed(value):
        if is_launch and children.known.get(value, (0, None))[1] != began:
            children.started(value, began, None, "multiprocessing.forkserver", worker=worker)
        elif not is_launch:
            facts = {"exit_code": value} if value >= 0 else {"signal": cold("unwaited").signal_name(-value)}
            children.exited(popen.pid, facts)

    return args, kwargs, after_read_signed

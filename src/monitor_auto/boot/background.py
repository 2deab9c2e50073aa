"""Cold: the background thread of a session that lives on: what starts it, how it is gone while the program forks, and
how it ends. Builtin modules only; what the thread does is in `delivery/flusher.py`.

Guarantees:
- No thread in the session's first second, unless a socket listens; none while the interpreter is taken down, none in a
  forked child that the child has no sign of life for. Where no thread can be started the session only spools.
- The thread is none of `threading`'s: nobody waits for it, nobody lists it. Signals are blocked in it, so that they
  still interrupt what the program's own threads wait in. It is an operating system's thread also where the program has
  put greenlets in the place of threads.
- A fork waits FORK_SECONDS at most, and by then the thread has gone, for the operating system, too (from 3.12 Python
  warns where there is a second one). Only a thread inside a name look-up cannot be woken. What counts is the time for
  which the thread sleeps while we wait, up to STARVING_SECONDS altogether: where it, or who waits for it, gets no
  processor or no answer from a disk, everything waits.
- After a fork another one is started, but not before Python has counted the threads; none while a fork is under way.
- When the interpreter is taken down the thread has gone, or waits for nothing but the lock of imports, which we hold.
- Nothing here waits without a bound for a lock that another thread may hold.
"""

import _thread
import gc
import os
import sys

from . import check_same, cold, guard, recorder, targets
from .spool import allocate_lock, get_ident, start_new_thread
from .targets import monotonic

FIRST_SECONDS = 1.0
INTERVAL_SECONDS = 30.0
"""MONITOR_FLUSH_INTERVAL, if nobody says otherwise."""
FORK_SECONDS, STARVING_SECONDS = 0.05, 3.0
STAT_SECONDS, DONE_STEP_SECONDS = 0.005, 0.0002
"""How often who waits for the thread looks at it. Not oftener: he takes the interpreter's lock from it for that, which
it needs until it has done its work."""
GRACE_SECONDS = 0.02
"""Of these, a request that is under way may take so many to end well before its connection is cut."""
CUT_SECONDS = 0.1
"""The same of an exit's time."""
LAST_SECONDS = 0.1
"""How long an end waits for the thread where nothing is to be sent: what it does by itself takes a few milliseconds."""
RETRY_SECONDS = 60.0
LOOK_SECONDS = 0.25
"""While the program records, this often the thread looks how much it is."""
ATTENTIVE_SECONDS = 1.5
"""Longer than a second: after so long a silence the next event rings (recorder.tick)."""
LEAST_STACK_BYTES, STACK_BYTES = 256 << 10, 1 << 20

register_at_fork = getattr(os, "register_at_fork", None)  # cuttable.py replaces it for a while
thread = None
"""What is known of the thread, running or ended; None before the first one."""
hooked = 0
"""Whether we are called around a fork, 1, and before logging is, 2."""
late_hooks = []
"""What modules that the thread has imported want to have called around forks."""
first_due = None
"""When this session is to flush for the first time."""
_starting = allocate_lock()
_never = allocate_lock()
_never.acquire()


def of_life():
    """The program does something: start the thread if it is time, or tell it that there is news. In which event loop it
    does so is remembered: that one sends from then on.
    """
    if "asyncio.events" in sys.modules:
        guard.late("loops", "notice")
    if thread is None:
        start_if(FIRST_SECONDS)
    elif thread.is_wanted:
        if not is_forking():  # a collection of garbage may come in the middle of it
            go_on()
    elif thread.is_resting and not late_to("turns", "offer"):
        wake(thread)


def on_listen():
    """A socket of the program begins to listen: that may be the last that anybody hears of it."""
    if thread is None:
        start_if(0.0)


def start_if(seconds):
    """Start the thread in a session that is at least so old, lives, and has somewhere to deliver to."""
    session = recorder.session
    if session is None or session.is_ended or session.pid != os.getpid() or recorder.wake is not None:
        return
    if sys.is_finalizing() or getattr(recorder.settings, "flush_interval_seconds", 1.0) <= 0:
        return
    is_time = monotonic() - session.started_monotonic >= seconds and not is_forking()
    if is_time and _starting.acquire(False):
        try:
            if thread is None:
                start()
        finally:
            _starting.release()


def start():
    """Start the thread, with all signals blocked in it: it inherits the mask of who starts it."""
    global thread, first_due
    if first_due is None:
        first_due = monotonic() + first_seconds()
    hook_forks()
    state = type(sys.implementation)(
        bell=allocate_lock(), baton=allocate_lock(), over=allocate_lock(), session=recorder.session, is_stopping=False,
        is_resting=False, is_done=False, is_wanted=False, is_reaping=False, ident=0, tid=0, interrupt=None,
        first_due=first_due,
    )  # fmt: skip
    state.bell.acquire()
    state.over.acquire()
    targets.ready = 0.0
    if targets.on_collection in gc.callbacks:
        gc.callbacks.remove(targets.on_collection)
    size = _thread.stack_size()
    mask = cold("forked").block_signals()  # nothing between it and `try`: a handler there would leave them blocked
    try:
        if 0 < size < LEAST_STACK_BYTES:
            _thread.stack_size(STACK_BYTES)
        start_new_thread(run, (state,))
        thread = state
    except guard.ours(RuntimeError, MemoryError) as error:  # a limit of the system; the interpreter is being taken down
        cold("notes").debug("no background thread: " + str(error))
        targets.ready = monotonic() + RETRY_SECONDS
    finally:
        if 0 < size < LEAST_STACK_BYTES:
            _thread.stack_size(size)
        cold("forked").restore_signals(mask)


def hook_forks():
    """Have us called around each fork. Before one, who has registered last is called first: so we do it once more when
    logging is there, which takes its lock then, for which the thread may wait. No fork may have begun.
    """
    global hooked
    if register_at_fork is None:
        return
    wanted = 2 if hasattr(sys.modules.get("logging"), "shutdown") else 1  # nearly its last line
    while late_hooks:
        register_at_fork(**late_hooks.pop(0))
        hooked = 0
    if hooked < wanted:
        hooked = wanted
        register_at_fork(before=before_fork, after_in_parent=after_fork_in_parent)
        if "starting" in cold.__globals__:  # else it comes behind us, with the first fork
            cold("starting").watch_forks(True)


def first_seconds():
    """Return a random part of the interval, so that a hundred restarted machines do not call at once; or the time of
    the first heartbeat, if that is sooner.
    """
    interval = getattr(recorder.settings, "flush_interval_seconds", INTERVAL_SECONDS)
    seconds = interval * int.from_bytes(os.urandom(4), "little") / 0xFFFFFFFF
    return min(seconds, getattr(recorder.settings, "heartbeat_seconds", 0.0) or seconds)


def run(state):
    """The thread's life."""
    state.ident = get_ident()
    state.tid = _thread.get_native_id()
    try:
        if not state.is_stopping:
            guard.call("background", work, state)
    finally:
        state.is_done = True
        state.over.release()
        if state.is_wanted:  # a fork did not wait for it
            restart(state)


def work(state):
    """Wait for the first flush, then load what delivers, and let it: a program that lives two seconds pays for a thread
    and no more. Raises ImportError when the package was upgraded or removed.
    """
    attentive_until = 0.0
    while not state.is_stopping and monotonic() < state.first_due and not is_batch_full():
        now = monotonic()
        state.is_resting = now >= attentive_until
        if rest(state, state.first_due - now if state.is_resting else min(LOOK_SECONDS, state.first_due - now)):
            attentive_until = now + ATTENTIVE_SECONDS
    state.is_resting = False
    if state.is_stopping:
        return
    check_same()
    __import__("monitor_auto.delivery.flusher")
    sys.modules["monitor_auto.delivery.flusher"].run(state)


def is_batch_full():
    """True when the session has recorded a batch; asked as long as nothing was flushed."""
    left = getattr(recorder.sequence, "__length_hint__", None)  # of its first block of numbers (limits.py)
    settings = recorder.settings
    return left is None or settings.rate_block - left() >= settings.batch_size


def wake(state):
    """Ring the thread's bell."""
    try:
        if state.bell.locked():
            state.bell.release()
    except guard.ours(RuntimeError):  # another thread has just done so
        return


def rest(state, seconds):
    """Wait in the thread, so long at most; True when somebody who has news has rung."""
    return state.bell.acquire(True, min(max(seconds, 0.0), 3600.0))


def stop(seconds, grace_seconds, starving_seconds=0.0):
    """Have the thread end, within so many seconds; what it waits for on the network is cut off after the grace. True
    when it has gone.
    """
    state = thread
    if state is None or state.ident == get_ident():
        return True
    state.is_stopping = True
    wake(state)
    if wait(state, grace_seconds):
        return True
    if state.interrupt is not None:
        guard.call("background", state.interrupt)
    return wait(state, seconds - grace_seconds, starving_seconds)


def wait(state, seconds, starving_seconds=0.0):
    """Wait until the thread has gone; True when it has. With `starving_seconds`, which then are the most, the seconds
    pass only while the thread sleeps although it could have the interpreter's lock: what it does by itself takes a few
    milliseconds, and either of us may be without a processor for longer.
    """
    end = monotonic() + max(seconds, starving_seconds)
    was_asleep = bool(starving_seconds) and is_asleep(state)
    while not has_gone(state):
        left = min(seconds, end - monotonic())
        if left <= 0:
            return False
        begin = monotonic()
        if state.is_done:
            _never.acquire(True, DONE_STEP_SECONDS)  # time.sleep may be a greenlet's
        elif state.over.acquire(True, min(left, STAT_SECONDS)):
            state.over.release()
        if starving_seconds:
            waited, was_before, was_asleep = monotonic() - begin, was_asleep, is_asleep(state)
            if was_before and was_asleep:  # once may be that it wanted the lock that we have just taken
                seconds -= waited
    return True


def is_asleep(state):
    """True while the thread waits for something that only somebody else can end: the network, a lock. A thread that
    runs, that waits for a processor or a disk, or that the system is taking down, is about to end (proc(5)).
    """
    if not state.tid or state.is_reaping:
        return False  # it has not begun to run; it waits for a helper that was killed and needs a processor to die
    try:
        descriptor = os.open("/proc/self/task/%d/stat" % state.tid, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(descriptor, 1024).rpartition(b") ")[2][:1] in b"STt"
        finally:
            os.close(descriptor)
    except guard.ours(OSError):  # it has just gone; no Linux, or no descriptor
        return True


def has_gone(state):
    """True when the operating system has no such thread any more (proc(5)); elsewhere when it has said so."""
    if not state.is_done:
        return False
    try:
        os.stat("/proc/self/task/%d" % state.tid)
    except guard.ours(OSError):
        return True
    return False


def stop_at_exit(deadline):
    """End the thread, which may send until the deadline; with None it is left to itself and starts nothing new."""
    if thread is not None:
        if deadline is None:
            thread.is_stopping = True
        else:
            seconds = max(0.0, deadline - monotonic())
            stop(seconds, max(0.0, seconds - CUT_SECONDS))
    late_to("tickets", "take_all_apart")


def stop_for_good():
    """Let the thread be gone before the interpreter is. One that is halted where it stands may hold the lock of
    imports, and then what imports later, a traceback that is shown, waits for ever (3.11: one exit in 2,000 with the
    thread just at work). One that cannot be stopped in time does not get that lock any more: it stays ours.
    """
    if not stop(LAST_SECONDS, LAST_SECONDS / 2, STARVING_SECONDS):
        imports, end = sys.modules["_imp"], monotonic() + LAST_SECONDS
        while imports.lock_held() and monotonic() < end:
            _never.acquire(True, STAT_SECONDS / 10)
        if not imports.lock_held():
            imports.acquire_lock()


def late_to(module, function, *args):
    """Call a function of a module of `delivery`, if it was needed so far, and return its result. Another thread may
    just import it.
    """
    found = getattr(sys.modules.get("monitor_auto.delivery." + module), function, None)
    return None if found is None else guard.call("event loop", found, *args)


def is_forking():
    """True while a call of os.fork or os.forkpty is under way: Python counts the threads in it, behind its hooks."""
    starting = cold.__globals__.get("starting")  # if it is loaded
    return starting is not None and starting.is_forking()


def before_fork():
    """Runs in the thread that forks, before it does. One that another fork has not waited for may have ended since, and
    have started its successor. What a handler of a signal raises meanwhile is for `exits.on_unraisable`, but the thread
    has to go first.
    """
    try:
        stop_for_fork()
    except BaseException:
        stop_for_fork()
        raise


def stop_for_fork():
    """Have the thread end, and its successors."""
    state = None
    while thread is not state:
        state = thread
        if state is not None and state.session is recorder.session:
            state.is_wanted = False
            if state.is_stopping:
                guard.call("background", wait, state, STAT_SECONDS, STARVING_SECONDS)
            else:
                guard.call("background", stop, FORK_SECONDS, GRACE_SECONDS, STARVING_SECONDS)


def after_fork_in_parent():
    """Runs in the thread that has forked: what was stopped for it goes on.

    In os.fork and os.forkpty not yet: Python 3.13 counts the threads, and warns, after this (posixmodule.c:
    os_fork_impl; 3.12 does before it, 3.14 counts at the fork). starting.py calls `go_on` when they return; where they
    fail a later sign of life does.
    """
    state = thread
    if state is not None and state.is_stopping and state.session is recorder.session:
        state.is_wanted = True
        if not is_forking():
            go_on()


def go_on():
    """Start the thread again that was stopped for a fork. One that could not be stopped in time does it by itself."""
    state = thread
    if state is not None and state.is_wanted and state.is_done:
        guard.call("background", restart, state)


def restart(state):
    """Start another thread in the place of one that was stopped, once; where there can be none just now, the next sign
    of life tries again.
    """
    global thread
    session = recorder.session
    is_alive = session is not None and not session.is_ended and not sys.is_finalizing()
    if state.baton.acquire(False) and thread is state and is_alive:
        try:
            start()
        finally:  # what a handler of a signal may have raised included
            if thread is state:
                thread = None


def reset():
    """In a forked child: the thread is the parent's. The child's own is started when there is a sign of life."""
    global thread, first_due, _starting
    first_due = None
    inherited, thread = thread, None
    _starting = allocate_lock()
    if inherited is not None and inherited.interrupt is not None:  # it could not be stopped in time
        inherited.interrupt = None
    late_to("async_flusher", "forget_parent")

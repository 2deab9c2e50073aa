"""Lets the background thread work while the event loop of the program stands still for it. Lazy: for asyncio programs.

A busy loop lets go of the interpreter's lock at each look at its sockets, and has it again before a thread that waits
for it is awake. So each system call of a thread beside it costs dozens of awakenings on both sides: for one flush 30 ms
of processor time in the thread, and 20 in the loop, where a processor is idle. In a turn the loop waits in a callback,
without that lock, and the same flush takes 3 ms altogether.

Guarantees:
- The loop waits for TURN_SECONDS at most, whatever becomes of the thread, and never for a thread that has gone on
  without it; then it needs the interpreter's lock, which a thread that computes gives away after 5 ms
  (sys.getswitchinterval).
- What a handler of a signal raises in one of our calls in the loop is the program's: see `shielded`.
- A loop that does not come within PATIENCE_SECONDS is not waited for: the thread works beside it.
"""

import sys
from _thread import allocate_lock, interrupt_main

from monitor_auto.boot import background, cold
from monitor_auto.boot.formats import monotonic
from monitor_auto.boot.spool import start_new_thread

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

TURN_SECONDS = 0.001
ENOUGH_SECONDS = 0.0004
"""After so much of a turn the loop gets the time to do something else before there is another."""
NEWS_SECONDS = 1.2
"""A program that records has us told of it once a second (recorder.tick)."""
PATIENCE_SECONDS, AVOID_SECONDS = 0.02, 0.1
"""How long the thread waits for a turn, and how long it asks for none after it has waited in vain."""
LOOK_SECONDS = 0.005
"""How often, while it waits, it looks whether it was told to stop."""

next_turn: "Turn | None" = None
"""The one that a resting thread waits for: when something is recorded in the loop, it looks what is due."""


class Turn:
    """One standstill of a loop, which rings when it has begun."""

    def __init__(self, ring: "Callable[[], object]") -> None:
        self.ring = ring
        self.claim, self.back = allocate_lock(), allocate_lock()
        self.back.acquire()

    def give(self) -> None:
        """Stand still until the thread has done enough. Called by the loop."""
        if self.claim.acquire(False):
            self.ring()
            self.back.acquire(True, TURN_SECONDS)

    def is_given(self) -> bool:
        """Return whether it has begun; if not it never does. Called once, on the thread."""
        return not self.claim.acquire(False)


class Turns:
    """The turns of one thread, of which `state` is what background.py knows."""

    def __init__(self, state: "Any") -> None:
        self.state = state
        self.turn: Turn | None = None
        self.began = 0.0
        self.not_before = float("-inf")

    def rest(self, seconds: float) -> None:
        """Rest so long. Beside a loop rest until something is recorded in it, or NEWS_SECONDS if that is longer: beside
        one that is busy it is to wake up by itself that costs most.
        """
        global next_turn
        turn = None
        if cold("loops").current() is not None:
            seconds, self.state.is_resting = max(seconds, NEWS_SECONDS), True
            turn = next_turn = Turn(self.wake)
        self.end()
        background.rest(self.state, seconds)
        self.state.is_resting, next_turn = False, None
        if turn is not None:
            self.take(turn)

    def wake(self) -> None:
        """Wake the thread from its rest."""
        background.wake(self.state)

    def begin(self) -> None:
        """Wait for a turn of the loop that runs, if one does, and no longer than PATIENCE_SECONDS."""
        loop = None if self.state.is_stopping else cold("loops").current()
        if loop is None or monotonic() < self.not_before:
            return
        from contextvars import Context  # asyncio has loaded it

        bell = allocate_lock()
        bell.acquire()
        turn = Turn(bell.release)
        try:
            loop.call_soon_threadsafe(shielded, turn.give, context=Context())
        except RuntimeError:  # closed
            return
        end = monotonic() + PATIENCE_SECONDS
        while not bell.acquire(True, LOOK_SECONDS) and monotonic() < end and not self.state.is_stopping:
            continue
        if not self.take(turn):
            self.not_before = monotonic() + AVOID_SECONDS

    def take(self, turn: Turn) -> bool:
        """Use a turn, if it was given."""
        if not turn.is_given():
            return False
        self.turn, self.began = turn, monotonic()
        return True

    def renew(self) -> None:
        """Wait for another turn where there is none, or this one has lasted long enough: then the loop does something
        else first.
        """
        if self.turn is None or monotonic() - self.began > ENOUGH_SECONDS:
            self.end()
            self.begin()

    def end(self) -> None:
        """Let the loop go on."""
        turn, self.turn = self.turn, None
        if turn is not None:
            turn.back.release()


def offer() -> bool:
    """Something is recorded: if that is in the loop for which the thread rests, give it a turn."""
    global next_turn
    loops, turn = cold("loops"), next_turn
    loop = loops.running()
    if turn is None or loop is None or loop is not loops.current():
        return False
    from contextvars import Context  # asyncio has loaded it

    next_turn = None  # another thread may have done so just now: a turn is given once, however often it is asked for
    loop.call_soon_threadsafe(shielded, turn.give, context=Context())  # call_soon may be the program's own
    return True


def shielded(function: "Callable[..., object]", *args: "Any") -> None:
    """Call one of our own functions. Called by the loop, which lets KeyboardInterrupt and SystemExit through to the
    program; any other exception of a signal's handler it would print as one that nobody has caught.
    """
    try:
        function(*args)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        if not put_off(error):
            raise


def put_off(error: BaseException) -> bool:
    """Have the loop that runs raise, in its next round, what a handler of a signal has raised in our code, as if the
    signal had come while it waits for its sockets; False where it has not been raised by one.
    """
    number, loop = cold("encode").signal_of(error), cold("loops").running()
    if number is None or loop is None:
        return False
    from contextvars import Context  # asyncio has loaded it

    handle: Any = loop.call_soon_threadsafe(throw, error, context=Context())
    base = sys.modules["asyncio.events"].Handle
    if type(handle) is base:
        handle.__class__ = handle_class(base)
    else:  # uvloop's, in C: the handler is called once more, a moment later
        handle.cancel()
        start_new_thread(interrupt_main, (number,))
    return True


def throw(error: BaseException) -> None:
    """Raise on the loop what was meant for the program."""
    raise error


_classes: "dict[type, type]" = {}


def handle_class(base: "Any") -> type:
    """Return asyncio's class of handles, but for one thing: what the call raises leaves the loop, whatever it is."""
    if base not in _classes:
        members = {"__slots__": (), "_run": lambda handle: handle._callback(*handle._args)}
        _classes[base] = type("Handle", (base,), members)
    return _classes[base]

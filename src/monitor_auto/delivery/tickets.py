"""One coroutine of ours on its way through a loop of the program: a thread asks for it and waits, a task runs it.

Guarantees: see async_flusher.py; how a task passes unseen, and how it ends without its loop, is here.
"""

from __future__ import annotations

import sys
from _thread import allocate_lock, get_ident

from monitor_auto.boot import guard
from monitor_auto.boot.formats import monotonic

from . import hush
from .exchange import Answer, NoAnswer
from .turns import Turn, put_off, shielded, throw

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from typing import Any

TASK_NAME = "monitor_auto"

left_behind: list[Ticket] = []
"""Those that were given up and have not ended: kept until they have, or their loop is closed."""


class LoopGone(NoAnswer):
    """The loop does not run, or does not move: somebody else has to send this."""


class Ticket:
    """One coroutine on its way through a loop: asked for by a thread, run by a task, waited for by the thread."""

    def __init__(self, asyncio: Any, loop: Any, make: Callable[[], Coroutine[Any, Any, Answer]] | None) -> None:
        self.asyncio, self.loop, self.make = asyncio, loop, make
        self.bell, self.turn = allocate_lock(), allocate_lock()
        self.bell.acquire()
        self.turn_after = Turn(self.ring)
        self.wishes: list[tuple[Callable[[], Any], Any]] = []
        self.answer: Answer | None = None
        self.error: BaseException | None = None
        self.is_done = self.is_probing = False
        self.asked = self.last_sign = monotonic()
        self.lag_seconds = 0.0
        self.task: Any = None
        self.at_end: Callable[[], object] | None = None
        self.coroutine: Coroutine[Any, Any, None] | None = None

    # On the thread

    def ask(self) -> None:
        """Ask the loop to begin. Raises LoopGone."""
        if not self.loop.is_running() or not self.tell(self.begin):
            raise LoopGone("the loop does not run")

    def tell(self, function: Callable[..., object], *args: Any) -> bool:
        """Have a function called by the loop, in a context of its own. False where it takes none any more."""
        from contextvars import Context  # asyncio has loaded it

        try:
            self.loop.call_soon_threadsafe(shielded, function, *args, context=Context())
        except RuntimeError:  # closed
            return False
        return True

    def probe(self, seconds: float) -> None:
        """Ask the loop for a sign of life, unless it still owes one or has given one so lately."""
        is_quiet = monotonic() - self.last_sign >= seconds
        if is_quiet and not self.is_probing and self.loop.is_running():
            self.is_probing = True
            self.asked = monotonic()
            self.tell(self.on_probe)

    def fulfil(self, function: Callable[[], Any], future: Any) -> None:
        """Do what the task wishes, and let the loop tell it."""
        try:
            result, error = function(), None
        except Exception as raised:  # a name that nobody knows, a certificate: the task's to deal with
            result, error = None, raised
        self.last_sign = monotonic()  # it was us who took the time
        self.tell(settle, future, result, error)

    def give_up(self, close: Callable[[], object]) -> None:
        """Have the task cancelled, or never begun; when it has ended, have its connections closed.

        Not before: a descriptor that is closed while the loop's selector watches it is watched for ever, and the
        program's next socket of that number is taken for it.
        """
        self.at_end = close
        if self.is_done or self.turn.acquire(False):
            close()
            return
        left_behind.append(self)
        if self.task is not None:
            self.tell(self.task.cancel)

    def ring(self) -> None:
        """Wake the thread."""
        try:
            self.bell.release()
        except RuntimeError:  # it rings already
            return

    # On the loop

    def begin(self) -> None:
        """Make the task, unless nobody waits for it any more."""
        if self.turn.acquire(False):
            try:
                self.on_sign()
                guard.call("async flusher", self.start_task)
            finally:  # a handler of a signal may have raised
                if self.task is None:
                    self.finish()
                    self.ring()

    def start_task(self) -> None:
        """Make a task that is in none of asyncio's lists and has no number of the program's tasks."""
        asyncio = self.asyncio
        self.coroutine = self.run()
        self.task = task = task_class(asyncio)(self.coroutine, loop=self.loop, name=TASK_NAME)
        asyncio.tasks._unregister_task(task)
        task._log_destroy_pending = False
        if self.at_end is not None:  # given up in this very moment
            task.cancel()

    def on_sign(self) -> None:
        """The loop moves."""
        self.last_sign, self.is_probing = monotonic(), False
        self.lag_seconds = max(self.lag_seconds, self.last_sign - self.asked)

    def on_probe(self) -> None:
        """The loop moves, as was asked."""
        self.on_sign()
        self.ring()

    async def run(self) -> None:
        """Run the coroutine and keep what becomes of it: the task itself never fails."""
        try:
            if self.make is not None:
                self.answer = await Quietly(self.make())
        except GeneratorExit as error:
            self.error = error
            raise
        except (KeyboardInterrupt, SystemExit) as error:  # a signal of the program's came while we were running
            self.error = error
            self.loop.call_soon(throw, error)
        except BaseException as error:  # what httpx raises; CancelledError; what a handler of a signal's has raised
            self.error = error
            put_off(error)
        finally:
            shielded(self.finish)
            shielded(self.tell_thread)

    def finish(self) -> None:
        """It is over."""
        self.is_done = True
        if self.at_end is not None:
            guard.call("async flusher", self.at_end)

    def tell_thread(self) -> None:
        """Wake the thread, and give it a turn for what it does now; not before the task itself has ended."""
        is_told = False
        try:
            is_told = self.at_end is None and self.loop is not None and self.tell(self.turn_after.give)
        finally:  # an interrupt may have come
            if not is_told:
                self.ring()

    # When the loop is gone

    def take_apart(self) -> None:
        """Cancel a coroutine whose loop will never move again, without the loop."""
        from . import loopless

        if self.coroutine is not None and not self.is_done:
            loopless.Loop(self.asyncio).cancel(self.coroutine, self.task)
        if not self.is_done:
            self.finish()
            self.ring()


class Quietly:
    """Awaits a coroutine of ours in such a way that what it does passes unseen: with no hooks for asynchronous
    generators (the loop would close those of httpx while they run) and with our own log records dropped.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Answer]) -> None:
        self.coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Answer]:
        step: Callable[[Any], Any] = self.coroutine.send
        given: Any = None
        while True:
            hooks = sys.get_asyncgen_hooks()
            sys.set_asyncgen_hooks(None, None)
            hush.ours.add(get_ident())
            try:
                awaited = step(given)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            finally:
                hush.ours.discard(get_ident())
                sys.set_asyncgen_hooks(*hooks)
            try:
                given, step = (yield awaited), self.coroutine.send
            except BaseException as error:  # thrown in: by a cancellation, or at the end
                given, step = error, self.coroutine.throw


_classes: dict[int, Any] = {}


def task_class(asyncio: Any) -> Any:
    """Return asyncio's class of tasks, but for one thing: when it is gone it complains of nothing. What a signal
    handler raises in the last lines of `run` ends the task, and the loop hands it to the program: that nobody has asked
    the task for it is no news.
    """
    base = asyncio.tasks.Task
    if id(base) not in _classes:
        _classes[id(base)] = type("Task", (base,), {"__del__": lambda task: None, "base": base})
    return _classes[id(base)]


def settle(future: Any, result: Any, error: Exception | None) -> None:
    """Give a future its result."""
    if not future.done():
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


def sweep() -> None:
    """Forget the tasks that have ended, and take apart those whose loop is closed."""
    for ticket in list(left_behind):
        if not ticket.is_done and ticket.loop.is_closed():
            ticket.take_apart()
        if ticket.is_done or ticket.loop.is_closed():
            left_behind.remove(ticket)


def take_all_apart() -> None:
    """At the end of the process: no suspended coroutine may be left for the interpreter to take down."""
    for ticket in left_behind:
        if not ticket.loop.is_running():
            ticket.take_apart()

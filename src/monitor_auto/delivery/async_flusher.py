"""Sends requests by a task of the asyncio loop that the program runs. Lazy: for the flusher's thread of such a program.

The thread keeps the clock, the segments and the policy; what waits for the network is a task of the loop. So the loop
is not slowed down by a second thread that fights for the interpreter's lock while it talks HTTP, and the thread is
there when the loop is blocked, closed or gone.

Guarantees:
- The task is in nobody's way: `asyncio.all_tasks()` does not know it, so no program cancels it, waits for it or counts
  it; it uses no task factory, number, timer, executor, context variable or asynchronous generator hook of the program.
- What has to be imported is imported on the waiting thread, and the client built there.
- A task that its loop has left behind is taken apart without the loop: nothing is "destroyed but pending" nor "never
  awaited".
- Whoever waits is told at once when the request is over, the loop has not moved for BLOCKED_SECONDS, the loop is
  closed, the time is up, or `interrupt` is called.
"""

from __future__ import annotations

import sys

from monitor_auto.boot import guard, loops, notes
from monitor_auto.boot.formats import monotonic

from . import hush, kept, resources, slices
from .batches import renewed
from .exchange import Answer, NoAnswer
from .lines import OutOfTime
from .tickets import LoopGone, Ticket, left_behind, sweep
from .turns import Turns

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Transport(Protocol):
        """What sends a body: native.Transport, or anything like it."""

        def post(self, body: bytes, deadline: float) -> Answer: ...

        def close(self) -> None: ...


BLOCKED_SECONDS = 1.0
AVOID_SECONDS = 5.0
"""How long a loop that did not move is left alone."""
LOOK_SECONDS, PROBE_SECONDS = 0.02, 0.2
"""How often, while a request takes long, the loop is looked at, and asked for a sign of life."""


in_use: list[LoopTransport] = []
"""The one that this process sends with."""


class LoopTransport:
    """Sends to one endpoint by whatever loop the program runs, else by `fallback`, which is another transport. `post`
    is for the background thread, whose `state` is background.py's.
    """

    def __init__(
        self, state: Any, settings: Any, timeout_seconds: float, fallback: Transport, turns: Turns | None = None
    ) -> None:
        self.state, self.settings, self.timeout_seconds, self.fallback = state, settings, timeout_seconds, fallback
        self.turns = turns or Turns(state)
        self.client: Client | None = None
        self.not_before = float("-inf")
        self.is_interrupted = False
        self.lag_seconds = 0.0
        self.cut = state.interrupt
        state.interrupt = self.interrupt
        in_use[:] = [self]
        resources.more["loop_lag_ms"] = self.lag_ms

    def post(self, body: bytes, deadline: float) -> Answer:
        """Send one body and return the Answer. Raises NoAnswer, and OutOfTime when it is interrupted. `deadline` is on
        the clock of `time.monotonic()`.
        """
        sweep()
        loop = loops.current()
        if loop is not None and monotonic() >= self.not_before:
            try:
                return self.post_by(loop, body, deadline)
            except LoopGone as error:
                if self.is_interrupted:
                    raise OutOfTime from None
                self.not_before = monotonic() + AVOID_SECONDS
                notes.debug(f"not by the event loop: {error}")
                body = renewed(body)
            except (ImportError, ValueError, OSError, RuntimeError) as error:
                self.not_before = float("inf")  # without anyio, for example: the fallback needs less
                notes.debug(f"no requests by the event loop: {error}")
        return self.fallback.post(body, deadline)

    def post_by(self, loop: Any, body: bytes, deadline: float) -> Answer:
        """Send one body by a loop. Raises NoAnswer, LoopGone; ImportError and others where there can be no client."""
        if self.client is None or self.client.is_spoiled:
            self.client = self.make_client()
        self.client.is_interrupted = self.is_interrupted
        try:
            return self.client.post(loop, body, deadline, self.turns)
        finally:
            self.lag_seconds = max(self.lag_seconds, self.client.lag_seconds)

    def lag_ms(self) -> float | None:
        """Return how long the loop lets a call wait, now or since this was last asked; None where none runs."""
        loop, lag, self.lag_seconds = loops.current(), self.lag_seconds, 0.0
        if loop is None:
            return None
        self.turns.end()
        ticket = Ticket(None, loop, None)
        ticket.probe(0.0)
        while ticket.is_probing and not self.is_interrupted and monotonic() - ticket.asked < BLOCKED_SECONDS:
            ticket.bell.acquire(True, LOOK_SECONDS)
        if ticket.is_probing:
            ticket.on_sign()  # so long at least
        self.turns.begin()
        return round(max(lag, ticket.lag_seconds) * 1000, 3)

    def make_client(self) -> Client:
        """Return a client: over bare sockets where that is all it takes, else httpx's."""
        hosts = kept.plain_hosts(self.settings)
        if hosts:
            from . import async_kept

            return async_kept.PlainClient(self.settings, hosts)
        return self.make_httpx_client()

    def make_httpx_client(self) -> Client:
        """Return a client. A fork, or the end, does not wait until all that it needs is imported."""
        from . import cuttable

        cutter = cuttable.Cutter(self.state)
        cutter.while_importing()
        try:
            slices.load_httpx(self.state)
            slices.load(self.state, slices.BEFORE_ASYNC)
            from . import async_native

            return async_native.HttpxClient(self.settings, self.timeout_seconds)
        finally:
            cutter.imported()

    def interrupt(self) -> None:
        """Make `post` return at once, from whatever thread: the process is about to fork or to end."""
        self.is_interrupted = True
        if self.client is not None:
            self.client.interrupt()
        if self.cut is not None:
            self.cut()

    def close(self) -> None:
        """Close the connections, the fallback's, too."""
        if self.client is not None:
            self.client.close()
        self.fallback.close()


class Client:
    """What sends by one loop after the other, while no request was given up. A subclass says what a request is, how it
    is sent, what may go wrong with it, and which sockets it has.
    """

    errors: tuple[type[Exception], ...] = ()
    sockets: Any

    def __init__(self) -> None:
        import asyncio

        hush.asyncio_logger()
        name_loaders()
        self.asyncio = asyncio
        self.ticket: Ticket | None = None
        self.is_interrupted = self.is_blocked = self.is_spoiled = False
        self.lag_seconds = 0.0

    def request(self, body: bytes) -> Any:
        """Return the request that brings a body. Called on the waiting thread."""
        raise NotImplementedError

    async def send(self, request: Any, body: bytes) -> Answer:
        """Send a request and return its Answer. Raises one of `errors`."""
        raise NotImplementedError

    def post(self, loop: Any, body: bytes, deadline: float, turns: Turns) -> Answer:
        """Send one body by a loop and return the Answer. Raises NoAnswer, and LoopGone where the loop did not."""
        self.sockets.loop, self.is_blocked = loop, False
        request = self.request(body)
        self.ticket = ticket = Ticket(self.asyncio, loop, lambda: self.send(request, body))
        try:
            ticket.ask()
            turns.end()
            self.wait(ticket, deadline)
            turns.take(ticket.turn_after)
        except NoAnswer:
            self.is_spoiled = True
            ticket.give_up(self.sockets.close)
            sweep()
            raise
        finally:
            self.lag_seconds = ticket.lag_seconds
            self.ticket = None
        self.sockets.loop = None  # or we would keep it alive
        return self.outcome(ticket)

    async def on_thread(self, function: Callable[[], Any]) -> Any:
        """Return what the waiting thread makes of a function that would hold up the loop."""
        ticket = self.ticket
        if ticket is None:
            raise OSError("nobody waits for this any more")
        future = ticket.loop.create_future()
        ticket.wishes.append((function, future))
        ticket.ring()
        return await future

    def wait(self, ticket: Ticket, deadline: float) -> None:
        """Wait for a ticket's task, and do what it wishes. Raises NoAnswer."""
        while not ticket.is_done:
            ticket.bell.acquire(True, max(0.0, min(LOOK_SECONDS, deadline - monotonic())))
            if self.is_interrupted:
                raise LoopGone("interrupted")
            if self.is_blocked:
                raise LoopGone("the program flushes on it")
            while ticket.wishes:
                ticket.fulfil(*ticket.wishes.pop(0))
            if ticket.is_done:
                return
            if ticket.loop.is_closed() or monotonic() - ticket.last_sign > BLOCKED_SECONDS:
                raise LoopGone("it does not move")
            if monotonic() >= deadline:
                raise NoAnswer("timeout")
            ticket.probe(PROBE_SECONDS)

    def outcome(self, ticket: Ticket) -> Answer:
        """Return a finished ticket's answer, or raise what has become of it as NoAnswer."""
        error = ticket.error
        if error is None and ticket.answer is not None:
            return ticket.answer
        self.is_spoiled = True
        self.sockets.close()
        if isinstance(error, self.errors):  # names, certificates, proxies, sockets
            from .native import reason

            raise NoAnswer(reason(error)) from error
        raise LoopGone(f"the task ended with {type(error).__name__}") from error

    def interrupt(self) -> None:
        """Make `post` return now."""
        self.is_interrupted = True
        ticket = self.ticket
        if ticket is not None:
            ticket.ring()

    def close(self) -> None:
        """Close the connections, unless a task is using them: then it does. The client itself holds nothing else."""
        if self.ticket is None and not self.is_spoiled:
            self.sockets.close()


def name_loaders() -> None:
    """Give the modules of boot that stand on this thread's stack, or on the loop's, the `__spec__` that they start
    without: in debug mode asyncio takes down the stack of whoever calls it, and Python 3.15 warns where there is none
    (linecache.py).
    """
    from importlib.machinery import ModuleSpec, SourceFileLoader

    frame: Any = sys._getframe()
    found: list[dict[str, Any]] = [vars(guard)]  # tickets.py
    while frame is not None:
        found.append(frame.f_globals)
        frame = frame.f_back
    for facts in found:
        if facts.get("__spec__") is None and str(facts.get("__name__")).startswith("monitor_auto.boot"):
            loader = SourceFileLoader(facts["__name__"], facts["__file__"])
            facts["__loader__"], facts["__spec__"] = loader, ModuleSpec(loader.name, loader, origin=loader.path)


def give_way(loop: Any) -> None:
    """The program flushes, on this loop: who waits for a request by it would wait for what cannot move."""
    for transport in in_use:
        client = transport.client
        ticket = None if client is None else client.ticket
        if client is not None and ticket is not None and ticket.loop is loop:
            client.is_blocked = True
            ticket.ring()


def forget_parent() -> None:
    """In a forked child: close the copies of idle connections. One that a task is using is registered with a selector
    that parent and child share, so it is left alone: the loop of the child, should it ever go on, cancels the task.
    """
    if in_use:
        client = in_use.pop().client
        if client is not None:
            if client.ticket is not None:
                left_behind.append(client.ticket)
            client.close()

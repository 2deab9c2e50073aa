"""A loop that is none: for a request to nobody, and for one that its loop has left behind. Lazy: for asyncio programs.

Guarantees: no loop of asyncio, no task that anybody can find.
"""

from __future__ import annotations

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

MAX_STEPS = 1000


class Loop:
    """What a task and anyio ask of a loop, and no more."""

    def __init__(self, asyncio: Any) -> None:
        self.asyncio = asyncio
        self.ready: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Any = None) -> None:
        """Remember a call."""
        self.ready.append((callback, args))

    def create_future(self) -> Any:
        """Return a future of this loop."""
        return self.asyncio.Future(loop=self)

    def get_debug(self) -> bool:
        """Nobody debugs us."""
        return False

    is_closed = get_debug

    def is_running(self) -> bool:
        """It runs while somebody asks."""
        return True

    def time(self) -> float:
        """There is no time."""
        return 0.0

    def call_exception_handler(self, context: Any) -> None:
        """What fails is not meant to succeed."""

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine in a task, as far as it gets without waiting for anybody."""
        asyncio = self.asyncio
        running = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            task = asyncio.tasks.Task(coroutine, loop=self, name="monitor_auto")
            asyncio.tasks._unregister_task(task)
            task._log_destroy_pending = False
            self.turn()
        finally:
            asyncio._set_running_loop(running)

    def turn(self) -> None:
        """Make the calls that were asked for, and those that they ask for."""
        for _ in range(MAX_STEPS):
            if not self.ready:
                break
            callback, args = self.ready.pop(0)
            callback(*args)

    def cancel(self, coroutine: Coroutine[Any, Any, Any], task: Any) -> None:
        """Cancel a coroutine that is suspended on another loop, as its task would: that loop will never go on.

        `coroutine.close()` is not enough: anyio wants to see a loop and the task that it began in, and what httpx's
        generators raise when they do not find them is printed.
        """
        asyncio = self.asyncio
        running = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        asyncio.tasks._enter_task(self, task)
        try:
            for _ in range(MAX_STEPS):
                coroutine.throw(asyncio.CancelledError())
        except (Exception, asyncio.CancelledError):  # StopIteration: its end; or what fails in httpx without a loop
            pass
        finally:
            asyncio.tasks._leave_task(self, task)
            asyncio._set_running_loop(running)

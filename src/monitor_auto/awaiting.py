"""Runs a blocking call of ours beside an event loop, without the loop's own pool of threads. Lazy: for `aflush` only.

Guarantees: imports neither asyncio nor trio; the thread is gone when the call is over, also when who waited was
cancelled.
"""

from __future__ import annotations

import sys
from _thread import start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


async def on_a_thread(call: Callable[[], Any]) -> Any:
    """Return what `call` returns, awaited under asyncio or trio; under another kind of loop it blocks."""
    trio = sys.modules.get("trio")
    if trio is not None and getattr(trio.lowlevel, "in_trio_run", bool)():
        return await trio.to_thread.run_sync(call, abandon_on_cancel=True)
    asyncio = sys.modules.get("asyncio")
    try:
        loop = asyncio.get_running_loop() if asyncio is not None else None
    except RuntimeError:
        loop = None
    return call() if loop is None else await _future(loop, call)


def _future(loop: Any, call: Callable[[], Any]) -> Any:
    future = loop.create_future()

    def finish(result: Any) -> None:
        if not future.done():
            future.set_result(result)

    def work() -> None:
        result = call()
        try:
            loop.call_soon_threadsafe(finish, result)
        except RuntimeError:  # the loop was closed meanwhile: nobody waits any more
            return

    start_new_thread(work, ())
    return future

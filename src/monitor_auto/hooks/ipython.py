"""IPython and Jupyter: errors of cells, through IPython's own `post_run_cell` event; nothing it prints changes.

IPython shows the errors of cells itself, so `sys.excepthook` never sees them.
"""

from __future__ import annotations

from typing import Any

from .. import boot
from ..boot import guard, hooked, recorder
from . import passing
from .wrapping import Undo, wrap

_undo: list[Undo] = []


def install(module: Any) -> None:
    """Wait for every shell that is made. Called once, after `import IPython.core.interactiveshell`."""
    if not _undo:
        _undo.append(wrap(module.InteractiveShell, "init_events", passing.around("ipython", keep, on_events)))


def uninstall() -> None:
    """Put the original back."""
    while _undo:
        _undo.pop()()


def keep(shell: Any, args: Any, kwargs: Any) -> Any:
    """Watch every call of `InteractiveShell.init_events`, after which the shell takes our callback."""
    return shell


def on_events(shell: Any, result: Any, error: BaseException | None) -> None:
    """Ask to be told the end of each cell."""
    if error is None:
        shell.events.register("post_run_cell", on_cell)


def on_cell(result: Any) -> None:
    """Record what a cell raised, before or while it ran."""
    if recorder.session is not None:
        guard.call("ipython", _record, result)


def _record(result: Any) -> None:
    error = getattr(result, "error_before_exec", None) or getattr(result, "error_in_exec", None)
    if isinstance(error, BaseException) and not isinstance(error, SystemExit):
        hooked.add("ipython")
        boot.load("exits").record_error(error, "error", {"cell": getattr(result, "execution_count", None)})

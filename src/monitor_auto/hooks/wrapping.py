"""The only file that imports wrapt. Loaded when the first third-party target is imported; from there on wrapt registers
the post-import hooks and does the wrapping.

Guarantees: a hook that fails is switched off, noted once, and never fails the program's import or call.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import wrapt

from ..boot import guard
from ..boot.arrivals import run_hook

Undo = Callable[[], None]


def register(hooks: dict[str, str], installed: list[str]) -> None:
    """Give every waiting hook to wrapt; `installed` collects the names of those that ran."""
    for name, hook in hooks.items():
        wrapt.register_post_import_hook(_make_step(name, hook, installed), name)


def _make_step(name: str, hook: str, installed: list[str]) -> Callable[[Any], None]:
    def after_import(module: Any) -> None:
        guard.call("hook of " + name, run_hook, hook, module)
        installed.append(name)

    return after_import


def wrap(owner: Any, name: str, wrapper: Callable[..., Any]) -> Undo:
    """Replace a function or method by a wrapt wrapper and return what undoes it.

    `wrapper(wrapped, instance, args, kwargs)` is wrapt's signature. The undo puts the original back only where our
    wrapper is still what is found there, so that nobody else's patch is undone.
    """
    original = vars(owner).get(name, getattr(owner, name))
    wrapt.wrap_function_wrapper(owner, name, wrapper)
    ours = vars(owner)[name]

    def undo() -> None:
        if vars(owner).get(name) is ours:
            setattr(owner, name, original)

    return undo


def is_origin_ours(module_name: str) -> bool:
    """True when a loaded module comes from the folder that we are installed in."""
    origin = getattr(sys.modules.get(module_name), "__file__", None) or ""
    return origin.startswith(__file__.rpartition("monitor_auto")[0])

"""The only file that imports wrapt. Loaded after the first third-party target; then wrapt does the wrapping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import wrapt

Undo = Callable[[], None]


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

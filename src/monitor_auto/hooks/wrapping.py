"""The only file that imports wrapt. Loaded after the first third-party target; from there on wrapt registers the
post-import hooks and does the wrapping.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import wrapt

Undo = Callable[[], None]


def register(name: str, install: Callable[[Any], None]) -> None:
    """Give a hook to wrapt's post-import hooks. Its module is loaded, so wrapt calls it before this returns.

    The finder that wrapt adds for modules that are still to come is not needed, and a program that has not asked for it
    would find it at the head of `sys.meta_path`. So it goes again, and wrapt adds it when somebody else registers.
    """
    before = list(sys.meta_path)
    wrapt.register_post_import_hook(install, name)
    importer: Any = sys.modules[wrapt.register_post_import_hook.__module__]
    for finder in [finder for finder in sys.meta_path if type(finder).__module__ == importer.__name__]:
        if finder not in before and hasattr(importer, "_post_import_hooks_init"):
            sys.meta_path.remove(finder)
            importer._post_import_hooks_init = False


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

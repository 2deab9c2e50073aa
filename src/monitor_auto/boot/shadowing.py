"""Cold: which names a late import would take from the program. After start `sys.path[0]` is the script's folder: a late
`import queue` would run the program's `queue.py`. Builtin modules only.
"""

import os
import sys

from . import guard


def shadowed(libraries=()):
    """Return the names that an import would now take from elsewhere than where they belong: modules of the standard
    library that are not loaded yet, and those of the `libraries` that are there at all.
    """
    library = os.path.dirname(os.__file__)
    names = set()
    for entry in sys.path:
        if entry == library:
            break
        names.update(modules_in(entry or "."))
    strangers = {name for name in libraries if not is_installed(name)}
    return strangers | {name for name in names if not _is_loaded(name, library)}


def is_installed(name):
    """True when a library is loaded, or would be loaded, from where libraries are installed, and not from beside the
    script; also when there is none at all.
    """
    module = sys.modules.get(name)
    if module is None:
        import _frozen_importlib_external as external

        module = external.PathFinder.find_spec(name)
    origin = getattr(module, "__file__", None) or getattr(module, "origin", None) or ""
    folder, _, file = origin.replace("\\", "/").rpartition("/")
    if file.startswith("__init__."):
        folder = os.path.dirname(folder)
    ours = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    return module is None or folder == ours or folder.endswith(("site-packages", "dist-packages"))


def _is_loaded(name, library):
    module = sys.modules.get(name)
    return module is not None and (getattr(module, "__file__", None) or library).startswith(library)


def modules_in(folder):
    """Return the names of stdlib modules that files or packages of a folder bear."""
    try:
        entries = os.listdir(folder)
    except guard.ours(OSError):
        return set()
    found = set()
    for entry in entries:
        name, dot, rest = entry.partition(".")
        if name not in sys.stdlib_module_names or name in sys.builtin_module_names:
            continue
        if dot and rest.endswith(("py", "pyc", "so", "pyd")) or os.path.exists(folder + "/" + entry + "/__init__.py"):
            found.add(name)
    return found

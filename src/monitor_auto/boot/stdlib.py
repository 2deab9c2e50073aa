"""Cold: loads modules of the standard library from the interpreter's own folders, whatever lies beside the script.

After start `sys.path[0]` is the script's folder: a late `import queue` would run the program's `queue.py`. `load` finds
an extension module without looking there; `shadowing.py` tells which names are in the way of all others.
"""

import sys

from . import builtin_import, system

_loaded = {}


def load(name):
    """Return a builtin or extension module of the standard library, or None where this Python has none.

    A module that the program has loaded from the right place is shared; else it is loaded aside, not into sys.modules,
    so that the program's own import finds what it would have found.
    """
    if name not in _loaded:
        _loaded[name] = _shared(name) or _load_aside(name)
    return _loaded[name]


def own_folders():
    """Return where the interpreter keeps its extension modules."""
    endings = ("/lib-dynload", "/DLLs")
    entries = sys.path or ()  # None while the interpreter is taken down
    places = [entry.replace("\\", "/") for entry in entries if isinstance(entry, str)]
    return [place for place in places if place.endswith(endings) and place.startswith(sys.base_exec_prefix)]


def _shared(name):
    module = sys.modules.get(name)
    if module is None or name in sys.builtin_module_names:
        return module
    origin = getattr(getattr(module, "__spec__", None), "origin", None) or ""
    return module if any(origin.startswith(folder) for folder in own_folders()) else None


def _load_aside(name):
    if sys.meta_path is None:  # the interpreter is being taken down: nothing can be imported any more
        return None
    if name in sys.builtin_module_names:
        return builtin_import(name)
    path = _extension_file(name)
    if path is None:
        return None
    importlib = sys.modules["_frozen_importlib"]  # these two are always there
    loader = sys.modules["_frozen_importlib_external"].ExtensionFileLoader(name, path)
    spec = importlib.ModuleSpec(name, loader, origin=path)
    spec.has_location = True
    module = importlib.module_from_spec(spec)
    loader.exec_module(module)
    return module


def _extension_file(name):
    """Return the file of an extension module. A finder would list the folder first: 0.14 ms (3.11)."""
    for folder in own_folders():
        for suffix in sys.modules["_imp"].extension_suffixes():
            path = folder + "/" + name + suffix
            if system.access(path, system.R_OK):
                return path
    return None

"""Cold: loads modules of the standard library from the interpreter's own folders, whatever lies beside the script.

After start `sys.path[0]` is the script's folder: a late `import queue` would run the program's `queue.py`. `load` finds
an extension module without looking there; `shadowed` tells which names a late import would take from the program.
"""

import os
import sys

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
    import _frozen_importlib as importlib
    import _frozen_importlib_external as external

    if name in sys.builtin_module_names:
        return __import__(name)
    path = _extension_file(name)
    if path is None:
        return None
    loader = external.ExtensionFileLoader(name, path)
    module = importlib.module_from_spec(external.spec_from_file_location(name, path, loader=loader))
    loader.exec_module(module)
    return module


def _extension_file(name):
    """Return the file of an extension module. A finder would list the folder first: 0.14 ms (3.11)."""
    import _imp

    for folder in own_folders():
        for suffix in _imp.extension_suffixes():
            path = folder + "/" + name + suffix
            if os.access(path, os.R_OK):
                return path
    return None


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
    except OSError:
        return set()
    found = set()
    for entry in entries:
        name, dot, rest = entry.partition(".")
        if name not in sys.stdlib_module_names or name in sys.builtin_module_names:
            continue
        if dot and rest.endswith(("py", "pyc", "so", "pyd")) or os.path.exists(folder + "/" + entry + "/__init__.py"):
            found.add(name)
    return found

"""Cold: hooks that other packages bring, by the entry-point group `monitor_auto.hooks`: the name is the module to wait
for, the value "module:function" what is called with it. Builtin modules only: importlib.metadata costs 40 ms.

Looked for once, when the program imports the first module that is not Python's own. What is read is what installers lay
beside packages, `*.dist-info/entry_points.txt` and `*.egg-info/entry_points.txt`, in folders named site-packages or
dist-packages (editable installs are there, too) and in zip files of sys.path.
"""

import os
import sys

from . import guard, targets

GROUP = "[monitor_auto.hooks]"
KINDS = (".dist-info", ".egg-info")
FILE = "entry_points.txt"
MAX_BYTES = 1 << 18


def look():
    """Wait for what other packages have hooks for; what the program has imported already gets them at once."""
    for name, hook in found():
        known = targets.waiting.get(name)
        if known is None or hook not in known.split():
            targets.waiting[name] = hook if known is None else known + " " + hook
            if name in sys.modules:
                guard.late("arrivals", "install_late", name)


def found():
    """Return (module to wait for, "module:function") of every hook, in the order of sys.path; each package once."""
    hooks, seen = [], set()
    for entry in dict.fromkeys(filter(None, map(entry_text, list(sys.path or ())))):
        for package, text in texts_of(entry):
            if package not in seen:
                seen.add(package)
                hooks += parse(text)
    return hooks


def entry_text(entry):
    """Return an entry of sys.path where it is a place that packages are installed in, else None."""
    if type(entry) is not str:
        return None
    return entry if entry.rstrip("/").endswith(("-packages", ".egg", ".zip", ".whl")) else None


def texts_of(entry):
    """Yield (name of the package's folder, text) of the entry points in a folder or a zip file."""
    files = getattr(sys.path_importer_cache.get(entry), "_files", None)
    if files is not None:  # zipimport has read its table
        for path in list(files):
            folder, _, name = path.replace("\\", "/").rpartition("/")
            if name == FILE and folder.endswith((*KINDS, "EGG-INFO")):
                yield folder, sys.path_importer_cache[entry].get_data(entry + os.sep + path).decode("utf-8", "replace")
        return
    try:
        names = os.listdir(entry)
    except guard.ours(OSError):  # it is not there, or may not be read
        return
    exists, wanted = os.access, GROUP.encode()
    for name in sorted([name for name in names if name.endswith(KINDS)]):
        path = entry + "/" + name + "/" + FILE
        if exists(path, 0):  # most packages have none, and an exception takes three times as long
            text = bytes_of(path)
            if wanted in text:
                yield name, text.decode("utf-8", "replace")


def bytes_of(path):
    """Return what is in a file; nothing where it cannot be read. Nobody is waited for: it may be a pipe."""
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0))
    except guard.ours(OSError):
        return b""
    try:
        return os.read(fd, MAX_BYTES)
    except guard.ours(OSError):  # a folder of that name
        return b""
    finally:
        os.close(fd)


def parse(text):
    """Return the pairs of our group. A line that is no such pair is left out."""
    hooks, is_ours = [], False
    for line in text.splitlines():
        line = line.partition("#")[0].strip()
        if line[:1] == "[":
            is_ours = line.replace(" ", "") == GROUP
        elif is_ours:
            name, _, value = line.partition("=")
            name, value = name.strip(), value.partition("[")[0].strip()
            module, _, function = value.replace(" ", "").partition(":")
            if is_dotted(name) and is_dotted(module) and function.isidentifier():
                hooks.append((name, module + ":" + function))
    return hooks


def is_dotted(text):
    """True for the name of a module."""
    return all(part.isidentifier() for part in text.split("."))

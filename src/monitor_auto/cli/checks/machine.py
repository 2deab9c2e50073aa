"""Checks of the interpreter and of what lies around the programs: what is absent, what hides modules, who embeds."""

from __future__ import annotations

import _imp
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Iterator

from monitor_auto.boot import shadowing

from . import OK, WARNING, Check

NEWEST = (3, 15)
"""The newest Python that is tested."""
PARTS = (
    ("register_at_fork", "forked children are no sessions of their own"),
    ("lockf", "a dead program is told from a silent one only after an hour"),
)

LIBRARIES = ("wrapt", "httpx")
MAX_PROGRAMS = 1000


def check(folder: str) -> Iterator[Check]:
    """Yield all findings about this interpreter, and about a folder that holds programs."""
    yield from interpreter()
    yield from hidden(folder)
    yield from without_site(folder)
    yield from hosts()


def interpreter() -> Iterator[Check]:
    """Check that this interpreter has what we build on."""
    version = "%s %d.%d.%d" % (sys.implementation.name, *sys.version_info[:3])
    absent = [(f"os.{name}", cost) for name, cost in PARTS if not hasattr(os, name)]
    if importlib.util.find_spec("faulthandler") is None:
        absent.append(("faulthandler", "deaths by a signal leave no stack"))
    for name, cost in absent:
        yield Check("interpreter", WARNING, f"this Python has no {name}: {cost}")
    if sys.implementation.name != "cpython" or sys.version_info[:2] > NEWEST:
        yield Check("interpreter", WARNING, f"{version} is not tested", "Look for a newer monitor-auto.")
    elif not absent:
        yield Check("interpreter", OK, f"{version}, {sys.executable}")


def hidden(folder: str) -> Iterator[Check]:
    """Check for files beside the programs that bear names of the standard library."""
    names = sorted(name for name in shadowing.modules_in(folder) if not is_safe(name))
    names += [name for name in LIBRARIES if is_module(f"{folder}/{name}")]
    if names:
        what = f"files in {folder} hide modules that hooks or delivery need, which stay off there: {', '.join(names)}"
        yield Check("hidden", WARNING, what, "Rename the files; programs there may trip over them as well.")
    else:
        yield Check("hidden", OK, f"no file in {folder} hides a module that is needed")


def without_site(folder: str) -> Iterator[Check]:
    """Check for programs whose first line starts Python with -S."""
    try:
        with os.scandir(folder) as entries:
            paths = [entry.path for entry in entries if entry.is_file()][:MAX_PROGRAMS]
    except OSError:  # the folder is gone, or not ours
        return
    names = sorted(os.path.basename(path) for path in paths if has_no_site(first_line(path)))
    if names:
        what = f"programs in {folder} begin with a python -S, which reads no start line: {', '.join(names)}"
        yield Check("start line", WARNING, what, "Take the -S out of their first lines, or call Monitor.init there.")


def first_line(path: str) -> str:
    """Return the beginning of a file; nothing for what cannot be read, or would have to be waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return ""
    try:
        return os.read(descriptor, 256).partition(b"\n")[0].decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def has_no_site(line: str) -> bool:
    """Return whether a first line starts an interpreter with -S, alone or among other letters (`-IS`)."""
    words = line.removeprefix("#!").split() if line.startswith("#!") else []
    pythons = [index for index, word in enumerate(words) if os.path.basename(word).startswith("python")]
    options = words[pythons[0] + 1 :] if pythons else []
    return any(re.match("-[^-cmWX]*S", word) for word in options)


def is_module(path: str) -> bool:
    """Return whether a path without its ending is a module or a package."""
    return os.path.exists(path + ".py") or os.path.exists(path + "/__init__.py")


def is_safe(name: str) -> bool:
    """Return whether Python has a module before it looks at folders: builtin, frozen, or loaded by every start."""
    return name in sys.builtin_module_names or _imp.is_frozen(name) or name in ("encodings", "site", "os", "codecs")


def hosts() -> Iterator[Check]:
    """Tell of servers that run programs in sub-interpreters, which are not seen."""
    found = [name for name in ("mod_wsgi", "uwsgi") if importlib.util.find_spec(name) or shutil.which(name)]
    found += [name for name in ("MOD_WSGI_PROCESS_GROUP", "UWSGI_ORIGINAL_PROC_NAME") if name in os.environ]
    if found:
        what = f"{', '.join(found)} is here: of programs in sub-interpreters only the server process is monitored"
        yield Check("sub-interpreters", OK, what)

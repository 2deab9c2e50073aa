"""Cold: the environment that a program gives to a child. Builtin modules only; loaded when a child gets one of its own.

Guarantees:
- What the program gave is never changed; what is returned is a copy with more in it, or None where nothing is to add.
- It is extended only for a child that our start line will run in: a Python of this environment, or a script that names
  one in its first line, without -S. So whatever is added is taken out again before a line of the program runs there
  (`inherited.take_over`).
- A token is never added. Such a child only spools, and its parent delivers.
"""

import os
import sys

from . import cold, guard, inherited, recorder
from .session import PARENT_VARIABLE
from .settings import OFF

MAX_LINE = 512
PREFIX = "MONITOR_"


def for_list(executables, words, directory, pairs):
    """Return the list of b"NAME=value" for a child of `subprocess` with what it lacks; None: leave it as it is."""
    if not (are_texts(pairs) and are_texts(executables) and isinstance(words, (list, tuple))):
        return None  # not `subprocess` has called; the real function says what is wrong
    given = {}
    for pair in pairs:
        name, _, value = os.fsdecode(pair).partition("=")
        given[name] = value
    more = additions(given, executables, words, directory)
    return more and [*pairs, *(os.fsencode(name + "=" + value) for name, value in more.items())]


def are_texts(values):
    """True for a list or tuple of str and bytes."""
    return type(values) in (list, tuple) and {type(value) for value in values} <= {str, bytes}


def for_mapping(path, words, given, is_searched=False):
    """Return a copy of a mapping for os.posix_spawn or os.execve with what the child lacks; None: leave it."""
    try:
        len(given)  # C asks for it, a dict that is made of the mapping would not
        copy = {**given}
        texts = {os.fsdecode(name): os.fsdecode(value) for name, value in copy.items()}
    except guard.ours(Exception):  # no mapping, or one of the program's own: the real function says so
        return None
    paths = [path]
    if is_searched and isinstance(path, (str, bytes)) and "/" not in os.fsdecode(path):
        paths = [os.path.join(folder, os.fsdecode(path)) for folder in searched_folders()]
    more = additions(texts, paths, words, None)
    return more and {**copy, **more}


def searched_folders():
    """Return where C looks for a program without a path. Not by os.get_exec_path: that takes a TypeError, which may be
    one of a signal handler of the program, and changes the filters of `warnings`.
    """
    given = [value for name, value in os.environ.items() if name == "PATH"]
    return (given[0] if given else os.defpath).split(os.pathsep)


def for_exec(args, kwargs):
    """Return what to call os.execve(path, argv, env) with."""
    names = ("path", "argv", "env")
    values = {**dict(zip(names, args, strict=False)), **kwargs}
    if len(args) + len(kwargs) != 3 or set(values) != set(names):
        return None  # a TypeError
    path = values["path"]
    changed = for_mapping("/proc/self/fd/%d" % path if isinstance(path, int) else path, values["argv"], values["env"])
    return changed and ((path, values["argv"], changed), {}, None)


def additions(given, executables, words, directory):
    """Return the variables that a child lacks to be a session below this one; None where it cannot be one."""
    if given.get("MONITOR_DISABLE", "").strip().lower() not in OFF or PARENT_VARIABLE in given:
        return None
    if not is_monitored_python(executables, words, directory, given):
        return None
    more = {}
    settings = recorder.settings
    if not given.get("MONITOR_ENDPOINT"):
        more = {name: value for name, value in own_settings().items() if name not in given}
        if "MONITOR_ENDPOINT" not in more and not settings.is_from_site_file:
            return None  # the program has named it, to Monitor.init: its children are not meant
        if "MONITOR_SPOOL_DIR" not in given:  # else it depends on a HOME that the child may not have
            more["MONITOR_SPOOL_DIR"] = settings.spool_directory
    names = list(more)
    has_token = settings.token or inherited.TOKEN_HELD_BACK in cold.__globals__["_taken_over"]
    if has_token and "MONITOR_ENDPOINT" in more and "MONITOR_TOKEN" not in given:
        names.append(inherited.TOKEN_HELD_BACK)
    link = inherited.handed_down(recorder.session)
    return {**more, PARENT_VARIABLE: link[PARENT_VARIABLE] + "".join(["," + name for name in names])}


def own_settings():
    """Return the MONITOR_* variables that a child would inherit, but for the token."""
    values = {name: value for name, value in os.environ.items() if name[:8] == PREFIX}
    values = {**inherited.taken, **values}
    return {name: value for name, value in values.items() if name not in ("MONITOR_TOKEN", PARENT_VARIABLE)}


def is_monitored_python(executables, words, directory, given):
    """True when the start line of this environment will run in a child."""
    path = find(executables, directory)
    if path is None or not words:
        return False
    if is_ours(path):
        return not has_no_site([os.fsdecode(word) for word in words[1:] if isinstance(word, (str, bytes))])
    line = first_line(path)
    interpreter, _, options = line.partition(" ")
    options = options.split()
    if os.path.basename(interpreter) == "env":
        options = [option for option in options if option != "-S"]
        name = options.pop(0) if options else ""
        folders = given.get("PATH", os.defpath).split(os.pathsep)
        interpreter = find([os.path.join(folder, name) for folder in folders], directory) if name else None
    return bool(interpreter) and is_ours(interpreter) and not has_no_site(options)


def find(paths, directory):
    """Return the absolute path of the first that can be executed, or None."""
    if not is_path(directory or ""):
        return None
    for path in paths:
        if not is_path(path):
            return None
        path = os.fsdecode(path)
        if directory is not None and path[:1] != "/":
            path = os.path.join(os.fsdecode(directory), path)
        if os.access(path, os.X_OK) and not os.access(path + "/.", os.F_OK):  # no folder
            return os.path.abspath(path)
    return None


def is_path(value):
    """True for a path of which no code of the program's has to be asked."""
    return isinstance(value, (str, bytes)) or type(value).__module__.startswith("pathlib")


def is_ours(path):
    """True for an interpreter of this environment.

    In a virtual environment that is what lies beside ours: its other names are links to a Python that knows nothing of
    it. Else it is any name of the same file, but not one that a virtual environment has given it.
    """
    if not sys.executable:
        return False
    folder, name = os.path.split(path)
    if sys.prefix != sys.base_prefix:
        return name[:6] == "python" and is_same(folder, os.path.dirname(sys.executable))
    places = (folder, os.path.dirname(folder))
    is_virtual = any(os.access(place + "/pyvenv.cfg", os.F_OK) for place in places)
    return not is_virtual and is_same(path, sys.executable)


def is_same(path, other):
    """True for two names of the same file or folder. os.path would take what a signal handler raises for an answer."""
    try:
        return os.path.samestat(os.stat(path), os.stat(other))
    except guard.ours(OSError):
        return False


def first_line(path):
    """Return what the first line of a script names after `#!`, "" for anything else. pip writes /bin/sh, and the
    interpreter into the second line, where the path of it is too long or has a blank.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            text = os.read(descriptor, MAX_LINE)
        finally:
            os.close(descriptor)
    except guard.ours(OSError):
        return ""
    lines = os.fsdecode(text).splitlines()
    if text[:2] != b"#!":
        return ""
    if lines[0] == "#!/bin/sh" and lines[1:2] and lines[1][:8] == "'''exec'":
        return lines[1][8:].strip().partition(' "$0"')[0].strip('"')
    return lines[0][2:].strip()


def has_no_site(words):
    """True when the options of a Python command line hold -S."""
    position = 0
    while position < len(words):
        word = words[position]
        if word == "--check-hash-based-pycs":
            position += 1
        elif word[:1] != "-" or word == "-":
            return False
        elif word[:2] != "--":
            for index, flag in enumerate(word[1:], 2):
                if flag == "S":
                    return True
                if flag in "cm":
                    return False
                if flag in "WX":
                    position += index == len(word)
                    break
        position += 1
    return False

"""Cold: MONITOR_INCLUDE and MONITOR_EXCLUDE: which programs are monitored at all. Builtin modules only.

Guarantees: `matches` is what `fnmatch.fnmatchcase` says (a property test holds that), in time that does not explode. A
program that is left out is left alone: no hook, no file, and its children find in the environment what it has found.
"""

import os
import sys

from . import cold, commandline

MAX_PATTERNS = 200
EVENT_COMMAND = "monitor-auto event"


def leaves_out(environ, role):
    """True when the environment alone says that this process is left out, which costs it no more than this. What it
    says counts more than the site file, so that cannot turn it round.
    """
    is_elevated = hasattr(os, "geteuid") and (os.geteuid() != os.getuid() or os.getegid() != os.getgid())
    choice = make(environ.get("MONITOR_INCLUDE", ""), environ.get("MONITOR_EXCLUDE", ""))
    return not is_elevated and choice is not None and not role and not is_wanted(choice, sys.orig_argv)


def make(include, exclude):
    """Return the globs of the two settings, None where there are none: an include that names nothing leaves all in."""
    choice = patterns_of(include), patterns_of(exclude)
    return choice if any(choice) else None


def patterns_of(text):
    """Return the globs of a list with commas, `~` replaced."""
    patterns = [pattern.strip() for pattern in text.split(",") if pattern.strip()]
    return [os.path.expanduser(pattern) for pattern in patterns[:MAX_PATTERNS]]


def is_wanted(choice, arguments):
    """True when a program is to be monitored. `arguments` is its command line."""
    include, exclude = choice
    program, is_script = commandline.program_of(arguments)
    if program == EVENT_COMMAND:  # somebody has asked for this one
        return True
    names = names_of(program) if is_script else [program]
    is_included = not include or any(fits(pattern, names) for pattern in include)
    return is_included and not any(fits(pattern, names) for pattern in exclude)


def names_of(path):
    """Return what a pattern may fit: the file's own name, and its whole path."""
    try:
        whole = os.path.abspath(path)
    except OSError:  # the folder is gone
        whole = path
    return [os.path.basename(path.rstrip("/")) or path, whole]


def fits(pattern, names):
    """True when a glob fits one of the names. With a slash it is for whole paths, or for their ends."""
    if "/" not in pattern:
        return matches(names[0], pattern)
    return matches(names[-1], pattern if pattern[0] in "/*" else "*/" + pattern)


def matches(text, pattern):
    """Return what `fnmatch.fnmatchcase` does: `*`, `?`, `[abc]`, `[a-z]` and `[!a-z]`; fnmatch itself imports re."""
    parts = parse(pattern)
    place = part = 0
    star = -1
    held = 0
    while place < len(text):
        if part < len(parts) and parts[part] == "*":
            star, held = part, place
            part += 1
        elif part < len(parts) and (parts[part] == "?" or accepts(parts[part], text[place])):
            place += 1
            part += 1
        elif star >= 0:  # let the last star take one more: the ones before it need not be tried again
            held += 1
            place, part = held, star + 1
        else:
            return False
    return all(rest == "*" for rest in parts[part:])


def parse(pattern):
    """Return a glob as a list of "*", "?", and (is negated, [(lowest, highest)]) for one character of a kind."""
    parts = []
    place = 0
    while place < len(pattern):
        character = pattern[place]
        place += 1
        if character == "[":
            end = pattern.find("]", place + 1 + (pattern[place : place + 1] == "!"))
            if end >= 0:
                inside = pattern[place:end]
                is_negated = inside[0] == "!"
                parts.append((is_negated, ranges_of(inside[is_negated:])))
                place = end + 1
                continue
        parts.append(character if character in "*?" else (False, [(character, character)]))
    return parts


def ranges_of(inside):
    """Return the ranges of characters that stand in brackets. One whose end comes before its begin holds nothing."""
    ranges = []
    place = 0
    while place < len(inside):
        has_range = inside[place + 1 : place + 2] == "-" and place + 2 < len(inside)
        last = inside[place + 2] if has_range else inside[place]
        if inside[place] <= last:
            ranges.append((inside[place], last))
        place += 3 if has_range else 1
    return ranges


def accepts(part, character):
    """True when one part of a glob fits one character."""
    is_negated, ranges = part if part != "*" else (False, ())
    return any(low <= character <= high for low, high in ranges) != is_negated


def leave_out():
    """Leave this process alone, and leave to its children what it was started with: the program itself does not see it.

    Returns False, for the caller to return.
    """
    parent = os.environ.pop("MONITOR_PARENT", None)
    if parent is not None:
        cold("inherited").take_over(parent.partition(",")[2])
        os.putenv("MONITOR_PARENT", parent)
        if hasattr(os, "reload_environ"):  # 3.14
            cold("patches").replace_calls(os, (("reload_environ", "inherited"),))
    return False

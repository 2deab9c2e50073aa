"""Cold: what a process has inherited: its parent session, a trace, its part in `multiprocessing`. Builtin modules
only.
"""

import os

from . import redact


def parent_of(text):
    """Return the (session, tree, trace) that a parent session left in MONITOR_PARENT; None for anything else."""
    parts = text.split(":")
    if [len(part) for part in parts] != [36, 12, 32] or parts[0].count("-") != 4:
        return None
    return tuple(parts) if _is_hex(text.replace("-", "").replace(":", "")) else None


def trace_of(text):
    """Return the trace id of a valid W3C TRACEPARENT, so that the tree hangs below a CI job's own trace; else None."""
    parts = text.strip().split("-")
    if len(parts) < 4 or [len(part) for part in parts[:4]] != [2, 32, 16, 2] or not _is_hex("".join(parts[:4])):
        return None
    is_usable = (
        parts[0] != "ff" and parts[1].strip("0") and parts[2].strip("0") and (parts[0] != "00" or len(parts) == 4)
    )
    return parts[1] if is_usable else None


def _is_hex(text):
    return not text.strip("0123456789abcdef")


def multiprocessing_role(arguments):
    """Return "spawn", "forkserver", "resource_tracker" or None: what `multiprocessing` started this interpreter as."""
    for index, argument in enumerate(arguments[:-1]):
        if argument == "-c" and arguments[index + 1].startswith("from multiprocessing."):
            role = arguments[index + 1][21:].partition(" ")[0]
            return role if role in ("spawn", "forkserver", "resource_tracker") else None
    return None


def program_name(arguments):
    """Return the program of a command line with options (script path, module of -m, "-c", or "python" for a prompt)
    and whether it is a script file.
    """
    position = 1
    while position < len(arguments):
        argument = arguments[position]
        flags = argument[1:] if argument[:1] == "-" and argument[:2] != "--" else ""
        for index, flag in enumerate(flags):
            if flag in "mc":
                rest = flags[index + 1 :] or "".join(arguments[position + 1 : position + 2])
                return (rest if flag == "m" else "-c"), False
            if flag in "WX":
                position += not flags[index + 1 :]
                break
        if argument == "-" or not argument.startswith("-"):
            return (redact.tidy(os.path.basename(argument)) if argument != "-" else "-"), argument != "-"
        position += 2 if argument == "--check-hash-based-pycs" else 1
    return "python", False

"""Hot: who this process is: ids, parent, program, and the facts of its start. Builtin modules only."""

import os
import sys
import time
from _thread import get_ident

from . import redact
from .encode import encode, quote
from .ids import uuid7

PARENT_VARIABLE = "MONITOR_PARENT"
OPTIONS_WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")


class Session:
    """One monitored interpreter process, from start to end."""

    __slots__ = (
        "id", "parent", "tree", "trace_id", "span_id", "pid", "started", "started_monotonic", "start_method", "program",
        "is_script", "app", "app_version", "main_thread", "exit_code", "has_exited", "uncaught", "is_ended", "tail",
    )  # fmt: skip

    def __init__(self, settings, parent, start_method):
        """`parent` is (session id, tree, trace id) or None."""
        self.id = uuid7()
        self.parent, self.tree, self.trace_id = parent or (None, self.id[-12:], inherited_trace() or os.urandom(16).hex())
        self.span_id = os.urandom(8).hex()
        self.pid = os.getpid()
        self.started = timestamp(time.time())
        self.started_monotonic = time.monotonic()
        self.start_method = start_method
        self.program, self.is_script = program_name()
        self.app = settings.app
        self.app_version = settings.app_version
        self.main_thread = get_ident()
        self.exit_code = None
        self.has_exited = self.is_ended = False
        self.uncaught = None
        self.describe(settings)

    def describe(self, settings):
        """Make the text that ends every event: source and session."""
        source = {"sdk": "python", "app": self.app or self.program, "version": self.app_version}
        source["platform"] = settings.platform
        source["os"] = os.uname().release if hasattr(os, "uname") else None
        session = {"id": self.id, "started": self.started, "parent": self.parent}
        session["trace_id"] = self.trace_id
        session["span_id"] = self.span_id
        self.tail = '"source":' + _object(source) + ',"session":' + _object(session) + ',"data":'

    def start_facts(self, settings):
        """Return the data of `session.start`."""
        arguments = [argument for argument in getattr(sys, "orig_argv", ()) if isinstance(argument, str)]
        return {
            "pid": self.pid,
            "ppid": os.getppid(),
            "program": self.program,
            "argv": redact.clean_arguments(arguments, settings.argv),
            "cwd": _working_directory(),
            "executable": sys.executable,
            "venv": sys.prefix if sys.prefix != sys.base_prefix else None,
            "python": "%d.%d.%d" % sys.version_info[:3],
            "implementation": sys.implementation.name,
            "host": os.uname().nodename if hasattr(os, "uname") else None,
            "start_method": self.start_method,
        }

    def end_facts(self, reason, exit_code):
        """Return the data of `session.end`."""
        facts = {"reason": reason, "duration_ms": round((time.monotonic() - self.started_monotonic) * 1000, 3)}
        if exit_code is not None:
            facts["exit_code"] = exit_code
        times = os.times()
        facts["cpu_user_ms"] = round(times.user * 1000)
        facts["cpu_system_ms"] = round(times.system * 1000)
        facts["max_rss_bytes"] = _max_rss_bytes()
        return facts

    def lineage(self):
        """Return what a child needs to know: the value of MONITOR_PARENT."""
        return self.id + ":" + self.tree + ":" + self.trace_id


def _object(fields):
    """JSON of short, known fields without those that are None; nothing here is a secret by its key."""
    return "{" + ",".join(['"' + name + '":' + _field(value) for name, value in fields.items() if value is not None]) + "}"


def _field(value):
    return encode(value) if redact.is_suspicious(value) else quote(value)


def timestamp(now):
    """Return Unix seconds as ISO 8601 local time with milliseconds and offset."""
    prefix, offset = clock_texts(int(now))
    return "%s%03d%s" % (prefix, (now - int(now)) * 1000, offset)


def clock_texts(second):
    """Return what stands before and after the milliseconds of a second's timestamps."""
    local = time.localtime(second)
    minutes = local.tm_gmtoff // 60
    sign, minutes = ("-", -minutes) if minutes < 0 else ("+", minutes)
    date = "%04d-%02d-%02dT%02d:%02d:%02d." % local[:6]
    return date, "%s%02d:%02d" % (sign, minutes // 60, minutes % 60)


def take_parent(environ):
    """Return the (session, tree, trace) that a parent session left in MONITOR_PARENT and take it out of the environment."""
    text = environ.get(PARENT_VARIABLE)
    if text is None:
        return None
    del environ[PARENT_VARIABLE]
    parts = text.split(":")
    if [len(part) for part in parts] != [36, 12, 32] or parts[0].count("-") != 4:
        return None
    return tuple(parts) if _is_hex(text.replace("-", "").replace(":", "")) else None


def inherited_trace():
    """Return the trace id of a valid W3C TRACEPARENT in the environment, so that the tree hangs below a CI job's trace."""
    parts = os.environ.get("TRACEPARENT", "").strip().split("-")
    if len(parts) < 4 or [len(part) for part in parts[:4]] != [2, 32, 16, 2] or not _is_hex("".join(parts[:4])):
        return None
    is_usable = parts[0] != "ff" and parts[1].strip("0") and parts[2].strip("0") and (parts[0] != "00" or len(parts) == 4)
    return parts[1] if is_usable else None


def _is_hex(text):
    return not text.strip("0123456789abcdef")


def program_name():
    """Return the program (script path, module of -m, "-c", or "python" for a prompt) and whether it is a script file."""
    arguments = getattr(sys, "orig_argv", None) or ["python"]
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
            return (redact.clean_text(os.path.basename(argument)) if argument != "-" else "-"), argument != "-"
        position += 2 if argument == "--check-hash-based-pycs" else 1
    return "python", False


def multiprocessing_role():
    """Return "spawn", "forkserver", "resource_tracker" or None: what `multiprocessing` started this interpreter as."""
    arguments = getattr(sys, "orig_argv", ())
    for index, argument in enumerate(arguments[:-1]):
        if argument == "-c" and arguments[index + 1].startswith("from multiprocessing."):
            role = arguments[index + 1][21:].partition(" ")[0]
            return role if role in ("spawn", "forkserver", "resource_tracker") else None
    return None


def _working_directory():
    try:
        return os.getcwd()
    except OSError:  # deleted under us, or not readable
        return None


def _max_rss_bytes():
    """Return the peak resident size: VmHWM on Linux (proc(5)); elsewhere only if the program has `resource` loaded."""
    try:
        fd = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = os.read(fd, 4096)
        finally:
            os.close(fd)
        return int(text.partition(b"VmHWM:")[2].split(None, 1)[0]) * 1024
    except (OSError, AttributeError, IndexError, ValueError):
        resource = sys.modules.get("resource")
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss if resource is not None else None

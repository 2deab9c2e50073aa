"""Hot: who this process is: ids, parent, program, and the facts of its start. Builtin modules only."""

import os
import sys
from _thread import get_ident
from time import monotonic, time  # the program may replace those of the module

from . import cold, redact
from .formats import flat_object, timestamp, uuid7

PARENT_VARIABLE = "MONITOR_PARENT"


def make(settings, parent, start_method):
    """Return one monitored interpreter process as a namespace. `parent` is (session id, tree, trace id) or None."""
    session = type(sys.implementation)()  # a class of our own would cost 0.08 M instructions
    session.id = uuid7()
    session.parent, session.tree, session.trace_id = parent or (None, session.id[-12:], None)
    if session.trace_id is None:
        inherited = os.environ.get("TRACEPARENT")
        session.trace_id = inherited and cold("inherited").trace_of(inherited) or os.urandom(16).hex()
    session.span_id = os.urandom(8).hex()
    session.pid = os.getpid()
    session.started = timestamp(time())
    session.started_monotonic = monotonic()
    session.start_method = start_method
    session.program, session.is_script = program_name(sys.orig_argv)
    session.app = settings.app
    session.app_version = settings.app_version
    session.main_thread = get_ident()
    session.exit_code = session.uncaught = session.outermost = None
    session.has_exited = session.is_ended = False
    describe(session, settings)
    return session


def describe(session, settings):
    """Make the text that ends every event: source and session."""
    source = {
        "sdk": "python",
        "app": redact.tidy((session.app or session.program)[:200]),
        "version": redact.tidy(session.app_version and session.app_version[:200]),
        "platform": redact.tidy(settings.platform[:200]),
        "os": os.uname().release if hasattr(os, "uname") else None,
    }
    facts = {"id": session.id, "started": session.started, "parent": session.parent}
    facts["trace_id"] = session.trace_id
    facts["span_id"] = session.span_id
    session.tail = '"source":' + flat_object(source) + ',"session":' + flat_object(facts) + ',"data":'


def start_facts(session, settings):
    """Return the data of `session.start`."""
    return {
        "pid": session.pid,
        "ppid": os.getppid(),
        "program": session.program,
        "argv": command_line(sys.orig_argv, settings.argv),
        "cwd": redact.tidy(_working_directory()),
        "executable": redact.tidy(sys.executable),
        "venv": redact.tidy(sys.prefix) if sys.prefix != sys.base_prefix else None,
        "python": "%d.%d.%d" % sys.version_info[:3],
        "implementation": sys.implementation.name,
        "host": os.uname().nodename if hasattr(os, "uname") else None,
        "start_method": session.start_method,
    }


def end_facts(session, reason, exit_code):
    """Return the data of `session.end`."""
    facts = {"reason": reason, "duration_ms": round((monotonic() - session.started_monotonic) * 1000, 3)}
    if exit_code is not None:
        facts["exit_code"] = exit_code
    times = os.times()
    facts["cpu_user_ms"] = round(times.user * 1000)
    facts["cpu_system_ms"] = round(times.system * 1000)
    facts["max_rss_bytes"] = _max_rss_bytes()
    return facts


def command_line(arguments, how):
    """Return a command line that may be recorded. Most hold no option that could be a secret's: those are done here."""
    has_code = arguments[1:2] == ["-c"]
    first = 3 if has_code or arguments[1:2] == ["-m"] else 1
    cleaned = []
    if how == "scrubbed" and len(arguments) <= 20:
        for text in arguments:
            place = len(cleaned)
            if place >= first and (text[:1] == "-" or "=" in text or len(text) > 1000):
                break
            cleaned.append("[code]" if has_code and place == 2 else redact.tidy(text))
        else:
            return cleaned
    return cold("cleaning").clean_arguments(arguments, how)


def program_name(arguments):
    """Return the program (a script, a module, "-c", or "python" for a prompt) and whether it is a script file."""
    first = arguments[1] if len(arguments) > 1 else ""
    if first == "-c":
        return first, False
    return (
        (redact.tidy(first.rpartition("/")[2]), True)
        if first and first[0] != "-"
        else cold("inherited").program_name(arguments)
    )


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

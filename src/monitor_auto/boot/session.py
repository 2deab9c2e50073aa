"""Hot: who this process is: ids, parent, program, and the facts of its start. Builtin modules only."""

import _thread
import sys
import time

from . import cold, formats, redact, system

_monotonic, _time = time.monotonic, time.time  # the program may replace those of the module
PARENT_VARIABLE = "MONITOR_PARENT"
# One of these tells of a trace or a CI job to belong to: `inherited.py` reads more. Most processes have none.
_ENVIRON = vars(sys.modules["os"].environ).get("_data", ())  # of bytes on POSIX, 3.10 to 3.15
HAS_MORE = system.__name__ != "posix" or not _ENVIRON.keys().isdisjoint(
    (b"TRACEPARENT", b"CI", b"GITHUB_ACTIONS", b"GITLAB_CI", b"JENKINS_URL", b"BUILD_TAG", b"TF_BUILD",
     b"TEAMCITY_VERSION")
)  # fmt: skip
NO_PARENT = (None, None, None, None, "01", "")


def make(settings, parent, start_method):
    """Return one monitored interpreter process as a namespace. `parent` is the `lineage` of another, or None.

    A lineage is made of texts: the session's id and tree, its trace id, span id and trace flags, and the span that its
    environment named when it was started ("": none).
    """
    session = type(sys.implementation)()  # a class of our own would cost 0.08 M instructions
    session.id = formats.uuid7()
    session.parent, tree, session.trace_id, session.parent_span_id, session.trace_flags, outer = parent or NO_PARENT
    session.tree, session.outer_span_id = tree or session.id[-12:], outer
    session.surroundings = cold("inherited").adopt(session) if HAS_MORE else {}
    session.trace_id = session.trace_id or system.urandom(16).hex()
    session.span_id = system.urandom(8).hex()
    session.lineage = (
        session.id, session.tree, session.trace_id, session.span_id, session.trace_flags, session.outer_span_id
    )  # fmt: skip
    session.pid = system.getpid()
    now = _time()
    texts = formats.clock_texts(int(now))
    session.started, session.clock = formats.timestamp(now, texts), (int(now), *texts)
    session.started_monotonic = _monotonic()
    session.start_method = start_method
    session.program, session.is_script = program_name(sys.orig_argv)
    session.app = settings.app
    session.app_version = settings.app_version
    session.main_thread = _thread.get_ident()
    session.exit_code = session.uncaught = session.outermost = None
    session.has_exited = session.is_ended = False
    describe(session, settings)
    return session


def describe(session, settings):
    """Make the text that ends every event: source and session."""
    app, version, platform = session.app or session.program, session.app_version or "", settings.platform
    app, version, platform = all_tidy(app[:200], version[:200], platform[:200])
    quote = formats.quote
    version = f',"version":{quote(version)}' if version else ""
    release = f',"os":{quote(system.uname().release)}' if hasattr(system, "uname") else ""
    parent = f'","parent":"{session.parent}' if session.parent else ""
    session.tail = (
        f'"source":{{"sdk":"python","app":{quote(app)}{version},"platform":{quote(platform)}{release}}}'
        f',"session":{{"id":"{session.id}","started":"{session.started}{parent}'
        f'","trace_id":"{session.trace_id}","span_id":"{session.span_id}"}},"data":'
    )


def start_facts(session, settings):
    """Return the data of `session.start`."""
    try:
        folder = system.getcwd()
    except OSError:  # deleted under us, or not readable
        folder = ""
    folder, executable, prefix = all_tidy(folder, sys.executable or "", sys.prefix)
    return {
        "pid": session.pid,
        "ppid": system.getppid(),
        "program": session.program,
        "argv": command_line(sys.orig_argv or cold("embedded").command_line(), settings.argv),
        "cwd": folder or None,
        "executable": executable,
        "venv": prefix if sys.prefix != sys.base_prefix else None,
        "python": "%d.%d.%d" % sys.version_info[:3],
        "implementation": sys.implementation.name,
        "host": system.uname().nodename if hasattr(system, "uname") else None,
        "start_method": session.start_method,
        "parent_span_id": session.parent_span_id,
        **session.surroundings,
    }


def all_tidy(*texts):
    """Return paths or names of ours as they may be recorded. To look at all of them at once is as cheap as at one."""
    text = redact.without_home("\n".join(texts))
    has_all = text.count("\n") == len(texts) - 1 and not redact.is_suspicious(text)
    return text.split("\n") if has_all else [redact.tidy(text) for text in texts]


def command_line(arguments, how):
    """Return a command line that may be recorded. Most hold no option that could be a secret's: those are done here."""
    has_code = arguments[1:2] == ["-c"] and len(arguments) > 2
    shown = [*arguments[:2], "[code]", *arguments[3:]] if has_code else arguments
    rest = "\n".join(shown[3 if has_code or arguments[1:2] == ["-m"] else 1 :])
    if how == "scrubbed" and len(shown) <= 20 and len(rest) < 1000 and "=" not in rest and "\n-" not in "\n" + rest:
        return all_tidy(*shown)
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

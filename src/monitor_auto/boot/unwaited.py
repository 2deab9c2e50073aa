"""Cold: children that nobody has waited for, and what os.waitid says. Builtin modules only.

Guarantees: nothing is reaped. WNOWAIT leaves a child as it is.
"""

import os
import sys

from . import children, patches


def on_waitid_result(result):
    """Record the exit that os.waitid has returned, if any."""
    if result is not None and result.si_pid:
        facts = facts_of_code(result.si_code, result.si_status)
        if facts is not None:
            children.exited(result.si_pid, facts)


def sweep():
    """Tell of those that are gone."""
    for pid in list(children.known):
        if peek(pid).get("running") is not True:
            tell(pid)


def tell(pid, is_final=True):
    """Record the exit of a child, or that it still runs, where the program has not waited."""
    number, began = children.known.pop(pid) if is_final else children.known[pid]
    children.record_exit(number, pid, began, {"waited": False, **peek(pid)})


def peek(pid):
    """Return what can be seen of a child without reaping it: `running`, an exit, or nothing when it was reaped."""
    try:
        result = patches.real_of(os.waitid)(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except (OSError, AttributeError):  # another's by now; no waitid on this platform
        return {}
    return {"running": True} if result is None else facts_of_code(result.si_code, result.si_status) or {}


def facts_of_code(code, status):
    """Return the same of what os.waitid says."""
    if code == os.CLD_EXITED:
        return {"exit_code": status}
    if code in (os.CLD_KILLED, os.CLD_DUMPED):
        return {"signal": signal_name(status), "core_dumped": code == os.CLD_DUMPED}
    return None


def signal_name(number):
    """Return "SIGKILL" and the like."""
    import _signal

    for name, value in vars(_signal).items():
        if value == number and name[:3] == "SIG" and name[3:4] != "_":
            return name
    return "signal %d" % number


def facts_of_status(status):
    """Return how a child has ended, of what os.wait says; None where it has not (stopped, continued)."""
    if os.WIFEXITED(status):
        return {"exit_code": os.WEXITSTATUS(status)}
    if os.WIFSIGNALED(status):
        return {"signal": signal_name(os.WTERMSIG(status)), "core_dumped": os.WCOREDUMP(status)}
    return None


def facts_of_usage(usage):
    """Return what a child has used, of a `struct_rusage`."""
    facts = {"cpu_user_ms": round(usage.ru_utime * 1000), "cpu_system_ms": round(usage.ru_stime * 1000)}
    facts["max_rss_bytes"] = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return facts

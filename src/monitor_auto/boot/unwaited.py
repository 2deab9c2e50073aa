"""Cold: children that nobody has waited for, and how children end that do not simply exit. Builtin modules only.

Guarantees: nothing is reaped. WNOWAIT leaves a child as it is.
"""

import sys

from . import children, cold, guard, patches, system


def on_wait(result):
    """Record the exit that os.wait and its kin have returned: (pid, status) and perhaps what the child has used."""
    pid, status = result[:2]
    if pid and (system.WIFEXITED(status) or system.WIFSIGNALED(status)):  # else it was stopped or continued
        facts = facts_of_status(status)
        if len(result) > 2:
            facts.update(facts_of_usage(result[2]))
        children.exited(pid, facts)


on_wait3 = on_wait4 = on_wait


def on_waitid(result):
    """Record the exit that os.waitid has returned, if any."""
    if (
        result is not None
        and result.si_pid
        and result.si_code in (system.CLD_EXITED, system.CLD_KILLED, system.CLD_DUMPED)
    ):
        children.exited(result.si_pid, facts_of_code(result.si_code, result.si_status))


def on_end():
    """The session ends: tell of those that nobody has waited for. Should it go on after all (an exec that fails), they
    are waited for, and what is told then says that it is told again.
    """
    if children.expected:
        cold("starting").settle()
    for pid, child in list(children.known.items()):
        tell(pid)
        children.known[pid] = (*child[:2], "told")


def make_room(pid):
    """A child is started whose pid was another's, or there are very many."""
    if pid in children.known:  # the one before is gone, and somebody has reaped it where we could not see
        tell(pid)
    if len(children.known) > 4096:
        for other in list(children.known):
            if other > 0 and peek(other) != RUNNING:
                tell(other)


def catch_up(pid):
    """A child is started that was perhaps reaped before we have come here."""
    child, seen = children.known.get(pid), children.early.pop(pid, None)
    if child is not None and seen is not None and seen[0] >= child[1]:
        children.exited(pid, seen[1])


RUNNING = {"running": True}


def tell(pid):
    """Record the exit of a child, or that it still runs, where the program has not waited."""
    children.exited(pid, {**peek(pid), "waited": False})


def peek(pid):
    """Return what can be seen of a child without reaping it: that it runs, how it ended; nothing when it was reaped."""
    try:
        result = patches.real_of(system.waitid)(system.P_PID, pid, system.WEXITED | system.WNOHANG | system.WNOWAIT)
    except guard.ours(OSError, AttributeError):  # another's by now; no waitid on this platform
        return {}
    return RUNNING if result is None else facts_of_code(result.si_code, result.si_status)


def facts_of_status(status):
    """Return how a child has ended, of what os.wait says."""
    if system.WIFEXITED(status):
        return {"exit_code": system.WEXITSTATUS(status)}
    return {"signal": signal_name(system.WTERMSIG(status)), "core_dumped": system.WCOREDUMP(status)}


def facts_of_code(code, status):
    """Return the same of what os.waitid says."""
    if code == system.CLD_EXITED:
        return {"exit_code": status}
    return {"signal": signal_name(status), "core_dumped": code == system.CLD_DUMPED}


def facts_of_usage(usage):
    """Return what a child has used, of a `struct_rusage`."""
    facts = {"cpu_user_ms": round(usage.ru_utime * 1000), "cpu_system_ms": round(usage.ru_stime * 1000)}
    facts["max_rss_bytes"] = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return facts


def signal_name(number):
    """Return "SIGKILL", "SIG40" and the like; of two names (SIGABRT, SIGIOT) the one that Python itself shows."""
    import _signal

    names = [name for name, value in vars(_signal).items() if value == number and name[:3] == "SIG" and name[3] != "_"]
    return min(names, default="SIG%d" % number)

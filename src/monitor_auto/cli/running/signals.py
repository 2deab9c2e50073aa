"""Which signals `monitor-auto run` passes on, and how a process waits for them.

Guarantees: a signal that was inherited as ignored stays ignored, in us and in the command.
"""

from __future__ import annotations

import os
import signal
from typing import Any

_NOT_OURS = ("SIGKILL", "SIGSTOP", "SIGCHLD", "SIGPIPE", "SIGXFSZ", "SIGTTIN", "SIGTTOU")
_FAULTS = ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS")
PASSED_ON = frozenset(signal.valid_signals()) - {getattr(signal, name, 0) for name in (*_NOT_OURS, *_FAULTS)}
"""All but those that nobody can catch, those that mean ourselves, and those of a fault of our own."""
DEADLY = frozenset((signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT))


def block() -> set[Any]:
    """Hold all signals back, until `catch`; return the mask that was there before."""
    return signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def catch(mask: set[Any], *more: int) -> int:
    """Catch what is to be passed on, and `more`; return a descriptor that gives their numbers, a byte each."""
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    os.set_blocking(theirs, False)
    signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
    for number in {*PASSED_ON, *more}:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _noted)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return ours


def _noted(number: int, frame: object) -> None:
    """Do nothing: the number is in the pipe already."""


def caught(descriptor: int) -> list[int]:
    """Return the signals that have come."""
    try:
        return list(os.read(descriptor, 1024))
    except BlockingIOError:
        return []

"""The user's terminal while a command runs on one that we have made for it.

What is typed goes to the command's terminal as it is, so that this one must not interpret it: raw mode, from `enter` to
`leave`. Only while we are in the foreground: a background job must not touch the terminal.

Guarantees: `leave` puts back the settings that were found. (When we are killed, the guardian does.)
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import termios
import time
import tty
from typing import Any

FOREGROUND_SECONDS = 0.25
"""How often a background job looks whether it was brought to the foreground: no signal says so when it runs."""


class Terminal:
    """`descriptor` can be read; `master` is our side of the command's terminal."""

    def __init__(self, descriptor: int, master: int) -> None:
        self.descriptor = descriptor
        self.master = master
        self.calm: list[Any] = termios.tcgetattr(descriptor)
        self.raw = raw_settings(self.calm)
        self.is_raw = False
        self.is_over = False
        self.sent: dict[int, float] = {}

    def is_foreground(self) -> bool:
        """True when what is typed is for us; also where the terminal controls nobody's job."""
        try:
            return os.tcgetpgrp(self.descriptor) == os.getpgrp()
        except OSError:
            return True

    def enter(self) -> None:
        """Let everything that is typed through."""
        if not self.is_raw and not self.is_over and self.is_foreground():
            self.copy_size()
            try:
                termios.tcsetattr(self.descriptor, termios.TCSADRAIN, self.raw)
                self.is_raw = True
            except termios.error:  # the terminal is gone
                return

    def leave(self, settings: list[Any] | None = None) -> None:
        """Put the settings back that were there, or others."""
        if self.is_raw:
            self.is_raw = False
            try:
                termios.tcsetattr(self.descriptor, termios.TCSADRAIN, settings or self.calm)
            except termios.error:  # the terminal is gone
                return

    def close(self, initial: list[Any], keep: bool) -> None:
        """The command is over; with `keep`, what it has set up for good (`stty -echo`) holds for the user's."""
        self.is_over = True
        final = None
        if keep:
            try:
                now = termios.tcgetattr(self.master)
                final = now if now != initial else None
            except termios.error:
                pass
        self.leave(final)

    def copy_size(self) -> None:
        """Give the command's terminal our size; the kernel tells the command."""
        try:
            size = fcntl.ioctl(self.descriptor, termios.TIOCGWINSZ, b"\0" * 8)
            if size != fcntl.ioctl(self.master, termios.TIOCGWINSZ, b"\0" * 8):
                fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)
        except OSError:  # either is gone
            return

    def feed(self, stop: int) -> None:
        """Be the thread that passes on what is typed, until `stop` can be read."""
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        typing = select.poll()
        typing.register(self.descriptor, select.POLLIN)
        typing.register(stop, select.POLLIN)
        waiting = select.poll()
        waiting.register(stop, select.POLLIN)
        while True:
            if not self.is_raw:
                if waiting.poll(FOREGROUND_SECONDS * 1000):
                    return
                self.enter()
                continue
            ready = {descriptor for descriptor, _ in typing.poll(FOREGROUND_SECONDS * 1000)}
            if stop in ready:
                return
            if self.descriptor in ready and self.is_raw and not self._pass_on():
                return

    def _pass_on(self) -> bool:
        """Pass on what was typed. False when the terminal or the command is gone."""
        try:
            data = os.read(self.descriptor, 4096)
        except OSError:  # EIO: in the background by now, or the line is gone
            return self.is_foreground() is False
        if not data:
            return False
        self._interrupt_others(data)
        try:
            while data:
                data = data[os.write(self.master, data) :]
        except OSError:
            return False
        return True

    def _interrupt_others(self, data: bytes) -> None:
        """Do for our own process group what the kernel did, were our terminal not raw: Ctrl-C is for a whole pipeline,
        and for the script that has called us. The command gets its signal from its own terminal.
        """
        try:
            settings = termios.tcgetattr(self.master)
        except termios.error:
            return
        if not settings[3] & termios.ISIG:
            return
        for index, number in (
            (termios.VINTR, signal.SIGINT),
            (termios.VQUIT, signal.SIGQUIT),
            (termios.VSUSP, signal.SIGTSTP),
        ):
            character = settings[6][index]
            if character != b"\0" and character in data:
                self.sent[number] = time.monotonic()
                os.killpg(os.getpgrp(), number)

    def is_own(self, number: int) -> bool:
        """True when a signal that has come is the one that we have just sent to our group."""
        return time.monotonic() - self.sent.get(number, -10.0) < 1.0


def raw_settings(settings: list[Any]) -> list[Any]:
    """Return settings under which nothing is interpreted in either direction (as cfmakeraw(3) makes them)."""
    raw: list[Any] = [*settings[: tty.CC], list(settings[tty.CC])]
    raw[tty.IFLAG] &= ~(
        termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP | termios.INLCR | termios.IGNCR
        | termios.ICRNL | termios.IXON
    )  # fmt: skip
    raw[tty.OFLAG] &= ~termios.OPOST
    raw[tty.LFLAG] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    raw[tty.CFLAG] = raw[tty.CFLAG] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    raw[tty.CC][termios.VMIN], raw[tty.CC][termios.VTIME] = 1, 0
    return raw

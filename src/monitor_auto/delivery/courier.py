"""A helper interpreter that carries requests where a name look-up, TLS or a proxy is needed. Runs at exit and in flush.

None of those can be bounded in time inside the process that exits: a look-up cannot be interrupted, and Python 3.12
starts no thread by then. A process can be killed.

Guarantees:
- The helper is an isolated interpreter (`-I -S`): no file of the program is imported there, no start line runs, so it
  is never a session; its standard streams are /dev/null, and of the program's descriptors it keeps none.
- It is gone when `close` returns. Where this process dies before that, it ends at once if it waits for us, and at the
  deadline if it waits for the network.
- The token goes through the socket pair, never through a command line or an environment.
- A SIGCHLD of ours never reaches a handler of the program that is about to end.
"""

import os
import sys

from monitor_auto.boot import guard, patches, stdlib
from monitor_auto.boot.formats import monotonic

from .exchange import Answer, NoAnswer, Unable

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from typing import Any

CODE = "import sys; sys.path.append(sys.argv[1]); from monitor_auto.delivery.courier_main import main; main()"
HELPERS_FD = 3
MAX_ANSWER_BYTES = 1 << 20
LIBRARY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Courier:
    """One helper for one endpoint, until a deadline on the clock of `time.monotonic()`. `close` must be called."""

    def __init__(self, settings: "Any", deadline: float) -> None:
        """Start the helper. Raises Unable where there can be none."""
        sockets, python = stdlib.load("_socket"), interpreter()
        if sockets is None or not python or not hasattr(os, "posix_spawn"):
            raise Unable("this Python cannot start a helper")
        self.deadline = deadline
        self.pid, self.mask = 0, _without_child_signals()
        try:
            self.socket, theirs = _pair(sockets)
            try:
                self.pid = _spawn(python, theirs.fileno())
            finally:
                theirs.close()
            seconds = max(0.05, deadline - monotonic())
            fields = (settings.scheme, settings.host, settings.port, settings.path, settings.token or "", seconds)
            self.give("\0".join(map(str, fields)).encode())
        except guard.ours(OSError) as error:
            self.close()
            raise Unable(f"no helper could be started: {error}") from error

    def post(self, body: bytes) -> Answer:
        """Have one body sent and return the Answer. Raises NoAnswer."""
        try:
            self.give(body)
            head = self.take_line()
            status, _, size = head.partition(b" ")
            content_type, _, rest = self.take(min(int(size), MAX_ANSWER_BYTES)).partition(b"\0")
            retry_after, _, body = rest.partition(b"\0")
        except guard.ours(OSError, ValueError) as error:
            raise NoAnswer("timeout" if isinstance(error, TimeoutError) else f"the helper ended: {error}") from error
        if not int(status):
            raise NoAnswer(body.decode("utf-8", "replace"))
        return Answer(int(status), content_type.decode("latin-1"), body, retry_after.decode("latin-1"))

    def give(self, data: bytes) -> None:
        """Hand one frame over: its length, a newline, the bytes. Raises OSError."""
        self.socket.settimeout(self.left())
        self.socket.sendall(b"%d\n" % len(data) + data)

    def take_line(self) -> bytes:
        """Return the first line of the helper's answer. Raises OSError."""
        line = b""
        while not line.endswith(b"\n"):
            line += self.take(1)
        return line[:-1]

    def take(self, size: int) -> bytes:
        """Return so many bytes. Raises OSError."""
        data = b""
        while len(data) < size:
            self.socket.settimeout(self.left())
            piece = self.socket.recv(min(65536, size - len(data)))
            if not piece:
                raise OSError("no answer")
            data += piece
        return data

    def left(self) -> float:
        """Return the seconds left. Raises TimeoutError when there are none."""
        left = self.deadline - monotonic()
        if left <= 0:
            raise TimeoutError("timeout")
        return left

    def close(self) -> None:
        """End the helper and reap it, whatever it is doing."""
        if hasattr(self, "socket"):
            self.socket.close()
        if self.pid:
            try:
                os.kill(self.pid, 9)
                patches.real_of(os.waitpid)(self.pid, 0)
            except guard.ours(
                OSError, ChildProcessError
            ):  # a handler of the program has reaped it: then its pid is not ours
                pass
            self.pid = 0
        _restore_signals(self.mask)


def interpreter() -> str:
    """Return the path of this Python; "" where there is none: `sys.executable` of a uWSGI worker is uWSGI."""
    version = "python%d.%d" % sys.version_info[:2]
    candidates = [sys.executable or "", f"{sys.prefix}/bin/python3", f"{sys.base_prefix}/bin/{version}"]
    for path in candidates:
        if os.path.basename(path).startswith(("python", "pypy")) and os.access(path, os.X_OK):
            return path
    return ""


def _pair(sockets: "Any") -> "tuple[Any, Any]":
    fds = sockets.socketpair()
    return fds[0], fds[1]


def _spawn(python: str, descriptor: int) -> int:
    return spawn([python, "-I", "-S", "-c", CODE, LIBRARY], descriptor)


def spawn(words: list[str], descriptor: int) -> int:
    """Start a helper that has this descriptor as HELPERS_FD; return its pid. Raises OSError."""
    null = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
    # Out of the way of 0 to 2, which may be closed here, and of its own target, which would stay close-on-exec.
    high = os.dup2(descriptor, 63, inheritable=False) if descriptor <= HELPERS_FD else descriptor
    actions = [*null, (os.POSIX_SPAWN_DUP2, high, HELPERS_FD)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MONITOR_")}
    try:
        spawn = patches.real_of(os.posix_spawn)  # no child of the program's
        pid: int = spawn(words[0], words, environment, file_actions=actions, setsigmask=(), setsigdef=_to_default())
        return pid
    finally:
        if high != descriptor:
            os.close(high)


def _to_default() -> "list[int]":
    signals = sys.modules["_signal"]
    return [signals.SIGALRM, signals.SIGPIPE, signals.SIGTERM, signals.SIGCHLD]


def _without_child_signals() -> "Any":
    """Block SIGCHLD in this thread; return the mask before."""
    signals = sys.modules.get("_signal")
    if signals is None or not hasattr(signals, "pthread_sigmask"):
        return None
    return signals.pthread_sigmask(signals.SIG_BLOCK, {signals.SIGCHLD})


def _restore_signals(mask: "Any") -> None:
    """Swallow the SIGCHLD of our helper, if one is pending, and put the mask back."""
    signals = sys.modules.get("_signal")
    if mask is not None and signals is not None:
        if hasattr(signals, "sigtimedwait") and signals.SIGCHLD in signals.sigpending():
            signals.sigtimedwait({signals.SIGCHLD}, 0)
        signals.pthread_sigmask(signals.SIG_SETMASK, mask)

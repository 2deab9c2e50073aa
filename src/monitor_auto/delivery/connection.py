"""What the background thread sends with: a bare socket, httpx or a helper, by itself or by the program's event loop.

Guarantees:
- Nothing is imported in whose place the program has a file of its own, or greenlets.
- What was cut off because the thread was told to stop is nobody's failure.
"""

import sys

from monitor_auto.boot import cold, guard, shadowing, spool
from monitor_auto.boot.formats import monotonic

from . import hush, kept
from .exchange import NoAnswer
from .lines import OutOfTime

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from typing import Any

    from .courier import Courier
    from .exchange import Answer
    from .turns import Turns

REQUEST_SECONDS = 30.0
LIBRARIES = ("httpx", "httpcore", "h11", "anyio", "certifi", "idna")


class Connection:
    """Sends bodies on one connection: over a bare socket where that is all it takes, else through httpx where nothing
    hides what it needs; else as the last call.
    """

    def __init__(self, state: "Any", settings: "Any", turns: "Turns") -> None:
        self.state, self.settings, self.turns = state, settings, turns
        self.transport: Any = None
        self.is_by_loop = False
        self.answer_seconds = 0.0

    def post(self, body: bytes) -> "Answer":
        """Send one body and return the Answer. Raises NoAnswer."""
        if self.state.is_stopping:
            raise OutOfTime
        begin = monotonic()
        transport = self.transport or self.connect()
        if not self.is_by_loop and cold("loops").current() is not None:
            transport = self.go_by_loop(transport)
        try:
            answer: Answer = transport.post(body, begin + REQUEST_SECONDS)
        except NoAnswer:
            if self.state.is_stopping and monotonic() - begin < REQUEST_SECONDS / 10:
                raise OutOfTime from None  # it is us who have cut it off: nobody's failure
            raise
        self.answer_seconds = monotonic() - begin
        return answer

    def connect(self) -> "Any":
        """Return what sends. Raises NoAnswer where the environment does not let it."""
        hosts = kept.plain_hosts(self.settings)
        if hosts:
            self.transport = kept.Kept(self.state, self.settings, hosts)
        elif is_way_clear():
            from . import cuttable

            self.transport = cuttable.open_transport(self.state, self.settings, REQUEST_SECONDS)
        else:
            self.transport = Plain(self.state, self.settings)
        return self.transport

    def go_by_loop(self, transport: "Any") -> "Any":
        """Let the program's event loop send from now on, if httpx can be had; it falls back to the transport."""
        self.is_by_loop = True
        if are_real() and (kept.plain_hosts(self.settings) or is_way_clear()):
            from . import async_flusher

            hush.on_thread()
            self.transport = async_flusher.LoopTransport(
                self.state, self.settings, REQUEST_SECONDS, transport, self.turns
            )
        return self.transport

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self.is_by_loop = False
        transport, self.transport = self.transport, None
        self.state.interrupt = None
        if transport is not None:
            guard.call("connection", transport.close)


class Plain:
    """What the last call sends with: a helper, one for each request."""

    def __init__(self, state: "Any", settings: "Any") -> None:
        self.state, self.settings = state, settings
        self.courier: Courier | None = None
        state.interrupt = self.cut

    def post(self, body: bytes, deadline: float) -> "Answer":
        """Send one body and return the Answer. Raises NoAnswer."""
        from .courier import Courier

        courier = self.courier = Courier(self.settings, deadline)
        try:
            if self.state.is_stopping:  # after this line `cut` finds the helper
                raise NoAnswer("interrupted")
            return courier.post(body)
        finally:
            self.courier = None
            self.state.is_reaping = True
            courier.close()
            self.state.is_reaping = False

    def cut(self) -> None:
        """Wake the thread from whatever it waits for. Called in another thread."""
        courier = self.courier
        if courier is not None:
            try:
                courier.socket.shutdown(2)
            except OSError:  # closed meanwhile
                return

    def close(self) -> None:
        """Nothing is kept open."""


def is_way_clear() -> bool:
    """Return whether httpx can be imported here: no file of the program in the place of a module that it needs, nothing
    that greenlets have taken the place of, and `threading` is there: it takes the thread that imports it first for the
    main one, and would wait for ours at the end (threading.py: _MainThread, up to 3.12).
    """
    return "threading" in sys.modules and are_real() and not shadowing.shadowed(LIBRARIES)


def are_real() -> bool:
    """Return whether sockets and threads are the system's, not greenlets'."""
    sockets, threads = sys.modules.get("socket"), sys.modules["_thread"]
    is_real: bool = threads.start_new_thread is spool.start_new_thread
    return is_real and (sockets is None or getattr(sockets.socket, "__module__", "") == "socket")

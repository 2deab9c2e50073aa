"""Plain http to a literal address, over one connection that is kept. Runs in the background thread; builtin modules and
`_socket` only.

A request costs 0.1 ms of processor time here, a twentieth of what httpx takes for it, and the interpreter's lock is let
go twice: beside a thread that computes each time may cost 5 ms (sys.getswitchinterval).

Guarantees:
- One deadline over connecting, sending and reading the answer to its end.
- What it waits for ends at once when another thread calls `cut`.
- Nothing is sent to a descriptor that the program has closed, and perhaps opened again for something of its own.
- A request is sent again, once and with another batch id, only where a kept connection brought no byte of an answer.
"""

import os
import sys

from monitor_auto.boot import express, stdlib

from . import exchange
from .batches import renewed
from .exchange import Answer, NoAnswer

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from typing import Any

MIN_GZIP_BYTES = 4096
HAS_TIMEVAL = sys.platform == "linux" and sys.maxsize > 1 << 32
"""A struct timeval is two numbers of 8 bytes: then the kernel bounds each wait, and not a call of poll before it."""


class Gone(Exception):
    """The connection brought nothing: it was closed, here or there, since it was last used."""


class Kept:
    """Sends to one endpoint. `state` is what background.py knows of the thread: its `interrupt` cuts us off."""

    def __init__(self, state: "Any", settings: "Any", hosts: tuple[str, ...]) -> None:
        """Raises NoAnswer where there are no sockets."""
        self.state, self.settings, self.hosts = state, settings, hosts
        self.sockets: Any = stdlib.load("_socket")
        if self.sockets is None:
            raise NoAnswer("this Python has no sockets")
        self.connection: Any = None
        self.inode = 0
        self.is_near = is_near(hosts)
        state.interrupt = self.cut

    def post(self, body: bytes, deadline: float) -> Answer:
        """Send one body and return the Answer. Raises NoAnswer. `deadline` is on the clock of `time.monotonic()`."""
        try:
            if self.connection is not None:
                try:
                    return self.talk(body, deadline)
                except Gone:
                    body = renewed(body)
            self.connect(deadline)
            return self.talk(body, deadline)
        except Gone as error:
            raise NoAnswer("the connection was closed before the answer was complete") from error
        except (OSError, ValueError) as error:
            is_late = isinstance(error, (TimeoutError, BlockingIOError))
            raise NoAnswer("timeout" if is_late else str(error)) from error

    def connect(self, deadline: float) -> None:
        """Connect to the first host that listens. Raises OSError, NoAnswer."""
        failure: OSError = OSError("no address")
        for host in self.hosts:
            family = self.sockets.AF_INET6 if ":" in host else self.sockets.AF_INET
            connection = self.connection = self.sockets.socket(family, self.sockets.SOCK_STREAM)
            try:
                if self.state.is_stopping:  # after this line `cut` finds the connection
                    raise NoAnswer("interrupted")
                self.be_patient(deadline)
                connection.connect((host, self.settings.port))
                connection.setsockopt(self.sockets.IPPROTO_TCP, self.sockets.TCP_NODELAY, 1)
                if sys.platform == "darwin":
                    connection.setsockopt(self.sockets.SOL_SOCKET, exchange.DARWIN_SO_NOSIGPIPE, 1)
                self.inode = os.fstat(connection.fileno()).st_ino
                return
            except OSError as error:
                self.close()
                failure = error
            except BaseException:
                self.close()
                raise
        raise failure

    def talk(self, body: bytes, deadline: float) -> Answer:
        """Send a request over the connection and return its Answer. Raises Gone, OSError, NoAnswer."""
        connection, has_come = self.connection, False

        def receive() -> bytes:
            nonlocal has_come
            self.be_patient(deadline)
            try:
                piece: bytes = connection.recv(65536)
            except ConnectionError:
                piece = b""
            if not piece and not has_come:
                raise Gone
            has_come = True
            return piece

        try:
            self.check()
            self.send(request(self.settings, body, self.is_near), deadline)
            answer = exchange.read_answer(receive)
        except BaseException:
            self.close()
            raise
        if answer.is_last:
            self.close()
        return answer

    def check(self) -> None:
        """Raise Gone where the connection's number is not ours any more; then it is not ours to close either."""
        try:
            is_ours = os.fstat(self.connection.fileno()).st_ino == self.inode
        except OSError:
            is_ours = False
        if not is_ours:
            self.connection.detach()
            raise Gone

    def send(self, data: bytes, deadline: float) -> None:
        """Send it all; where the other side hangs up before it has read everything, its answer counts."""
        flags = getattr(self.sockets, "MSG_NOSIGNAL", 0)
        rest = memoryview(data)
        while rest:
            self.be_patient(deadline)
            try:
                rest = rest[self.connection.send(rest, flags) :]
            except ConnectionError:
                return

    def be_patient(self, deadline: float) -> None:
        """Let the next operation take until the deadline. Raises TimeoutError."""
        seconds = express.left(deadline)
        if not HAS_TIMEVAL:
            self.connection.settimeout(seconds)
            return
        whole, part = divmod(max(1, int(seconds * 1e6)), 1_000_000)
        value = whole.to_bytes(8, sys.byteorder) + part.to_bytes(8, sys.byteorder)
        for option in (self.sockets.SO_RCVTIMEO, self.sockets.SO_SNDTIMEO):
            self.connection.setsockopt(self.sockets.SOL_SOCKET, option, value)

    def cut(self) -> None:
        """Wake the thread from whatever it waits for. Called in another thread."""
        connection = self.connection
        if connection is not None:
            try:
                connection.shutdown(self.sockets.SHUT_RDWR)
            except OSError:  # not connected any more
                return

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()


def request(settings: "Any", body: bytes, is_near: bool) -> bytes:
    """Return the bytes of a request that keeps its connection, compressed on its way to another machine."""
    last = b""
    zlib: Any = None if is_near or len(body) < MIN_GZIP_BYTES else stdlib.load("zlib")
    if zlib is not None:
        packer = zlib.compressobj(6, zlib.DEFLATED, 31)
        body, last = packer.compress(body) + packer.flush(), b"Content-Encoding: gzip\r\n"
    return exchange.request(settings.host, settings.port, settings.path, settings.token, body, "http", last)


def is_near(hosts: tuple[str, ...]) -> bool:
    """Return whether all of these addresses are this machine's own."""
    return all(host == "::1" or host.startswith("127.") for host in hosts)


def plain_hosts(settings: "Any") -> tuple[str, ...]:
    """Return the addresses to which a bare socket can send: without TLS, a name to look up, or a proxy."""
    hosts = exchange.addresses(settings.host) if settings.scheme == "http" else ()
    return hosts if is_near(hosts) or not exchange.has_proxy("http") else ()

"""A server that answers with any bytes at all, for what http.server would never send."""

import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class RawServer:
    """Takes one request a connection and answers each with the bytes of `pieces`, a piece a call of `send`.

    `closed` counts connections that the client has ended; `requests` are the requests as they came.
    """

    def __init__(self, pieces: Iterable[bytes], keep_open: bool, family: socket.AddressFamily) -> None:
        self.pieces, self.keep_open = pieces, keep_open
        self.requests: list[bytes] = []
        self.closed = threading.Semaphore(0)
        self._listener = socket.socket(family)
        self._listener.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        self._listener.listen(64)
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def port(self) -> int:
        """The port that was free."""
        port: int = self._listener.getsockname()[1]
        return port

    def url(self, host: str = "127.0.0.1") -> str:
        """The endpoint to give to a program."""
        return f"http://{host}:{self.port}/v1/events"

    def close(self) -> None:
        """Stop listening."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            self.requests.append(read_request(connection))
            try:
                for piece in self.pieces:
                    connection.sendall(piece)
                if not self.keep_open:
                    connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass
            except OSError:  # the client has hung up, which is what is waited for
                pass
        self.closed.release()


def read_request(connection: socket.socket) -> bytes:
    """Return one whole request, or what came of it before the connection broke."""
    data = b""
    connection.settimeout(60)
    while b"\r\n\r\n" not in data or len(data) < _length(data):
        piece = connection.recv(65536)
        if not piece:
            break
        data += piece
    return data


def _length(data: bytes) -> int:
    head, _, _ = data.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    return len(head) + 4 + int(fields[b"content-length"])


@contextmanager
def raw_server(
    *pieces: bytes,
    endless: Iterable[bytes] | None = None,
    keep_open: bool = False,
    family: socket.AddressFamily = socket.AF_INET,
) -> Iterator[RawServer]:
    """Run a server until the block ends. `endless` are the pieces where there is no end of them."""
    server = RawServer(endless if endless is not None else pieces, keep_open, family)
    try:
        yield server
    finally:
        server.close()

"""One POST over a bare socket, and a strict reader of its answer. Runs in an exiting process.

Guarantees:
- One deadline over connecting, sending and reading the answer to its end, however a server drips, stalls or babbles.
- Builtin modules and `_socket` only: no name look-up, no TLS, no proxy, no redirect, no thread.
- Whatever a server sends ends in an Answer or in NoAnswer; no answer is believed before its last byte is there.
"""

import os
import sys

from monitor_auto.boot import express, guard, stdlib

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 1 << 20
LAST = b"Connection: close\r\n"
"""What says in a head that no further request follows on this connection."""
_LOCALHOST = ("127.0.0.1", "::1")
DARWIN_SO_NOSIGPIPE = 0x1022  # <sys/socket.h>; the socket module has no name for it


class NoAnswer(Exception):
    """There is no complete answer; the text says why, without the number that the system has for it."""

    def __init__(self, why: str) -> None:
        super().__init__(why.partition("] ")[2] if why.startswith("[Errno ") else why)


class Unable(NoAnswer):
    """This process could not even ask, for a reason of its own: it says nothing about the collector."""


class Answer:
    """A complete answer: status, content type ("" if none), body, and the raw `Retry-After` ("" if none). `is_last`
    says that its connection takes no further request.
    """

    __slots__ = ("body", "content_type", "is_last", "retry_after", "status")

    def __init__(
        self, status: int, content_type: str, body: bytes, retry_after: str = "", is_last: bool = True
    ) -> None:
        self.status, self.content_type, self.body, self.retry_after = status, content_type, body, retry_after
        self.is_last = is_last


def addresses(host: str) -> tuple[str, ...]:
    """Return the literal addresses of a host; none when it is a name that somebody would have to look up."""
    if host == "localhost":
        return _LOCALHOST
    if ":" in host:
        return (host,) if "%" not in host else ()
    parts = host.split(".")
    is_literal = len(parts) == 4 and all(part.isascii() and part.isdigit() and len(part) < 4 for part in parts)
    return (host,) if is_literal and max(map(int, parts)) < 256 else ()


def has_proxy(scheme: str) -> bool:
    """Return whether the environment names a proxy for this scheme, as curl and httpx read it."""
    names = (scheme + "_proxy", "all_proxy")
    return any(os.environ.get(name) or os.environ.get(name.upper()) for name in names)


def is_sendable(token: "str | None") -> bool:
    """Return whether a token may stand in a header; none may."""
    return not token or token.isascii() and token.isprintable()


def request(
    host: str, port: int, path: str, token: "str | None", body: bytes, scheme: str = "http", last: bytes = LAST
) -> bytes:
    """Return the bytes of a POST. Raises NoAnswer for a token that no header may hold. `last` are the header lines that
    say how the connection and the body are used.
    """
    if not is_sendable(token):
        raise NoAnswer("MONITOR_TOKEN holds characters that no header may hold")
    name = f"[{host}]" if ":" in host else host
    if port != (443 if scheme == "https" else 80):
        name = f"{name}:{port}"
    target = path if path.isascii() else "".join(f"%{byte:02X}" if byte > 126 else chr(byte) for byte in path.encode())
    return express.head(name, target, token, len(body)).replace(LAST, last, 1) + body


def post(hosts: "Iterable[str]", port: int, data: bytes, deadline: float) -> Answer:
    """Send a request to the first host that listens and return its Answer. Raises NoAnswer.

    `deadline` is on the clock of `time.monotonic()`, in seconds.
    """
    sockets = stdlib.load("_socket")
    if sockets is None:
        raise Unable("this Python has no sockets")
    try:
        connection = _connect(sockets, hosts, port, deadline)
        try:
            return talk(sockets, connection, data, deadline)
        finally:
            connection.close()
    except guard.ours(OSError, ValueError) as error:  # whatever the network does; a port or an address that is none
        raise NoAnswer(_reason(error)) from error


def _connect(sockets: "Any", hosts: "Iterable[str]", port: int, deadline: float) -> "Any":
    """Return a connection. None is left open, whatever ends this: when a socket is collected as garbage that is open,
    the next signal may come in the making of a warning, and what its handler raises there is lost (socketmodule.c:
    sock_finalize).
    """
    failure: Exception | None = None
    for host in hosts:
        try:
            connection = sockets.socket(sockets.AF_INET6 if ":" in host else sockets.AF_INET, sockets.SOCK_STREAM)
        except guard.ours(OSError) as error:  # no descriptor left; a system without IPv6
            failure = failure or Unable(_reason(error))
            continue
        try:
            connection.settimeout(express.left(deadline))
            connection.connect((host, port))
            return connection
        except guard.ours(OSError) as error:
            connection.close()
            failure = error
        except BaseException:  # by a handler of a signal
            connection.close()
            raise
    raise failure or OSError("no address")


def talk(sockets: "Any", connection: "Any", data: bytes, deadline: float) -> Answer:
    """Send a request over a connection and return its Answer. Raises OSError, NoAnswer."""
    if sys.platform == "darwin":
        connection.setsockopt(sockets.SOL_SOCKET, DARWIN_SO_NOSIGPIPE, 1)
    try:
        connection.settimeout(express.left(deadline))
        # A program that set SIGPIPE back to its default, as many command-line tools do, must not die of our socket.
        # TLS takes no flags; it is spoken by our helper only, where Python ignores the signal.
        is_plain = type(connection) is sockets.socket
        connection.sendall(data, getattr(sockets, "MSG_NOSIGNAL", 0) if is_plain else 0)
    except TimeoutError:
        raise
    except guard.ours(OSError):
        pass  # a server may answer (401, 413) and hang up before it has read everything: the answer counts

    def receive() -> bytes:
        connection.settimeout(express.left(deadline))
        received: bytes = connection.recv(65536)
        return received

    return read_answer(receive)


def hear(connection: "Any", received: bytes, deadline: float) -> Answer:
    """Read the rest of an answer that has begun with `received`, and close the connection. Raises NoAnswer."""
    pieces = [received] if received else []

    def receive() -> bytes:
        if pieces:
            return pieces.pop()
        connection.settimeout(express.left(deadline))
        piece: bytes = connection.recv(65536)
        return piece

    try:
        return read_answer(receive)
    except guard.ours(OSError) as error:
        raise NoAnswer(_reason(error)) from error
    finally:
        connection.close()


def _reason(error: Exception) -> str:
    return "timeout" if isinstance(error, TimeoutError) else str(error)


def read_answer(receive: "Callable[[], bytes]") -> Answer:
    """Read one final HTTP/1.x answer. `receive` returns the next bytes, b"" at the end. Raises NoAnswer."""
    reader = _Reader(receive)
    status = 100
    while 100 <= status < 200:  # interim answers come before the one that counts
        first = reader.line()
        status = _status(first)
        headers = _headers(reader)
        if status == 101:
            raise NoAnswer("the server changes the protocol")
    body = b"" if status in (204, 304) else unpacked(_body(reader, headers), headers.get("content-encoding", ""))
    is_framed = status in (204, 304) or "content-length" in headers or "transfer-encoding" in headers
    is_kept = first[:8] == b"HTTP/1.1" and is_framed and "close" not in headers.get("connection", "").lower()
    is_last = not is_kept or bool(reader.held)
    return Answer(status, headers.get("content-type", ""), body, headers.get("retry-after", ""), is_last)


def unpacked(body: bytes, coding: str) -> bytes:
    """Return a body as it was before a server compressed it unasked; nothing where that cannot be undone."""
    if coding.lower() in ("", "identity"):
        return body
    zlib = stdlib.load("zlib") if coding.lower() in ("gzip", "x-gzip", "deflate") else None
    if zlib is None:
        return b""
    try:
        plain: bytes = zlib.decompressobj(47).decompress(body, MAX_BODY_BYTES)  # gzip or zlib, as the data says
        return plain
    except guard.ours(zlib.error):
        return b""


def _status(line: bytes) -> int:
    version, _, rest = line.partition(b" ")
    code = rest[:3]
    if version[:7] != b"HTTP/1." or len(version) != 8 or not version[7:].isdigit():
        raise NoAnswer("the answer is not HTTP/1")
    if not code.isdigit() or len(code) != 3 or code < b"100" or rest[3:4] not in (b"", b" "):
        raise NoAnswer("the answer has no status")
    return int(code)


def _headers(reader: "_Reader") -> dict[str, str]:
    headers: dict[str, str] = {}
    while line := reader.line():
        if line[:1] in b" \t":  # the continuation of a header, which old servers still send
            continue
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not name or name != name.strip():
            raise NoAnswer("the answer has a header without a name")
        name, value = name.lower(), value.strip()
        if name == "content-length" and len({part.strip() for part in value.split(",")}) == 1:
            value = value.partition(",")[0].strip()  # the same length twice, joined on its way (RFC 9110, 8.6)
        if name == "content-length" and headers.get(name, value) != value:
            raise NoAnswer("the answer has two lengths")
        headers[name] = value
    return headers


def _body(reader: "_Reader", headers: dict[str, str]) -> bytes:
    coding = headers.get("transfer-encoding", "").lower()
    if coding == "chunked":
        return _chunks(reader)
    if coding not in ("", "identity"):
        raise NoAnswer("the answer has a coding that was not asked for")
    length = headers.get("content-length")
    if length is None:
        return reader.rest()
    if not (length.isascii() and length.isdigit() and len(length) < 16):
        raise NoAnswer("the answer has a length that is no number")
    return reader.exactly(int(length))


def _chunks(reader: "_Reader") -> bytes:
    body = b""
    while True:
        size = reader.line().partition(b";")[0].strip()
        if not size or len(size) > 8 or size.strip(b"0123456789abcdefABCDEF"):
            raise NoAnswer("the answer has a chunk without a size")
        if not int(size, 16):
            break
        body += reader.exactly(int(size, 16))
        if reader.line() or len(body) > MAX_BODY_BYTES:
            raise NoAnswer("the answer has a chunk of another size than it says")
    while reader.line():  # trailers
        pass
    return body


class _Reader:
    """Lines and counted bytes from pieces of any size, within the limits above."""

    def __init__(self, receive: "Callable[[], bytes]") -> None:
        self.receive = receive
        self.held = b""
        self.head_bytes = 0

    def more(self) -> None:
        piece = self.receive()
        if not piece:
            raise NoAnswer("the connection was closed before the answer was complete")
        self.held += piece

    def line(self) -> bytes:
        while (end := self.held.find(b"\n")) < 0 and len(self.held) + self.head_bytes <= MAX_HEAD_BYTES:
            self.more()
        self.head_bytes += end + 1
        if end < 0 or self.head_bytes > MAX_HEAD_BYTES:
            raise NoAnswer("the head of the answer is too long")
        line, self.held = self.held[:end], self.held[end + 1 :]
        return line[:-1] if line.endswith(b"\r") else line

    def exactly(self, size: int) -> bytes:
        if size > MAX_BODY_BYTES:
            raise NoAnswer("the answer is too long")
        while len(self.held) < size:
            self.more()
        data, self.held = self.held[:size], self.held[size:]
        return data

    def rest(self) -> bytes:
        while len(self.held) <= MAX_BODY_BYTES:
            piece = self.receive()
            if not piece:
                return self.held
            self.held += piece
        raise NoAnswer("the answer is too long")

"""What runs in the helper interpreter that `courier.py` starts: requests over names, TLS and proxies.

Guarantees: ends when its parent closes the pair or, amid a request or a look-up, at the deadline by SIGALRM; never a
session (`-S`); redirects are not followed and certificates are verified, so a token reaches nobody else.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from time import monotonic
from typing import Any

from . import exchange
from .exchange import Answer, NoAnswer

PARENTS_FD = 3


class Target:
    """Where to send, as the parent has told it."""

    def __init__(self, fields: list[str]) -> None:
        self.scheme, self.host, port, self.path, token, seconds = fields
        self.port, self.token = int(port), token or None
        self.deadline = monotonic() + float(seconds)

    def left(self) -> float:
        """Return the seconds left, a little more than none at least."""
        return max(0.001, self.deadline - monotonic())


def main() -> None:
    """Carry bodies until the parent has no more."""
    os.closerange(PARENTS_FD + 1, 4096)
    parent = socket.socket(fileno=PARENTS_FD)
    with parent, parent.makefile("rb") as frames:
        target = Target(take(frames).decode().split("\0"))
        signal.setitimer(signal.ITIMER_REAL, target.left() + 0.1)
        post = (exchange.has_proxy(target.scheme) and proxied(target)) or Direct(target).post
        while body := take(frames):
            parent.sendall(reply(post, body))
    os._exit(0)


def take(frames: Any) -> bytes:
    """Return the next frame; b"" at the end."""
    size = frames.readline()
    data: bytes = frames.read(int(size)) if size.strip().isdigit() else b""
    return data


def reply(post: Callable[[bytes], Answer], body: bytes) -> bytes:
    """Send one body and return what the parent is told of it."""
    try:
        answer = post(body)
    except NoAnswer as error:
        block = b"\0\0" + str(error).encode()
        return b"0 %d\n" % len(block) + block
    content = answer.body[:65536]
    block = b"\0".join(
        [answer.content_type.encode("latin-1", "replace"), answer.retry_after.encode("latin-1"), content]
    )
    return b"%d %d\n" % (answer.status, len(block)) + block


def proxied(target: Target) -> Callable[[bytes], Answer] | None:
    """Return a sender by way of httpx, which knows proxies and their exceptions; None where httpx is not installed."""
    from . import native

    try:
        transport = native.Transport(target, target.left())
    except ImportError:
        return None
    return lambda body: transport.post(body, target.deadline)


class Direct:
    """Sends each body over a connection of its own."""

    def __init__(self, target: Target) -> None:
        self.target = target

    def post(self, body: bytes) -> Answer:
        """Send one body and return the Answer. Raises NoAnswer."""
        target = self.target
        data = exchange.request(target.host, target.port, target.path, target.token, body, target.scheme)
        try:
            connection = self.connect()
            try:
                return exchange.talk(socket, connection, data, target.deadline)
            finally:
                connection.close()
        except (OSError, ValueError) as error:  # names, certificates, sockets; ssl.SSLError is an OSError
            raise NoAnswer(_reason(error)) from error

    def connect(self) -> socket.socket:
        """Return a connection to the first address that takes one, under TLS if need be. Raises OSError."""
        target = self.target
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        failure: OSError = OSError("the name has no address")
        for number, (family, kind, protocol, _, address) in enumerate(found):
            connection = socket.socket(family, kind, protocol)
            # An address that swallows everything must leave time for the next one.
            connection.settimeout(target.left() / (len(found) - number))
            try:
                connection.connect(address)
                return self.secured(connection)
            except OSError as error:
                connection.close()
                failure = error
        raise failure

    def secured(self, connection: socket.socket) -> socket.socket:
        """Return the connection, under TLS for https. Raises OSError."""
        if self.target.scheme != "https":
            return connection
        import ssl

        connection.settimeout(self.target.left())
        return ssl.create_default_context().wrap_socket(connection, server_hostname=self.target.host)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    return getattr(error, "verify_message", "") or getattr(error, "strerror", "") or str(error)

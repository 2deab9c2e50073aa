"""A collector in a process of its own, on loopback: `python -m bench.collector MODE [CERTIFICATE KEY]`.

Modes: `answer`; `refuse` (nobody listens), `black-hole` (takes everything, never answers), `drip` (one byte a second).
Prints its port. Each line on standard input is answered by what has come so far, as JSON; the end of it ends us.
Bodies are read only when somebody asks, so that the answer to a batch waits for nothing. And since a collector usually
runs on a machine of its own, it has to take little of the processors that are measured: plain connections are answered
without asyncio, which took 0.6 ms for each.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import select
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from typing import Any

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Received:
    """What has come: connections, and the bodies of requests."""

    def __init__(self) -> None:
        self.connections = 0
        self.cpu_at_start = time.process_time()
        self.bodies: list[bytes] = []
        self.times: list[float] = []

    def take(self, body: bytes) -> None:
        """Keep a body, and when it came."""
        self.bodies.append(body)
        self.times.append(time.monotonic())

    def counts(self) -> dict[str, Any]:
        """Count the events by name, each event_id once; `cpu` are the seconds that answering took, `latest` says when
        the last one of a name came.
        """
        used = time.process_time() - self.cpu_at_start  # before the bodies are read, which nobody waits for
        names, latest = {}, {}
        for body, at in zip(self.bodies, self.times, strict=False):
            for event in events(body):
                names[event["event_id"]] = event["name"]
                latest[event["name"]] = at
        return {
            "connections": self.connections,
            "requests": len(self.bodies),
            "names": Counter(names.values()),
            "cpu": used,
            "latest": latest,
        }


def events(body: bytes) -> list[dict[str, Any]]:
    """Return the events of a batch. Raises ValueError or KeyError for what is none."""
    batch = json.loads(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
    found: list[dict[str, Any]] = batch["events"]
    return found


async def read_request(reader: asyncio.StreamReader) -> bytes | None:
    """Return the body of the next request, None at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = LENGTH.search(head)
        return await reader.readexactly(int(length[1]) if length else 0)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, received: Received) -> None:
    while (body := await read_request(reader)) is not None:
        received.take(body)
        writer.write(ANSWER)
        await writer.drain()


async def black_hole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, received: Received) -> None:
    while await reader.read(65536):
        pass


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, received: Received) -> None:
    await read_request(reader)
    for byte in ANSWER:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(1)


class PlainServer:
    """Answers requests on plain connections as they come, in one thread and in any order."""

    def __init__(self, received: Received, listener: socket.socket) -> None:
        self.received = received
        self.held: dict[int, bytes] = {}
        self.connections: dict[int, socket.socket] = {}
        self.listener = listener
        self.poll = select.epoll()

    def serve(self) -> None:
        """Serve for as long as this process lives."""
        self.listener.listen(256)
        self.poll.register(self.listener, select.EPOLLIN)
        while True:
            for number, _ in self.poll.poll():
                if number == self.listener.fileno():
                    self.accept()
                else:
                    self.read(number)

    def accept(self) -> None:
        """Take a connection; mostly its request is there already."""
        connection, _ = self.listener.accept()
        self.received.connections += 1
        number = connection.fileno()
        self.connections[number], self.held[number] = connection, b""
        self.poll.register(number, select.EPOLLIN)

    def read(self, number: int) -> None:
        """Take what has come on a connection, and answer what is complete of it."""
        try:
            piece = self.connections[number].recv(1 << 20)
        except ConnectionError:
            piece = b""
        if not piece:
            del self.held[number]
            self.connections.pop(number).close()  # which takes it out of the poll, too
            return
        self.held[number] += piece
        while (end := whole_request(self.held[number])) is not None:
            request, self.held[number] = self.held[number][:end], self.held[number][end:]
            self.received.take(request.partition(b"\r\n\r\n")[2])
            self.connections[number].sendall(ANSWER)


def whole_request(data: bytes) -> int | None:
    """Return where the first request ends; None while some of it is missing."""
    begin = data.find(b"\r\n\r\n") + 4
    length = LENGTH.search(data, 0, begin) if begin > 3 else None
    end = begin + (int(length[1]) if length else 0)
    return end if begin > 3 and len(data) >= end else None


BEHAVIOURS = {"answer": answer, "black-hole": black_hole, "drip": drip}


async def serve(mode: str, received: Received, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
    """Serve until standard input ends."""

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.connections += 1
        try:
            await BEHAVIOURS[mode](reader, writer, received)
        except (ConnectionError, asyncio.CancelledError):
            pass  # a client that has gone, since exits have a deadline; or we end
        finally:
            writer.close()

    await asyncio.start_server(on_connection, sock=listener, ssl=tls, backlog=256)
    await asyncio.get_running_loop().run_in_executor(None, report, received)


def report(received: Received) -> None:
    """Answer whoever asks on standard input."""
    for _ in sys.stdin:
        print(json.dumps(received.counts()), flush=True)


def main(words: list[str]) -> None:
    mode, received, tls = words[0], Received(), None
    if len(words) == 3:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(words[1], words[2])
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    if mode == "refuse":  # the port stays ours, so that nobody else answers there
        report(received)
    elif mode == "answer" and tls is None and hasattr(select, "epoll"):
        threading.Thread(target=PlainServer(received, listener).serve, daemon=True).start()
        report(received)
    else:
        asyncio.run(serve(mode, received, listener, tls))


if __name__ == "__main__":
    main(sys.argv[1:])

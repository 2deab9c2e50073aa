"""A collector in a process of its own, on loopback: `python -m bench.collector MODE [CERTIFICATE KEY]`.

Modes: `answer`; `refuse` (nobody listens), `black-hole` (takes everything, never answers), `drip` (one byte a second).
Prints its port. Each line on standard input is answered by what has come so far, as JSON; the end of it ends us.
Bodies are read only when somebody asks, so that the answer to a batch waits for nothing.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import socket
import ssl
import sys
from collections import Counter
from typing import Any

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Received:
    """What has come: connections, and the bodies of requests."""

    def __init__(self) -> None:
        self.connections = 0
        self.bodies: list[bytes] = []

    def counts(self) -> dict[str, Any]:
        """Count the events by name, each event_id once."""
        names = {event["event_id"]: event["name"] for body in self.bodies for event in events(body)}
        return {"connections": self.connections, "requests": len(self.bodies), "names": Counter(names.values())}


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
        received.bodies.append(body)
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
    else:
        asyncio.run(serve(mode, received, listener, tls))


if __name__ == "__main__":
    main(sys.argv[1:])

"""A web server for the programs' own calls: what came to it, and answers of every kind, by the path."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

TRACE = ("traceparent", "tracestate")


@dataclass
class Web:
    """A running server. `requests` are those that came, in order: method, target, and the headers of a trace."""

    base: str
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    ended: Event = field(default_factory=Event)

    @property
    def port(self) -> int:
        return int(self.base.rpartition(":")[2])

    def traces(self) -> list[str]:
        """Return the `traceparent` of each request, empty for one without."""
        return [headers.get("traceparent", "") for _, _, headers in self.requests]

    def take(self) -> list[tuple[str, str, dict[str, str]]]:
        """Return what came, and forget it."""
        taken, self.requests[:] = list(self.requests), []
        return taken


class Handler(BaseHTTPRequestHandler):
    """`/status/N` answers so, `/to/PATH` redirects there, `/drop` closes, `/hang` never answers, `/slow-body` sends the
    headers at once and the body when the server ends or two seconds later; all else is a 200.
    """

    protocol_version = "HTTP/1.1"
    web: Web

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name: self.headers[name] for name in TRACE if name in self.headers}
        self.web.requests.append((self.command, self.path, headers))
        word, _, rest = self.path.partition("?")[0].lstrip("/").partition("/")
        if word == "hang":
            self.web.ended.wait(60)
        if word in ("hang", "drop"):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        body = json.dumps({"path": self.path}).encode()
        self.send_response(int(rest) if word == "status" else 302 if word == "to" else 200)
        if word == "to":
            self.send_header("Location", "/" + rest)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if word == "slow-body":
            self.web.ended.wait(2)
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = do_OPTIONS = answer

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are part of the tests."""


@contextmanager
def running_web() -> Iterator[Web]:
    """Run the server on a free port of loopback until the block ends."""
    server = Quiet(("127.0.0.1", 0), Handler)
    web = Web(f"http://127.0.0.1:{server.server_address[1]}")
    server.RequestHandlerClass = type("Bound", (Handler,), {"web": web})
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield web
    finally:
        web.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()

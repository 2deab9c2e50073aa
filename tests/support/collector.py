"""A small honest receiver on loopback, which can also behave as badly as real ones do.

What it has taken with a 2xx answer it keeps, in order; what breaks the contract of a batch it notes as a violation.
"""

import gzip
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Event = dict[str, Any]
PATH = "/v1/events"
HTML = b"<html><body>Please log in.</body></html>"
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
MAX_EVENT_BYTES = 64 * 1024


@dataclass(frozen=True)
class Answer:
    """One way to answer. `pace` is bytes a second (0: all at once); after `cut` bytes the connection closes.

    `raw` is sent in place of an answer.
    """

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    pace: int = 0
    cut: int | None = None
    silent: bool = False
    raw: bytes = b""


OK = Answer()
STALL = Answer(silent=True)
DRIP = Answer(body=b"{}", pace=1)
HALF = Answer(body=b"{}", cut=9)
GARBAGE = Answer(raw=b"\x00\x01SSH-2.0-OpenSSH_9.2\r\n\r\n")
PAGE = Answer(body=HTML, headers=(("Content-Type", "text/html; charset=utf-8"),))
REDIRECT = Answer(302, headers=(("Location", "/elsewhere"),))
UNAVAILABLE = Answer(503, b"try later")


@dataclass
class Request:
    """One request as it came. `batch` is None where the body was no batch; `kept` says that its events count. Requests
    of the same `connection` have come over the same one.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    batch: dict[str, Any] | None = None
    kept: bool = False
    connection: int = 0


@dataclass
class Collector:
    """Start with `with running_collector() as collector`. Every method can be called from any thread."""

    answer: Answer = OK
    max_batch: int = 100
    tls: ssl.SSLContext | None = None
    refuse_when: Callable[[bytes], Answer | None] = lambda body: None
    requests: list[Request] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    _next: list[Answer] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _closing: threading.Event = field(default_factory=threading.Event)
    _server: ThreadingHTTPServer | None = None
    _placeholder: socket.socket | None = None
    _port: int = 0

    @property
    def url(self) -> str:
        """The endpoint to give to a program: a literal address, or under TLS a name."""
        return f"https://localhost:{self._port}{PATH}" if self.tls else f"http://127.0.0.1:{self._port}{PATH}"

    @property
    def port(self) -> int:
        """The port on loopback."""
        return self._port

    @property
    def batches(self) -> list[dict[str, Any]]:
        """The batches that were taken, in order."""
        with self._changed:
            return [request.batch for request in self.requests if request.kept and request.batch is not None]

    def events(self) -> list[Event]:
        """Return the events that were taken, in order, repeats included."""
        return [event for batch in self.batches for event in batch["events"]]

    def unique(self) -> list[Event]:
        """Return the events that were taken, the first of each `event_id` only."""
        return list({event["event_id"]: event for event in reversed(self.events())}.values())[::-1]

    def names(self) -> list[str]:
        """Return the names of `unique`."""
        return [event["name"] for event in self.unique()]

    def wait_for(self, count: int, timeout: float = 30) -> list[Event]:
        """Wait until `count` unique events were taken and return them; fail after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.unique()) >= count, timeout):
                raise AssertionError(f"{count} events expected within {timeout} s, there are {self.names()}")
            return self.unique()

    def wait_for_request(self, count: int = 1, timeout: float = 30) -> list[Request]:
        """Wait until `count` requests have come, whatever their answer; fail after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.requests) >= count, timeout):
                raise AssertionError(f"{count} requests expected within {timeout} s, there are {len(self.requests)}")
            return list(self.requests)

    def answer_next(self, *answers: Answer) -> None:
        """Give these answers to the next requests, one each; after them `answer` counts again."""
        with self._changed:
            self._next.extend(answers)

    def go_away(self, silently: bool = False) -> None:
        """Refuse connections from now on, or take them `silently`. The port stays ours: nobody else answers on it."""
        if self._server is None:
            return
        self._stop()
        self._placeholder = _bound(self._port)
        if silently:
            self._placeholder.listen(256)

    def come_back(self) -> None:
        """Answer again on the same port."""
        if self._server is not None:
            return
        if self._placeholder is not None:
            self._placeholder.close()
            self._placeholder = None
        self._serve()

    def take(self, request: Request) -> Answer:
        """Note a request and choose its answer."""
        batch, violations = read_batch(request, self.max_batch)
        with self._changed:
            answer = self._next.pop(0) if self._next else self.refuse_when(request.body) or self.answer
            request.batch = batch
            request.kept = batch is not None and _takes(answer)
            self.violations += violations + self._repeated(batch)
            self.requests.append(request)
            self._changed.notify_all()
        return answer

    def pause(self, seconds: float) -> bool:
        """Wait while a slow answer is given; return True when the collector closes meanwhile."""
        return self._closing.wait(seconds)

    def _repeated(self, batch: dict[str, Any] | None) -> list[str]:
        """A batch id is new for every attempt."""
        seen = [request.batch["batch_id"] for request in self.requests if request.batch]
        return [f"batch_id {batch['batch_id']} came twice"] if batch and batch["batch_id"] in seen else []

    def _serve(self) -> None:
        self._closing = threading.Event()
        server = _Server(("127.0.0.1", self._port), _make_handler(self))
        self._port = server.server_address[1]
        if self.tls:
            # The handshake happens in the thread of the connection: one that never comes must not stop the others.
            server.socket = self.tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        # The default polls for the end of serving twice a second, which every test would wait for.
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        self._server = server

    def _stop(self) -> None:
        self._closing.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _close(self) -> None:
        self._stop()
        if self._placeholder is not None:
            self._placeholder.close()


@contextmanager
def running_collector(answer: Answer = OK, tls: ssl.SSLContext | None = None) -> Iterator[Collector]:
    """Run a collector on a free port until the block ends."""
    collector = Collector(answer, tls=tls)
    collector._serve()
    try:
        yield collector
    finally:
        collector._close()


def read_batch(request: Request, max_batch: int) -> tuple[dict[str, Any] | None, list[str]]:
    """Check a request against the contract; return its batch (None if it has none) and what is wrong with it."""
    violations = list(_wrong_head(request))
    try:
        body = gzip.decompress(request.body) if request.headers.get("content-encoding") == "gzip" else request.body
        batch = json.loads(body)
        events = batch["events"]
        violations += _wrong_batch(batch, events, max_batch)
    except (ValueError, OSError, EOFError, KeyError, TypeError, AttributeError) as error:
        return None, [*violations, f"no batch ({error!r}): {request.body[:200]!r}"]
    return batch, violations


def _wrong_head(request: Request) -> Iterator[str]:
    if (request.method, request.path) != ("POST", PATH):
        yield f"{request.method} {request.path} instead of POST {PATH}"
    if "content-length" not in request.headers:
        yield "no Content-Length"
    if "transfer-encoding" in request.headers:
        yield "chunked"
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        yield f"Content-Type {request.headers.get('content-type')!r}"
    if request.headers.get("content-encoding", "gzip") != "gzip":
        yield f"Content-Encoding {request.headers['content-encoding']!r}"


def _wrong_batch(batch: dict[str, Any], events: list[Event], max_batch: int) -> Iterator[str]:
    if set(batch) != {"batch_id", "events"}:
        yield f"a batch of {sorted(batch)}"
    if not UUID7.fullmatch(batch["batch_id"]):
        yield f"batch_id {batch['batch_id']!r} is no UUIDv7"
    if not 1 <= len(events) <= max_batch:
        yield f"a batch of {len(events)} events"
    for event in events:
        yield from (f"{wrong} in {json.dumps(event)[:300]}" for wrong in _wrong_event(event))


def _wrong_event(event: Event) -> Iterator[str]:
    if event["v"] != 1 or event["type"] not in ("event", "error", "metric", "lifecycle"):
        yield f"v {event['v']!r}, type {event['type']!r}"
    if not isinstance(event["name"], str) or not event["name"] or any(map(str.isspace, event["name"])):
        yield f"name {event['name']!r}"
    if datetime.fromisoformat(event["timestamp"]).utcoffset() is None:
        yield "a timestamp without an offset"
    if event["source"]["sdk"] != "python" or not event["source"]["platform"]:
        yield "no source"
    if not re.fullmatch(rf"{UUID7.pattern}-\d+", event["event_id"]):
        yield f"event_id {event['event_id']!r}"
    if len(json.dumps(event, ensure_ascii=False).encode("utf-8", "surrogatepass")) > MAX_EVENT_BYTES:
        yield "more than 64 KiB"


def _takes(answer: Answer) -> bool:
    return answer.status // 100 == 2 and not answer.silent and answer.body != HTML


def _bound(port: int) -> socket.socket:
    """Hold a port without listening: connections are refused.

    In the moment in which nobody holds it a client somewhere may get it for its own end of a connection: wait for that.
    """
    placeholder = socket.socket()
    placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for attempt in range(500):
        try:
            placeholder.bind(("127.0.0.1", port))
            break
        except OSError:
            if attempt == 499:
                raise
            threading.Event().wait(0.02)
    return placeholder


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # server_close would wait for the threads of clients that keep their connection.
    block_on_close = False
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing when a client dies in the middle of a request: tests kill their children."""


def _make_handler(collector: Collector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            if len(body) < length:
                self.close_connection = True
                return
            headers = {key.lower(): value for key, value in self.headers.items()}
            request = Request(self.command, self.path, headers, body, connection=self.client_address[1])
            _give(collector.take(request), self, collector.pause)

        do_GET = do_PUT = do_HEAD = do_POST

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing."""

    return Handler


def _give(answer: Answer, handler: BaseHTTPRequestHandler, pause: Callable[[float], bool]) -> None:
    """Send an answer the way it asks to be sent."""
    if answer.silent:
        pause(600)
        handler.close_connection = True
        return
    whole = _wire(answer)
    wire = answer.raw or (whole if answer.cut is None else whole[: answer.cut])
    handler.close_connection = answer.cut is not None or bool(answer.raw)
    for piece in _pieces(wire, answer.pace):
        handler.wfile.write(piece)
        if answer.pace and pause(1):
            return


def _pieces(wire: bytes, pace: int) -> Iterator[bytes]:
    step = pace or len(wire)
    return (wire[start : start + step] for start in range(0, len(wire), step))


def _wire(answer: Answer) -> bytes:
    headers = [("Content-Length", str(len(answer.body))), *answer.headers]
    head = [f"HTTP/1.1 {answer.status} Answer", *(f"{key}: {value}" for key, value in headers), "", ""]
    return "\r\n".join(head).encode() + answer.body

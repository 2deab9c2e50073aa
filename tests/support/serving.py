"""Programs that serve HTTP, run bare and monitored under real servers, and what they have answered to raw requests."""

import os
import re
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import Any

from support.children import Children, Run
from support.network import free_port, wait_until_open
from support.sandbox import Sandbox

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
TRACEPARENT = f"traceparent: 00-{TRACE}-{PARENT}-01"

SERVERS = (
    *("gunicorn", "uvicorn", "hypercorn", "websockets", "wsproto", "httptools", "aiohttp"),
    *("flask", "django", "starlette", "fastapi", "loguru", "structlog", "pytest", "pyuwsgi", "gevent"),
)
"""What an environment needs for all hooks of servers and frameworks, and a few more."""

WSGI = """
import sys
from monitor_auto import Monitor


class Closing:
    def __init__(self, pieces):
        self.pieces = pieces

    def __iter__(self):
        return iter(self.pieces)

    def close(self):
        print("closed", file=sys.stderr, flush=True)


def late():
    yield b"first"
    raise LookupError("too late")


def told():
    try:
        Monitor.event("in.request", {"step": 1})
        yield b"told"
    finally:
        Monitor.event("in.close")


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/error":
        raise ValueError("not caught")
    if path == "/silent":
        return [b"x"]
    headers = [("Content-Type", "text/plain")]
    if path == "/bad":
        return start_response("hello", headers)
    write = start_response("404 Not Found" if path == "/missing" else "200 OK", headers)
    if path == "/generator":
        return Closing(str(number).encode() for number in range(3))
    if path == "/late":
        return late()
    if path == "/told":
        return told()
    if path == "/file":
        return environ["wsgi.file_wrapper"](open(__file__, "rb"))
    if path == "/write":
        write(b"written ")
        return [b"and returned"]
    return [path.encode(), b" ", environ["QUERY_STRING"].encode(), b" ", environ["REQUEST_METHOD"].encode()]
"""

WSGIREF = """
import sys
from wsgiref.simple_server import make_server
from application import application

with make_server("127.0.0.1", int(sys.argv[1]), application) as server:
    for _ in range(int(sys.argv[2]) + 1):  # one connection only tries whether somebody listens
        server.handle_request()
"""

ASGI = """
import asyncio
from monitor_auto import Monitor


async def respond(send, *pieces, status=200):
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["type"] == "websocket":
        return await talk(scope, receive, send)
    path = scope["path"]
    await receive()
    if path == "/error":
        raise ValueError("not caught")
    if path == "/silent":
        return
    if path == "/late":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        raise LookupError("too late")
    if path == "/stream":
        return await respond(send, b"one", b"two", b"three")
    if path == "/told":
        Monitor.event("in.request", {"step": 1})
        await asyncio.get_running_loop().run_in_executor(None, Monitor.event, "in.thread")
        return await respond(send, b"told")
    if path == "/background":
        await respond(send, b"sent", status=202)
        Monitor.event("in.background")
        raise KeyError("in the background")
    if path == "/misuse":
        await send({"type": "http.response.body", "body": b"without a start"})
    if path == "/wrong":
        await send()
    await respond(send, path.encode(), scope["query_string"], status=404 if path == "/missing" else 200)


async def talk(scope, receive, send):
    await receive()
    if scope["path"] == "/ws/refused":
        return await send({"type": "websocket.close", "code": 1000})
    await send({"type": "websocket.accept"})
    if scope["path"] == "/ws/error":
        raise ValueError("not caught in a websocket")
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        Monitor.event("in.websocket")
        await send({"type": "websocket.send", "text": message["text"].upper()})
        if message["text"] == "close":
            return await send({"type": "websocket.close", "code": 4000})
"""


@dataclass(frozen=True)
class Served:
    """What a server has answered, in order, and what it left behind."""

    answers: list[bytes]
    run: Run

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The data of the recorded requests, without their durations, which are checked here."""
        found = [dict(event["data"]) for event in self.run.named("http.server.request")]
        for facts in found:
            assert isinstance(facts.pop("duration_ms"), float)
        return found

    def span_of(self, name: str) -> dict[str, str]:
        """Return the span of the one event of a name."""
        (event,) = self.run.named(name)
        return dict(event.get("span", {}))

    def request(self, path: str) -> dict[str, Any]:
        """Return the one recorded request of a path, the whole event."""
        (event,) = [event for event in self.run.named("http.server.request") if event["data"]["path"] == path]
        return event


def expected(server: str, path: str, status: int | None = 200, **more: object) -> dict[str, object]:
    """Return the data of a request but for its duration."""
    facts = {"server": server, "method": "GET", "path": path, "status": status, **more}
    return {name: value for name, value in facts.items() if value is not None}


def get(target: str, *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    """Return a request as bytes; the connection ends with it."""
    lines = [f"{method} {target} HTTP/{version}", "Host: localhost", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode()


def ask(port: int, request: bytes) -> bytes:
    """Send one request and return all that comes back, the date left out."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(request)
        answer = b""
        while True:
            try:
                data = connection.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                return re.sub(rb"(?i)date: [^\r]*", b"date: now", answer)
            answer += data


def hang_up(port: int, request: bytes, count: int) -> bytes:
    """Send a request, read so many bytes and be gone, without a goodbye."""
    connection = socket.create_connection(("127.0.0.1", port), 60)
    connection.sendall(request)
    answer = b""
    while len(answer) < count:
        answer += connection.recv(count - len(answer))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()
    return answer


def talk(port: int, path: str, words: Sequence[str]) -> bytes:
    """Open a websocket, say each word and await what comes back, and hang up; return the frames that came."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade"]
        lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", "", ""]
        connection.sendall("\r\n".join(lines).encode())
        stream = connection.makefile("rb")
        said = stream.readline()
        while stream.readline().strip():  # the headers: servers date them
            pass
        for word in words:  # a mask of zeros leaves the text as it is
            connection.sendall(b"\x81" + bytes([0x80 | len(word)]) + bytes(4) + word.encode())
            head = stream.read(2)
            said += head + stream.read(head[1])
        if not words or words[-1] == "close":
            said += stream.read(4 if words else -1)
        return said


def serve(
    children: Children,
    words: Sequence[str],
    requests: Sequence[Any],
    *,
    python: Sandbox,
    files: Mapping[str, str],
    bare: bool = False,
    stop: signal.Signals | None = signal.SIGTERM,
    **how: Any,
) -> Served:
    """Run a server (`{port}` in its words is a free one), make the requests, one after the other, and stop it. A
    request that is no bytes is a function that is called with the port. Without `stop` the program ends by itself.
    """
    folder = children.folder / "application"
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    port = free_port()
    child = children.start([word.format(port=port) for word in words], python=python, cwd=folder, bare=bare, **how)
    wait_until_open(port, child.process, Path(os.devnull))
    answers = [ask(port, request) if isinstance(request, bytes) else request(port) for request in requests]
    if stop is not None:
        child.process.send_signal(stop)
    return Served([answer.replace(str(port).encode(), b"PORT") for answer in answers], child.finish())


def serve_twice(children: Children, words: Sequence[str], requests: Sequence[Any], **how: Any) -> Served:
    """Serve bare, then monitored: every byte of every answer, the status and what is logged must be the same."""
    bare = serve(children, words, requests, bare=True, **how)
    monitored = serve(children, words, requests, **how)
    assert monitored.answers == bare.answers
    before, after = seen(bare.run), seen(monitored.run)
    assert after == before, "\n".join(unified_diff(before.splitlines(), after.splitlines(), "bare", "monitored"))
    return monitored


MASKS = (
    (r"0x[0-9a-f]{8,}", "0x…"),
    (r"\[?\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[^\]\s]*( [+-]\d{4})?\]?", "TIME"),
    (r"\[\d\d/\w{3}/\d{4}[^\]]*\]", "TIME"),
    (r".*Control socket.*\n", ""),
    (r"\[\w{3} \w{3} +\d+ [\d:]+ \d{4}\]", "TIME"),
    (r"in \d+ (msecs|seconds)", "in TIME"),
    (r"\[\d+\]|\(\d+\)|pid:? ?\d+|process \[?\d+\]?", "PID"),
    (r"127\.0\.0\.1:\d+|localhost:\d+|port \d+", "ADDRESS"),
)


def seen(run: Run) -> str:
    """Return status, output and log without what differs from run to run."""
    texts = [str(run.status)]
    for output in (run.stdout, run.stderr):
        text = output.decode("utf-8", "backslashreplace")
        for pattern, mark in MASKS:
            text = re.sub(pattern, mark, text)
        texts.append(text)
    return "\n".join(texts)


FLASK = """
from flask import Flask, Response, stream_with_context
from monitor_auto import Monitor

application = Flask(__name__)


@application.get("/things/<int:number>")
def thing(number):
    Monitor.event("in.request")
    return {"number": number}


@application.get("/error")
def fail():
    raise ValueError("not caught")


@application.get("/stream")
def stream():
    def pieces():
        yield "one"
        Monitor.event("in.stream")
        yield "two"

    return Response(stream_with_context(pieces()))
"""

DJANGO = """
import sys
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
from monitor_auto import Monitor

settings.configure(ROOT_URLCONF="application", ALLOWED_HOSTS=["*"], SECRET_KEY="x")


def thing(request, number):
    Monitor.event("in.request")
    return HttpResponse(str(number))


def fail(request):
    raise ValueError("not caught")


def stream(request):
    def pieces():
        yield b"one"
        Monitor.event("in.stream")
        yield b"two"

    return StreamingHttpResponse(pieces())


urlpatterns = [path("things/<int:number>", thing), path("error", fail), path("stream", stream)]
application = get_asgi_application() if {"asgi", "uvicorn"} & {*sys.argv, *sys.modules} else get_wsgi_application()
"""

STARLETTE = """
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Mount, Route
from monitor_auto import Monitor


async def thing(request):
    Monitor.event("in.request")
    return JSONResponse(request.path_params)


async def fail(request):
    raise ValueError("not caught")


async def stream(request):
    async def pieces():
        yield "one"
        Monitor.event("in.stream")
        yield "two"

    return StreamingResponse(pieces())


routes = [Mount("/things", routes=[Route("/{number:int}", thing)]), Route("/error", fail), Route("/stream", stream)]
application = Starlette(routes=routes)
"""

FASTAPI = """
from fastapi import APIRouter, FastAPI
from starlette.responses import StreamingResponse
from monitor_auto import Monitor

router = APIRouter(prefix="/things")


@router.get("/{number}")
def thing(number: int):
    Monitor.event("in.request")
    return {"number": number}


application = FastAPI()
application.include_router(router)


@application.get("/error")
def fail():
    raise ValueError("not caught")


@application.get("/stream")
async def stream():
    async def pieces():
        yield "one"
        Monitor.event("in.stream")
        yield "two"

    return StreamingResponse(pieces())
"""

AIOHTTP = """
import sys
from aiohttp import web
from monitor_auto import Monitor


async def thing(request):
    Monitor.event("in.request")
    return web.json_response({"number": request.match_info["number"]})


async def fail(request):
    raise ValueError("not caught")


async def stream(request):
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"one")
    Monitor.event("in.stream")
    await response.write(b"two")
    return response


application = web.Application()
application.add_routes([web.get("/things/{number}", thing), web.get("/error", fail), web.get("/stream", stream)])
web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), print=None)
"""

UNKNOWN = '''
"""A WSGI or ASGI server that no hook knows."""
import asyncio, socket, sys
from application import application

is_asgi = sys.argv[3] == "asgi"
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))


def answer_wsgi(path, headers):
    environ = {
        "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": "", "SERVER_NAME": "x",
        "SERVER_PORT": "1", "SERVER_PROTOCOL": "HTTP/1.0", "SERVER_SOFTWARE": "Little/1", "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http", "wsgi.input": __import__("io").BytesIO(), "wsgi.errors": sys.stderr,
        "wsgi.multithread": False, "wsgi.multiprocess": False, "wsgi.run_once": False, **headers,
    }
    started = []
    result = application(environ, lambda status, headers, exc_info=None: started.append((status, headers)))
    body = b"".join(result)
    if hasattr(result, "close"):
        result.close()
    return repr(started[-1]).encode() + body


async def answer_asgi(path, headers):
    sent, received = [], []

    async def receive():
        if received:
            await asyncio.Event().wait()
        received.append(True)
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(repr(message))

    headers = [(name[5:].lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": path,
             "raw_path": path.encode(), "root_path": "", "query_string": b"", "headers": headers, "scheme": "http"}
    try:
        await application(scope, receive, send)
    except ValueError as error:
        sent.append(repr(error))
    return "".join(sent).encode()


for _ in range(int(sys.argv[2]) + 1):
    connection, _ = listener.accept()
    lines = connection.recv(65536).decode().split("\\r\\n")
    if lines[0]:
        headers = {"HTTP_TRACEPARENT": line[13:] for line in lines if line.startswith("traceparent: ")}
        path = lines[0].split()[1]
        connection.sendall(asyncio.run(answer_asgi(path, headers)) if is_asgi else answer_wsgi(path, headers))
    connection.close()
'''

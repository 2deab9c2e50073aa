"""Applications that do what no server expects: every byte and every line of the log is as without us, and each request
is one event with what has come of it.
"""

import re
import socket
import sys
from collections.abc import Callable
from functools import partial

import pytest

from support.children import Children
from support.sandbox import Sandbox
from support.serving import SERVERS, WSGIREF, expected, get, serve, serve_twice, talk


@pytest.fixture(scope="session")
def servers(sandbox_for: Callable[..., Sandbox]) -> Sandbox:
    """An environment with every server and framework, in their newest versions."""
    return sandbox_for(sys.executable, *SERVERS)


COMMANDS = {
    "wsgiref": "server.py {port} COUNT",
    "gunicorn": "-m gunicorn --bind 127.0.0.1:{port} application",
    "gthread": "-m gunicorn --bind 127.0.0.1:{port} --worker-class gthread --threads 4 --keep-alive 30 application",
    "gevent": "-m gunicorn --bind 127.0.0.1:{port} --worker-class gevent application",
    "uvicorn": "-m uvicorn --host 127.0.0.1 --port {port} application:application",
    "hypercorn": "-m hypercorn --bind 127.0.0.1:{port} application:application",
    "asgi": "-m gunicorn --bind 127.0.0.1:{port} --worker-class asgi application",
}


def words_of(name: str, count: int = 0) -> list[str]:
    """Return the command line of a server."""
    return ["python", *COMMANDS[name].replace("COUNT", str(count)).split()]


ODD_WSGI = '''
import io, os, sys
from wsgiref.handlers import SimpleHandler
from monitor_auto import Monitor

HEADERS = [("Content-Type", "text/plain")]


class ByIndex:
    def __getitem__(self, index):
        return [b"a", b"b"][index]


class BadIteration:
    def __iter__(self):
        raise LookupError("no iteration")


class NoLength(list):
    def __len__(self):
        raise TypeError("no length")


def replaced(start_response, late):
    if late:
        yield b"part"
    try:
        raise ValueError("inner")
    except ValueError:
        start_response("503 Sorry", HEADERS, sys.exc_info())
    yield b"replaced"


def lazy(start_response):
    start_response("201 Made", HEADERS)
    yield b"lazy"


def forking():
    yield b"one"
    if os.fork() == 0:
        Monitor.event("in.child")
        os._exit(0)
    os.wait()
    yield b"two"


def inner():
    """Another application, answered in the middle of this one."""
    out = io.BytesIO()
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/inner", "SERVER_NAME": "x", "SERVER_PORT": "1",
               "SERVER_PROTOCOL": "HTTP/1.0"}
    app = lambda environ, start_response: (start_response("200 OK", HEADERS), [b"inner"])[1]
    SimpleHandler(io.BytesIO(), out, sys.stderr, environ).run(app)
    return out.getvalue()[-5:]


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/stop":
        raise StopIteration("odd")
    if path == "/short":
        start_response("OK", HEADERS)
    if path == "/words":
        start_response(status="202 Kept", headers=HEADERS)
        return [b"words"]
    if path == "/lazy":
        return lazy(start_response)
    start_response("200 OK", HEADERS)
    if path == "/twice":
        start_response("500 Never", HEADERS)
    if path.startswith("/replaced"):
        return replaced(start_response, path == "/replaced/late")
    if path == "/fork":
        return forking()
    if path == "/nested":
        return [inner()]
    results = {"/nothing": None, "/number": 7, "/text": ["text"], "/index": ByIndex(), "/iteration": BadIteration(),
               "/length": NoLength([b"x"]), "/empty": [], "/mutated": [b"x"]}
    return results.get(path, [b"fine"])
'''
ODD_WSGI_ENDS = {
    "/short": (500, ("AssertionError", "ValueError")),
    "/words": (202, None),
    "/lazy": (201, None),
    "/twice": (500, ("AssertionError", "AssertionError")),
    "/replaced/early": (503, None),
    "/replaced/late": (200, ("ValueError", "ValueError")),
    "/fork": (200, None),
    "/nested": (200, None),
    "/nothing": (500, ("TypeError", "TypeError")),
    "/number": (500, ("TypeError", "TypeError")),
    "/index": (200, None),
    "/iteration": (500, ("LookupError", "LookupError")),
    "/length": (200, None),
    "/empty": (200, None),
    "/fine": (200, None),
}
"""Path -> status, and the error under wsgiref and under gunicorn."""


@pytest.mark.parametrize("name", ["wsgiref", "gunicorn", "gthread"])
def test_odd_wsgi_applications_are_served_as_ever(name: str, children: Children, servers: Sandbox) -> None:
    """Frameworks, middleware and hand-written applications use every corner of WSGI, and some have bugs."""
    files = {"application.py": ODD_WSGI, "server.py": WSGIREF}
    requests = [get(path) for path in ODD_WSGI_ENDS]
    how = {"stop": None} if name == "wsgiref" else {}
    done = serve_twice(children, words_of(name, len(requests)), requests, python=servers, files=files, **how)
    server = "wsgiref" if name == "wsgiref" else "gunicorn"
    found = {facts["path"]: facts for facts in done.requests}
    assert found.pop("/inner") == expected("wsgiref", "/inner")
    assert len(done.requests) == len(requests) + 1
    for path, (status, errors) in ODD_WSGI_ENDS.items():
        more = {"error": errors[server == "gunicorn"]} if errors else {}
        assert found[path] == expected(server, path, status, **more)
    assert done.span_of("in.child") == {key: done.request("/fork")["span"][key] for key in ("trace_id", "span_id")}


ODD_ASGI = """
import asyncio, os
from monitor_auto import Monitor


async def start(send, status=200):
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})


async def body(send, data=b"", more=False):
    await send({"type": "http.response.body", "body": data, "more_body": more})


class Application:
    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            raise LookupError("no lifespan")
        answer = getattr(self, scope["path"][1:])
        await answer(scope, receive, send)

    async def twice(self, scope, receive, send):
        await start(send)
        await start(send)

    async def after(self, scope, receive, send):
        await start(send)
        await body(send, b"x")
        raise ValueError("after the answer")

    async def group(self, scope, receive, send):
        try:
            await asyncio.gather(self.broken(), self.broken())
        except ValueError as error:
            raise KeyError("group") from error

    async def broken(self):
        raise ValueError("in a task")

    async def tasks(self, scope, receive, send):
        async def answer():
            await start(send)
            await body(send, b"by a task")
        await asyncio.ensure_future(answer())

    async def left(self, scope, receive, send):
        async def pieces():
            try:
                for number in range(5):
                    yield b"%d" % number
            finally:
                Monitor.event("generator.closed")
        await start(send)
        closing = pieces()
        async for piece in closing:
            await body(send, piece, True)
            if piece == b"2":
                break
        await closing.aclose()
        await body(send)

    async def timeout(self, scope, receive, send):
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 0.01)
        except asyncio.TimeoutError:
            await start(send, 504)
            await body(send)

    async def later(self, scope, receive, send):
        first = send({"type": "http.response.start", "status": 201, "headers": []})
        second = send({"type": "http.response.body", "body": b"made before"})
        await first
        await second

    async def closed(self, scope, receive, send):
        never = send({"type": "http.response.start", "status": 299, "headers": []})
        if hasattr(never, "close"):
            never.close()
        await start(send)
        await body(send, b"x")

    async def waiting(self, scope, receive, send):
        first, second = asyncio.ensure_future(receive()), asyncio.ensure_future(receive())
        await first
        await start(send)
        await body(send, b"x")
        second.cancel()

    async def fork(self, scope, receive, send):
        await start(send)
        await body(send, b"one", True)
        if os.fork() == 0:
            Monitor.event("in.child")
            os._exit(0)
        os.wait()
        await body(send, b"two")

    async def fine(self, scope, receive, send):
        await start(send)
        await body(send, b"fine")


application = Application()
"""
ODD_ASGI_ENDS = {
    "/twice": (200, {"uvicorn": "RuntimeError", "hypercorn": "UnexpectedMessageError"}),
    "/group": (500, {"uvicorn": "KeyError", "hypercorn": "KeyError", "gunicorn": "KeyError"}),
    "/tasks": (200, {}),
    "/left": (200, {}),
    "/timeout": (504, {}),
    "/later": (201, {}),
    "/waiting": (200, {}),
    "/fork": (200, {}),
    "/after": (200, {}),
    "/fine": (200, {}),
}
"""Path -> status, and the error under each server. What fails after its answer is an error, and an answered request."""


@pytest.mark.parametrize("name", ["uvicorn", "hypercorn", "asgi"])
def test_odd_asgi_applications_are_served_as_ever(name: str, children: Children, servers: Sandbox) -> None:
    """What goes through our hands are coroutines that programs make, keep, close and await as they like."""
    ends = {**ODD_ASGI_ENDS, **({"/closed": (200, {})} if name == "uvicorn" else {})}
    requests = [get(path) for path in ends]
    done = serve_twice(children, words_of(name), requests, python=servers, files={"application.py": ODD_ASGI})
    server = "gunicorn" if name == "asgi" else name
    found = {facts["path"]: facts for facts in done.requests}
    assert len(found) == len(done.requests) == len(requests)
    for path, (status, errors) in ends.items():
        more = {"error": errors[server]} if server in errors else {}
        assert found[path] == expected(server, path, status, **more)
    assert done.span_of("error.ValueError")["span_id"] == done.request("/after")["span"]["span_id"]
    for event, path in (("in.child", "/fork"), ("generator.closed", "/left")):
        assert done.span_of(event)["span_id"] == done.request(path)["span"]["span_id"]


WAITING = """
async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        raise LookupError("no lifespan")
    while scope["path"] == "/wait" and (await receive())["type"] != "http.disconnect":
        pass
    if scope["path"] != "/wait":
        headers = [(b"content-length", b"1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x"})
"""
PLAIN = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "1")])
    return [b"x"]
"""


def leave(port: int) -> bytes:
    """Ask, and hang up before there is an answer."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(get("/wait").replace(b"Connection: close\r\n", b""))
    return b""


def ask_on_one_connection(port: int) -> bytes:
    """Ask three times on one connection, the last two at once."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        one, two, three = (get(f"/{n}").replace(b"Connection: close\r\n", b"") for n in ("one", "two", "three"))
        answer = b""
        for request, count in ((one, 1), (two + three, 3)):
            connection.sendall(request)
            while answer.count(b"\r\n\r\nx") < count:
                data = connection.recv(65536)
                assert data, answer
                answer += data
        return re.sub(rb"(?i)date: [^\r]*", b"date: now", answer)


@pytest.mark.parametrize("name", ["uvicorn", "hypercorn", "asgi", "gthread"])
def test_each_request_of_a_connection_is_an_event(name: str, children: Children, servers: Sandbox) -> None:
    """Browsers and proxies keep their connections for hours. Who leaves before there is an answer was there, too."""
    files = {"application.py": PLAIN if name == "gthread" else WAITING}
    leaving = [] if name == "gthread" else [leave]
    requests = [ask_on_one_connection, *leaving, get("/last")]
    done = serve_twice(children, words_of(name), requests, python=servers, files=files)
    server = {"asgi": "gunicorn", "gthread": "gunicorn"}.get(name, name)
    gone = [expected(server, "/wait", None, disconnected=True)] if leaving else []
    answered = [expected(server, f"/{path}") for path in ("one", "two", "three", "last")]
    assert sorted(done.requests, key=str) == sorted([*answered, *gone], key=str)
    spans = [event["span"] for event in done.run.named("http.server.request")]
    assert len({span["span_id"] for span in spans}) == len(spans)
    assert len({span["parent_span_id"] for span in spans}) == 1, "none is part of another"


CROWD = """
import threading
from monitor_auto import Monitor

together = threading.Barrier(4)

def application(environ, start_response):
    path = environ["PATH_INFO"]
    def pieces():
        for step in range(3):
            together.wait(30)
            Monitor.event("in.pieces", {"path": path})
            yield b"x"
    together.wait(30)
    Monitor.event("in.request", {"path": path})
    thread = threading.Thread(target=Monitor.event, args=("in.thread", {"path": path}))
    thread.start()
    thread.join()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return pieces()
"""


def crowd(port: int) -> bytes:
    """Send four requests that are only answered together."""
    connections = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(4)]
    for number, connection in enumerate(connections):
        connection.sendall(get(f"/{number}"))
    answers = []
    for connection in connections:
        answers.append(b"")
        while data := connection.recv(65536):
            answers[-1] += data
        connection.close()
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers), answers
    return b""


@pytest.mark.parametrize("name", ["gthread", "gevent"])
def test_requests_that_threads_answer_beside_each_other_are_kept_apart(
    name: str, children: Children, servers: Sandbox
) -> None:
    """A thread, or a greenlet, turns from one request to the next between any two lines of the application."""
    done = serve(children, words_of(name), [crowd], python=servers, files={"application.py": CROWD})
    own = {event["data"]["path"]: event["span"]["span_id"] for event in done.run.named("http.server.request")}
    assert len(own) == len(set(own.values())) == 4
    inside = [event for name in ("in.request", "in.thread", "in.pieces") for event in done.run.named(name)]
    assert len(inside) == 4 * 5
    assert not [event for event in inside if event["span"]["span_id"] != own[event["data"]["path"]]]


MIDDLEWARE = """
import sys
from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse

class Middleware:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if request.path == "/before":
            raise ValueError("before")
        response = self.get_response(request)
        if request.path == "/behind":
            raise LookupError("behind")
        return response

    def process_view(self, request, view, args, kwargs):
        if request.path == "/view":
            raise KeyError("view")

    def process_exception(self, request, error):
        if request.path == "/handled":
            return HttpResponse("handled", status=418)
        if request.path == "/handler":
            raise TypeError("handler")

settings.configure(
    ROOT_URLCONF="application", ALLOWED_HOSTS=["*"], SECRET_KEY="x", MIDDLEWARE=["application.Middleware"]
)

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.urls import include, path, re_path

def fine(request, **given):
    return HttpResponse("fine")

def fail(request):
    raise OSError("in the view")

async def awaited(request):
    raise OSError("in an async view")

paths = {"before": fine, "behind": fine, "view": fine, "handled": fail, "handler": fail, "fail": fail, "wait": awaited}
urlpatterns = [path(name, view) for name, view in paths.items()]
urlpatterns += [path("shop/", include([path("<slug:item>", fine)])), re_path("^old/(?P<n>[0-9]+)$", fine)]
application = get_asgi_application() if "uvicorn" in sys.modules else get_wsgi_application()
"""
MIDDLEWARE_ENDS = {
    "/before": (500, None, "ValueError"),
    "/behind": (500, "/behind", "LookupError"),
    "/view": (500, "/view", "KeyError"),
    "/handled": (418, "/handled", None),
    "/handler": (500, "/handler", "TypeError"),
    "/fail": (500, "/fail", "OSError"),
    "/wait": (500, "/wait", "OSError"),
    "/shop/tea": (200, "/shop/<slug:item>", None),
    "/old/7": (200, "^old/(?P<n>[0-9]+)$", None),
    "/nowhere": (404, None, None),
}


@pytest.mark.parametrize("name", ["gunicorn", "uvicorn"])
def test_errors_of_middleware_are_told_with_their_route(name: str, children: Children, servers: Sandbox) -> None:
    """Where an error comes from in the layers of Django is what makes it hard to find; what was handled is none."""
    files = {"application.py": MIDDLEWARE}
    requests = [get(path) for path in MIDDLEWARE_ENDS]
    done = serve_twice(children, words_of(name), requests, python=servers, files=files)
    assert done.requests == [
        {"server": name, "method": "GET", "path": path}
        | {key: value for key, value in (("route", route), ("status", status), ("error", error)) if value}
        for path, (status, route, error) in MIDDLEWARE_ENDS.items()
    ]
    errors = [event["name"] for event in done.run.events if event["type"] == "error"]
    assert errors == [f"error.{error}" for _, _, error in MIDDLEWARE_ENDS.values() if error]


WEBSOCKETS = {
    "aiohttp": (
        "application.py {port}",
        """
        import sys
        from aiohttp import WSMsgType, web
        from monitor_auto import Monitor

        async def talk(request):
            answer = web.WebSocketResponse()
            await answer.prepare(request)
            if request.match_info["how"] == "error":
                raise ValueError("behind the handshake")
            async for message in answer:
                if message.type == WSMsgType.TEXT:
                    Monitor.event("in.websocket")
                    await answer.send_str(message.data.upper())
            return answer

        application = web.Application()
        application.add_routes([web.get("/ws/{how}", talk)])
        web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), print=None)
        """,
    ),
    "uvicorn": (
        COMMANDS["uvicorn"],
        """
        from fastapi import APIRouter, FastAPI, WebSocket
        from monitor_auto import Monitor

        router = APIRouter(prefix="/ws")

        @router.websocket("/{how}")
        async def talk(connection: WebSocket, how: str):
            await connection.accept()
            if how == "error":
                raise ValueError("behind the handshake")
            async for text in connection.iter_text():
                Monitor.event("in.websocket")
                await connection.send_text(text.upper())

        application = FastAPI()
        application.include_router(router)
        """,
    ),
}


@pytest.mark.parametrize("name", WEBSOCKETS)
def test_websockets_of_frameworks_have_their_route(name: str, children: Children, servers: Sandbox) -> None:
    """Which of the handlers it was that has failed, and how many connections each one has."""
    command, source = WEBSOCKETS[name]
    requests = [
        partial(talk, path="/ws/left", words=["one", "two"]),
        partial(talk, path="/ws/error", words=[]),
    ]
    words = ["python", *command.split()]
    done = serve_twice(
        children, words, requests, python=servers, files={"application.py": re.sub("(?m)^ {8}", "", source)}
    )
    left, error = done.requests if done.requests[0]["path"] == "/ws/left" else reversed(done.requests)
    for facts in (left, error):
        assert (facts["server"], facts["protocol"], facts["status"]) == (name, "websocket", 101)
        assert facts["route"] == "/ws/{how}"
    assert error["error"] == "ValueError" and "error" not in left
    assert left["close_code"] in (1005, 1006)
    inside = [event["span"]["span_id"] for event in done.run.named("in.websocket")]
    assert inside == [done.request("/ws/left")["span"]["span_id"]] * 2

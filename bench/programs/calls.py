"""Times one call that is answered within the process: `calls.py KIND ROUNDS CALLS`. Prints µs a call.

Of all rounds the one that is a tenth from the fastest counts: others on the machine slow down the rest.
"""

import asyncio
import contextlib
import io
import sys
import tempfile
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

URL = "http://inventory.example/items"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Wire:
    """A socket that is answered at once."""

    def sendall(self, data: bytes) -> None:
        pass

    def makefile(self, *args: Any) -> io.BytesIO:
        return io.BytesIO(ANSWER)

    def settimeout(self, seconds: Any) -> None:
        pass

    def close(self) -> None:
        pass


def make_httpx() -> Callable[[], Any]:
    import httpx

    client = httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(200, content=b"{}")))
    return lambda: client.get(URL)


def make_http_client() -> Callable[[], Any]:
    import http.client

    def call() -> None:
        connection = http.client.HTTPConnection("inventory.example")
        connection.sock = Wire()
        connection.request("GET", "/items")
        connection.getresponse().read()

    return call


def make_urllib() -> Callable[[], Any]:
    import http.client
    import urllib.request

    class Connection(http.client.HTTPConnection):
        def connect(self) -> None:
            self.sock = Wire()

    class Handler(urllib.request.HTTPHandler):
        def http_open(self, request: urllib.request.Request) -> Any:
            return self.do_open(Connection, request)

    opener = urllib.request.build_opener(Handler, urllib.request.ProxyHandler({}))
    return lambda: opener.open(URL).read()


def make_requests() -> Callable[[], Any]:
    connections: Any = import_module("urllib3.connection")
    pools: Any = import_module("urllib3.connectionpool")
    connections.HTTPConnection._new_conn = lambda self: Wire()
    pools.is_connection_dropped = lambda connection: False
    session: Any = import_module("requests").Session()
    session.trust_env = False
    return lambda: session.get(URL)


def make_wsgiref() -> Callable[[], Any]:
    from wsgiref.handlers import SimpleHandler

    class Handler(SimpleHandler):
        os_environ: dict[str, str] = {}

    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
        return [b"ok"]

    facts = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/items/5", "SERVER_PROTOCOL": "HTTP/1.1"}
    environ = {**facts, "QUERY_STRING": "", "SERVER_NAME": "x", "SERVER_PORT": "80"}
    return lambda: Handler(io.BytesIO(), io.BytesIO(), sys.stderr, environ).run(application)


def make_aiohttp() -> Callable[[], Awaitable[Any]]:
    aiohttp: Any = import_module("aiohttp")
    protocols: Any = import_module("aiohttp.client_proto")

    class Transport(asyncio.Transport):
        def __init__(self, protocol: Any) -> None:
            super().__init__()
            self.protocol = protocol

        def write(self, data: Any) -> None:
            asyncio.get_running_loop().call_soon(self.protocol.data_received, ANSWER)

        def is_closing(self) -> bool:
            return False

        def close(self) -> None:
            pass

        abort = close

    async def connect(*args: Any, **kwargs: Any) -> Any:
        protocol = protocols.ResponseHandler(asyncio.get_running_loop())
        protocol.connection_made(Transport(protocol))
        return protocol

    connector = type("Connector", (aiohttp.BaseConnector,), {"_create_connection": connect})()
    session = aiohttp.ClientSession(connector=connector)

    async def call() -> None:
        async with session.get(URL) as response:
            await response.read()

    return call


def make_uvicorn() -> Callable[[], Awaitable[Any]]:
    uvicorn: Any = import_module("uvicorn")

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        pass

    config = uvicorn.Config(application, log_config=None)
    config.load()
    headers = [(b"host", b"x"), (b"user-agent", b"y"), (b"accept", b"*/*")]
    facts = {"type": "http", "method": "GET", "path": "/items/5", "query_string": b"", "scheme": "http"}
    facts |= {"client": ("127.0.0.1", 5), "headers": headers}
    return lambda: config.loaded_app({**facts}, receive, send)


def make_flask() -> Callable[[], Any]:
    flask: Any = import_module("flask")
    app = flask.Flask("bench")
    app.get("/items/<int:number>")(lambda number: "ok")
    return lambda: answer(app)


def make_django() -> Callable[[], Any]:
    settings: Any = import_module("django.conf").settings
    settings.configure(ROOT_URLCONF="__main__", ALLOWED_HOSTS=["*"], SECRET_KEY="x")
    import_module("django").setup()
    response: Any = import_module("django.http").HttpResponse
    path: Any = import_module("django.urls").path
    globals()["urlpatterns"] = [path("items/<int:number>", lambda request, number: response("ok"))]
    app = import_module("django.core.handlers.wsgi").WSGIHandler()
    return lambda: answer(app)


def answer(application: Any) -> None:
    """Do what a server does for a request."""
    facts = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/items/5", "SERVER_PROTOCOL": "HTTP/1.1"}
    facts |= {"QUERY_STRING": "", "SERVER_NAME": "x", "SERVER_PORT": "80", "wsgi.url_scheme": "http"}
    result = application({**facts, "wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr}, lambda status, headers: None)
    if b"".join(result) != b"ok":
        raise AssertionError("not answered")
    result.close()


def make_logging() -> Callable[[], Any]:
    import logging

    logging.getLogger().addHandler(logging.NullHandler())
    logger = logging.getLogger("bench")
    return lambda: logger.error("no stock of %s", "tea")


TESTS = """
import pytest, time
seen = []
@pytest.mark.parametrize("number", range({count}))
def test_one(number):
    seen.append(time.perf_counter())
"""


def time_tests(rounds: int, calls: int) -> list[float]:
    """Have pytest run that many tests; how long each took, from one to the next, in rounds."""
    pytest: Any = import_module("pytest")
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        path = Path(folder, "test_bench_of_tests.py")
        path.write_text(TESTS.format(count=rounds * calls), encoding="utf-8")
        pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir", folder, str(path)])
    seen = sys.modules[path.stem].seen[::calls]
    return [(later - earlier) / calls * 1e6 for earlier, later in zip(seen, seen[1:], strict=False)]


KINDS: dict[str, Callable[[], Callable[[], Any]]] = {
    "django": make_django,
    "flask": make_flask,
    "logging": make_logging,
    "httpx": make_httpx,
    "http.client": make_http_client,
    "urllib.request": make_urllib,
    "requests": make_requests,
    "wsgiref": make_wsgiref,
}
ASYNC_KINDS: dict[str, Callable[[], Callable[[], Awaitable[Any]]]] = {
    "aiohttp": make_aiohttp,
    "uvicorn": make_uvicorn,
}


def time_calls(call: Callable[[], Any], calls: int) -> float:
    started = perf_counter()
    for _ in range(calls):
        call()
    return (perf_counter() - started) / calls * 1e6


async def time_awaited(call: Callable[[], Awaitable[Any]], calls: int) -> float:
    started = perf_counter()
    for _ in range(calls):
        await call()
    return (perf_counter() - started) / calls * 1e6


async def measure_awaited(kind: str, rounds: int, calls: int) -> list[float]:
    call = ASYNC_KINDS[kind]()
    return [await time_awaited(call, calls) for _ in range(rounds)]


def main() -> None:
    kind, rounds, calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if kind in ASYNC_KINDS:
        times = asyncio.run(measure_awaited(kind, rounds, calls))
    elif kind == "pytest":
        times = time_tests(rounds, calls)
    else:
        call = KINDS[kind]()
        times = [time_calls(call, calls) for _ in range(rounds)]
    print(sorted(times)[rounds // 10])


main()

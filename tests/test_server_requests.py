"""What servers are asked: one event a request, below the caller's span, and not a byte of the answer is another one."""

import sys
from collections.abc import Callable

import pytest

from support.children import Children
from support.sandbox import Sandbox
from support.serving import ASGI, PARENT, TRACE, TRACEPARENT, WSGI, Served, get, serve_twice

WSGIREF = """
import sys
from wsgiref.simple_server import make_server
from application import application

with make_server("127.0.0.1", int(sys.argv[1]), application) as server:
    for _ in range(int(sys.argv[2]) + 1):  # one connection only tries whether somebody listens
        server.handle_request()
"""
WSGI_REQUESTS = [
    get("/plain?token=hush-query", "X-Secret: hush-header"),
    get("/plain", version="1.0"),
    get("/plain", method="HEAD"),
    get("/missing"),
    get("/generator"),
    get("/file"),
    get("/write"),
    get("/told", TRACEPARENT),
    get("/error"),
    get("/late"),
    get("/silent"),
    get("/bad"),
]


def expected(server: str, path: str, status: int | None = 200, **more: object) -> dict[str, object]:
    """Return the data of a request but for its duration."""
    facts = {"server": server, "method": "GET", "path": path, "status": status, **more}
    return {name: value for name, value in facts.items() if value is not None}


@pytest.fixture(scope="session")
def servers(sandbox_for: Callable[..., Sandbox]) -> Sandbox:
    """An environment with every server and framework, in their newest versions."""
    return sandbox_for(sys.executable, *SERVERS)


SERVERS = (
    *("gunicorn", "uvicorn", "hypercorn", "websockets", "wsproto", "httptools", "aiohttp"),
    *("flask", "django", "starlette", "fastapi"),
)


def test_requests_of_wsgiref_are_recorded(children: Children, sandbox: Sandbox) -> None:
    """Scripts with a small server inside are what nobody else watches; wsgiref prints the tracebacks itself."""
    words = ["python", "server.py", "{port}", str(len(WSGI_REQUESTS))]
    files = {"application.py": WSGI, "server.py": WSGIREF}
    done = serve_twice(children, words, WSGI_REQUESTS, python=sandbox, files=files, stop=None)
    assert done.requests == [
        expected("wsgiref", "/plain"),
        expected("wsgiref", "/plain"),
        expected("wsgiref", "/plain", method="HEAD"),
        expected("wsgiref", "/missing", 404),
        expected("wsgiref", "/generator"),
        expected("wsgiref", "/file"),
        expected("wsgiref", "/write"),
        expected("wsgiref", "/told"),
        expected("wsgiref", "/error", 500, error="ValueError"),
        expected("wsgiref", "/late", error="LookupError"),
        expected("wsgiref", "/silent", 500, error="AssertionError"),
        expected("wsgiref", "/bad", 500, error="AssertionError"),
    ]
    assert_below_the_caller(done)
    names = [event["name"] for event in done.run.events if event["type"] == "error"]
    assert sorted(names) == ["error.AssertionError"] * 2 + ["error.LookupError", "error.ValueError"]


def assert_below_the_caller(done: Served) -> None:
    """The request belongs to the trace that came with it, what it records to the request, and nothing else does."""
    own = done.request("/told")["span"]
    assert own["trace_id"] == TRACE and own["parent_span_id"] == PARENT
    inside = {"trace_id": TRACE, "span_id": own["span_id"]}
    assert done.span_of("in.request") == done.span_of("in.close") == inside
    other = done.request("/missing")["span"]
    assert other["trace_id"] != TRACE and other["parent_span_id"] != own["span_id"]


@pytest.mark.parametrize("worker", ["sync", "gthread"])
def test_requests_of_gunicorn_are_recorded(children: Children, servers: Sandbox, worker: str) -> None:
    """Each kind of worker has a request of its own making; what it logs of an error must be what it logs bare."""
    words = ["python", "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--worker-class", worker, "application"]
    done = serve_twice(children, words, WSGI_REQUESTS, python=servers, files={"application.py": WSGI})
    assert done.requests == [
        expected("gunicorn", "/plain"),
        expected("gunicorn", "/plain"),
        expected("gunicorn", "/plain", method="HEAD"),
        expected("gunicorn", "/missing", 404),
        expected("gunicorn", "/generator"),
        expected("gunicorn", "/file"),
        expected("gunicorn", "/write"),
        expected("gunicorn", "/told"),
        expected("gunicorn", "/error", 500, error="ValueError"),
        expected("gunicorn", "/late", error="LookupError"),
        expected("gunicorn", "/silent", None),  # it sends what is no answer
        expected("gunicorn", "/bad", 500, error="ValueError"),
    ]
    assert_below_the_caller(done)
    errors = sorted(event["data"]["type"] for event in done.run.events if event["type"] == "error")
    assert errors == ["LookupError", "ValueError", "ValueError"]


ASGI_REQUESTS = [
    get("/plain?token=hush-query", "X-Secret: hush-header"),
    get("/plain", version="1.0"),
    get("/plain", method="HEAD"),
    get("/missing"),
    get("/stream"),
    get("/told", TRACEPARENT),
    get("/background"),
    get("/error"),
    get("/late"),
    get("/silent"),
    get("/misuse"),
    get("/wrong"),
]
ASGI_SERVERS = {
    "uvicorn h11": "uvicorn --host 127.0.0.1 --port {port} --http h11 application:application",
    "uvicorn httptools": "uvicorn --host 127.0.0.1 --port {port} --http httptools application:application",
    "hypercorn": "hypercorn --bind 127.0.0.1:{port} application:application",
    "gunicorn": "gunicorn --bind 127.0.0.1:{port} --worker-class asgi application",
}


@pytest.mark.parametrize("name", ASGI_SERVERS)
def test_requests_of_asgi_servers_are_recorded(children: Children, servers: Sandbox, name: str) -> None:
    """Every server has its own way to call the application, and its own words for what it raises."""
    words = ["python", "-m", *ASGI_SERVERS[name].split()]
    done = serve_twice(children, words, ASGI_REQUESTS, python=servers, files={"application.py": ASGI})
    server = name.partition(" ")[0]
    misuse = {"uvicorn": "RuntimeError", "hypercorn": "UnexpectedMessageError"}.get(server)
    misused = {"status": 500, "error": misuse} if misuse else {}  # gunicorn waits for the start
    assert done.requests == [
        expected(server, "/plain"),
        expected(server, "/plain"),
        expected(server, "/plain", method="HEAD"),
        expected(server, "/missing", 404),
        expected(server, "/stream"),
        expected(server, "/told"),
        expected(server, "/background", 202),
        expected(server, "/error", 500, error="ValueError"),
        expected(server, "/late", error="LookupError"),
        expected(server, "/silent", 500),
        expected(server, "/misuse", **misused),
        expected(server, "/wrong", 500, error="TypeError"),
    ]
    own = done.request("/told")["span"]
    assert own["trace_id"] == TRACE and own["parent_span_id"] == PARENT
    assert done.span_of("in.request") == done.span_of("in.thread") == {"trace_id": TRACE, "span_id": own["span_id"]}
    background = done.request("/background")["span"]
    assert done.span_of("in.background")["span_id"] == background["span_id"] != own["span_id"]
    assert done.span_of("error.KeyError")["span_id"] == background["span_id"]
    errors = ["error.KeyError", "error.ValueError", "error.LookupError", "error.TypeError"]
    errors += [f"error.{misuse}"] if misuse else []
    assert sorted(event["name"] for event in done.run.events if event["type"] == "error") == sorted(errors)

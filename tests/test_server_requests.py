"""What servers are asked: one event a request, below the caller's span, and not a byte of the answer is another one."""

import signal
import sys
from collections.abc import Callable
from functools import partial

import pytest

from support.children import Children
from support.sandbox import Sandbox
from support.serving import (
    AIOHTTP,
    ASGI,
    DJANGO,
    FASTAPI,
    FLASK,
    PARENT,
    SERVERS,
    STARLETTE,
    TRACE,
    TRACEPARENT,
    UNKNOWN,
    WSGI,
    WSGIREF,
    Served,
    expected,
    get,
    hang_up,
    serve,
    serve_twice,
    talk,
)

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


@pytest.fixture(scope="session")
def servers(sandbox_for: Callable[..., Sandbox]) -> Sandbox:
    """An environment with every server and framework, in their newest versions."""
    return sandbox_for(sys.executable, *SERVERS)


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
    names = [event["name"] for event in done.run.events if event["name"].startswith("error.")]
    assert sorted(names) == ["error.AssertionError"] * 2 + ["error.LookupError", "error.ValueError"]


def assert_below_the_caller(done: Served) -> None:
    """The request belongs to the trace that came with it, what it records to the request, and nothing else does."""
    own = done.request("/told")["span"]
    assert own["trace_id"] == TRACE and own["parent_span_id"] == PARENT
    inside = {"trace_id": TRACE, "span_id": own["span_id"]}
    assert done.span_of("in.request") == done.span_of("in.close") == inside
    other = done.request("/missing")["span"]
    assert other["trace_id"] != TRACE and other["parent_span_id"] != own["span_id"]


@pytest.mark.parametrize("worker", ["sync", "gthread", "gevent"])
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
    # What gunicorn logs before we hear of it is an error of its log: one exception is one event, whichever.
    told = [event["data"].get("type") for event in done.run.events if event["type"] == "error"]
    assert sorted(filter(None, told)) == ["LookupError", "ValueError", "ValueError"]


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
    assert sorted(event["name"] for event in done.run.events if event["name"].startswith("error.")) == sorted(errors)


FRAMEWORK_REQUESTS = [get("/things/7", TRACEPARENT), get("/error"), get("/stream"), get("/nowhere")]
FRAMEWORKS = {
    "flask on gunicorn": (FLASK, "-m gunicorn --bind 127.0.0.1:{port} application", "/things/<int:number>"),
    "flask on something": (FLASK, "server.py {port} 4 wsgi", "/things/<int:number>"),
    "django on gunicorn": (DJANGO, "-m gunicorn --bind 127.0.0.1:{port} application", "/things/<int:number>"),
    "django on uvicorn": (DJANGO, "-m uvicorn --port {port} application:application", "/things/<int:number>"),
    "django on something": (DJANGO, "server.py {port} 4 wsgi", "/things/<int:number>"),
    "starlette on uvicorn": (STARLETTE, "-m uvicorn --port {port} application:application", "/things/{number:int}"),
    "starlette on something": (STARLETTE, "server.py {port} 4 asgi", "/things/{number:int}"),
    "fastapi on hypercorn": (FASTAPI, "-m hypercorn -b 127.0.0.1:{port} application:application", "/things/{number}"),
    "aiohttp on aiohttp": (AIOHTTP, "application.py {port}", "/things/{number}"),
}


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_requests_have_the_route_of_the_framework(children: Children, servers: Sandbox, name: str) -> None:
    """A thousand paths are one route; and what the framework makes an answer of, no server has ever seen raised."""
    source, command, route = FRAMEWORKS[name]
    framework, _, server = name.partition(" on ")
    if server == "something":
        server = "asgi" if "asgi" in command else "little"
    stop = None if "server.py" in command else signal.SIGTERM
    files = {"application.py": source, "server.py": UNKNOWN}
    words = ["python", *command.split()]
    done = serve_twice(children, words, FRAMEWORK_REQUESTS, python=servers, files=files, stop=stop)
    thing, error, stream, nowhere = done.requests
    assert thing == expected(server, "/things/7", route=route)
    assert error == expected(server, "/error", 500, route="/error", error="ValueError")
    assert stream == expected(server, "/stream", route="/stream")
    assert nowhere == expected(server, "/nowhere", 404)
    own = done.request("/things/7")["span"]
    assert own["trace_id"] == TRACE and own["parent_span_id"] == PARENT
    assert done.span_of("in.request") == {"trace_id": TRACE, "span_id": own["span_id"]}
    assert done.span_of("in.stream")["span_id"] == done.request("/stream")["span"]["span_id"]
    errors = [event for event in done.run.events if event["name"].startswith("error.")]
    assert [(event["name"], event["span"]["span_id"]) for event in errors] == [
        ("error.ValueError", done.request("/error")["span"]["span_id"])
    ]


def test_what_is_no_http_is_no_request(children: Children, servers: Sandbox) -> None:
    """Port scanners and TLS on the wrong port are refused by the server, before the application is asked."""
    words = ["python", "application.py", "{port}"]
    requests = [b"nonsense\r\n\r\n", get("/things/7", method="BREW"), get("/things/7")]
    done = serve_twice(children, words, requests, python=servers, files={"application.py": AIOHTTP})
    assert [answer[9:12] for answer in done.answers] == [b"400", b"400", b"200"]
    assert done.requests == [expected("aiohttp", "/things/7", route="/things/{number}")]


@pytest.mark.parametrize("name", ["uvicorn websockets-sansio", "uvicorn wsproto", "hypercorn", "gunicorn"])
def test_a_websocket_connection_is_one_event(children: Children, servers: Sandbox, name: str) -> None:
    """A connection lasts for hours, and what is recorded meanwhile has to say which one it belongs to."""
    server, _, protocol = name.partition(" ")
    command = ASGI_SERVERS["uvicorn h11" if protocol else name] + (f" --ws {protocol}" if protocol else "")
    requests = [
        partial(talk, path="/ws/talk", words=["one", "close"]),
        partial(talk, path="/ws/refused", words=[]),
        partial(talk, path="/ws/error", words=[]),
        partial(talk, path="/ws/left", words=["one"]),
    ]
    done = serve_twice(
        children, ["python", "-m", *command.split()], requests, python=servers, files={"application.py": ASGI}
    )
    found = {facts["path"]: facts for facts in done.requests}
    assert len(done.requests) == len(found) == 4
    for facts in found.values():
        assert (facts.pop("server"), facts.pop("protocol")) == (server, "websocket") and "method" not in facts
    assert found["/ws/talk"] == {"path": "/ws/talk", "status": 101, "close_code": 4000}
    assert found["/ws/refused"] == {"path": "/ws/refused", "status": 403}
    assert found["/ws/error"] == {"path": "/ws/error", "status": 101, "error": "ValueError"}
    assert found["/ws/left"]["status"] == 101 and found["/ws/left"]["close_code"] in (1005, 1006)
    inside = [event["span"]["span_id"] for event in done.run.named("in.websocket")]
    assert inside[:2] == [done.request("/ws/talk")["span"]["span_id"]] * 2
    assert [event["name"] for event in done.run.events if event["name"].startswith("error.")] == ["error.ValueError"]


def test_clients_that_hang_up_are_told_from_errors(children: Children, servers: Sandbox) -> None:
    """They come by the hundred on a bad day, and none of them is a bug of the program."""
    for name, command in HANGING_UP.items():
        files = {"application.py": ENDLESS_ASGI if "application:" in command else ENDLESS}
        spool = children.folder / f"spool-{name}"
        spool.mkdir(mode=0o700)
        words = ["python", *command.split()]
        request = [partial(hang_up, request=get("/endless"), count=100), get("/after")]
        done = serve(children, words, request, python=servers, files=files, spool=spool)
        (left,) = [facts for facts in done.requests if facts["path"] == "/endless"]
        assert left == expected(name, "/endless", disconnected=True), name
        assert not [event for event in done.run.events if event["name"].startswith("error.")], name
        assert expected(name, "/after") in done.requests


HANGING_UP = {
    "gunicorn": "-m gunicorn --bind 127.0.0.1:{port} application",
    "uvicorn": "-m uvicorn --port {port} application:application",
    "hypercorn": "-m hypercorn --bind 127.0.0.1:{port} application:application",
    "wsgiref": "application.py {port}",
}
ENDLESS = """
import itertools, sys

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return itertools.repeat(b"x" * 10000) if environ["PATH_INFO"] == "/endless" else [b"after"]

if __name__ == "__main__":
    from wsgiref.simple_server import make_server
    make_server("127.0.0.1", int(sys.argv[1]), application).serve_forever()
"""
ENDLESS_ASGI = """
import asyncio

async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError("no lifespan")
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/endless":
        gone = asyncio.ensure_future(receive())
        while not gone.done():
            await send({"type": "http.response.body", "body": b"x" * 10000, "more_body": True})
            await asyncio.sleep(0)
        return
    await send({"type": "http.response.body", "body": b"after"})
"""


@pytest.mark.parametrize("settings", [{"MONITOR_SKIP": "wsgiref"}, {"MONITOR_INSTRUMENT": "httpx"}])
def test_hooks_of_servers_can_be_switched_off(children: Children, sandbox: Sandbox, settings: dict[str, str]) -> None:
    """Whoever has a tracer of his own for this does not want it twice."""
    words = ["python", "server.py", "{port}", "1"]
    files = {"application.py": WSGI, "server.py": WSGIREF}
    done = serve(children, words, [get("/told")], python=sandbox, files=files, stop=None, env=settings)
    assert done.requests == [] and done.span_of("in.request") == {}


UNDONE = """
    import importlib, sys
    before, hooks = {}, {}
    for name, owner, attribute, hook in TARGETS:
        module = importlib.import_module(name)
        owner = getattr(module, owner) if owner else module
        before[name, attribute] = owner, vars(owner)[attribute]
        hooks[hook] = None
    for hook in hooks:
        hooks[hook] = importlib.import_module("monitor_auto.hooks." + hook)
        hooks[hook].uninstall()
    for (name, attribute), (owner, ours) in before.items():
        after = vars(owner)[attribute]
        real = getattr(ours, "__wrapped__", None)
        print(name, attribute, after is not ours, real is None or after is real, type(after).__module__)
"""
TARGETS = [
    ("wsgiref.handlers", "BaseHandler", "run", "wsgiref"),
    ("wsgiref.handlers", "BaseHandler", "status", "wsgiref"),
    ("wsgiref.handlers", "BaseHandler", "handle_error", "wsgiref"),
    ("gunicorn.workers.sync", "SyncWorker", "handle_request", "gunicorn"),
    ("gunicorn.workers.gthread", "ThreadWorker", "handle_request", "gunicorn"),
    ("gunicorn.http.wsgi", "", "create", "gunicorn"),
    ("uvicorn.config", "Config", "load", "uvicorn"),
    ("hypercorn.app_wrappers", "ASGIWrapper", "__call__", "hypercorn"),
    ("aiohttp.web_protocol", "RequestHandler", "_handle_request", "aiohttp_web"),
    ("flask.app", "Flask", "full_dispatch_request", "flask"),
    ("django.core.handlers.base", "BaseHandler", "resolve_request", "django"),
    ("starlette.routing", "Route", "handle", "starlette"),
]


def test_hooks_of_servers_are_undone(children: Children, servers: Sandbox) -> None:
    """What cannot be taken back cannot be ruled out when something else is to blame."""
    done = children.run(UNDONE.replace("TARGETS", repr(TARGETS)), python=servers)
    lines = done.stdout.decode().splitlines()
    assert len(lines) == len(TARGETS), done.stderr.decode()
    for line, (name, _, attribute, _) in zip(lines, TARGETS, strict=True):
        assert line.startswith(f"{name} {attribute} True True "), line
        assert "monitor_auto" not in line.split()[-1] and "wrapt" not in line.split()[-1], line


def test_requests_of_uwsgi_are_recorded_by_the_framework(children: Children, servers: Sandbox) -> None:
    """uWSGI calls applications from C: there is nothing of its own to watch."""
    words = [str(servers.bin / "uwsgi"), "--http-socket", "127.0.0.1:{port}", "--die-on-term"]
    words += ["--module", "application:application"]
    requests = [get("/things/7", TRACEPARENT), get("/error"), get("/stream")]
    bare = serve(children, words, requests, python=servers, files={"application.py": FLASK}, bare=True)
    done = serve(children, words, requests, python=servers, files={"application.py": FLASK})
    assert done.answers == bare.answers
    assert done.requests == [
        expected("uwsgi", "/things/7", route="/things/<int:number>"),
        expected("uwsgi", "/error", 500, route="/error", error="ValueError"),
        expected("uwsgi", "/stream", route="/stream"),
    ]
    assert done.request("/things/7")["span"]["parent_span_id"] == PARENT

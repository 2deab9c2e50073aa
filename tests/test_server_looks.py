"""Hooks of servers and frameworks, for whoever looks closely: what an application is given, what has been replaced,
what another tool has put there, and what was never meant to be asked.
"""

import signal
import sys
from collections.abc import Callable
from functools import partial
from textwrap import dedent

import pytest

from support.children import Children
from support.sandbox import Sandbox
from support.serving import TRACE, TRACEPARENT, get, serve, serve_twice, talk
from support.web import Web

SERVERS = (
    *("gunicorn", "uvicorn", "hypercorn", "websockets", "wsproto", "httptools", "aiohttp"),
    *("flask", "django", "starlette", "fastapi"),
)
ASGI_SERVERS = {
    "uvicorn": "-m uvicorn --host 127.0.0.1 --port {port} application:application",
    "hypercorn": "-m hypercorn --bind 127.0.0.1:{port} application:application",
    "gunicorn": "-m gunicorn --bind 127.0.0.1:{port} --worker-class asgi application",
}


@pytest.fixture(scope="session")
def servers(sandbox_for: Callable[..., Sandbox]) -> Sandbox:
    """An environment with every server and framework, in their newest versions."""
    return sandbox_for(sys.executable, *SERVERS)


CURIOUS = """
import asyncio, inspect, json, pickle, re, types


def look(thing):
    facts = [type(thing).__name__, isinstance(thing, types.MethodType), callable(thing)]
    facts += [inspect.iscoroutinefunction(thing), asyncio.iscoroutinefunction(thing), inspect.ismethod(thing)]
    facts += [thing.__class__.__name__, thing.__module__, thing.__doc__]
    facts += [getattr(thing, "__name__", 0), getattr(thing, "__qualname__", 0), getattr(thing, "func", 0).__class__]
    facts += [str(inspect.signature(thing)), re.sub("0x[0-9a-f]+", "0x", repr(thing))]
    facts += [hasattr(thing, "__wrapped__"), hasattr(thing, "real"), getattr(thing, "nonsense", "no")]
    return facts[1:]  # a stand-in has a type of its own


async def attempt(call, *args, **more):
    try:
        return repr(type(await call(*args, **more)))
    except Exception as error:
        frames, trace = [], error.__traceback__
        while trace is not None:
            frames.append(trace.tb_frame.f_code.co_name)
            trace = trace.tb_next
        return [type(error).__name__, str(error), frames[1:], repr(error.__context__), repr(error.__cause__)]


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError("no lifespan")
    said = [look(receive), look(send)]
    said += [await attempt(send), await attempt(send, 1, 2), await attempt(receive, 1), await attempt(send, "text")]
    awaitable = receive()
    said += [inspect.isawaitable(awaitable), inspect.iscoroutine(awaitable), asyncio.iscoroutine(awaitable)]
    said += [awaitable.__name__, awaitable.__qualname__, awaitable.cr_frame is not None, awaitable.cr_running]
    said.append(await awaitable)
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}
    sending = send(start)
    said += [inspect.iscoroutine(sending), type(sending).__name__]
    await sending
    body = json.dumps(said, default=repr).encode()
    await send(message={"type": "http.response.body", "body": body} if scope["path"] == "/named" else
               {"type": "http.response.body", "body": body})
"""


@pytest.mark.parametrize("name", ASGI_SERVERS)
def test_what_an_application_is_given_looks_like_the_servers_own(
    name: str, children: Children, servers: Sandbox
) -> None:
    """Frameworks ask whether `send` is a coroutine function; whoever debugs prints it, and reads tracebacks."""
    words = ["python", *ASGI_SERVERS[name].split()]
    requests = [get("/plain"), get("/named")]
    done = serve_twice(children, words, requests, python=servers, files={"application.py": CURIOUS})
    assert b"nonsense" not in done.answers[0] and b'"no"' in done.answers[0]
    assert [facts["path"] for facts in done.requests] == ["/plain", "/named"]
    assert [facts["status"] for facts in done.requests] == [200, 200]


LOOKS = """
    import asyncio, importlib, inspect, pickle
    for name, owner, attribute in PLACES:
        module = importlib.import_module(name)
        kind = getattr(module, owner) if owner else module
        method = getattr(kind, attribute)
        print(name, owner, attribute, inspect.signature(method), method.__doc__, method.__name__, method.__qualname__)
        print(method.__module__, inspect.isfunction(method), inspect.iscoroutinefunction(method), callable(method))
        print(asyncio.iscoroutinefunction(method), inspect.getsourcelines(method)[1], inspect.unwrap(method).__code__)
        print(inspect.getsource(method) == inspect.getsource(inspect.unwrap(method)), inspect.isroutine(method))
        print(pickle.loads(pickle.dumps(kind)) is kind if owner else "", attribute in dir(kind))
        if owner:
            mine = type("Mine", (kind,), {attribute: lambda self, *args, **more: ("mine", args, more)})
            print(mine.__mro__[1] is kind, getattr(object.__new__(mine), attribute)(1, x=2))
            print(getattr(super(mine, object.__new__(mine)), attribute).__func__ is not None)
    from monitor_auto import Monitor
    Monitor.event("all.looked")
"""
PLACES = [
    ("wsgiref.handlers", "BaseHandler", "run"),
    ("gunicorn.workers.sync", "SyncWorker", "handle_request"),
    ("gunicorn.workers.gthread", "ThreadWorker", "handle_request"),
    ("gunicorn.http.wsgi", "", "create"),
    ("uvicorn.config", "Config", "load"),
    ("hypercorn.app_wrappers", "ASGIWrapper", "__call__"),
    ("aiohttp.web_protocol", "RequestHandler", "_handle_request"),
    ("aiohttp.web_protocol", "RequestHandler", "handle_error"),
    ("flask.app", "Flask", "__call__"),
    ("flask.app", "Flask", "full_dispatch_request"),
    ("flask.app", "Flask", "handle_exception"),
    ("django.core.handlers.wsgi", "WSGIHandler", "__call__"),
    ("django.core.handlers.base", "BaseHandler", "resolve_request"),
    ("starlette.applications", "Starlette", "__call__"),
    ("starlette.routing", "Route", "handle"),
    ("starlette.routing", "Mount", "handle"),
]


@pytest.mark.parametrize("place", PLACES, ids=[" ".join(place) for place in PLACES])
def test_what_was_replaced_looks_as_it_did(place: tuple[str, str, str], children: Children, servers: Sandbox) -> None:
    """Documentation generators, debuggers and subclasses look at the methods that we have replaced."""
    done = children.twin(dedent(LOOKS).replace("PLACES", repr([place])), python=servers)
    assert done.status == 0, done.stderr.decode()
    assert done.named("all.looked") and done.named("session.end")[0]["data"]["hooks"]


BY_OTHERS = """
import flask, wrapt
from werkzeug.serving import WSGIRequestHandler, make_server
import sys

class Application(flask.Flask):
    def __call__(self, environ, start_response):
        environ["by.a.subclass"] = "1"
        return super().__call__(environ, start_response)

def theirs(wrapped, instance, args, kwargs):
    print("theirs", wrapped.__name__, file=sys.stderr)
    return wrapped(*args, **kwargs)

wrapt.wrap_function_wrapper(flask.Flask, "full_dispatch_request", theirs)
real = flask.Flask.__call__
def patched(self, environ, start_response):
    print("patched", file=sys.stderr)
    return real(self, environ, start_response)
flask.Flask.__call__ = patched

application = Application(__name__)

@application.get("/things/<int:number>")
def thing(number):
    return flask.request.environ["by.a.subclass"]

@application.get("/error")
def error():
    raise ValueError("not caught")
"""


def test_what_another_tool_has_put_there_goes_on_working(children: Children, servers: Sandbox) -> None:
    """A tracer, a profiler and we may all want the same method; each has to get its call, and ours is one event."""
    words = ["python", "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "application"]
    requests = [get("/things/7"), get("/error")]
    done = serve_twice(children, words, requests, python=servers, files={"application.py": BY_OTHERS})
    assert [(facts["path"], facts["status"], facts["route"]) for facts in done.requests] == [
        ("/things/7", 200, "/things/<int:number>"),
        ("/error", 500, "/error"),
    ]
    assert done.run.stderr.count(b"theirs full_dispatch_request") == done.run.stderr.count(b"patched") == 2


CALLING = """
import http.client, sys
from wsgiref.simple_server import make_server

def call():
    connection = http.client.HTTPConnection("127.0.0.1", WEB)
    connection.request("GET", "/called")
    connection.getresponse().read()
    connection.close()

def wsgi(environ, start_response):
    call()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"called"]

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError("no lifespan")
    call()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"called"})

application = asgi if len(sys.argv) > 1 and "asgi" in " ".join(sys.argv) or "uvicorn" in sys.modules else wsgi
if __name__ == "__main__":
    with make_server("127.0.0.1", int(sys.argv[1]), wsgi) as server:
        server.serve_forever()
"""
CALLERS = {
    "wsgiref": "application.py {port}",
    "gunicorn": "-m gunicorn --bind 127.0.0.1:{port} application",
    "uvicorn": "-m uvicorn --host 127.0.0.1 --port {port} application:application",
    "hypercorn": "-m hypercorn --bind 127.0.0.1:{port} application:asgi",
}
LONG = ",".join(f"vendor{number}=" + "x" * 20 for number in range(30))
STATES = {
    "one": (["tracestate: vendor=1,other=2"], "vendor=1,other=2"),
    "several": (["tracestate: vendor=1", "tracestate: other=2"], "vendor=1,other=2"),
    "none": ([], None),
    "nonsense": (["tracestate: nonsense"], None),
    "long": (["tracestate: " + LONG], LONG[:512].rpartition(",")[0]),
}


@pytest.mark.parametrize("name", CALLERS)
def test_state_of_an_incoming_trace_is_passed_on(name: str, children: Children, servers: Sandbox, web: Web) -> None:
    """A tracer that comes behind us in the chain finds what it had told itself; it belongs to that trace alone."""
    files = {"application.py": CALLING.replace("WEB", str(web.port))}
    words = ["python", *CALLERS[name].split()]
    requests = [get("/x", TRACEPARENT, *lines) for lines, _ in STATES.values()]
    requests += [get("/x", "tracestate: vendor=1"), get("/x", "traceparent: nonsense", "tracestate: vendor=1")]
    done = serve(children, words, requests, python=servers, files=files)
    passed = [(headers["traceparent"], headers.get("tracestate")) for _, _, headers in web.requests]
    known = {how: state.replace(", ", ",") if state else state for how, (_, state) in zip(STATES, passed, strict=False)}
    assert known == {how: expected for how, (_, expected) in STATES.items()}
    assert all(trace[3:35] == TRACE for trace, _ in passed[: len(STATES)])
    assert all(trace[3:35] != TRACE and state is None for trace, state in passed[len(STATES) :])
    spans = [event["span"] for event in done.run.named("http.client.request")]
    servings = [event["span"]["span_id"] for event in done.run.named("http.server.request")]
    assert [span["parent_span_id"] for span in spans] == servings
    assert [trace[36:52] for trace, _ in passed] == [span["span_id"] for span in spans]


BACKGROUND = """
import asyncio

async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError("no lifespan")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"sent"})
    if scope["path"] == "/background":
        await asyncio.Event().wait()
"""


def test_request_with_a_long_background_task_is_recorded_when_it_is_answered(
    children: Children, servers: Sandbox
) -> None:
    """A task that goes on for hours must not hide the request; nor is it lost with the process."""

    def answered(port: int) -> bytes:
        import socket

        with socket.create_connection(("127.0.0.1", port), 60) as connection:
            connection.sendall(get("/background"))
            answer = b""
            while b"sent" not in answer:
                answer += connection.recv(4096)
        return b""

    words = ["python", *ASGI_SERVERS["uvicorn"].split()]
    files = {"application.py": BACKGROUND}
    # The loop has turned to the second request: so the first one waits, with its answer on the way.
    done = serve(children, words, [answered, get("/after")], python=servers, files=files, stop=signal.SIGKILL)
    assert (done.requests[0]["path"], done.requests[0]["status"]) == ("/background", 200)
    assert "session.end" not in done.run.names


ODD = """
import asyncio, sys
from application import application

class Scope(dict):
    pass

class Text(str):
    pass

async def receive(*args):
    return MESSAGES.pop(0) if MESSAGES else {"type": "http.disconnect"}

async def send(*args, **more):
    sent.append((args, more))

def scope(**more):
    return {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": "/x",
            "raw_path": b"/x", "root_path": "", "query_string": b"", "headers": [], "scheme": "http", **more}

SCOPES = [
    scope(), Scope(scope()), {}, None, [], scope(headers=None), scope(headers=[("traceparent", "text")]),
    scope(headers=[(b"traceparent", b"\\xff" * 55)]), scope(headers=[(b"traceparent", b"00-x-y-01")] * 2),
    scope(headers=[(b"only one",)]), scope(headers=7), scope(headers=iter([(b"host", b"x")])),
    scope(path=None), scope(path=b"/bytes\\xff"), scope(path=Text("/text?x=hush")), scope(method=7), scope(method=None),
    scope(path="/" + "x" * 5000), scope(path="/\\ud800"), scope(path=["/unhashable"]), scope(type="unknown"),
    scope(path="/AKIAIOSFODNN7EXAMPLE"),
]

async def main():
    global sent, MESSAGES
    for given in SCOPES:
        sent, MESSAGES = [], [None, 7, {"type": 7}, {}, {"type": "http.request", "body": b""}]
        try:
            result = await application(given, receive, send)
        except Exception as error:
            result = type(error), str(error)
        print(result, sent)
    for args, more in [((), {}), ((scope(),), {}), ((scope(), receive), {}), ((scope(), receive, send, 1), {}),
                       ((), {"scope": scope(), "receive": receive, "send": send}), ((scope(), None, None), {})]:
        try:
            print(await application(*args, **more))
        except Exception as error:
            print(type(error), error)

asyncio.run(main())
"""
ODD_APPLICATION = """
from starlette.applications import Starlette

class Application(Starlette):
    async def build(self, scope, receive, send):
        for message in (None, 7, {}, {"type": []}, {"type": "http.response.start", "status": "odd"}):
            await send(message)
        await send({"type": "http.response.start", "status": 201, "headers": []})
        print([await receive() for _ in range(6)])
        await send({"type": "http.response.body", "body": b"x"})
        return "returned"

    def build_middleware_stack(self):
        return self.build

application = Application()
"""


def test_hostile_scopes_and_messages_are_handed_on_as_they_are(children: Children, servers: Sandbox) -> None:
    """A server of somebody's own, a test client, a fuzzer: what is wrong with their calls the application says."""
    folder = children.folder / "odd"
    folder.mkdir()
    (folder / "application.py").write_text(ODD_APPLICATION, encoding="utf-8")
    source = "import sys\nsys.path.insert(0, '.')\n" + ODD
    done = children.twin(source, python=servers, cwd=folder, announce_internal_errors=True)
    assert done.status == 0, done.stderr.decode()
    paths = [event["data"]["path"] for event in done.named("http.server.request")]
    assert paths[0] == "/x" and "/[REDACTED]" in paths and "/text" in paths
    assert all(len(path) <= 1000 and "hush" not in path for path in paths)
    assert b"hush" not in b"".join(path.read_bytes() for path in done.spool.glob("*.jsonl"))


COUNTED = {
    "uvicorn": ("STARLETTE", "-m uvicorn --host 127.0.0.1 --port {port} application:application", {"uvicorn": 3}),
    "gunicorn": ("FLASK", "-m gunicorn --bind 127.0.0.1:{port} application", {"gunicorn": 3}),
    "something": ("FLASK", "server.py {port} 3 wsgi", {"flask": 3}),
}


@pytest.mark.parametrize("name", COUNTED)
def test_what_a_hook_of_a_server_has_recorded_is_counted(name: str, children: Children, servers: Sandbox) -> None:
    """A hook that shows 0 looks broken; one that only gives the route has a part in the event, too."""
    from support import serving

    source, command, counts = COUNTED[name]
    files = {"application.py": getattr(serving, source), "server.py": serving.UNKNOWN}
    requests = [get("/things/7"), get("/stream"), get("/nowhere")]
    stop = None if name == "something" else signal.SIGINT
    done = serve(children, ["python", *command.split()], requests, python=servers, files=files, stop=stop)
    assert len(done.requests) == 3
    found = [event["data"].get("hooks", {}) for event in done.run.named("session.end")]
    (hooks,) = [hooks for hooks in found if any(hooks.get(server) for server in counts)]
    framework = source.lower()
    assert {server: hooks[server] for server in counts} == counts
    assert hooks[framework] == (3 if name == "something" else 2), "the two whose routes it knew"


def test_websocket_is_handed_on_with_every_message(children: Children, servers: Sandbox) -> None:
    """Connections that stay for hours go through our hands message by message: none may be changed, held or lost."""
    from support.serving import ASGI

    words = ["python", *ASGI_SERVERS["uvicorn"].split()]
    sent = [f"word {number}" for number in range(200)] + ["close"]
    requests = [partial(talk, path="/ws/talk", words=sent)]
    done = serve_twice(children, words, requests, python=servers, files={"application.py": ASGI})
    assert b"WORD 199" in done.answers[0]
    assert [(facts["path"], facts["close_code"]) for facts in done.requests] == [("/ws/talk", 4000)]
    assert len(done.run.named("in.websocket")) == 201


def test_requests_beside_each_other_keep_their_spans_apart(children: Children, servers: Sandbox) -> None:
    """A server answers many at once: what is recorded in one must never be told of another."""
    source = """
        import asyncio
        from monitor_auto import Monitor

        async def application(scope, receive, send):
            if scope["type"] == "lifespan":
                raise RuntimeError("no lifespan")
            for step in range(5):
                Monitor.event("in.request", {"path": scope["path"]})
                await asyncio.sleep(0)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x"})
            await asyncio.sleep(0)
            Monitor.event("after.answer", {"path": scope["path"]})
    """

    def crowd(port: int) -> bytes:
        import socket

        connections = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(40)]
        for number, connection in enumerate(connections):
            connection.sendall(get(f"/crowd/{number}"))
        for connection in connections:
            while connection.recv(65536):
                pass
            connection.close()
        return b""

    words = ["python", *ASGI_SERVERS["uvicorn"].split()]
    done = serve(children, words, [crowd], python=servers, files={"application.py": dedent(source)})
    own = {event["data"]["path"]: event["span"]["span_id"] for event in done.run.named("http.server.request")}
    assert len(own) == len(set(own.values())) == 40
    inside = done.run.named("in.request") + done.run.named("after.answer")
    assert len(inside) == 40 * 6
    assert not [event for event in inside if event["span"]["span_id"] != own[event["data"]["path"]]]


UNCLOSED = """
    import os
    from flask import Flask, Response, stream_with_context
    from monitor_auto import Monitor
    app = Flask("some")
    @app.get("/plain")
    def plain():
        Monitor.event("in.plain")
        return "plain"
    @app.get("/stream")
    def stream():
        def pieces():
            Monitor.event("in.stream")
            yield "one"
            yield "two"
        return Response(stream_with_context(pieces()))
    @app.get("/broken")
    def broken():
        def pieces():
            yield "one"
            raise ValueError("in the middle")
        return Response(pieces())
    client = app.test_client()
    first = client.get("/plain")
    print(first.status)
    Monitor.event("after")
    second = client.get("/stream")
    third = client.get("/plain")
    del first
    print(second.text, third.status)
    try:
        print(client.get("/broken").text)
    except ValueError as error:
        print(error)
    with client.get("/plain") as closed:
        print(closed.text)
    if os.fork() == 0:
        del second, third
        raise SystemExit
    print(os.waitstatus_to_exitcode(os.wait()[1]))
    fourth = client.get("/stream")
"""


def test_requests_of_a_test_client_that_closes_nothing_are_recorded(children: Children, servers: Sandbox) -> None:
    """Tests of web applications read a response and forget it: each is a request, and what comes after is not part of
    it; a forked child has not made them.
    """
    done = children.twin(UNCLOSED, python=servers)
    assert done.status == 0, done.stderr
    found = [(event["data"]["path"], event["data"].get("error")) for event in done.named("http.server.request")]
    assert sorted(found) == sorted([("/plain", None)] * 3 + [("/stream", None)] * 2 + [("/broken", "ValueError")])
    (parent, child) = sorted({event["session"]["id"] for event in done.events})
    assert {event["session"]["id"] for event in done.named("http.server.request")} == {parent}
    spans = {event["span"]["span_id"]: event["data"]["path"] for event in done.named("http.server.request")}
    assert "span" not in done.named("after")[0]
    assert [spans[event["span"]["span_id"]] for event in done.named("in.plain")] == ["/plain"] * 3
    assert [spans[event["span"]["span_id"]] for event in done.named("in.stream")] == ["/stream"] * 2
    assert all("parent_span_id" in event["span"] for event in done.named("http.server.request"))
    parents = {event["span"]["parent_span_id"] for event in done.named("http.server.request")}
    assert len(parents) == 1, "none below another"


ASKING_ITSELF = """
    import asyncio, flask, httpx
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Mount, Route

    app = flask.Flask("some")
    @app.get("/inner/<int:number>")
    def flask_inner(number):
        return "inner"
    @app.get("/outer")
    def flask_outer():
        with app.test_client().get("/inner/7") as answer:
            return "flask " + answer.text
    with app.test_client().get("/outer") as answer:
        print(answer.text)

    async def ask(path):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url="http://x") as client:
            return (await client.get(path)).text
    async def inner(request):
        return PlainTextResponse("inner")
    async def outer(request):
        return PlainTextResponse("starlette " + await ask("/mount/inner/7"))
    routes = [Route("/inner/{number:int}", inner), Route("/outer/{number:int}", outer)]
    asgi = Starlette(routes=[Mount("/mount", routes=routes)])
    print(asyncio.run(ask("/mount/outer/1")))
"""


def test_route_is_that_of_the_request_and_not_of_what_it_asks_the_application_itself(
    children: Children, servers: Sandbox
) -> None:
    """Some applications call themselves without a server, to put several answers into one."""
    done = children.twin(ASKING_ITSELF, python=servers)
    assert done.stdout == b"flask inner\nstarlette inner\n", done.stderr
    found = [(event["data"]["path"], event["data"]["route"]) for event in done.named("http.server.request")]
    assert found == [("/outer", "/outer"), ("/mount/outer/1", "/mount/outer/{number:int}")]

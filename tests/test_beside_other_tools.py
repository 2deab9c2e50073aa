"""Libraries that another tool has patched, too: OpenTelemetry below us and on top of us, and put back in any order."""

import sys
from collections.abc import Callable

import pytest

from support.children import Children, Run
from support.clients import NAME, requests_of
from support.sandbox import Sandbox
from support.web import Web

TRACERS = [
    "opentelemetry-sdk",
    *(
        "opentelemetry-instrumentation-" + name
        for name in ("aiohttp-client", "flask", "httpx", "logging", "requests", "starlette", "urllib", "urllib3")
    ),
    *("aiohttp", "flask", "httpx", "requests", "starlette"),
]


@pytest.fixture(scope="module")
def traced(sandbox_for: Callable[..., Sandbox]) -> Sandbox:
    """An environment with OpenTelemetry and what it traces."""
    return sandbox_for(sys.executable, *TRACERS)


# "above": they patch what we have patched. "below": we find their patch in place. "undone": ours is taken away from
# below theirs. A bare interpreter has nothing of ours to take away.
HEAD = """
    import importlib, os, sys, traceback
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    kept = InMemorySpanExporter()
    trace.set_tracer_provider(TracerProvider())
    trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(kept))
    base, order = sys.argv[1:]
    is_on = "MONITOR_ENDPOINT" in os.environ

    def patch(instrumentor, hook, target, install="install"):
        module = importlib.import_module(target)
        hook = is_on and importlib.import_module("monitor_auto.hooks." + hook)
        if hook and order == "below":
            hook.uninstall()
        instrumentor.instrument()
        if hook and order == "below":
            getattr(hook, install)(module)
        if hook and order == "undone":
            hook.uninstall()

    def show():
        for span in kept.get_finished_spans():
            attributes = span.attributes
            print(span.name, span.kind.name, attributes.get("http.status_code"), attributes.get("http.route"),
                  attributes.get("error.type"))

    def attempt(call):
        try:
            print(call())
        except Exception:
            traceback.print_exc()
"""
REQUESTS = """
    from opentelemetry.instrumentation.requests import RequestsInstrumentor
    from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor
    import requests
    patch(RequestsInstrumentor(), "urllib3", "urllib3.connectionpool")
    patch(URLLib3Instrumentor(), "urllib3", "urllib3.connectionpool")
    attempt(lambda: requests.get(base + "/items?hush").status_code)
    attempt(lambda: requests.get(base + "/status/503").status_code)
    attempt(lambda: requests.get("http://127.0.0.1:1/refused"))
    show()
    RequestsInstrumentor().uninstrument()
    URLLib3Instrumentor().uninstrument()
    attempt(lambda: requests.get(base + "/after").status_code)
"""
HTTPX = """
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
    import asyncio, httpx
    patch(HTTPXClientInstrumentor(), "httpx", "httpx")
    async def get(url):
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(url)).status_code
    client = httpx.Client(trust_env=False)
    attempt(lambda: client.get(base + "/items?hush").status_code)
    attempt(lambda: asyncio.run(get(base + "/status/503")))
    attempt(lambda: client.get("http://127.0.0.1:1/refused"))
    show()
    HTTPXClientInstrumentor().uninstrument()
    attempt(lambda: httpx.Client(trust_env=False).get(base + "/after").status_code)
"""
AIOHTTP = """
    from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
    import asyncio, aiohttp
    patch(AioHttpClientInstrumentor(), "aiohttp", "aiohttp")
    async def get(url):
        async with aiohttp.ClientSession() as session:
            async with session.get(url) as response:
                return response.status
    attempt(lambda: asyncio.run(get(base + "/items?hush")))
    attempt(lambda: asyncio.run(get(base + "/status/503")))
    attempt(lambda: asyncio.run(get("http://127.0.0.1:1/refused")))
    show()
    AioHttpClientInstrumentor().uninstrument()
    attempt(lambda: asyncio.run(get(base + "/after")))
"""
URLLIB = """
    from opentelemetry.instrumentation.urllib import URLLibInstrumentor
    import urllib.error, urllib.request
    patch(URLLibInstrumentor(), "http_client", "http.client")
    def get(url):
        try:
            with urllib.request.urlopen(url) as response:
                return response.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code
    attempt(lambda: get(base + "/items?hush"))
    attempt(lambda: get(base + "/status/503"))
    attempt(lambda: get("http://127.0.0.1:1/refused"))
    show()
    URLLibInstrumentor().uninstrument()
    attempt(lambda: get(base + "/after"))
"""
CLIENTS = {
    "requests": (REQUESTS, "NewConnectionError"),
    "httpx": (HTTPX, "ConnectError"),
    "aiohttp": (AIOHTTP, "ClientConnectorError"),
    "urllib": (URLLIB, "ConnectionRefusedError"),
}


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("order", ["above", "below", "undone"])
def test_clients_that_are_traced_too_are_recorded_once(
    name: str, order: str, children: Children, traced: Sandbox, web: Web
) -> None:
    """Their spans, their headers and their tracebacks are as without us; ours is one event a request, and no header."""
    source, refused = CLIENTS[name]
    done = children.twin(HEAD + source, argv=[web.base, order], python=traced)
    assert done.status == 0 and b"GET CLIENT" in done.stdout, done.stderr
    assert b"refused" not in done.stdout and b"monitor_auto" not in done.stderr
    expected = [("/items", 200), ("/status/503", 503), ("/refused", refused), ("/after", 200)]
    found = [(call["path"], call.get("status") or call["error"]) for call in requests_of(done)]
    assert found == ([] if order == "undone" else expected)
    traces = web.traces()
    assert len(traces) == 6 and all(traces[:2]) and all(traces[3:5]), "theirs"
    assert not traces[2] and bool(traces[5]) == (order != "undone"), "ours, where they have none"
    own = {event["span"]["span_id"] for event in done.named(NAME)}
    assert {trace.split("-")[2] for trace in traces[3:5]}.isdisjoint(own)


FLASK = """
    import flask
    from opentelemetry.instrumentation.flask import FlaskInstrumentor
    patch(FlaskInstrumentor(), "flask", "flask.app")
    app = flask.Flask("some")
    app.logger.disabled = True
    @app.get("/things/<int:number>")
    def thing(number):
        return {"number": number}
    @app.get("/error")
    def fail():
        raise ValueError("not caught") from KeyError("why")
    client = app.test_client()
    for path in ("/things/7", "/error"):
        with client.get(path) as answer:
            print(answer.status, answer.text)
    show()
    FlaskInstrumentor().uninstrument()
    client = flask.Flask("other").test_client()
    print(client.get("/nowhere").status)
"""
STARLETTE = """
    import asyncio
    from opentelemetry.instrumentation.starlette import StarletteInstrumentor
    import starlette.applications
    import starlette.routing
    if order == "below" and is_on:
        hook = importlib.import_module("monitor_auto.hooks.starlette")
        hook.uninstall()
        StarletteInstrumentor().instrument()
        hook.install(starlette.applications)
        hook.install_routing(starlette.routing)
    else:
        patch(StarletteInstrumentor(), "starlette", "starlette.applications")
    from starlette.responses import PlainTextResponse
    async def thing(request):
        return PlainTextResponse("7")
    async def fail(request):
        raise ValueError("not caught") from KeyError("why")
    routes = [starlette.routing.Route("/things/{number:int}", thing), starlette.routing.Route("/error", fail)]
    app = starlette.applications.Starlette(routes=routes)
    async def ask(app, path):
        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}
        async def send(message):
            print(message["type"], message.get("status"))
        scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "root_path": "",
                 "query_string": b"", "headers": [], "scheme": "http", "http_version": "1.1",
                 "server": ("x", 80), "client": ("y", 1)}
        await app(scope, receive, send)
    attempt(lambda: asyncio.run(ask(app, "/things/7")))
    attempt(lambda: asyncio.run(ask(app, "/error")))
    show()
    StarletteInstrumentor().uninstrument()
    attempt(lambda: asyncio.run(ask(starlette.applications.Starlette(), "/nowhere")))
"""
FRAMEWORKS = {"flask": FLASK, "starlette": STARLETTE}


@pytest.mark.parametrize("name", FRAMEWORKS)
@pytest.mark.parametrize("order", ["above", "below", "undone"])
def test_frameworks_that_are_traced_too_are_recorded_once(
    name: str, order: str, children: Children, traced: Sandbox
) -> None:
    """Both want the route and the exception of a request; neither may take them from the other."""
    done = children.twin(HEAD + FRAMEWORKS[name], argv=["", order], python=traced)
    assert done.status == 0 and b"SERVER" in done.stdout, done.stderr
    assert b"monitor_auto" not in done.stderr
    found = [event["data"] for event in done.named("http.server.request")]
    if order == "undone":
        assert found == []
        return
    expected = [("/things/7", 200), ("/error", 500), ("/nowhere", 404)]
    if (name, order) == ("starlette", "below"):
        expected.pop()  # theirs is a class of its own, which was ours to watch; they have put another one back
    assert [(one["path"], one["status"]) for one in found] == expected
    assert found[0]["route"].startswith("/things/") and found[1]["error"] == "ValueError"
    assert len(done.named("error.ValueError")) == 1


LOGGING = """
    import logging
    from opentelemetry.instrumentation.logging import LoggingInstrumentor
    patch(LoggingInstrumentor(), "logging", "logging")
    logging.basicConfig(format="%(levelname)s %(funcName)s %(message)s")
    def work():
        logging.getLogger("some").error("no stock of %s", "tea")
    work()
    LoggingInstrumentor().uninstrument()
    work()
"""


@pytest.mark.parametrize("order", ["above", "below", "undone"])
def test_log_records_that_are_marked_by_a_tracer_are_recorded_once(
    order: str, children: Children, traced: Sandbox
) -> None:
    """It makes the records of logging its own way; the message and its place stay the program's."""
    done: Run = children.twin(HEAD + LOGGING, argv=["", order], python=traced)
    assert done.status == 0 and done.stderr.count(b"ERROR work no stock of tea") == 2, done.stderr
    found = [event["data"]["message"] for event in done.named("log.error")]
    assert found == ([] if order == "undone" else ["no stock of tea"] * 2)


HOSTILE = """
    import copy, importlib, logging, os, pickle, sys, threading, traceback, types, warnings, http.client

    def log(name):
        logging.getLogger(name).error("after " + name)

    real = logging.Logger.callHandlers
    def mine(self, record):
        print("mine")
        return real(self, record)
    logging.Logger.callHandlers = mine
    log("patching")
    logging.Logger.callHandlers = real
    log("putting back")

    class Own(logging.Logger):
        def callHandlers(self, record):
            print("own")
            super().callHandlers(record)
    Own("own").error("by a subclass")

    kept = sys.modules.pop("http.client")
    import http.client as again
    print(again is kept)
    sys.modules["http.client"] = kept
    try:
        kept.HTTPConnection("127.0.0.1", 1).request("GET", "/old")
    except OSError as error:
        print(type(error))
    sys.modules["wsgiref"] = None
    try:
        import wsgiref.handlers
    except ImportError as error:
        print(error)
    del sys.modules["wsgiref"]
    import wsgiref.handlers

    names = ["flask", "requests", "httpx", "aiohttp", "starlette.applications"]
    threads = [threading.Thread(target=importlib.import_module, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        child = os.fork()
    if child == 0:  # where an import would wait for ever for what another thread was importing, bare, too
        os._exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    for thread in threads:
        thread.join()

    import flask, requests
    for it in (flask.Flask.__call__, flask.Flask.full_dispatch_request, kept.HTTPConnection.getresponse):
        print(pickle.loads(pickle.dumps(it)) is it, copy.copy(it) is it, copy.deepcopy(it) is it)
    for name in ("flask", "flask.app", "requests", "urllib3.connectionpool"):
        importlib.reload(sys.modules[name])
    try:
        requests.get("http://127.0.0.1:1/reloaded")
    except requests.ConnectionError as error:
        print([frame.name for frame in traceback.extract_tb(error.__traceback__)])
    print(flask.Flask("x").test_client().get("/nowhere").status)
    sys.modules["httpx"] = types.ModuleType("httpx")
    import httpx
    print(vars(httpx).get("get"))
    log("all of it")
"""


def test_programs_that_turn_modules_upside_down_run_as_ever(children: Children, traced: Sandbox) -> None:
    """They patch and put back, reload, hide and replace modules, import in threads and fork meanwhile."""
    done = children.twin(HOSTILE, python=traced, flags=["-W", "error"])
    assert done.status == 0, done.stderr
    assert len(done.named("log.error")) == 4
    assert [call["path"] for call in requests_of(done)] == ["/old", "/reloaded"]
    assert [event["data"]["path"] for event in done.named("http.server.request")] == ["/nowhere"]

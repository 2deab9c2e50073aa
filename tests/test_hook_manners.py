"""What a program can see of any hook: how what is watched looks, fails, is inherited, patched by others, put back."""

import sys
from collections.abc import Callable

import pytest

from support.children import Children
from support.libraries import PYTHONS
from support.sandbox import Sandbox
from support.serving import SERVERS

WATCHED = {
    "aiohttp_web": [("aiohttp.web_protocol", "RequestHandler", "_handle_request")],
    "django": [
        ("django.core.handlers.wsgi", "WSGIHandler", "__call__"),
        ("django.core.handlers.asgi", "ASGIHandler", "__call__"),
        ("django.core.handlers.base", "BaseHandler", "resolve_request"),
        ("django.core.handlers.exception", "", "handle_uncaught_exception"),
    ],
    "flask": [
        ("flask.app", "Flask", "__call__"),
        ("flask.app", "Flask", "full_dispatch_request"),
        ("flask.app", "Flask", "handle_exception"),
    ],
    "gunicorn": [
        ("gunicorn.http.wsgi", "", "create"),
        ("gunicorn.workers.sync", "SyncWorker", "handle_request"),
        ("gunicorn.workers.gthread", "ThreadWorker", "handle_request"),
        ("gunicorn.workers.base_async", "AsyncWorker", "handle_request"),
        ("gunicorn.workers.gasgi", "ASGIWorker", "load_wsgi"),
    ],
    "hypercorn": [
        ("hypercorn.app_wrappers", "ASGIWrapper", "__call__"),
        ("hypercorn.app_wrappers", "WSGIWrapper", "__call__"),
    ],
    "http_client": [("http.client", "HTTPConnection", name) for name in ("endheaders", "getresponse", "close")],
    "logging": [("logging", "Logger", "callHandlers")],
    "loguru": [("loguru._handler", "Handler", "emit")],
    "pytest": [
        ("_pytest.runner", "", "_update_current_test_var"),
        ("_pytest.reports", "TestReport", "__init__"),
        ("_pytest.reports", "CollectReport", "__init__"),
        ("_pytest.reports", "TestReport", "from_item_and_call"),
    ],
    "starlette": [
        ("starlette.applications", "Starlette", "__call__"),
        ("starlette.routing", "Route", "handle"),
        ("starlette.routing", "WebSocketRoute", "handle"),
        ("starlette.routing", "Mount", "handle"),
        ("fastapi.routing", "APIRoute", "handle"),
    ],
    "structlog": [
        ("structlog._output", "PrintLogger", "error"),
        ("structlog._output", "WriteLogger", "exception"),
        ("structlog._output", "BytesLogger", "critical"),
    ],
    "unittest": [
        ("unittest.case", "TestCase", "run"),
        ("unittest.suite", "TestSuite", "_addClassOrModuleLevelException"),
    ],
    "uvicorn": [("uvicorn.config", "Config", "load")],
    "warnings": [("warnings", "", "_showwarnmsg")],
    "wsgiref": [("wsgiref.handlers", "BaseHandler", "run")],
}
"""Hook -> (module, class or "", attribute) of what it watches."""
STARTS = {"pytest": "_pytest.runner", "unittest": "unittest.suite"}
NAMES = {"aiohttp_web": "aiohttp", "starlette": "starlette,fastapi", "http_client": "http.client"}
"""What switches those that have another name, the first one as `session.end` calls it."""
ALL = {"MONITOR_INSTRUMENT": "all,warnings"}


@pytest.fixture(scope="session")
def libraries(sandbox_for: Callable[..., Sandbox]) -> Sandbox:
    """An environment with all of them, in their newest versions."""
    return sandbox_for(sys.executable, *SERVERS)


HEAD = """
    import importlib, sys
    START, WATCHED = {start!r}, {watched!r}
    importlib.import_module(START)
    found = []
    for module, owner, name in WATCHED:
        home = importlib.import_module(module)
        owner = getattr(home, owner) if owner else home
        found.append((owner, name, getattr(owner, name)))
"""


def program(hook: str, source: str) -> str:
    """Return a program that has `found`: owner, name and attribute of what a hook watches."""
    watched = WATCHED[hook]
    return HEAD.format(start=STARTS.get(hook, watched[0][0]), watched=watched) + source


LOOKS = """
    import asyncio, copy, inspect, pickle, pydoc, re, types

    def show(what, look):
        try:
            print(what, re.sub("0x[0-9a-f]+", "0x", repr(look())))
        except Exception as error:
            print(what, type(error), error)

    for owner, name, it in found:
        show("it", lambda: it)
        show("same", lambda: (it is getattr(owner, name), it == getattr(owner, name), hash(it) == hash(it)))
        show("is", lambda: [test(it) for test in (inspect.isfunction, inspect.isroutine, inspect.ismethod, callable)])
        show("class", lambda: (it.__class__, isinstance(it, types.FunctionType)))
        show("async", lambda: (inspect.iscoroutinefunction(it), inspect.isasyncgenfunction(it)))
        show("signature", lambda: inspect.signature(it))
        show("names", lambda: (it.__name__, it.__qualname__, it.__module__, it.__doc__))
        show("more", lambda: (it.__defaults__, it.__kwdefaults__, sorted(it.__annotations__), sorted(vars(it))))
        show("code", lambda: (it.__code__.co_name, it.__code__.co_varnames, it.__closure__))
        show("source", lambda: (inspect.getsourcefile(it), inspect.getsourcelines(it)[1]))
        show("help", lambda: pydoc.plain(pydoc.render_doc(it)).splitlines()[2:])
        show("dir", lambda: sorted(set(dir(it)) - {"__wrapped__"}))
        show("pickle", lambda: pickle.loads(pickle.dumps(it)) == it)
        show("copies", lambda: (copy.copy(it) == it, copy.deepcopy(it) == it))
        if isinstance(owner, type):
            kind = types.new_class("Sub", (owner,))
            show("inherited", lambda: (name in vars(kind), getattr(kind, name) is it, kind.__mro__[1] is owner))
"""


@pytest.mark.slow
@pytest.mark.parametrize("python", ["3.10"])
def test_with_the_oldest_wrapt_it_looks_so_too(
    children: Children, sandbox_for: Callable[..., Sandbox], python: str
) -> None:
    """What wrapt does by itself has changed between its versions."""
    if python not in PYTHONS:
        pytest.skip(f"wrapt 1.14 needs Python {python}, which is not on this machine")
    sandbox = sandbox_for(PYTHONS[python], "wrapt==1.14.0", "flask", "structlog", "starlette")
    for hook in ("flask", "structlog"):
        done = children.twin(program(hook, LOOKS), python=sandbox)
        assert done.stdout.count(b"signature") == len(WATCHED[hook])
    done = children.twin(FLASK, python=sandbox)
    assert [event["data"]["status"] for event in done.named("http.server.request")] == [200, 500]


WRONG = """
    import re, traceback
    for owner, name, it in found:
        for args, more in (((), {}), ((1,), {}), ((1, 2, 3, 4, 5, 6, 7, 8, 9), {}), ((object(),), {"no_such": 1})):
            try:
                result = it(*args, **more)
                if hasattr(result, "send"):
                    result.send(None)
            except BaseException as error:
                print(name, args[:1] == (1,), [frame.name for frame in traceback.extract_tb(error.__traceback__)])
                print(type(error), re.sub("0x[0-9a-f]+", "0x", str(error)))
"""


@pytest.mark.parametrize("hook", WATCHED)
def test_what_is_watched_looks_and_fails_as_ever(children: Children, libraries: Sandbox, hook: str) -> None:
    """Frameworks ask each other what is a coroutine, takes which arguments, was overridden; and some pickle it. The
    error of a wrong call is the program's business, with its own words and stack.
    """
    done = children.twin(program(hook, LOOKS + WRONG), python=libraries, env=ALL, timeout=120)
    assert done.stdout.count(b"signature") >= len(WATCHED[hook]), done.stdout
    assert b"TypeError" in done.stdout and b"monitored" not in done.stdout
    (end,) = done.named("session.end")
    assert set(end["data"]["hooks"]) >= {NAMES.get(hook, hook).partition(",")[0]}, "and is watched"


OTHERS = """
    hook = importlib.import_module("monitor_auto.hooks." + HOOK)
    def other(*args, **more):
        pass
    for owner, name, it in found:
        setattr(owner, name, other)
    hook.uninstall()
    print([vars(owner)[name] is other for owner, name, _ in found])
"""
UNDONE = """
    hook = importlib.import_module("monitor_auto.hooks." + HOOK)
    hook.uninstall()
    hook.uninstall()
    for owner, name, it in found:
        after = vars(owner)[name]
        real = after.__func__ if isinstance(after, classmethod) else after
        print(name, after is not it, type(real).__name__, type(real).__module__, hasattr(real, "__wrapped__"))
"""


@pytest.mark.parametrize("hook", WATCHED)
def test_undone_hook_leaves_plain_functions(children: Children, libraries: Sandbox, hook: str) -> None:
    """What cannot be taken back cannot be ruled out when something else is to blame."""
    done = children.run(program(hook, UNDONE.replace("HOOK", repr(hook))), python=libraries, env=ALL)
    lines = done.stdout.decode().splitlines()
    assert lines == [f"{name} True function builtins False" for _, _, name in WATCHED[hook]], done.stderr


@pytest.mark.parametrize("hook", WATCHED)
def test_what_others_put_on_top_stays(children: Children, libraries: Sandbox, hook: str) -> None:
    """Who takes away what is not his own breaks the other tool."""
    done = children.run(program(hook, OTHERS.replace("HOOK", repr(hook))), python=libraries, env=ALL)
    assert done.stdout.decode() == f"{[True] * len(WATCHED[hook])}\n", done.stderr


@pytest.mark.parametrize("hook", WATCHED)
def test_skipped_hook_is_not_even_loaded(children: Children, libraries: Sandbox, hook: str) -> None:
    """Who switches one off wants the library as it was installed."""
    source = """
    print([type(getattr(it, "__func__", it)).__name__ for _, _, it in found], "monitor_auto.hooks.%s" in sys.modules)
    """
    name = NAMES.get(hook, hook)
    done = children.run(program(hook, source.replace("%s", hook)), python=libraries, env={**ALL, "MONITOR_SKIP": name})
    assert done.stdout.decode() == f"{['function'] * len(WATCHED[hook])} False\n"
    (end,) = done.named("session.end")
    assert name not in end["data"].get("hooks", {})


FLASK = """
    import functools, traceback
    from flask import Flask

    class Own(Flask):
        def full_dispatch_request(self):
            print("own", super().full_dispatch_request is not None)
            return super().full_dispatch_request()

    real = Flask.handle_exception
    @functools.wraps(real)
    def handle_exception(self, error):
        print("another tool", type(error).__name__)
        return real(self, error)
    Flask.handle_exception = handle_exception

    app = Own("some")
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
"""
STARLETTE = """
    import asyncio, traceback
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Mount, Route

    class Own(Route):
        async def handle(self, scope, receive, send):
            print("own", self.path)
            await super().handle(scope, receive, send)

    async def thing(request):
        return PlainTextResponse("7")
    async def fail(request):
        raise ValueError("not caught") from KeyError("why")
    real = Mount.handle
    async def handle(self, scope, receive, send):
        print("another tool", self.path)
        return await real(self, scope, receive, send)
    Mount.handle = handle
    app = Starlette(routes=[Mount("/things", routes=[Own("/{number:int}", thing)]), Own("/error", fail)])

    async def ask(path):
        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}
        async def send(message):
            print(message["type"], message.get("status"))
        scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "root_path": "",
                 "query_string": b"", "headers": [], "scheme": "http", "http_version": "1.1"}
        try:
            await app(scope, receive, send)
        except ValueError as error:
            traceback.print_exc()
    asyncio.run(ask("/things/7"))
    asyncio.run(ask("/error"))
"""
DJANGO = """
    import traceback
    from django.conf import settings
    settings.configure(ROOT_URLCONF="__main__", ALLOWED_HOSTS=["*"], SECRET_KEY="x")
    import django
    django.setup()
    from django.core.handlers.base import BaseHandler
    from django.http import HttpResponse
    from django.test import Client
    from django.urls import path
    def thing(request, number):
        return HttpResponse(str(number))
    def fail(request):
        raise ValueError("not caught") from KeyError("why")
    urlpatterns = [path("things/<int:number>", thing), path("error", fail)]
    real = BaseHandler.resolve_request
    def resolve_request(self, request):
        print("another tool", request.path)
        return real(self, request)
    BaseHandler.resolve_request = resolve_request
    import logging
    logging.disable()
    from django.core.handlers.wsgi import WSGIHandler
    from django.test import RequestFactory
    class Own(WSGIHandler):
        def __call__(self, environ, start_response):
            print("own", environ["PATH_INFO"])
            return super().__call__(environ, start_response)
    for path_ in ("/things/7", "/error"):
        answer = Own()(RequestFactory().get(path_).environ, lambda status, headers: print(status))
        print(b"".join(answer)[:20])
        answer.close()
    try:
        Client().get("/error")
    except ValueError:
        traceback.print_exc()
"""
PROGRAMS = {"flask": (FLASK, 1), "starlette": (STARLETTE, 2), "django": (DJANGO, 3)}


@pytest.mark.parametrize("name", PROGRAMS)
def test_subclasses_and_other_tools_work_as_ever(children: Children, libraries: Sandbox, name: str) -> None:
    """Applications inherit, error trackers patch the same methods; what is raised has the same stack and causes."""
    source, tools = PROGRAMS[name]
    done = children.twin(source, python=libraries)
    assert done.stdout.count(b"own") == 2 and b"another tool" in done.stdout
    facts = [event["data"] for event in done.named("http.server.request")]
    assert [(one["path"], one["status"]) for one in facts] == [("/things/7", 200), ("/error", 500)]
    assert facts[0]["route"].startswith("/things/") and facts[1]["error"] == "ValueError"
    assert len(done.named("error.ValueError")) == 1

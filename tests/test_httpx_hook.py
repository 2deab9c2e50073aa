"""What is recorded of httpx, and that its clients are the same to whoever uses them."""

from collections.abc import Iterator
from textwrap import dedent

import pytest

from support.children import Children, Run
from support.collector import PATH, UNAVAILABLE, Collector

SECRETS = ("hush-query", "hush-body", "hush-header", "hush-answer", "hush-user")


def requests_of(run: Run) -> list[dict[str, object]]:
    """Return what was recorded of httpx calls, in order, without the durations, which are checked here."""
    calls = [dict(event["data"]) for event in run.named("http.client.request")]
    for call in calls:
        duration = call.pop("duration_ms")
        assert isinstance(duration, float) and duration > 0
    return calls


SYNC = """
    import sys, httpx
    base = sys.argv[1]
    httpx.get(base + "/plain", trust_env=False)
    with httpx.Client(trust_env=False, base_url=base, headers={"X-Api-Key": "hush-header"}) as client:
        client.post("/things?token=hush-query", content=b"hush-body", auth=("hush-user", "hush-header"))
        client.put("/things/1", json={"password": "hush-body"})
        client.request("HEAD", "/things/1", cookies=None)
        with client.stream("GET", "/stream") as response:
            print(response.read())
        client.send(request=client.build_request("PUT", "/built"), stream=False)
        print(client.get("/last").status_code)
"""
ASYNC = """
    import asyncio, sys, httpx
    async def main(base):
        async with httpx.AsyncClient(trust_env=False, base_url=base, headers={"X-Api-Key": "hush-header"}) as client:
            await client.post("/things?token=hush-query", content=b"hush-body", auth=("hush-user", "hush-header"))
            await client.put("/things/1", json={"password": "hush-body"})
            async with client.stream("GET", "/stream") as response:
                print(await response.aread())
            both = await asyncio.gather(client.get("/left"), client.get("/right"))
            print([response.status_code for response in both])
    asyncio.run(main(sys.argv[1]))
"""


def base_of(collector: Collector) -> str:
    """Return the address of a server for the program's own calls."""
    return collector.url.removesuffix(PATH)


@pytest.fixture
def server(collector: Collector) -> Iterator[Collector]:
    """A server for the program's own calls; what it gets is no batch, which is all right here."""
    yield collector
    collector.violations.clear()


def test_calls_of_a_client_are_recorded_without_their_secrets(children: Children, server: Collector) -> None:
    """Method, host, path and status say what went wrong; query, headers and bodies hold what nobody may keep."""
    done = children.twin(SYNC, argv=[base_of(server)])
    expected = [("GET", "/plain"), ("POST", "/things"), ("PUT", "/things/1"), ("HEAD", "/things/1")]
    expected += [("GET", "/stream"), ("PUT", "/built"), ("GET", "/last")]
    assert [(call["method"], call["path"]) for call in requests_of(done)] == expected
    port = int(base_of(server).rpartition(":")[2])
    for call in requests_of(done):
        del call["method"], call["path"]
        assert call == {"library": "httpx", "host": "127.0.0.1", "port": port, "status": 200}
    kept = b"".join(path.read_bytes() for path in done.spool.iterdir() if path.is_file())
    assert not [secret for secret in SECRETS if secret.encode() in kept]


def test_calls_of_an_async_client_are_recorded(children: Children, server: Collector) -> None:
    """Services await their calls; the event is written when the answer is there."""
    done = children.twin(ASYNC, argv=[base_of(server)])
    calls = [(call["method"], call["path"], call["status"]) for call in requests_of(done)]
    assert calls[:3] == [("POST", "/things", 200), ("PUT", "/things/1", 200), ("GET", "/stream", 200)]
    assert sorted(calls[3:]) == [("GET", "/left", 200), ("GET", "/right", 200)]
    kept = b"".join(path.read_bytes() for path in done.spool.iterdir() if path.is_file())
    assert not [secret for secret in SECRETS if secret.encode() in kept]


def test_status_of_a_failure_is_recorded(children: Children, server: Collector) -> None:
    """A 503 that a program swallows is what somebody looks for a week later."""
    server.answer = UNAVAILABLE
    source = """
        import sys, httpx
        try:
            httpx.get(sys.argv[1] + "/x", trust_env=False).raise_for_status()
        except httpx.HTTPStatusError as error:
            print(error.response.status_code)
    """
    assert [call["status"] for call in requests_of(children.twin(source, argv=[base_of(server)]))] == [503]


ERRORS = {
    "refused": ("httpx.get(sys.argv[1], trust_env=False)", "ConnectError"),
    "timeout": ("client(fail(httpx.ReadTimeout('slow'))).get('http://example.test/x')", "ReadTimeout"),
    "interrupt": ("client(fail(KeyboardInterrupt())).get('http://example.test/x')", "KeyboardInterrupt"),
    "own error": ("client(fail(ZeroDivisionError('own'))).get('http://example.test/x')", "ZeroDivisionError"),
    "async": ("asyncio.run(later(fail(httpx.ReadTimeout('slow'))))", "ReadTimeout"),
    "cancelled": ("asyncio.run(later(fail(asyncio.CancelledError())))", "CancelledError"),
}
FAILING = """
    import asyncio, sys, traceback, httpx
    def client(handler, kind=httpx.Client):
        return kind(transport=httpx.MockTransport(handler), trust_env=False)
    def fail(error):
        def handler(request):
            raise error
        return handler
    async def later(handler):
        await client(handler, httpx.AsyncClient).get("http://example.test/x")
    try:
        CALL
    except BaseException as error:
        print(type(error), error, error.__cause__, error.__context__)
"""


@pytest.mark.parametrize("how", ERRORS)
def test_call_that_fails_is_recorded_with_its_class_and_raises_as_ever(
    how: str, children: Children, collector: Collector
) -> None:
    """What a program catches and retries is seen nowhere else."""
    collector.go_away()
    call, kind = ERRORS[how]
    done = children.twin(FAILING.replace("CALL", call), argv=[base_of(collector)])
    assert [call.get("error") for call in requests_of(done)] == [kind]
    assert kind in done.stdout.decode()


USES = {
    "signatures": """
        import inspect
        import builtins, re
        def print(*values):
            builtins.print(*(re.sub("0x[0-9a-f]+", "0x", str(value)) for value in values))
        for owner in (httpx.Client, httpx.AsyncClient):
            print(inspect.signature(owner.send), inspect.signature(owner), owner.send.__doc__, owner.send.__name__)
            print(owner.send.__qualname__, owner.send.__module__, inspect.iscoroutinefunction(owner.send))
            print(inspect.isfunction(owner.get), inspect.getsource(owner.send) is not None)
            print(inspect.getsourcelines(owner.send)[1], inspect.unwrap(owner.send).__code__.co_name)
            print(inspect.signature(owner(trust_env=False).send), sorted(vars(owner)) == sorted(set(vars(owner))))
        print(asyncio.iscoroutinefunction(httpx.AsyncClient.send))
    """,
    "pickling": """
        import copy, pickle
        print(pickle.loads(pickle.dumps(httpx.Client)) is httpx.Client)
        print(pickle.loads(pickle.dumps(httpx.get)) is httpx.get, copy.copy(httpx.Client) is httpx.Client)
    """,
    "subclass": """
        class Mine(httpx.Client):
            def send(self, request, **more):
                request.headers["x-mine"] = "1"
                return super().send(request, **more)
            def get(self, *args, **more):
                print("mine")
                return super().get(*args, **more)
        print(Mine.__mro__, Mine(transport=mock).get("http://example.test/x").status_code)
    """,
    "mixin": """
        class Mixin:
            def send(self, *args, **more):
                print("mixed in")
                return super().send(*args, **more)
        class Both(Mixin, httpx.Client):
            pass
        print(Both(transport=mock).get("http://example.test/x").status_code)
    """,
    "unbound": """
        client = httpx.Client(transport=mock)
        request = client.build_request("GET", "http://example.test/x")
        print(httpx.Client.send(client, request).status_code, client.send(request).status_code)
        print(client.send == client.send, hash(client.send) == hash(client.send), client.send.__self__ is client)
    """,
    "wrong arguments": """
        client = httpx.Client(transport=mock)
        for args, more in [((), {}), ((None,), {}), (("http://x",), {}), ((1, 2, 3), {}), ((), {"nonsense": 1})]:
            try:
                client.send(*args, **more)
            except BaseException as error:
                print(type(error), error)
    """,
    "wrong url": """
        client = httpx.Client(transport=mock)
        for url in ("", "x", "http://", "http://exa mple", "ftp://example.test", "http://[::1", 7):
            try:
                print(client.get(url).status_code)
            except Exception as error:
                print(type(error), error)
    """,
    "patched on top": """
        real = httpx.Client.send
        def theirs(self, request, **more):
            print("theirs", request.url)
            return real(self, request, **more)
        httpx.Client.send = theirs
        print(httpx.Client(transport=mock).get("http://example.test/x").status_code)
        httpx.Client.send = real
        print(httpx.Client(transport=mock).get("http://example.test/x").status_code)
    """,
    "patched by unittest.mock": """
        from unittest import mock as mocks
        with mocks.patch.object(httpx.Client, "send", autospec=True) as fake:
            fake.return_value = httpx.Response(418)
            print(httpx.Client().get("http://example.test/x").status_code, fake.call_count)
        print(httpx.Client(transport=mock).get("http://example.test/x").status_code)
    """,
    "wrapped by wrapt": """
        import wrapt
        @wrapt.patch_function_wrapper(httpx.Client, "send")
        def theirs(wrapped, instance, args, kwargs):
            print("theirs", type(instance))
            return wrapped(*args, **kwargs)
        print(httpx.Client(transport=mock).get("http://example.test/x").status_code)
    """,
    "traceback": """
        import traceback
        def broken(request):
            raise ZeroDivisionError("in the transport")
        try:
            httpx.Client(transport=httpx.MockTransport(broken)).get("http://example.test/x")
        except ZeroDivisionError as error:
            print(error, error.__context__, error.__cause__, error.__suppress_context__)
    """,
    "frozen exception": """
        import dataclasses, traceback
        @dataclasses.dataclass(frozen=True)
        class Frozen(Exception):
            code: int
        class Broken(httpx.BaseTransport):
            def handle_request(self, request):
                raise Frozen(3)
        class Client(httpx.Client):
            def _send_single_request(self, request):  # httpx's own has contextlib set the traceback, which fails
                transport = self._transport_for_url(request.url)
                try:
                    transport.handle_request(request)
                except Frozen as error:
                    print(error, [entry.name for entry in traceback.extract_tb(error.__traceback__)])
                return httpx.Response(204, request=request)
        print(Client(transport=Broken()).get("http://example.test/x").status_code)
    """,
    "other headers": """
        class Emptying(httpx.BaseTransport):
            def __init__(self, headers):
                self.headers = headers
            def handle_request(self, request):
                request.headers = self.headers
                return httpx.Response(204)
        for headers in (httpx.Headers(), httpx.Headers({"A": "b"}), {}, {"A": "b"}):
            with httpx.Client(transport=Emptying(headers)) as client:
                print(client.get("http://example.test/x").request.headers)
        def replace(request):
            request.headers = {}
        hooks = {"request": [replace]}
        client = httpx.Client(transport=Emptying({}), event_hooks=hooks)
        print(client.get("http://example.test/x").status_code)
    """,
    "mocks": """
        from unittest import mock as mocks
        for target in ("httpx.HTTPTransport.handle_request", "httpcore.ConnectionPool.handle_request"):
            def answer(self, request):
                print(target, request.headers)
                raise LookupError("no network")
            with mocks.patch(target, answer):
                try:
                    httpx.get("http://example.test/x", trust_env=False)
                except LookupError as error:
                    print(error)
        def answer(request):
            print(request.headers)
            return httpx.Response(204)
        print(httpx.Client(transport=httpx.MockTransport(answer)).get("http://example.test/x").status_code)
    """,
    "event hooks and redirects": """
        def redirecting(request):
            return httpx.Response(302, headers={"Location": "/y"}) if request.url.path == "/x" else httpx.Response(204)
        hooks = {"request": [lambda request: print("asks", request.url)]}
        client = httpx.Client(transport=httpx.MockTransport(redirecting), event_hooks=hooks, follow_redirects=True)
        print(client.get("http://example.test/x").history)
    """,
}
BEGIN = """
    import asyncio, sys, httpx
    mock = httpx.MockTransport(lambda request: httpx.Response(204))
    httpx.Client(transport=mock).get("http://example.test/recorded")
"""


@pytest.mark.parametrize("how", USES)
def test_client_is_the_same_to_whoever_uses_it(how: str, children: Children) -> None:
    """Subclasses, mocks, other tools and documentation generators all look at the method that we replaced."""
    done = children.twin(dedent(BEGIN) + dedent(USES[how]))
    assert done.status == 0, done.stderr
    assert requests_of(done)[0]["path"] == "/recorded"


def test_uncaught_error_of_a_call_is_one_error_event(children: Children) -> None:
    """The traceback names one frame of ours, that of the wrapper; the program's own error comes through as it was."""
    source = dedent(BEGIN) + "httpx.Client(transport=mock).get('http://[::1')"
    done = children.twin(source)
    assert done.status == 1
    assert done.named("error.InvalidURL")


def test_uninstalled_hook_leaves_the_original(children: Children) -> None:
    """What cannot be undone cannot be switched off in a hurry."""
    source = """
        import httpx
        from monitor_auto.hooks import httpx as hook
        name = "_transport_for_url"
        clients = httpx.Client, httpx.AsyncClient
        now = lambda: [vars(client)[name] for client in clients]
        ours = now()
        hook.install(httpx)
        print(ours == now())
        hook.uninstall()
        originals = now()
        print([type(function).__name__ for function in originals])
        hook.install(httpx)
        theirs = lambda self, url: None
        setattr(httpx.Client, name, theirs)
        hook.uninstall()
        print(now()[0] is theirs, now()[1] is originals[1])
    """
    done = children.run(source)
    assert done.stdout.decode().splitlines() == ["True", "['function', 'function']", "True True"], done.stderr


def test_globals_of_the_program_are_not_asked_what_they_are(children: Children) -> None:
    """Generated code runs in a namespace that holds anything; an error passes through it as it was raised."""
    source = """
        import httpx
        class Odd:
            def __eq__(self, other):
                raise RuntimeError("nobody is to ask")
        space = {"httpx": httpx, "__package__": Odd()}
        text = "class Own(httpx.BaseTransport):\\n def handle_request(self, request): raise KeyError('as raised')"
        exec(text, space)
        try:
            httpx.Client(transport=space["Own"](), trust_env=False).get("http://example.test/own")
        except KeyError as error:
            print(error)
    """
    done = children.twin(source)
    assert done.stdout == b"'as raised'\n", done.stderr
    assert [(call["path"], call["error"]) for call in requests_of(done)] == [("/own", "KeyError")]


@pytest.mark.parametrize("source", [SYNC, ASYNC], ids=["sync", "async"])
def test_calls_are_recorded_where_wrapt_runs_without_its_extension(
    source: str, children: Children, server: Collector
) -> None:
    """Some platforms have no compiled wrapt; there its own functions stand between the client and us."""
    done = children.twin(source, argv=[base_of(server)], env={"WRAPT_DISABLE_EXTENSIONS": "1"})
    assert done.status == 0, done.stderr
    assert "/things/1" in [call["path"] for call in requests_of(done)]


def test_hostile_request_object_harms_neither_the_call_nor_the_recording(children: Children) -> None:
    """A program may hand its own kind of request to `send`; what describing it raises is ours to swallow."""
    source = """
        import httpx
        class Odd(httpx.Request):
            is_odd = False
            @property
            def method(self):
                if self.is_odd:
                    raise RuntimeError("odd")
                return "GET"
            @method.setter
            def method(self, value):
                pass
        def answer(request):
            Odd.is_odd = True
            return httpx.Response(204)
        client = httpx.Client(transport=httpx.MockTransport(answer), trust_env=False)
        try:
            print(client.send(Odd("GET", "http://example.test/x")).status_code)
        except RuntimeError as error:
            print("raised", error)
    """
    done = children.twin(source, announce_internal_errors=True)
    assert "session.end" in done.names


def test_deliveries_of_the_monitor_are_not_recorded(children: Children, collector: Collector) -> None:
    """A monitor that watches itself never comes to rest: every delivery would make another event."""
    source = """
        import httpx
        from monitor_auto import Monitor
        mock = httpx.MockTransport(lambda request: httpx.Response(204))
        httpx.Client(transport=mock).get("http://example.test/mine")
        print(Monitor.flush(30), Monitor.flush(30))
    """
    done = children.run(source, endpoint=collector.url)
    assert done.stdout == b"True True\n"
    assert collector.names().count("http.client.request") == 1
    assert done.events == []

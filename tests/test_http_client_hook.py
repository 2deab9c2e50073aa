"""http.client: every way of using it is recorded, and its classes are the same to whoever uses them."""

from textwrap import dedent

import pytest

from support.children import Children
from support.clients import requests_of, traces_of
from support.web import Web

LOW = """
    import http.client, sys, xmlrpc.client
    host = sys.argv[1].removeprefix("http://")
    connection = http.client.HTTPConnection(host)
    connection.connect()
    connection.putrequest("PUT", "/low?hush", skip_accept_encoding=True)
    connection.putheader("Content-Length", "4")
    connection.endheaders()
    connection.send(b"body")
    print(connection.getresponse().read())
    connection.putrequest("POST", "/chunked")
    connection.putheader("Content-Length", "2")
    connection.endheaders(message_body=b"ab")
    print(connection.getresponse().read())
    connection.request("OPTIONS", "*")
    print(connection.getresponse().read())
    connection.request("GET", sys.argv[1] + "/absolute?hush")
    print(connection.getresponse().read())
    connection.request("GET", "/never-read")
    connection.close()
    for call in (connection.getresponse, connection.endheaders, lambda: connection.putheader("a", "b")):
        try:
            call()
        except http.client.HTTPException as error:
            print(type(error))
    try:
        xmlrpc.client.ServerProxy(sys.argv[1] + "/rpc").anything()
    except Exception as error:
        print(type(error))
"""


def test_every_way_to_send_a_request_is_recorded(children: Children, web: Web) -> None:
    """Old libraries put requests together line by line; they are what is debugged most."""
    done = children.twin(LOW, argv=[web.base])
    assert done.status == 0, done.stderr
    found = [(call["method"], call["path"], call.get("status")) for call in requests_of(done)]
    expected = [("PUT", "/low"), ("POST", "/chunked"), ("OPTIONS", "*"), ("GET", "/absolute"), ("POST", "/rpc")]
    expected.insert(4, ("GET", "/never-read"))
    assert found == [(*pair, None if pair[1] == "/never-read" else 200) for pair in expected]
    assert {(call["host"], call["port"]) for call in requests_of(done)} == {("127.0.0.1", web.port)}
    answered = [trace for (_, path, _), trace in zip(web.requests, web.traces(), strict=True) if path != "/never-read"]
    traces = traces_of(done)
    assert answered[5:] == traces[:4] + traces[5:]


UNANSWERED = """
    import contextlib, http.client, os, sys
    host = sys.argv[1].removeprefix("http://")

    def connection():
        made = http.client.HTTPConnection(host)
        made.putrequest("GET", "/" + sys.argv[2])
        made.endheaders()
        return made

    with contextlib.closing(connection()):
        pass
    sys.argv[2] = "in-handler"
    try:
        raise KeyError("before")
    except KeyError:
        connection().close()
    sys.argv[2] = "failed"
    try:
        with contextlib.closing(connection()):
            raise LookupError("while it was sent")
    except LookupError as error:
        print(error, error.__context__)
    sys.argv[2] = "of-parent"
    inherited = connection()
    if not os.fork():
        inherited.close()
        os._exit(0)
    os.wait()
    print(inherited.close(), inherited.close())
    sys.argv[2] = "asked-too-early"
    early = http.client.HTTPConnection(host)
    early.putrequest("GET", "/" + sys.argv[2])
    try:
        early.getresponse()
    except http.client.ResponseNotReady as error:
        print(repr(error))
    early.endheaders()
    print(early.getresponse().status)
    early.close()
"""


def test_request_that_nobody_asks_the_answer_of_is_recorded_when_it_is_closed(children: Children, web: Web) -> None:
    """It was made, and the server has its trace. What is said of it is what is known: an error that was being handled
    before it was sent is none of its own, and what a forked child closes is its parent's.
    """
    done = children.twin(UNANSWERED, argv=[web.base, "plain"])
    assert done.status == 0, done.stderr
    found = [(call["path"], call.get("status"), call.get("error")) for call in requests_of(done)]
    assert found == [
        ("/plain", None, None),
        ("/in-handler", None, None),
        ("/failed", None, "LookupError"),
        ("/of-parent", None, None),
        ("/asked-too-early", 200, None),
    ]


def test_each_tunnel_is_named_by_its_own_port(children: Children, web: Web) -> None:
    """Two services on one host are told apart, also where a proxy is asked for both with the same line."""
    source = """
        import http.client, sys
        for port in (1443, 8443):
            connection = http.client.HTTPConnection(sys.argv[1].removeprefix("http://"))
            connection.set_tunnel("tunnelled.example", port)
            try:
                connection.request("GET", "/items")
            except OSError as error:
                print(error)
    """
    done = children.twin(source, argv=[web.base])
    assert b"501" in done.stdout, done.stderr
    found = [(call["host"], call["port"], call["error"]) for call in requests_of(done)]
    assert found == [("tunnelled.example", 1443, "OSError"), ("tunnelled.example", 8443, "OSError")]


LOOKS = """
    import http.client, inspect, pickle, pydoc
    kind = http.client.HTTPConnection
    connection = kind("127.0.0.1", 1)
    for name in ("endheaders", "getresponse", "close"):
        method = getattr(kind, name)
        print(method.__name__, method.__qualname__, method.__module__, method.__doc__, inspect.signature(method))
        print(inspect.isfunction(method), inspect.isroutine(method), isinstance(method, type(lambda: 0)))
        print(inspect.getsourcelines(method)[1], method.__code__.co_firstlineno, callable(method), repr(method)[:30])
        print(pydoc.render_doc(method) == pydoc.render_doc(method), method.__defaults__, method.__kwdefaults__)
        bound = getattr(connection, name)
        print(inspect.ismethod(bound), bound.__self__ is connection, bound == getattr(connection, name))
        print(inspect.signature(bound), bound.__func__ == method, getattr(http.client.HTTPSConnection, name) == method)
        for args, more in [((), {}), ((1, 2, 3, 4), {}), ((), {"nonsense": 1})]:
            try:
                method(*args, **more)
            except TypeError as error:
                print(error)
    print(inspect.getmembers(kind, inspect.isfunction) == inspect.getmembers(kind, inspect.isroutine))
    print(sorted(vars(kind)) == sorted(set(vars(kind))), vars(connection).keys())

    class Mine(kind):
        def getresponse(self):
            print("mine")
            return super().getresponse()
        def endheaders(self, *args, **more):
            print("mine", args, more)
            return super().endheaders(*args, **more)
    try:
        Mine("127.0.0.1", 1).request("GET", "/mine")
    except OSError as error:
        print(error)

    from unittest import mock
    with mock.patch.object(kind, "getresponse", autospec=True) as fake:
        fake.return_value = 7
        print(connection.getresponse(), fake.call_count)
    real = kind.endheaders
    def theirs(self, *args, **more):
        print("theirs")
        return real(self, *args, **more)
    kind.endheaders = theirs
    try:
        connection.request("GET", "/theirs")
    except OSError as error:
        print(error)
    kind.endheaders = real
    kind("127.0.0.1", 1).request("GET", "/uncaught")
"""


def test_its_methods_are_the_same_to_whoever_uses_them(children: Children) -> None:
    """Subclasses, mocks, other tools and documentation all look at the methods that we have replaced."""
    done = children.twin(LOOKS)
    assert done.status == 1 and b"monitor_auto" not in done.stderr
    found = [(call["path"], call["error"]) for call in requests_of(done)]
    assert found == [(path, "ConnectionRefusedError") for path in ("/mine", "/theirs", "/uncaught")]


def test_uninstalled_hook_leaves_the_original(children: Children) -> None:
    """What cannot be undone cannot be switched off in a hurry; what somebody put on top is not ours to undo."""
    source = """
        import http.client
        from monitor_auto.hooks import http_client as hook
        from monitor_auto.boot import patches
        kind = http.client.HTTPConnection
        ours = dict(vars(kind))
        hook.install(http.client)
        print(ours == dict(vars(kind)))
        hook.uninstall()
        print([type(vars(kind)[name]).__name__ for name in ("endheaders", "getresponse", "close")])
        print([name for owner, name, *_ in patches.replaced if owner is kind])
        hook.install(http.client)
        theirs = kind.endheaders = lambda self: None
        hook.uninstall()
        print(kind.endheaders is theirs, type(vars(kind)["getresponse"]).__name__)
    """
    done = children.run(source)
    assert done.stdout.decode().splitlines() == ["True", str(["function"] * 3), "[]", "True function"], done.stderr


def test_file_of_the_program_with_that_name_is_left_alone(children: Children) -> None:
    """A package `http` beside the script is not Python's."""
    files = {"http/__init__.py": "", "http/client.py": "class HTTPConnection:\n    getresponse = 7\n"}
    source = "import http.client\nfrom monitor_auto import Monitor\nprint(http.client.HTTPConnection.getresponse)\n"
    done = children.twin(source + "Monitor.event('all.well')", files=files)
    assert done.stdout == b"7\n" and done.named("all.well")


def test_import_loads_nothing_else(children: Children) -> None:
    """`import http.client` takes 33 ms; with wrapt and typing it would take 100."""
    source = """
        import sys, http.client
        names = {name.partition(".")[0] for name in sys.modules}
        print(sorted(names & {"wrapt", "typing", "asyncio", "__future__"}))
        print("monitor_auto.hooks.http_client" in sys.modules)
    """
    done = children.run(source)
    assert done.stdout == b"[]\nTrue\n"


PATHS = {
    "token": "/login/ghp_abcdefghijklmnopqrstuvwxyz0123456789/x",
    "assignment": "/x;password=hush-hush/y",
    "home": "/home/somebody/file",
    "long": "/" + "x" * 5000,
}


@pytest.mark.parametrize("how", PATHS)
def test_what_is_recorded_of_a_path_is_redacted_and_bounded(how: str, children: Children, web: Web) -> None:
    """People put tokens into paths; whoever reads the events is not whom they were meant for."""
    source = """
        import http.client, sys
        connection = http.client.HTTPConnection(sys.argv[1].removeprefix("http://"))
        for _ in range(2):
            connection.request("GET", sys.argv[2])
            print(connection.getresponse().read() != b"")
    """
    done = children.twin(source, argv=[web.base, PATHS[how]])
    first, second = requests_of(done)
    assert first == second and first["path"] != PATHS[how] and len(first["path"]) < 1100
    assert "hush" not in first["path"] and "ghp_" not in first["path"] and "somebody" not in first["path"]


def test_threads_and_forks_keep_their_requests_apart(children: Children, web: Web) -> None:
    """Each has its own connection, and each its own trace."""
    source = """
        import http.client, os, sys, threading
        host = sys.argv[1].removeprefix("http://")
        def call(path):
            connection = http.client.HTTPConnection(host)
            for number in range(20):
                connection.request("GET", f"/{path}/{number}")
                connection.getresponse().read()
        threads = [threading.Thread(target=call, args=(name,)) for name in "abcd"]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        pid = os.fork()
        if not pid:
            call("child")
            os._exit(0)
        print(os.waitpid(pid, 0)[1])
    """
    done = children.run(source, argv=[web.base])
    assert done.stdout == b"0\n", done.stderr
    assert sorted(web.traces()) == sorted(traces_of(done)) and len(set(traces_of(done))) == 100
    sent = {trace: path for (_, path, _), trace in zip(web.requests, web.traces(), strict=True)}
    recorded = dict(zip(traces_of(done), [call["path"] for call in requests_of(done)], strict=True))
    assert sent == recorded


def test_streamed_body_is_not_waited_for(children: Children, web: Web) -> None:
    """A download of an hour is no slow server."""
    source = dedent("""
        import sys, urllib.request
        with urllib.request.urlopen(sys.argv[1] + "/slow-body") as response:
            from monitor_auto import Monitor
            Monitor.event("has.headers")
            print(response.read() != b"")
    """)
    done = children.run(source, argv=[web.base])
    names = [name for name in done.names if name in ("http.client.request", "has.headers")]
    assert names == ["http.client.request", "has.headers"]
    (event,) = done.named("http.client.request")
    assert event["data"]["duration_ms"] < 1900

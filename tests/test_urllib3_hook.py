"""urllib3 and requests: retries, proxies, pools of other libraries, and that they look the same."""

import sys
from collections.abc import Callable

import pytest

from support.children import Children
from support.clients import NEWEST, requests_of, traces_of
from support.network import free_port
from support.sandbox import Sandbox
from support.web import Web


@pytest.fixture
def python(sandbox_for: Callable[..., Sandbox]) -> Sandbox:
    """An environment with the newest versions."""
    return sandbox_for(sys.executable, *NEWEST)


RETRIES = """
    import sys, requests, urllib3
    from requests.adapters import HTTPAdapter
    session = requests.Session()
    retries = urllib3.Retry(total=2, status_forcelist=[503], raise_on_status=False, connect=2)
    session.mount("http://", HTTPAdapter(max_retries=retries))
    print(session.get(sys.argv[1] + "/status/503").status_code)
    try:
        session.get("http://127.0.0.1:1/refused")
    except requests.ConnectionError as error:
        print(type(error))
    with session.get(sys.argv[1] + "/slow-body", stream=True) as response:
        print(response.status_code)
"""


def test_each_attempt_is_a_request(children: Children, web: Web, python: Sandbox) -> None:
    """A server that is called three times has three requests; which of them it was slow for, only it can tell."""
    done = children.twin(RETRIES, argv=[web.base], python=python)
    found = [(call["path"], call.get("status") or call["error"]) for call in requests_of(done)]
    assert found == [("/status/503", 503)] * 3 + [("/refused", "NewConnectionError")] * 3 + [("/slow-body", 200)]
    assert web.traces()[4:] == [
        trace for trace, (path, _) in zip(traces_of(done), found, strict=True) if path != "/refused"
    ]


PROXY = """
    import sys, requests
    base, closed = sys.argv[1:]
    proxies = {"http": base, "https": closed}
    print(requests.get("http://user:hush@inventory.example:81/items?hush", proxies=proxies).status_code)
    for proxy in (closed, base):
        try:
            requests.get("https://inventory.example/x", proxies={"https": proxy})
        except requests.RequestException as error:
            print(type(error))
    try:
        requests.get("https" + base[4:] + "/no-tls")
    except requests.RequestException as error:
        print(type(error))
"""


def test_proxies_and_certificates_are_named_for_what_they_are(children: Children, web: Web, python: Sandbox) -> None:
    """The host is who the request is for, not who takes it on the way; what fails before it is told, too."""
    closed = f"http://127.0.0.1:{free_port()}"
    done = children.twin(PROXY, argv=[web.base, closed], python=python)
    assert done.status == 0, done.stderr
    found = requests_of(done)
    assert [(call["method"], call["host"], call["port"], call.get("path")) for call in found] == [
        ("GET", "inventory.example", 81, "/items"),
        ("CONNECT", "inventory.example", 443, None),
        ("CONNECT", "inventory.example", 443, None),
        ("GET", "127.0.0.1", web.port, "/no-tls"),
    ]
    assert found[0]["status"] == 200 and all("error" in call for call in found[1:])


LOOKS = """
    import inspect, pickle, sys, requests, urllib3
    pool = urllib3.HTTPConnectionPool
    for kind, name in ((pool, "_make_request"), (urllib3.HTTPSConnectionPool, "_prepare_proxy")):
        method = getattr(kind, name)
        print(inspect.signature(method), method.__doc__, method.__qualname__, inspect.isfunction(method))
        print(inspect.getsourcelines(method)[1], pickle.loads(pickle.dumps(kind)) is kind)
    class Connection(urllib3.connection.HTTPConnection):
        def endheaders(self, *args, **more):
            print("theirs")
            return super().endheaders(*args, **more)
    class Pool(pool):
        ConnectionCls = Connection
        def _make_request(self, *args, **more):
            print("mine")
            return super()._make_request(*args, **more)
    mine = Pool(sys.argv[1].removeprefix("http://").partition(":")[0], int(sys.argv[1].rpartition(":")[2]))
    given = {"X-One": "1"}
    for _ in range(2):
        response = mine.request("GET", "/mine", headers=given)
        print(response.status, given)
    print(mine.pool.get().__dict__.keys() >= {"_buffer", "endheaders"})
    for wrong in ((None, "/x"), ("GET", None), (b"GET", "/x"), ("GET", 7)):
        try:
            mine.urlopen(*wrong, retries=False)
        except Exception as error:
            print(type(error), error)
    response = requests.get(sys.argv[1] + "/prepared", headers=urllib3.HTTPHeaderDict(a="1", b="2"))
    print(response.request.headers.get("traceparent"), response.request.headers["b"])
    urllib3.PoolManager(retries=False).request("GET", "http://127.0.0.1:1/uncaught")
"""


def test_classes_are_the_same_to_whoever_uses_them(children: Children, web: Web, python: Sandbox) -> None:
    """Pools and connections are subclassed by libraries for clouds and containers; no mapping of theirs is changed."""
    done = children.twin(LOOKS, argv=[web.base], python=python)
    assert done.status == 1 and b"monitor_auto" not in done.stderr
    paths = [call["path"] for call in requests_of(done) if "status" in call]
    assert paths[:2] == ["/mine", "/mine"] and paths[-1] == "/prepared"
    assert requests_of(done)[-1]["error"] == "NewConnectionError"


def test_uninstalled_hook_leaves_the_original(children: Children, web: Web, python: Sandbox) -> None:
    """What cannot be undone cannot be switched off in a hurry."""
    source = """
        import sys, requests, urllib3.connectionpool
        from monitor_auto.hooks import urllib3 as hook
        module = urllib3.connectionpool
        places = (module.HTTPConnectionPool, "_make_request"), (module.HTTPSConnectionPool, "_prepare_proxy")
        now = lambda: [vars(kind)[name] for kind, name in places]
        ours = now()
        hook.install(module)
        print(ours == now())
        requests.get(sys.argv[1] + "/first")
        hook.uninstall()
        print([type(function).__name__ for function in now()])
        print(requests.get(sys.argv[1] + "/second").status_code)
    """
    done = children.run(source, argv=[web.base], python=python)
    assert done.stdout.decode().splitlines() == ["True", "['function', 'function']", "200"], done.stderr
    assert [call["path"] for call in requests_of(done)] == ["/first"]

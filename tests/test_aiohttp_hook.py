"""aiohttp's client: what time-outs, middlewares, cancelled tasks and websockets leave, and that it looks the same."""

import sys
from collections.abc import Callable

import pytest

from support.children import Children
from support.clients import NEWEST, requests_of, traces_of
from support.sandbox import Sandbox
from support.web import Web


@pytest.fixture
def python(sandbox_for: Callable[..., Sandbox]) -> Sandbox:
    """An environment with the newest version."""
    return sandbox_for(sys.executable, *NEWEST)


ENDINGS = """
    import asyncio, sys, traceback, aiohttp
    base = sys.argv[1]

    async def main():
        async with aiohttp.ClientSession() as session:
            async def get(path):
                async with session.get(base + path) as response:
                    return response.status
            task = asyncio.create_task(get("/hang/cancelled"))
            await asyncio.sleep(0.2)
            task.cancel()
            print(await asyncio.gather(task, return_exceptions=True))
            print(await asyncio.gather(*(get(f"/at-once/{number}") for number in range(3))))
            try:
                await asyncio.wait_for(get("/hang/waited"), 0.2)
            except asyncio.TimeoutError as error:
                print(type(error))
            try:
                async with session.get(base + "/hang/total", timeout=aiohttp.ClientTimeout(total=0.2)):
                    pass
            except asyncio.TimeoutError as error:
                print(type(error), repr(error))

            async def again(request, handler):
                response = await handler(request)
                if response.status == 503:
                    async with session.get(base + "/credentials") as other:
                        print(other.status)
                    response.close()
                    return await handler(request)
                return response
            async with session.get(base + "/status/503", middlewares=(again,)) as response:
                print(response.status)
            unused = session.get(base + "/never")
            unused.close()
            print(asyncio.iscoroutinefunction(aiohttp.ClientSession._request), type(unused).__mro__[-2])
            try:
                await session.ws_connect(base + "/no-websocket")
            except aiohttp.WSServerHandshakeError as error:
                print(error.status)
            for wrong in ((), ("x", "y", "z"), ("nonsense://x",)):
                try:
                    await session.get(*wrong)
                except Exception as error:
                    print(type(error), error)
    asyncio.run(main(), debug=len(sys.argv) > 2)
"""
EXPECTED = [
    ("/hang/cancelled", "CancelledError"),
    ("/at-once", 200),
    ("/at-once", 200),
    ("/at-once", 200),
    ("/hang/waited", "CancelledError"),
    ("/hang/total", "TimeoutError"),
    ("/status/503", 503),
    ("/credentials", 200),
    ("/status/503", 503),
    ("/no-websocket", 200),
]


@pytest.mark.parametrize("argv", [[], ["debug"]], ids=["", "debug"])
def test_every_way_that_a_call_ends_is_recorded_once(
    argv: list[str], children: Children, web: Web, python: Sandbox
) -> None:
    """A cancelled request was made all the same; a middleware's own calls are not the one that it is in."""
    done = children.twin(ENDINGS, argv=[web.base, *argv], python=python, flags=["-W", "error"])
    assert done.status == 0, done.stderr
    found = [
        (
            call["path"].rpartition("/")[0] if "at-once" in call["path"] else call["path"],
            call.get("status") or call["error"],
        )
        for call in requests_of(done)
    ]
    assert found == EXPECTED
    assert sorted(web.traces()[len(web.traces()) // 2 :]) == sorted(traces_of(done))


LOOKS = """
    import asyncio, inspect, pickle, aiohttp
    for kind, name in ((aiohttp.ClientSession, "_request"), (aiohttp.BaseConnector, "connect"),
                       (aiohttp.ClientRequest, "send"), (aiohttp.ClientResponse, "start")):
        method = getattr(kind, name)
        print(inspect.signature(method), method.__doc__, method.__qualname__, inspect.iscoroutinefunction(method))
        print(inspect.isfunction(method), inspect.getsourcelines(method)[1])
    print(pickle.loads(pickle.dumps(aiohttp.ClientSession)) is aiohttp.ClientSession)

    class Mine(aiohttp.TCPConnector):
        async def connect(self, *args, **more):
            print("mine")
            return await super().connect(*args, **more)

    async def main():
        async with aiohttp.ClientSession(connector=Mine()) as session:
            await session.get("http://127.0.0.1:1/uncaught")
    asyncio.run(main())
"""


def test_classes_are_the_same_to_whoever_uses_them(children: Children, python: Sandbox) -> None:
    """Connectors are subclassed to reach what is behind sockets; a traceback has no line of ours."""
    done = children.twin(LOOKS, python=python)
    assert done.status == 1 and b"monitor_auto" not in done.stderr
    assert [(call["path"], call["error"]) for call in requests_of(done)] == [("/uncaught", "ClientConnectorError")]


def test_uninstalled_hook_leaves_the_original(children: Children, web: Web, python: Sandbox) -> None:
    """What cannot be undone cannot be switched off in a hurry; a call that is on its way ends as it would."""
    source = """
        import asyncio, sys, aiohttp
        from monitor_auto.hooks import aiohttp as hook
        places = ((aiohttp.ClientSession, "_request"), (aiohttp.BaseConnector, "connect"),
                  (aiohttp.ClientRequest, "send"), (aiohttp.ClientResponse, "start"))
        now = lambda: [vars(kind)[name] for kind, name in places]
        ours = now()
        hook.install(aiohttp)
        print(ours == now())
        async def main():
            async with aiohttp.ClientSession() as session:
                call = asyncio.create_task(session.get(sys.argv[1] + "/hang"))
                await asyncio.sleep(0.2)
                hook.uninstall()
                call.cancel()
                print([type(error).__name__ for error in await asyncio.gather(call, return_exceptions=True)])
                print((await session.get(sys.argv[1] + "/x")).status)
        asyncio.run(main())
        print([type(function).__name__ for function in now()])
    """
    done = children.run(source, argv=[web.base], python=python)
    assert done.stdout.decode().splitlines() == ["True", "['CancelledError']", "200", str(["function"] * 4)], (
        done.stderr
    )
    assert [call["path"] for call in requests_of(done)] == ["/hang"]


SWALLOWED = """
    import asyncio, sys, aiohttp
    base = sys.argv[1]

    async def instead(request, handler):
        try:
            return await handler(request)
        except aiohttp.ClientConnectorError as error:
            print(type(error).__name__)
            return await session.get(base + "/instead")

    async def main():
        global session
        async with aiohttp.ClientSession() as session:
            async with session.get("http://127.0.0.1:1/refused", middlewares=(instead,)) as response:
                print(response.status)
            async with session.get(base + "/kept-alive") as response:
                await response.read()
            try:
                await session.get(base + "/drop")
            except aiohttp.ServerDisconnectedError as error:
                print(type(error).__name__)
    asyncio.run(main())
"""


OWN_ENDS = """
    import asyncio, sys, aiohttp
    base = sys.argv[1]

    class Odd(Exception):
        def __bool__(self):
            raise RuntimeError("nobody is to ask")

    async def swallow(request, handler):
        try:
            return await handler(request)
        except aiohttp.ClientConnectorError as error:
            print(type(error).__name__)
        other = await session.get(base + "/other")
        other.close()
        return await session.get(base + "/instead")

    async def replace(request, handler):
        try:
            return await handler(request)
        except aiohttp.ClientConnectorError as error:
            raise Odd from error

    async def main():
        global session
        async with aiohttp.ClientSession() as session:
            async with session.get("http://127.0.0.1:1/swallowed", middlewares=(swallow,)) as response:
                print(response.status, len(response.headers) > 0)
                del response._headers
                print(response._headers)
                try:
                    del response._headers
                except AttributeError as error:
                    print(type(error).__name__)
            try:
                await session.get("http://127.0.0.1:1/replaced", middlewares=(replace,))
            except Odd as error:
                print(type(error.__cause__).__name__)
    asyncio.run(main())
"""


def test_error_that_a_middleware_ends_in_its_own_way_is_kept(children: Children, web: Web, python: Sandbox) -> None:
    """A connection that it closes meanwhile is another's; an exception is there, whatever its `bool` says."""
    done = children.twin(OWN_ENDS, argv=[web.base], python=python)
    assert done.status == 0, done.stderr
    found = [(call["path"], call.get("status") or call.get("error")) for call in requests_of(done)]
    assert found == [
        ("/other", 200),
        ("/instead", 200),
        ("/swallowed", "ClientConnectorError"),
        ("/replaced", "Odd"),
    ]


def test_errors_that_nobody_gets_to_see_are_recorded(children: Children, web: Web, python: Sandbox) -> None:
    """A middleware catches one; of a request on a connection that was kept, aiohttp itself makes a second attempt."""
    done = children.twin(SWALLOWED, argv=[web.base], python=python)
    assert done.status == 0, done.stderr
    found = [(call["path"], call.get("status") or call["error"]) for call in requests_of(done)]
    assert found == [
        ("/instead", 200),
        ("/refused", "ClientConnectorError"),  # its call has ended with the other's answer
        ("/kept-alive", 200),
        ("/drop", "ServerDisconnectedError"),
        ("/drop", "ServerDisconnectedError"),
    ]
    monitored = web.requests[len(web.requests) // 2 :]
    assert [target for _, target, _ in monitored] == ["/instead", "/kept-alive", "/drop", "/drop"]
    own = [trace for trace, (path, _) in zip(traces_of(done), found, strict=True) if path != "/refused"]
    assert [headers["traceparent"] for _, _, headers in monitored] == own, "each has a span of its own"

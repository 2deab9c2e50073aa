"""HTTP clients: each request on the wire is one event, carries its trace, and is otherwise the program's own."""

from collections.abc import Callable
from textwrap import dedent

import pytest

from support.children import Children
from support.clients import CLIENTS, NEWEST, Client, requests_of, traces_of
from support.network import free_port
from support.sandbox import Sandbox
from support.web import Web

SECRETS = ("hush-query", "hush-body", "hush-header", "hush-fragment")


@pytest.fixture(scope="module")
def environment(sandbox_for: Callable[..., Sandbox], sandbox: Sandbox) -> Callable[[Client], Sandbox]:
    """Return the environment of a client: the standard library's need none of their own."""
    return lambda client: sandbox_for(sandbox_python(), *NEWEST) if client.requirements else sandbox


def sandbox_python() -> str:
    import sys

    return sys.executable


def program(client: Client, *lines: str) -> str:
    """Return a program that has `call` and the address of a server, `base`."""
    return "\n".join(["import sys", "base = sys.argv[1]", dedent(client.source), *map(dedent, lines)])


CALLS = """
    print(call(base + "/items/1?token=hush-query#hush-fragment"))
    print(call(base + "/a%20b/%7Bc%7D", "POST", {"X-Api-Key": "hush-header"}, body=b"hush-body"))
    print(call(base + "/status/503", "DELETE"))
    print(call(base + "/items/1", "HEAD"))
"""
CALLED = [("GET", "/items/1", 200), ("POST", "/a%20b/%7Bc%7D", 200), ("DELETE", "/status/503", 503)]
CALLED += [("HEAD", "/items/1", 200)]


@pytest.mark.parametrize("name", CLIENTS)
def test_each_request_is_one_event_with_its_trace_and_no_secret(
    name: str, children: Children, web: Web, environment: Callable[[Client], Sandbox]
) -> None:
    """What was called, how it ended and how long it took; a second event from the layer below would count it twice."""
    client = CLIENTS[name]
    done = children.twin(program(client, CALLS), argv=[web.base], python=environment(client))
    assert done.status == 0, done.stderr
    found = requests_of(done)
    assert [(call["method"], call["path"], call["status"]) for call in found] == CALLED
    for call in found:
        del call["method"], call["path"], call["status"]
        assert call == {"library": client.told_as, "host": "127.0.0.1", "port": web.port}
    bare, monitored = web.traces()[: len(CALLED)], web.traces()[len(CALLED) :]
    assert bare == [""] * len(CALLED) and monitored == traces_of(done)
    session = done.events[0]["session"]
    for event in done.named("http.client.request"):
        assert event["span"]["trace_id"] == session["trace_id"]
        assert event["span"]["parent_span_id"] == session["span_id"]
    kept = b"".join(path.read_bytes() for path in done.spool.iterdir() if path.is_file())
    assert not [secret for secret in SECRETS if secret.encode() in kept]


@pytest.mark.parametrize("name", [name for name, client in CLIENTS.items() if client.follows])
def test_redirect_is_a_request_of_its_own(
    name: str, children: Children, web: Web, environment: Callable[[Client], Sandbox]
) -> None:
    """Each has a duration and a status, and the server at the end has to know which of them it answers."""
    client = CLIENTS[name]
    source = program(client, 'print(call(base + "/to/to/end"))')
    done = children.twin(source, argv=[web.base], python=environment(client))
    assert [(call["path"], call["status"]) for call in requests_of(done)] == [
        ("/to/to/end", 302),
        ("/to/end", 302),
        ("/end", 200),
    ]
    assert web.traces()[3:] == traces_of(done) and len(set(traces_of(done))) == 3


FAILING = """
    try:
        call(sys.argv[2])
    except Exception as error:
        print(type(error), error.__cause__ is None, error.__context__ is None, error.__suppress_context__)
    try:
        call(base + "/drop", "POST", body=b"x")
    except Exception as error:
        print(type(error))
    call(base + "/hang", timeout=0.5)
"""


@pytest.mark.parametrize("name", CLIENTS)
def test_request_that_fails_is_recorded_and_raises_as_ever(
    name: str, children: Children, web: Web, environment: Callable[[Client], Sandbox]
) -> None:
    """Most programs retry and say nothing. Those that do not print a traceback, in which there is no line of ours."""
    client = CLIENTS[name]
    argv = [web.base, f"http://127.0.0.1:{free_port()}/refused"]
    done = children.twin(program(client, FAILING), argv=argv, python=environment(client))
    assert done.status == 1 and b"Traceback" in done.stderr and b"monitor_auto" not in done.stderr
    found = requests_of(done)
    assert [call["path"] for call in found] == ["/refused", "/drop", "/hang"]
    assert tuple(call["error"] for call in found) == client.errors
    assert not [call for call in found if "status" in call]
    assert len([event for event in done.events if event["type"] == "error"]) == 1


OWN = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


@pytest.mark.parametrize("name", CLIENTS)
def test_trace_of_the_program_is_left_alone(
    name: str, children: Children, web: Web, environment: Callable[[Client], Sandbox]
) -> None:
    """A program that is traced by OpenTelemetry has put the right one there; a second one makes both worthless."""
    client = CLIENTS[name]
    source = program(client, f'print(call(base + "/x", headers={{"TraceParent": "{OWN}"}}))')
    done = children.twin(source, argv=[web.base], python=environment(client))
    assert web.traces() == [OWN, OWN] and len(requests_of(done)) == 1


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize(
    "settings",
    [{"MONITOR_PROPAGATE": "0"}, {"MONITOR_PROPAGATE_EXCLUDE": "example.org, 127.*"}],
    ids=["MONITOR_PROPAGATE", "MONITOR_PROPAGATE_EXCLUDE"],
)
def test_host_that_shall_get_no_trace_gets_none(
    name: str, settings: dict[str, str], children: Children, web: Web, environment: Callable[[Client], Sandbox]
) -> None:
    """Signed requests, and strangers that need not know: the request is what the program has made of it."""
    client = CLIENTS[name]
    source = program(client, 'print(call(base + "/x"))')
    done = children.run(source, argv=[web.base], python=environment(client), env=settings)
    assert done.stdout == b"200\n", done.stderr
    assert web.traces() == [""] and [call["path"] for call in requests_of(done)] == ["/x"]


@pytest.mark.parametrize("name", CLIENTS)
def test_other_hosts_than_the_excluded_get_the_trace(
    name: str, children: Children, web: Web, environment: Callable[[Client], Sandbox]
) -> None:
    """An exception that is the rule would go unseen."""
    client = CLIENTS[name]
    source = program(client, 'print(call(base + "/x"))')
    env = {
        "MONITOR_PROPAGATE_EXCLUDE": "*.example.org",
        "TRACEPARENT": OWN,
        "TRACESTATE": "vendor=1,other=2",
    }
    done = children.run(source, argv=[web.base], python=environment(client), env=env)
    assert done.stdout == b"200\n", done.stderr
    assert web.traces() == traces_of(done)
    assert traces_of(done)[0][:35] == OWN[:35]
    assert [headers["tracestate"] for _, _, headers in web.requests] == ["vendor=1,other=2"]


@pytest.mark.parametrize("name", CLIENTS)
def test_request_in_a_span_names_it(
    name: str, children: Children, web: Web, environment: Callable[[Client], Sandbox]
) -> None:
    """Which part of a program has called whom is what a trace is for."""
    client = CLIENTS[name]
    lines = """
        from monitor_auto import Monitor
        with Monitor.span("some.work"):
            print(call(base + "/x"))
        Monitor.event("after.work")
    """
    done = children.twin(program(client, lines), argv=[web.base], python=environment(client))
    (request,), (span,) = done.named("http.client.request"), done.named("some.work")
    assert request["span"]["parent_span_id"] == span["span"]["span_id"]
    assert request["span"]["span_id"] != span["span"]["span_id"]
    assert "span" not in done.named("after.work")[0]


SWITCHES = {"http.client": "urllib", "urllib.request": "http.client", "requests": "requests"}


@pytest.mark.parametrize("name", CLIENTS)
def test_client_that_is_switched_off_is_not_recorded(
    name: str, children: Children, web: Web, environment: Callable[[Client], Sandbox]
) -> None:
    """By the name that the user knows it by; nor does the layer below record it in its place."""
    client = CLIENTS[name]
    source = program(
        client, 'print(call(base + "/x"))', "from monitor_auto import Monitor", 'Monitor.event("all.well")'
    )
    switch = SWITCHES.get(name, client.told_as)
    done = children.run(source, argv=[web.base], python=environment(client), env={"MONITOR_SKIP": switch})
    assert done.named("all.well") and not requests_of(done) and web.traces() == [""]
    web.take()
    done = children.run(source, argv=[web.base], python=environment(client), env={"MONITOR_INSTRUMENT": switch})
    assert done.named("all.well") and len(requests_of(done)) == 1 and web.traces() == traces_of(done)[-1:]


@pytest.mark.parametrize("name", CLIENTS)
def test_sampled_out_requests_are_counted(
    name: str, children: Children, web: Web, environment: Callable[[Client], Sandbox]
) -> None:
    """A crawler makes more calls than anybody wants to keep; what was left out has to be accounted for."""
    client = CLIENTS[name]
    source = program(client, 'for _ in range(3): print(call(base + "/x"))')
    env = {"MONITOR_SAMPLE": "event:http.client.*=0"}
    done = children.run(source, argv=[web.base], python=environment(client), env=env)
    assert done.stdout == b"200\n200\n200\n"
    assert not requests_of(done) and all(web.traces())
    (produced,), (kept,) = done.named("sdk.events.produced"), done.named("sdk.events.sampled")
    assert produced["data"]["value"] - kept["data"]["value"] == 3

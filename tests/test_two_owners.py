"""Two endpoints and two tokens in one spool: nobody gets what is not his, and what is kept at home stays there."""

import json
from collections.abc import Iterator

import pytest

from support.children import Children
from support.collector import Answer, Collector, running_collector

FLUSH = ["python", "-m", "monitor_auto", "flush"]
SPOOL_ONLY: dict[str, str | None] = {"MONITOR_EXIT_TIMEOUT": "0"}
NAMED = "import sys; from monitor_auto import Monitor; Monitor.event('owner.step', {'owner': sys.argv[1]})"
# `{}` is the endpoint of the child, "" for no change; it ends before its parent, or waits for the parent's end.
PARENT = """
    import os, subprocess, sys
    how, endpoint = sys.argv[1:]
    environment = {name: value for name, value in os.environ.items() if name != "MONITOR_TOKEN"}
    if endpoint:
        environment["MONITOR_ENDPOINT"] = endpoint
    code = "import sys; sys.stdin.read(); from monitor_auto import Monitor; Monitor.event('child.step')"
    out, into = os.pipe()
    child = subprocess.Popen([sys.executable, "-c", code], stdin=out, env=environment, stdout=subprocess.DEVNULL)
    if how == "dies first":
        os.close(into)
        child.wait()
    else:
        os.dup2(into, 200)  # open until we are gone
"""


@pytest.fixture
def other() -> Iterator[Collector]:
    """A second collector."""
    with running_collector() as running:
        yield running
        assert not running.violations


def owners(collector: Collector) -> set[str]:
    """Return whose events a collector has."""
    return {event["data"]["owner"] for event in collector.events() if event["name"] == "owner.step"}


def tokens(collector: Collector) -> set[str | None]:
    """Return the tokens that a collector was shown."""
    return {request.headers.get("authorization") for request in collector.requests}


def test_two_tokens_in_one_spool_never_mix(children: Children, collector: Collector, other: Collector) -> None:
    """Two teams share an account on a build machine; a token that reaches the other's collector is lost."""
    sides = {"one": collector, "two": other}
    for round_ in range(2):
        for owner, side in sides.items():
            env = {"MONITOR_TOKEN": f"token-{owner}", "MONITOR_EXIT_TIMEOUT": "0" if round_ == 0 else "30"}
            children.run(NAMED, argv=[owner], endpoint=side.url, env=env)
    other.go_away()
    children.run(NAMED, argv=["two"], endpoint=other.url, env={"MONITOR_TOKEN": "token-two"})
    children.run(NAMED, argv=["one"], endpoint=collector.url, env={**SPOOL_ONLY, "MONITOR_TOKEN": "token-one"})
    assert children.run(FLUSH, endpoint=collector.url, env={"MONITOR_TOKEN": "token-one"}).status == 0
    other.come_back()
    assert children.run(FLUSH, endpoint=other.url, env={"MONITOR_TOKEN": "token-two"}).status == 0
    for owner, side in sides.items():
        assert owners(side) == {owner}
        assert tokens(side) == {f"Bearer token-{owner}"}
        assert len(side.events()) == len(side.unique()) == 9
    assert list(children.spool.glob("*.live")) == []


def test_orphans_are_delivered_with_the_token_of_who_delivers(children: Children, collector: Collector) -> None:
    """A token that was changed meanwhile would be refused, and it is written nowhere."""
    children.run(NAMED, argv=["one"], endpoint=collector.url, env={**SPOOL_ONLY, "MONITOR_TOKEN": "old"})
    children.run(NAMED, argv=["one"], endpoint=collector.url, env={"MONITOR_TOKEN": "new"})
    assert tokens(collector) == {"Bearer new"}
    assert collector.names().count("owner.step") == 2


def asks_for(token: str, collector: Collector) -> None:
    """Have a collector answer 401 to every request without this token."""
    real_take = collector.take

    def take(request):  # type: ignore[no-untyped-def]
        is_known = request.headers.get("authorization") == f"Bearer {token}"
        collector.answer = Answer() if is_known else Answer(401)
        return real_take(request)

    collector.take = take  # type: ignore[method-assign]


@pytest.mark.parametrize("endpoint", ["same", "another"])
@pytest.mark.parametrize("how", ["dies first", "outlives its parent"])
def test_child_without_the_token_loses_nothing(
    children: Children, collector: Collector, other: Collector, how: str, endpoint: str
) -> None:
    """A child whose environment was cleaned has no token: its parent, or a later session that has one, delivers."""
    asks_for("token-one", collector)
    env = {"MONITOR_TOKEN": "token-one", "MONITOR_EXIT_TIMEOUT": "30"}
    argv = [how, other.url if endpoint == "another" else ""]
    run = children.twin if endpoint == "same" else children.run  # an endpoint in the program is no bare run
    run(PARENT, argv=argv, endpoint=collector.url, env=env)
    is_refused = endpoint == "same" and how == "outlives its parent"
    if endpoint == "another":
        other.wait_for(3)
        assert tokens(other) == {None}
        assert "child.step" not in collector.names()
        return
    collector.wait_for_request(2 if is_refused else 1)
    assert ("child.step" in collector.names()) == (not is_refused)
    children.run("pass", endpoint=collector.url, env=env)
    collector.wait_for(9)
    assert collector.names().count("child.step") == 1
    assert len(collector.events()) == 9


def test_local_never_leaves(children: Children, collector: Collector) -> None:
    """Whoever has written `local:` means it, whatever is run or asked for later."""
    source = "from monitor_auto import Monitor; Monitor.event('private.step'); print(Monitor.flush(timeout=5))"
    children.twin("print('hello')", endpoint="local:")
    assert children.run(source, endpoint="local:").stdout == b"True\n"
    assert children.run(FLUSH, endpoint="local:").status == 2
    children.run("pass", endpoint=collector.url)
    told = json.loads(children.run([*FLUSH, "--json"], endpoint=collector.url).stdout)
    assert (told["delivered"], told["left"]) == (0, 0)
    assert collector.names() == ["session.start", "session.end"]
    names = [event["name"] for event in children.run("pass", bare=True).events]
    assert sorted(names) == sorted(["session.start", "session.end"] * 2 + ["private.step"])


def test_child_of_a_local_parent_delivers_to_its_own_collector(children: Children, collector: Collector) -> None:
    """And the other way round: each endpoint is a household of its own."""
    done = children.run(PARENT, argv=["dies first", collector.url], endpoint="local:")
    assert collector.names() == ["session.start", "child.step", "session.end"]
    assert done.names == ["session.start", "process.start", "process.exit", "session.end"]
    collector.requests.clear()
    done = children.run(PARENT, argv=["dies first", "local:"], endpoint=collector.url)
    assert collector.names() == ["session.start", "process.start", "process.exit", "session.end"]
    assert "child.step" in done.names


@pytest.mark.parametrize("how", ["exit", "flush", "call"])
@pytest.mark.parametrize("status", [302, 307, 308])
def test_token_does_not_follow_a_redirect(
    children: Children, collector: Collector, other: Collector, how: str, status: int
) -> None:
    """Whoever can answer for a collector once would be sent the key, and everybody's events, to where he likes."""
    collector.answer = Answer(status, headers=(("Location", other.url),))
    env = {"MONITOR_TOKEN": "token-one", "MONITOR_EXIT_TIMEOUT": "30" if how == "exit" else "0"}
    flushing = "from monitor_auto import Monitor; print(Monitor.flush(30))"
    done = children.run(flushing if how == "call" else "print('False')", endpoint=collector.url, env=env)
    assert done.stdout == b"False\n"
    if how == "flush":
        flushed = children.run(FLUSH, endpoint=collector.url, env=env)
        assert (flushed.status, f"answered {status}".encode() in flushed.stderr) == (1, True), flushed.stderr
    assert len(collector.requests) == 1
    assert other.requests == []
    waiting = ["session.start", *["sdk.flush.failures"] * (how == "call"), "session.end"]
    assert done.names == waiting
    collector.answer = Answer()
    assert children.run(FLUSH, endpoint=collector.url, env=env).status == 0
    assert collector.names() == waiting

"""Delivery at exit against the servers that collectors run on: each has its own idea of how an answer ends."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.account import assert_adds_up
from support.children import Children
from support.collector import Collector
from support.needs import need_command
from support.network import make_certificate
from support.sandbox import Sandbox
from support.servers import COMMANDS, REQUIREMENTS, TLS_OPTIONS, running_nginx, running_server

HELLO = "print('hello')"
KEPT = ["session.start", "session.end"]
PATIENT: dict[str, str | None] = {"MONITOR_EXIT_TIMEOUT": "30"}
# 99 events of 10 KB: one batch, just below the megabyte that a batch may have.
LARGE = """
    from monitor_auto import Monitor
    for number in range(97):
        Monitor.event("work.step", {"number": number, "text": "x" * 10_000})
"""
FORMS = {
    "length": "a Content-Length",
    "chunked": "several chunks",
    "close": "no length: what the server makes of it",
    "empty": "204 and no body",
}


@pytest.fixture(scope="session")
def servers(sandbox_for: Callable[..., Sandbox]) -> Sandbox:
    """An environment with every server."""
    import sys

    return sandbox_for(sys.executable, *REQUIREMENTS)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of localhost, its key beside it."""
    return make_certificate(tmp_path)[0]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where a server keeps its files."""
    (tmp_path / "server").mkdir()
    yield tmp_path / "server"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", COMMANDS)
def test_exit_delivers_to_every_server(
    children: Children, servers: Sandbox, folder: Path, name: str, form: str
) -> None:
    """An answer that is not seen to be complete is sent again, by every program, for ever."""
    with running_server(name, form, servers, folder) as server:
        children.twin(HELLO, endpoint=server.url, env=PATIENT)
        assert [event["name"] for event in server.events()] == KEPT
        children.run(LARGE, endpoint=server.url, env=PATIENT)
        names = [event["name"] for event in server.events()]
    assert names.count("work.step") == 97
    assert len(server.bodies.read_bytes().splitlines()) == 2, "a batch of nearly 1 MB went in one piece"
    assert list(children.spool.glob("*.live")) == []
    assert_adds_up(children.spool)


@pytest.mark.parametrize("name", TLS_OPTIONS)
def test_exit_delivers_to_servers_under_tls(
    children: Children, servers: Sandbox, folder: Path, certificate: Path, name: str
) -> None:
    """The helper has a TLS of its own to end: a server that waits for its goodbye must not hold the program."""
    with running_server(name, "length", servers, folder, certificate) as server:
        env = {**PATIENT, "SSL_CERT_FILE": str(certificate)}
        children.twin(HELLO, endpoint=server.url, env=env)
        children.run(LARGE, endpoint=server.url, env=env)
        names = [event["name"] for event in server.events()]
    assert names.count("work.step") == 97
    assert names.count("session.end") == 2
    assert list(children.spool.glob("*.live")) == []


@pytest.fixture
def nginx() -> str:
    """The path of nginx."""
    return need_command("nginx", "nginx")


@pytest.mark.parametrize("options", ["", "proxy_http_version 1.1;", "proxy_request_buffering off; gzip on;"])
def test_exit_delivers_through_nginx(
    children: Children, collector: Collector, nginx: str, folder: Path, options: str
) -> None:
    """Most collectors stand behind one."""
    with running_nginx(nginx, folder, collector.port, options=options) as url:
        children.twin(HELLO, endpoint=url, env=PATIENT)
        children.run(LARGE, endpoint=url, env=PATIENT)
    assert collector.names().count("work.step") == 97
    assert collector.names().count("session.end") == 2
    assert list(children.spool.glob("*.live")) == []


def test_exit_delivers_through_nginx_under_tls(
    children: Children, collector: Collector, nginx: str, folder: Path, certificate: Path
) -> None:
    """This is what a collector on the internet looks like from here."""
    with running_nginx(nginx, folder, collector.port, certificate=certificate) as url:
        children.twin(LARGE, endpoint=url, env={**PATIENT, "SSL_CERT_FILE": str(certificate)})
    assert collector.names().count("work.step") == 97
    assert list(children.spool.glob("*.live")) == []


@pytest.mark.parametrize("is_secure", [False, True], ids=["http", "https"])
def test_batch_that_nginx_finds_too_large_goes_in_halves(
    children: Children, collector: Collector, nginx: str, folder: Path, certificate: Path, is_secure: bool
) -> None:
    """It answers 413 while we still send, and hangs up: the answer must be read all the same, and nothing is lost."""
    with running_nginx(
        nginx, folder, collector.port, limit="300k", certificate=certificate if is_secure else None
    ) as url:
        children.twin(LARGE, endpoint=url, env={**PATIENT, "SSL_CERT_FILE": str(certificate)})
    assert len(collector.batches) == 4
    assert {event["data"]["number"] for event in collector.events() if event["name"] == "work.step"} == set(range(97))
    assert len(collector.events()) == 99
    assert list(children.spool.glob("*.live")) == []
    assert_adds_up(children.spool)


def test_events_stay_while_nginx_has_nobody_behind_it(
    children: Children, collector: Collector, nginx: str, folder: Path
) -> None:
    """A 502 comes as a page of HTML; it is an outage all the same, and no wrong address."""
    collector.go_away()
    with running_nginx(nginx, folder, collector.port) as url:
        assert children.twin(HELLO, endpoint=url, env=PATIENT).names == KEPT
        collector.come_back()
        assert children.run(["python", "-m", "monitor_auto", "flush"], endpoint=url).status == 0
    assert collector.names() == KEPT

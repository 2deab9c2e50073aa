"""Delivery at exit on the machine's other interpreters: 3.12 starts no thread by then, each has its own `_socket`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from support.children import Children
from support.collector import Collector, running_collector
from support.network import make_certificate
from support.sandbox import Sandbox, other_pythons

FLUSH = ["python", "-m", "monitor_auto", "flush"]
WORK = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
NAMES = ["session.start", "session.exit", "session.end"]
PATIENT: dict[str, str | None] = {"MONITOR_EXIT_TIMEOUT": "30"}


@pytest.fixture(params=list(other_pythons()))
def python(request: pytest.FixtureRequest, sandbox_for: Callable[..., Sandbox]) -> Sandbox:
    """An environment of another interpreter."""
    return sandbox_for(other_pythons()[request.param])


def test_exit_and_flush_deliver_on_other_interpreters(
    children: Children, collector: Collector, python: Sandbox
) -> None:
    """One wheel serves all: what is taken from an interpreter's inside has to be there in each."""
    done = children.twin(WORK, endpoint=collector.url, env=PATIENT, python=python)
    assert (done.status, collector.names(), done.names) == (3, NAMES, [])
    collector.go_away()
    assert children.twin(WORK, endpoint=collector.url, python=python).names == NAMES
    collector.come_back()
    assert children.run(FLUSH, endpoint=collector.url, python=python).status == 0
    assert collector.names() == NAMES * 2
    assert list(children.spool.glob("*.live")) == []


def test_exit_delivers_over_https_on_other_interpreters(children: Children, tmp_path: Path, python: Sandbox) -> None:
    """The helper is the same interpreter, isolated; what `-I -S` leaves of it differs from version to version."""
    certificate, context = make_certificate(tmp_path)
    env: dict[str, str | None] = {"SSL_CERT_FILE": str(certificate)}
    with running_collector(tls=context) as collector:
        children.twin(WORK, endpoint=collector.url, env={**env, **PATIENT}, python=python)
        assert collector.names() == NAMES
        collector.go_away(silently=True)
        hung = {**env, "MONITOR_EXIT_TIMEOUT": "1"}
        done = children.twin(WORK, endpoint=collector.url, env=hung, python=python)
        assert (done.status, done.names) == (3, NAMES)
        collector.come_back()
        assert children.run(FLUSH, endpoint=collector.url, env=env, python=python).status == 0
        assert collector.names() == NAMES * 2
    assert not collector.violations

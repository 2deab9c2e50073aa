"""One deadline at exit, over look-up, connecting, TLS, sending and the answer: whatever hangs, on every interpreter."""

import json
import signal
import socket
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, time

import pytest

from support.children import Child, Children, Run
from support.collector import DRIP, running_collector
from support.needs import need_command
from support.network import Swallower, make_certificate
from support.rawserver import raw_server
from support.sandbox import Sandbox, other_pythons
from support.silence import SILENT_RESOLVER

WORK = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
NAMES = ["session.start", "session.exit", "session.end"]
PATIENCE: dict[str, str | None] = {"MONITOR_EXIT_TIMEOUT": "3"}
"""A dozen programs at once on a slow machine take a while to come to what hangs."""
FAR_TOO_LONG_SECONDS = 50
"""A slow machine takes a while for a dozen programs; who hangs here hangs for ever."""


@dataclass
class Hanging:
    """Something that hangs: what to deliver to, how to get there, and how often somebody has come."""

    endpoint: str
    visits: Callable[[], int] | None = None
    env: dict[str, str | None] = field(default_factory=dict)
    before: tuple[str, ...] = ()


@contextmanager
def swallowing(endpoint: str, **env: str) -> Iterator[Hanging]:
    """A listener that never says a word, as the collector or as the proxy on the way there."""
    swallower = Swallower()
    address = f"127.0.0.1:{swallower.port}"
    filled = {name: value.replace("PLACE", address) for name, value in env.items()}
    try:
        yield Hanging(endpoint.replace("PLACE", address), lambda: len(swallower.connections), {**filled})
    finally:
        swallower.close()


@contextmanager
def by_ipv6() -> Iterator[Hanging]:
    """The same on the other family."""
    with raw_server(keep_open=True, family=socket.AF_INET6) as server:
        yield Hanging(server.url("[::1]"), lambda: len(server.requests))


@contextmanager
def black_hole() -> Iterator[Hanging]:
    """A listener whose queue is full: the system answers to no further knock."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as waiting:
        for _ in range(3):
            knock = waiting.enter_context(socket.socket())
            knock.setblocking(False)
            knock.connect_ex(listener.getsockname())
        yield Hanging(f"http://127.0.0.1:{listener.getsockname()[1]}/v1/events")


@contextmanager
def dripping(folder: Path, is_secure: bool) -> Iterator[Hanging]:
    """A server that passes every time-out of a single operation."""
    certificate, context = make_certificate(folder) if is_secure else (None, None)
    with running_collector(DRIP, tls=context) as collector:
        yield Hanging(
            collector.url, lambda: len(collector.requests), {"SSL_CERT_FILE": certificate and str(certificate)}
        )


@contextmanager
def nameless(folder: Path, endpoint: str) -> Iterator[Hanging]:
    """A resolver that never answers."""
    words = (need_command("unshare", "util-linux"), "--mount", "--net", sys.executable, "-S", "-c")
    need_command("ip", "iproute2")
    yield Hanging(endpoint, before=(*words, textwrap.dedent(SILENT_RESOLVER), str(folder)))


def ways_to_hang(folder: Path) -> dict[str, Callable[[], "Iterator[Hanging]"]]:
    """Return what may hang on the way to a collector."""
    over_http, over_https = "http://collector.test:9090/v1/events", "https://collector.test/v1/events"
    return {
        "silent": lambda: swallowing("http://PLACE/v1/events"),
        "silent over IPv6": by_ipv6,
        "never accepts": black_hole,
        "drips": lambda: dripping(folder, False),
        "handshake": lambda: swallowing("https://PLACE/v1/events"),
        "drips under TLS": lambda: dripping(folder, True),
        "proxy": lambda: swallowing(over_http, HTTP_PROXY="http://PLACE", NO_PROXY=""),
        "proxy for TLS": lambda: swallowing(over_https, HTTPS_PROXY="http://PLACE", NO_PROXY=""),
        "no name": lambda: nameless(folder, over_http),
        "no name for TLS": lambda: nameless(folder, over_https),
    }


@pytest.fixture(params=["own", *other_pythons()])
def python(request: pytest.FixtureRequest, sandbox_for: Callable[..., Sandbox]) -> Sandbox:
    """An environment of this interpreter, or of another one."""
    return sandbox_for(other_pythons().get(request.param, sys.executable))


ALARMS = {
    "alarm": "signal.alarm(1)",
    "handler": """
signal.signal(signal.SIGALRM, lambda *_: os.write(1, b"too late"))
signal.setitimer(signal.ITIMER_REAL, 0.9, 0.1)
""",
    "handler that raises": """
def on_alarm(*_):
    raise RuntimeError("too late")
signal.signal(signal.SIGALRM, on_alarm)
signal.alarm(1)
""",
}


@pytest.mark.parametrize("how", ALARMS)
def test_alarm_does_not_go_off_while_we_hold_the_process(how: str, children: Children) -> None:
    """A script that may take a minute is done after 58 seconds, and the collector is away: it was in time."""
    with swallowing("http://PLACE/v1/events") as hanging:
        source = "import os, signal\n" + ALARMS[how] + "\nprint('done')\n"
        done = children.twin(source, endpoint=hanging.endpoint, env={"MONITOR_EXIT_TIMEOUT": "2"})
    assert (done.status, done.stdout) == (0, b"done\n")


def test_alarm_goes_on_when_we_are_done(children: Children) -> None:
    """What hangs after the exit functions is still ended by the program's own watchdog."""
    source = """
        import os, signal, time
        class Last:
            def __del__(self, sleep=time.sleep):
                sleep(60)
        last = Last()
        signal.alarm(2)
    """
    with swallowing("http://PLACE/v1/events") as hanging:
        done = children.twin(source, endpoint=hanging.endpoint, env={"MONITOR_EXIT_TIMEOUT": "1"})
    assert done.status == -signal.SIGALRM


def test_nothing_that_hangs_holds_up_an_exit(children: Children, tmp_path: Path, python: Sandbox) -> None:
    """The night shift has its jobs one after the other: a collector that is away must cost the first of them a moment,
    and the others nothing.
    """
    with ExitStack() as stack:
        ways = {name: stack.enter_context(way()) for name, way in ways_to_hang(tmp_path).items()}
        crowd = Crowd(children, tmp_path, python, ways)
        (bare,) = {seen(run) for run in crowd.finish(crowd.start(bare=True)).values()}
        assert bare == (3, b"out\n", b"err\n")
        began = monotonic()
        done = crowd.finish(crowd.start())
        assert monotonic() - began < FAR_TOO_LONG_SECONDS
        for name, run in done.items():
            assert (seen(run), run.names) == (bare, NAMES), name
            assert '"timeout"' in away(run.spool).read_text(), name
            prolong(away(run.spool))
        visits = crowd.visits()
        assert set(visits.values()) == {1}
        for name, run in crowd.finish(crowd.start()).items():
            assert (seen(run), run.names) == (bare, NAMES * 2), name
        assert crowd.visits() == visits, "somebody has waited again"


@pytest.mark.parametrize("how", ways_to_hang(Path()))
def test_deadline_is_kept_to_a_fifth_of_a_second(children: Children, tmp_path: Path, how: str) -> None:
    """MONITOR_EXIT_TIMEOUT is what somebody has reckoned with. One of twenty tries is enough: machines are busy."""

    def seconds(number: int, timeout: str) -> float:
        spool = children.folder / f"spool-{number}"
        spool.mkdir(0o700, exist_ok=True)
        words = [*hanging.before, str(children.sandbox.python), "-c", "pass"]
        env = {**hanging.env, "MONITOR_EXIT_TIMEOUT": timeout}
        began = monotonic()
        done = children.run(words, endpoint=hanging.endpoint, env=env, spool=spool)
        took = monotonic() - began
        assert (done.status, done.stderr, done.names[-2:]) == (0, b"", NAMES[::2])
        return took

    tries = []
    with ways_to_hang(tmp_path)[how]() as hanging:
        for number in range(20):
            tries.append(seconds(number, "1") - seconds(number, "0"))
            if 0.9 < tries[-1] < 1.2:
                break
    assert 0.9 < tries[-1] < 1.2, tries


class Crowd:
    """The same program beside each of the things that hang, each with a spool of its own."""

    def __init__(self, children: Children, folder: Path, python: Sandbox, ways: dict[str, Hanging]) -> None:
        self.children, self.python, self.ways = children, python, ways
        self.spools = {name: folder / "spools" / name.replace(" ", "-") for name in ways}
        for spool in self.spools.values():
            spool.mkdir(0o700, parents=True)

    def start(self, **how: bool) -> dict[str, Child]:
        """Start all."""
        started = {}
        for name, way in self.ways.items():
            words = [*way.before, *self.python.command, "-c", WORK]
            env = {**PATIENCE, **way.env}
            started[name] = self.children.start(
                words, endpoint=way.endpoint, env=env, spool=self.spools[name], python=self.python, **how
            )
        return started

    def finish(self, started: dict[str, Child]) -> dict[str, Run]:
        """Wait for all."""
        return {name: child.finish() for name, child in started.items()}

    def visits(self) -> dict[str, int]:
        """Return how often somebody has come, where that can be told."""
        return {name: way.visits() for name, way in self.ways.items() if way.visits is not None}


def seen(run: Run) -> tuple[int, bytes, bytes]:
    """Return what a program shows."""
    return run.status, run.stdout, run.stderr


def away(spool: Path) -> Path:
    """Return the record of the one endpoint that is away."""
    (record,) = spool.glob("*.away")
    return record


def prolong(record: Path) -> None:
    """Have the back-off last while a slow machine goes on."""
    facts = json.loads(record.read_text())
    record.write_text(json.dumps({**facts, "until": time() + 600}, separators=(",", ":")))

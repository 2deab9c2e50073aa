"""Delivery at exit where it takes a look-up, TLS or a proxy: in a helper process that can be killed at the deadline."""

import os
import select
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support.children import Children
from support.collector import Collector, running_collector
from support.needs import need_command
from support.network import Swallower, make_certificate, running_proxy
from support.silence import SILENT_RESOLVER

HELLO = "print('hello')"

# What a program can see of a child that is not its own.
WATCHFUL = """
    import atexit, os, signal
    signal.signal(signal.SIGCHLD, lambda *args: print("a child ended", flush=True))
    def look():
        try:
            print(os.waitpid(-1, os.WNOHANG))
        except ChildProcessError:
            print("no child")
    atexit.register(look)
"""


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[Collector, dict[str, str | None]]]:
    """A collector over TLS under a name, and the environment in which its certificate is known."""
    certificate, context = make_certificate(tmp_path)
    with running_collector(tls=context) as collector:
        yield collector, {"SSL_CERT_FILE": str(certificate)}
        assert not collector.violations


@pytest.fixture
def swallower() -> Iterator[Swallower]:
    """A listener that never says a word."""
    swallower = Swallower()
    yield swallower
    swallower.close()


def test_exit_delivers_over_https_by_a_name(
    children: Children, secure: tuple[Collector, dict[str, str | None]]
) -> None:
    """A collector that takes tokens is behind TLS; the helper that speaks it is no session of its own."""
    collector, env = secure
    children.twin(HELLO, endpoint=collector.url, env={**env, "MONITOR_TOKEN": "tell-nobody"})
    assert collector.names() == ["session.start", "session.end"]
    assert collector.requests[0].headers["authorization"] == "Bearer tell-nobody"


def test_program_does_not_see_the_helper(children: Children, secure: tuple[Collector, dict[str, str | None]]) -> None:
    """A SIGCHLD that the program did not cause would run its handler while it ends."""
    collector, env = secure
    children.twin(WATCHFUL, endpoint=collector.url, env=env)
    assert "session.end" in collector.names()


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2, 3)])
def test_exit_delivers_with_closed_descriptors(
    children: Children, secure: tuple[Collector, dict[str, str | None]], closed: tuple[int, ...]
) -> None:
    """A daemon has no standard streams; the pair that leads to the helper then has their numbers."""
    collector, env = secure
    source = f"import os\nfor number in {closed!r}:\n    try: os.close(number)\n    except OSError: pass"
    children.twin(source, endpoint=collector.url, env=env)
    assert "session.end" in collector.names()


def test_flush_delivers_over_https_whatever_lies_beside_the_script(
    children: Children, secure: tuple[Collector, dict[str, str | None]]
) -> None:
    """A late import of ssl in the program would run its own token.py; the helper does not look there."""
    collector, env = secure
    files = dict.fromkeys(("token.py", "ssl.py", "socket.py", "email.py"), "raise SystemExit('not yours')")
    source = "from monitor_auto import Monitor; Monitor.event('hook.run'); print(Monitor.flush(timeout=30))"
    done = children.run(source, files=files, endpoint=collector.url, env=env)
    assert done.stdout == b"True\n"
    assert "hook.run" in collector.names()


def test_unknown_certificate_keeps_the_events(
    children: Children, secure: tuple[Collector, dict[str, str | None]]
) -> None:
    """Whoever answers without a certificate that we know gets neither the token nor an event."""
    collector, env = secure
    done = children.twin(HELLO, endpoint=collector.url, env={"MONITOR_DEBUG": str(children.folder / "log")})
    assert collector.requests == []
    assert done.names == ["session.start", "session.end"]
    assert "certificate" in (children.folder / "log").read_text()
    (children.spool / away_of(children)).unlink()
    assert children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url, env=env).status == 0
    assert collector.names() == ["session.start", "session.end"]


def away_of(children: Children) -> str:
    """Return the name of the one breaker's record."""
    (path,) = children.spool.glob("*.away")
    return path.name


def test_handshake_that_hangs_is_waited_for_once(children: Children, swallower: Swallower) -> None:
    """One process finds out that nobody is there; the next must not wait for it again."""
    endpoint = f"https://localhost:{swallower.port}/v1/events"
    first = children.twin(HELLO, endpoint=endpoint, env={"MONITOR_EXIT_TIMEOUT": "1"})
    children.twin(HELLO, endpoint=endpoint, env={"MONITOR_EXIT_TIMEOUT": "1"})
    assert first.status == 0
    assert len(swallower.connections) == 1
    assert children.run(HELLO, bare=True).names.count("session.end") == 2


def test_helper_has_nothing_of_the_program_and_dies_soon_after_it(children: Children, swallower: Swallower) -> None:
    """A process that nobody has started by name must not hold a pipe open, show a token, or be found the next day."""
    seconds = 5
    env = {"MONITOR_EXIT_TIMEOUT": str(seconds), "MONITOR_TOKEN": "tell-nobody"}
    child = children.start(HELLO, endpoint=f"https://localhost:{swallower.port}/v1/events", env=env)
    swallower.wait_for(1)
    (helper,) = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    process = Path("/proc") / helper
    files, deadline = open_files(process), time.monotonic() + seconds
    # Once it has a connection it still reads the modules for TLS.
    while not all(number in "012" or target.startswith("socket:") for number, target in files.items()):
        assert time.monotonic() < deadline, files
        files = open_files(process)
    assert [files.pop(number) for number in ("0", "1", "2")] == ["/dev/null"] * 3
    assert len(files) == 2, "to us and to the collector"
    assert b"-I\0-S\0" in (process / "cmdline").read_bytes()
    shown = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    assert b"tell-nobody" not in shown
    assert b"MONITOR_" not in shown
    end = os.pidfd_open(int(helper))
    child.process.kill()
    ready, _, _ = select.select(
        [end], [], [], seconds + 2
    )  # the alarm that ends it is the system's: no wait for Python
    os.close(end)
    assert ready, "the helper has outlived the program by more than its deadline"
    assert child.finish().names == ["session.start", "session.end"]


def open_files(process: Path) -> dict[str, str]:
    """Return what each descriptor of a process in /proc stands for."""
    found = {}
    for path in (process / "fd").iterdir():
        with suppress(FileNotFoundError):  # just closed
            found[path.name] = os.readlink(path)
    return found


def test_look_up_that_hangs_ends_at_the_deadline(children: Children) -> None:
    """A resolver that is away holds a look-up for ten seconds and more, and nothing in the process can end it."""
    unshare = need_command("unshare", "util-linux")
    need_command("ip", "iproute2")
    words = [
        unshare,
        "--mount",
        "--net",
        sys.executable,
        "-S",
        "-c",
        textwrap.dedent(SILENT_RESOLVER),
        str(children.folder),
    ]
    program = [*words, str(children.sandbox.python), "-c", HELLO]
    env = {"MONITOR_EXIT_TIMEOUT": "1"}
    done = children.twin(program, endpoint="https://collector.example/v1/events", env=env)
    assert (done.status, done.stdout) == (0, b"hello\n")
    assert done.names == ["session.start", "session.end"]
    assert b'"error":"timeout"' in (children.spool / away_of(children)).read_bytes()


def test_proxy_of_the_environment_is_used(children: Children, collector: Collector) -> None:
    """In many companies the proxy alone knows the collector's name."""
    with running_proxy(collector.port) as (proxy, log):
        children.twin(HELLO, endpoint="http://collector.test:9090/v1/events", env={"HTTP_PROXY": proxy, "NO_PROXY": ""})
    assert log == ["http://collector.test:9090/v1/events"]
    assert collector.names() == ["session.start", "session.end"]


def test_loopback_is_reached_without_the_proxy(children: Children, collector: Collector) -> None:
    """A proxy cannot reach this machine's own loopback."""
    children.twin(
        HELLO, endpoint=collector.url, env={"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"}
    )
    assert collector.names() == ["session.start", "session.end"]


def test_host_without_an_interpreter_of_its_own_keeps_the_events(children: Children, swallower: Swallower) -> None:
    """In uWSGI sys.executable is uWSGI: starting it would start another server."""
    source = "import sys; sys.executable = '/bin/true'; sys.prefix = sys.base_prefix = '/nonexistent'"
    done = children.run(source, endpoint=f"https://localhost:{swallower.port}/v1/events")
    assert (done.status, done.stderr) == (0, b"")
    assert done.names == ["session.start", "session.end"]
    assert swallower.connections == []

"""Delivery where the machine gets in its way: spools that cannot be written, stopped processes, no descriptors left."""

import json
import os
import resource
import signal
import socket
import time
from typing import Any

import pytest

from support.children import Children
from support.collector import STALL, Answer, Collector
from support.needs import need_command
from support.spool import segments

FLUSH = ["python", "-m", "monitor_auto", "flush"]
SPOOL_ONLY = {"MONITOR_EXIT_TIMEOUT": "0"}
MANY = """
    from monitor_auto import Monitor
    for number in range(250):
        Monitor.event("work.step", {"number": number})
"""


def outcome(children: Children, words: list[str], **how: Any) -> dict[str, Any]:
    """Run a command with --json and return its object, with its status."""
    done = children.run([*words, "--json"], **how)
    return {**json.loads(done.stdout), "status": done.status}


def test_read_only_spool_is_told_and_left_alone(children: Children, collector: Collector) -> None:
    """The disk of a machine that is in trouble is mounted read-only: the rescuer must not be told that all is well."""
    children.run(MANY, endpoint=collector.url, env=SPOOL_ONLY)
    before = sorted(path.name for path in children.spool.iterdir())
    mount = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    read_only = [need_command("unshare", "util-linux"), "--mount", "sh", "-c", mount, str(children.spool)]
    command = [*read_only, str(children.sandbox.python), "-m", "monitor_auto"]
    flushed = outcome(children, [*command, "flush"], endpoint=collector.url)
    assert (flushed["status"], flushed["left"], flushed["running"], flushed["delivered"]) == (1, 252, 0, 0)
    assert f"{children.spool} cannot be written" in flushed["why"]
    purged = children.run([*command, "purge", "--yes"], endpoint=collector.url)
    assert purged.status == 1
    assert b"left alone" in purged.stderr
    assert sorted(path.name for path in children.spool.iterdir()) == before
    assert collector.requests == []
    program = [*read_only, str(children.sandbox.python), "-c", "print('out')"]
    env = {"CACHE_DIRECTORY": str(children.folder / "cache")}
    (children.folder / "cache").mkdir(0o700)
    assert children.twin(program, endpoint=collector.url, env=env).stdout == b"out\n"
    assert collector.names() == ["session.start", "session.end"], "events go elsewhere, and arrive"


def test_stopped_deliverer_holds_up_nobody(children: Children, collector: Collector) -> None:
    """Somebody presses Ctrl-Z in a flush, or a debugger holds it: what it has not got must not wait for it."""
    children.run(MANY, endpoint=collector.url, env=SPOOL_ONLY)
    collector.answer_next(Answer(), STALL)
    stopped = children.start([*FLUSH, "--json"], endpoint=collector.url)
    collector.wait_for_request(2)
    os.kill(stopped.pid, signal.SIGSTOP)
    try:
        children.run(MANY, endpoint=collector.url, env=SPOOL_ONLY)
        second = outcome(children, FLUSH, endpoint=collector.url)
        assert (second["status"], second["delivered"], second["running"]) == (0, 252, 1)
        children.run("pass", endpoint=collector.url)
        assert segments(children.spool), "what the stopped one has is still its own"
    finally:
        os.kill(stopped.pid, signal.SIGCONT)
        stopped.process.kill()
        stopped.finish()
    third = outcome(children, FLUSH, endpoint=collector.url)
    assert (third["status"], third["left"]) == (0, 0)
    assert sorted(set(collector.names())) == ["session.end", "session.start", "work.step"]
    assert len(collector.unique()) == 2 * 252 + 2
    assert len(collector.events()) - len(collector.unique()) <= 100, "no more than the batch without an answer"


def test_program_without_descriptors_tells_nobody_that_the_collector_is_away(
    children: Children, collector: Collector
) -> None:
    """It is this program which cannot connect: the others must not leave the collector alone for it."""
    source = """
        import os
        from monitor_auto import Monitor
        print(Monitor.flush(30))
        Monitor.event("work.step")
        Monitor.event("work.step")
        held = []
        try:
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            os.close(held.pop())  # one to read the segment with, and none for the socket
        second = Monitor.flush(30)
        for number in held:
            os.close(number)
        print(second, os.listdir(os.environ["SPOOL"]))
        print(Monitor.flush(30))
    """
    few = (600, 600)
    done = children.run(
        source,
        endpoint=collector.url,
        env={"SPOOL": str(children.spool), "MONITOR_BATCH_SIZE": "1", "MONITOR_FLUSH_INTERVAL": "0"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, few),
    )
    first, second, third = done.stdout.decode().splitlines()
    assert (first, second.partition(" ")[0], third) == ("True", "False", "True")
    assert ".away" not in second
    assert collector.names() == ["session.start", "work.step", "work.step", "session.end"]


def test_host_that_cannot_start_a_helper_tells_nobody_that_the_collector_is_away(children: Children) -> None:
    """A server with Python inside has no interpreter for TLS; a job beside it has."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"https://localhost:{listener.getsockname()[1]}/v1/events"
        source = "import sys; sys.executable = '/bin/true'; sys.prefix = sys.base_prefix = '/nonexistent'"
        done = children.run(source, endpoint=endpoint)
    assert (done.status, done.names) == (0, ["session.start", "session.end"])
    assert list(done.spool.glob("*.away")) == []


def test_failure_of_a_patient_program_counts_and_is_told(children: Children, collector: Collector) -> None:
    """While it looks whether the collector is back the others wait for it; what it has found out must not get lost."""
    collector.answer = Answer(503, headers=(("Retry-After", "1000"),))
    for failures in range(1, 4):
        children.run("pass", endpoint=collector.url, env={"MONITOR_EXIT_TIMEOUT": "30"})
        (record,) = children.spool.glob("*.away")
        facts = json.loads(record.read_text())
        assert (facts["failures"], facts["until"] > time.time() + 900) == (failures, True)
        record.write_text(record.read_text().replace(f"{facts['until']:.3f}", "1.000"))
    assert len(collector.requests) == 3


@pytest.mark.parametrize("mode", [0o000, 0o300], ids=oct)
def test_spool_that_its_owner_cannot_read_is_told(children: Children, collector: Collector, mode: int) -> None:
    """`chmod -R` goes wrong now and then. Nothing of it may be taken for an empty spool, nor stop what can be read."""
    cache = children.folder / "cache"
    cache.mkdir(0o700)
    env = {"CACHE_DIRECTORY": str(cache)}
    children.run(MANY, endpoint=collector.url, env={**env, **SPOOL_ONLY})
    elsewhere = {**env, **SPOOL_ONLY, "MONITOR_SPOOL_DIR": "/proc/nowhere"}
    children.run("pass", endpoint=collector.url, env=elsewhere)
    weak = [need_command("setpriv", "util-linux"), "--bounding-set=-all"] if os.geteuid() == 0 else []
    words = [*weak, str(children.sandbox.python)]
    how: dict[str, Any] = {"endpoint": collector.url, "env": env}
    children.spool.chmod(mode)
    try:
        told = {name: children.run([*words, "-m", "monitor_auto", *name.split()], **how) for name in COMMANDS}
        flushed = children.run([*words, "-m", "monitor_auto", "flush"], **how)
        assert children.twin([*words, "-c", "print('out')"], **how).stdout == b"out\n"
    finally:
        children.spool.chmod(0o700)
    assert all(b"Traceback" not in done.stderr for done in told.values())
    assert {name: done.status for name, done in told.items()} == COMMANDS
    shown = b" ".join(told["doctor"].stdout.split()).decode()
    assert f"wrong spool: {children.spool} cannot be read" in shown
    assert f"chmod 700 {children.spool}" in shown
    assert json.loads(told["status --json"].stdout)["unreadable"] == [str(children.spool)]
    assert f"{children.spool} cannot be read" in " ".join(told["status"].stdout.decode().split())
    purged = " ".join(told["purge --yes"].stderr.decode().split())
    assert f"{children.spool} cannot be read; what waits there is left alone" in purged
    assert told["flush"].stdout.startswith(b"Delivered 2 events in "), "what can be read waits for nobody"
    assert (flushed.status, flushed.stdout) == (1, b"Nothing was delivered.\n")
    assert flushed.stderr.decode().startswith(f"monitor-auto: {children.spool} cannot be read.\n")
    assert outcome(children, FLUSH, **how)["delivered"] >= 252
    assert collector.names().count("work.step") == 250


COMMANDS = {"status": 0, "status --json": 0, "doctor": 1, "flush": 1, "purge --yes": 1, "report --list": 1}

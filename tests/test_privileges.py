"""Servers that root starts and that give up its rights: their spool is root's, and they write to it to their end."""

import os
import subprocess

import pytest

from support.children import Children
from support.collector import Collector

DROPPING = """
    import os, sys
    from monitor_auto import Monitor
    Monitor.event("before.drop")
    Monitor.flush(30)  # loads what that takes: as another user the package may be out of reach
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    Monitor.event("after.drop")
    flushed = Monitor.flush(2)
    os.write(1, b"dropped %d" % flushed)
    os.read(0, 1)
    Monitor.event("last.of", {"secret": [1, {"password": "x"}]})
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("interval", ["30", "0.05"])
def test_program_that_gives_up_roots_rights_is_recorded_to_its_end(
    interval: str, children: Children, collector: Collector
) -> None:
    """Nothing may be lost, nothing shown, and who looks has to be told why it does not arrive yet."""
    env = {"MONITOR_FLUSH_INTERVAL": interval, "MONITOR_DEBUG": "stderr"}
    child = children.start(DROPPING, endpoint=collector.url, env=env, stdin=subprocess.PIPE)
    assert child.process.stdout is not None
    assert child.process.stdout.read(9) == b"dropped 0"
    doctor = children.run(["python", "-m", "monitor_auto", "doctor"], endpoint=collector.url)
    assert b"1 program that now runs as another user" in b" ".join(doctor.stdout.split())
    done = child.finish(b"x")
    assert done.status == 0
    assert b"error" not in done.stderr
    assert b"nothing is delivered: the spool is that of another user" in done.stderr
    children.run("pass", endpoint=collector.url)
    names = collector.names()
    assert [name for name in names if name.endswith((".drop", ".of"))] == ["before.drop", "after.drop", "last.of"]
    assert names.count("session.end") == 2
    assert "session.lost" not in names

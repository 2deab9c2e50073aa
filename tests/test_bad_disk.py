"""A disk of which any call may fail, at any time, with any error: no program notices, and what can be kept is."""

import os
import random

import pytest

from support.bad_disk import make_bad_disk
from support.children import Children
from support.collector import Collector
from support.spool import segments

SOURCE = """
    import os, subprocess, sys
    from monitor_auto import Monitor
    for number in range(300):
        Monitor.event("work.number", {"number": number, "pad": "p" * 300})
    child = os.fork()
    if not child:
        Monitor.event("work.child")
        os._exit(4)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    print(subprocess.run([sys.executable, "-c", "print('grandchild')"]).returncode)
    sys.exit(3)
"""


@pytest.mark.parametrize("percent", [2, 15, 50, 100])
def test_disk_that_fails_now_and_then_harms_nobody(children: Children, collector: Collector, percent: int) -> None:
    """Disks die slowly: before a machine is replaced it runs its jobs for a week on one like this."""
    seed = int(os.environ.get("DISK_SEED") or random.randrange(1 << 30))
    print(f"the disk's seed is {seed}")
    bad = make_bad_disk(children.folder, children.spool, percent, seed)
    env = {**bad, "MONITOR_RATE_LIMIT": "0", "MONITOR_EXIT_TIMEOUT": "30", "MONITOR_SPOOL_LIMIT": "1MiB"}
    children.untold = 400  # the disk refuses what the account needs
    env["CACHE_DIRECTORY"] = str(children.folder / "none" / "there")
    done = children.twin(SOURCE, endpoint=collector.url, env=env, timeout=120)
    assert (done.status, done.stdout) == (3, b"4\ngrandchild\n0\n")
    for _ in range(2):
        flushed = children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url, timeout=120)
        assert flushed.status == 0, flushed.stderr
    numbers = {item["data"]["number"] for item in collector.unique() if item["name"] == "work.number"}
    assert numbers == set(range(300))


MOVING = """
    import os, sys
    from monitor_auto import Monitor
    spool = os.environ.get("MONITOR_SPOOL_DIR", "nowhere")
    for number in range(4):
        Monitor.event("work.number", {"number": number})
        if number == 1 and Monitor.session:
            os.rename(spool, spool + "-away")
    print(Monitor.session is None or Monitor.flush(10) in (True, False))
    Monitor.event("work.number", {"number": 4})
    print("out")
"""


def test_spool_that_goes_away_and_comes_back_costs_nothing(children: Children, collector: Collector) -> None:
    """A volume is moved, a home folder mounted late: what went there is delivered when it is there again."""
    done = children.twin(MOVING, endpoint=collector.url, env={"MONITOR_EXIT_TIMEOUT": "30"})
    assert (done.status, done.stdout) == (0, b"True\nout\n")
    away = children.folder / "spool-away"
    children.spools.add(away)
    for spool in (away, children.spool):
        if spool.exists():
            flushed = children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url, spool=spool)
            assert flushed.status == 0, flushed.stderr
    arrived = [item["data"]["number"] for item in collector.events() if item["name"] == "work.number"]
    assert sorted(arrived) == list(range(5))
    names = collector.names()
    assert names.count("session.lost") == 0, "it has ended, whatever became of its spool"


AND_BACK = """
    import os, shutil, signal, subprocess, sys
    from monitor_auto import Monitor
    spool, how = os.environ.get("MONITOR_SPOOL_DIR", ""), sys.argv[1]
    flushed = []
    for number in range(3):
        Monitor.event("work.number", {"number": number})
    if spool:
        os.rename(spool, spool + "-away")
    Monitor.event("work.number", {"number": 3})
    if how == "flushes":
        flushed.append(Monitor.flush(30))
    if how == "others make a new one":
        subprocess.run([sys.executable, "-c", "pass"], check=True)
    Monitor.event("work.number", {"number": 4})
    if spool:
        if os.path.exists(spool):
            shutil.copytree(spool, spool + "-new")
            shutil.rmtree(spool)
        os.rename(spool + "-away", spool)
    Monitor.event("work.number", {"number": 5})
    if how == "flushes":
        flushed.append(Monitor.flush(30))
    if spool and flushed not in ([], [False, True]):
        print(flushed)
    print("out", flush=True)
    if how == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("how", ["ends", "flushes", "others make a new one", "is killed"])
def test_program_goes_on_when_its_spool_is_back(children: Children, collector: Collector, how: str) -> None:
    """A disk is exchanged under a service: neither what it had nor what it said meanwhile may be lost or come twice."""
    done = children.twin(AND_BACK, argv=[how], endpoint=collector.url, env={"MONITOR_EXIT_TIMEOUT": "30"})
    assert done.stdout == b"out\n"
    flushed = children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url)
    assert flushed.status == 0, flushed.stderr
    arrived = [item["data"]["number"] for item in collector.events() if item["name"] == "work.number"]
    assert arrived == list(range(6))
    ends = {name: collector.names().count(name) for name in ("session.end", "session.lost")}
    is_killed, others = how == "is killed", how == "others make a new one"
    assert ends == {"session.end": (not is_killed) + others, "session.lost": is_killed}
    assert segments(children.spool) == []

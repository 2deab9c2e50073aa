"""Disks, descriptors and folders that fail while a program runs: it never notices, and nothing is lost that need not
be.
"""

import fcntl
import json
import os
import signal
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from support.account import assert_adds_up
from support.children import Child, Children, Run
from support.collector import STALL, Collector
from support.needs import miss, need_command
from support.network import Swallower
from support.spool import read_events, read_headers, read_ledger, segments

ROOM = 512 << 10
"""Bytes of the small file systems here."""


FILLING = """
    import os, sys
    from monitor_auto import Monitor

    disk = os.environ["DISK"]

    def fill():
        with open(disk + "/more", "wb", buffering=0) as more:
            try:
                while True:
                    more.write(b"x" * 1000)
            except OSError:
                pass
            try:
                while True:
                    more.write(b"x")
            except OSError:
                pass

    def record(*numbers):
        for number in numbers:
            Monitor.event("work.number", {"number": number, "pad": "p" * 300})

"""


def on_small_disk(children: Children, source: str, **how: Any) -> tuple[Run, Path]:
    """Run FILLING and a program, bare and monitored, whose spool has a file system of its own; return the run and a
    copy of the spool. A file `ballast` fills all of the disk but 64 KiB.
    """
    if os.geteuid():
        miss("only root can mount")
    unshare = need_command("unshare", "util-linux")
    disk, out = children.folder / "disk", children.folder / "out"
    disk.mkdir(exist_ok=True)
    out.mkdir(exist_ok=True)
    (children.folder / "program.py").write_text(textwrap.dedent(FILLING) + textwrap.dedent(source))
    setup = f"""
        mount -t tmpfs -o ro none /var/tmp
        mount -t tmpfs -o size={ROOM},mode=700 none {disk}
        mkdir -m 700 {disk}/spool
        head -c {ROOM - (64 << 10)} /dev/zero > {disk}/ballast
        status=0
        "$@" || status=$?
        rm -f {disk}/ballast {disk}/more
        cp -a {disk}/spool/. {out}
        exit $status
    """
    words = [unshare, "--mount", "sh", "-ec", setup, "sh", str(children.sandbox.python)]
    env = {"DISK": str(disk), "MONITOR_SPOOL_DIR": f"{disk}/spool", **how.pop("env", {})}
    done = children.twin([*words, str(children.folder / "program.py")], env=env, **how)
    return done, out


def numbers(events: list[dict[str, Any]]) -> list[int]:
    """Return the numbers of the recorded events."""
    return [item["data"]["number"] for item in events if item["name"] == "work.number"]


def whole(spool: Path) -> list[dict[str, Any]]:
    """Return the events of a spool whose disk was full: a short write leaves a torn line there."""
    return [json.loads(line) for line in _lines(spool) if _is_whole(line)]


def torn(spool: Path) -> list[bytes]:
    """Return the lines that are no events and no headers."""
    return [line for line in _lines(spool) if not _is_whole(line) and b"monitor_auto_segment" not in line]


def _lines(spool: Path) -> list[bytes]:
    return [line for path in segments(spool) for line in path.read_bytes().split(b"\n") if line]


def _is_whole(line: bytes) -> bool:
    return line.startswith(b'{"v":1,') and line.endswith(b"}}")


def test_full_disk_is_waited_for_and_then_all_is_written(children: Children) -> None:
    """A log that fills the disk at night is rotated in the morning; what happened in between is what matters."""
    source = """
        record(*range(10))
        fill()
        record(*range(10, 60))
        os.unlink(disk + "/more")
        record(60)
        print("done")
    """
    done, spool = on_small_disk(children, source)
    assert done.stdout == b"done\n"
    assert numbers(whole(spool)) == list(range(61))
    assert not [line for line in read_ledger(spool) if line["what"] == "dropped"]


def test_failure_on_a_full_disk_is_told_to_the_others(children: Children) -> None:
    """Where the disk is full and the collector silent the second program must not wait for it as the first one did."""
    source = """
        record(1)
        fill()
        print("done")
    """
    swallower = Swallower()
    try:
        endpoint = f"http://127.0.0.1:{swallower.port}/v1/events"
        _, spool = on_small_disk(children, source, endpoint=endpoint, env={"MONITOR_EXIT_TIMEOUT": "1"})
        (away,) = spool.glob("*.away")
        assert (away.stat().st_size, len(swallower.connections)) == (0, 1)
        os.utime(away)
        spool.chmod(0o700)
        done = children.run("print(1)", endpoint=endpoint, spool=spool)
        assert done.names[-2:] == ["session.start", "session.end"]
        assert len(swallower.connections) == 1
        os.utime(away, (1, 1))
        children.run("print(2)", endpoint=endpoint, spool=spool, env={"MONITOR_EXIT_TIMEOUT": "1"})
        assert (len(swallower.connections), away.stat().st_size > 20) == (2, True)
    finally:
        swallower.close()


def test_torn_line_does_not_spoil_the_next(children: Children) -> None:
    """A full disk takes half a line; glued to the next one it would cost two events."""
    source = """
        fill()
        os.truncate(disk + "/more", os.path.getsize(disk + "/more") - 4096)
        record(*range(40))
        os.unlink(disk + "/more")
        record(40)
    """
    _, spool = on_small_disk(children, source)
    assert numbers(whole(spool)) == list(range(41))
    assert len(torn(spool)) == 1
    assert torn(spool)[0].startswith(b'{"v":1,')


@pytest.mark.parametrize("room", [20_000, 300_000])
def test_limit_on_the_length_of_a_file_costs_no_event(children: Children, room: int) -> None:
    """`ulimit -f`, and a day's events in a spool that nobody delivers from: there is room in another file, and what is
    only in memory does not outlive a kill.
    """
    source = f"""
        import os, resource, signal
        from monitor_auto import Monitor
        resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))
        for number in range(3000):
            Monitor.event("work.number", {{"number": number, "pad": "p" * 2000}})
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = children.run(source, env={"MONITOR_RATE_LIMIT": "0"})
    assert numbers(whole(done.spool)) == list(range(3000))
    assert torn(done.spool) == []
    assert max(path.stat().st_size for path in segments(done.spool)) <= room


def test_line_that_is_longer_than_any_file_is_kept_in_memory(children: Children) -> None:
    """Where hardly a line fits there is nothing to be gained by a file for each of them."""
    source = """
        import resource
        from monitor_auto import Monitor
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
        for number in range(50):
            Monitor.event("work.number", {"number": number, "pad": "p" * 4000})
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        print("done")
    """
    done = children.twin(source)
    assert done.stdout == b"done\n"
    assert len(segments(done.spool)) < 5


def test_memory_is_bounded_and_errors_are_kept_longest(children: Children) -> None:
    """A program that goes on for days on a full disk must not be killed for our queue."""
    source = """
        fill()
        for number in range(40):
            Monitor.error("trouble %d" % number)
        for number in range(30_000):
            record(number)
        os.unlink(disk + "/more")
        os.unlink(disk + "/ballast")
        os.system("mount -o remount,size=50m none " + disk)
        record(30_000)
    """
    _, spool = on_small_disk(children, source, env={"MONITOR_RATE_LIMIT": "0"})
    events = whole(spool)
    kept = numbers(events)
    assert kept == list(range(kept[0], 30_001)), "not the oldest went"
    assert 1000 < len(kept) < 20_000
    errors = [item["data"]["message"] for item in events if item["type"] == "error"]
    assert errors == [f"trouble {number}" for number in range(40)]
    dropped = [line for line in read_ledger(spool) if line["what"] == "dropped"]
    recorded = 30_001 + 40 + 5  # with the start, the end, the child twice, and the event that tells of the drops
    assert sum(line["count"] for line in dropped) == recorded - len(events)


def test_disk_that_is_full_from_the_start_is_used_when_there_is_room(children: Children) -> None:
    """The first line of a segment is its header: without room for it there is no segment, and later there must be."""
    source = """
        if not sys.argv[1:]:
            fill()
            os.execv(sys.executable, [sys.executable, __file__, "again"])
        record(0, 1)
        os.unlink(disk + "/more")
        record(2)
        print("done")
    """
    done, spool = on_small_disk(children, source)
    assert done.stdout == b"done\n"
    assert numbers(whole(spool)) == [0, 1, 2]
    assert [item["name"] for item in whole(spool)][-4:] == [*["work.number"] * 3, "session.end"]


def test_uncaught_error_is_recorded_when_every_descriptor_is_used(children: Children) -> None:
    """Running out of descriptors is what the error is about: just then there is none for us."""
    source = """
        import os, resource
        from monitor_auto import Monitor
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        files = []
        Monitor.event("work.begun")
        while True:
            files.append(open("/dev/null"))
    """
    done = children.twin(source)
    assert done.status == 1
    assert done.names == ["session.start", "work.begun", "error.OSError", "session.end"]


def test_first_event_of_all_is_recorded_when_every_descriptor_is_used(children: Children) -> None:
    """What makes recording fast is a shared object, which takes a descriptor: without one it has to be slower."""
    source = """
        import os, resource
        from monitor_auto import Monitor
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
        Monitor.event("work.done")
        raise ValueError("late")
    """
    done = children.twin(source)
    assert done.status == 1
    assert done.names == ["session.start", "work.done", "error.ValueError", "session.end"]


def test_program_without_a_free_descriptor_records_from_its_start(children: Children) -> None:
    """Where the limit leaves no number free at the start, memory has to do until one is."""
    source = """
        import os
        from monitor_auto import Monitor
        Monitor.event("work.begun")
        os.closerange(3, 20)
        Monitor.event("work.done")
        print("done")
    """
    path = children.folder / "program.py"
    path.write_text(textwrap.dedent(source))
    # The interpreter itself needs two to start; we need two more that stay.
    setup = 'ulimit -n 20; i=3; while [ $i -lt 17 ]; do eval "exec $i</dev/null"; i=$((i + 1)); done; exec "$@"'
    bash = need_command("bash", "bash")
    done = children.twin([bash, "-c", setup, "bash", str(children.sandbox.python), str(path)])
    assert done.stdout == b"done\n"
    assert done.names == ["session.start", "work.begun", "work.done", "session.end"]


@pytest.mark.parametrize("limit", [64, 256, 1024])
@pytest.mark.parametrize("last", [512, 0])
def test_daemon_that_closes_everything_keeps_its_files_to_itself(children: Children, limit: int, last: int) -> None:
    """A daemon's log, opened under the number that was ours, must not get a byte of ours, and we go on elsewhere."""
    source = """
        import os, resource, sys
        from monitor_auto import Monitor
        limit, last = map(int, sys.argv[1:])
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        Monitor.event("work.begun")
        os.closerange(3, last or limit)
        files = [os.open("log-%d" % number, os.O_RDWR | os.O_CREAT) for number in range(40)]
        for number in range(3):
            Monitor.event("work.number", {"number": number})
        for number in files:
            os.write(number, b"mine")
        os.kill(os.getpid(), 15) if len(sys.argv) > 3 else None
        print([os.path.getsize("log-%d" % number) for number in range(40)] == [4] * 40)
    """
    done = children.twin(source, argv=[str(limit), str(last)])
    assert done.stdout == b"True\n"
    assert done.names == ["session.start", "work.begun", *["work.number"] * 3, "session.end"]
    assert len({item["session"]["id"] for item in done.events}) == 1
    assert len({item["event_id"] for item in done.events}) == 6


def test_double_forked_daemon_is_recorded_and_unharmed(children: Children) -> None:
    """The classic daemon: two forks, a session of its own, no descriptors, another folder, no umask."""
    source = """
        import os, sys
        from monitor_auto import Monitor
        ready, told = os.pipe()
        if os.fork():
            os.close(told)
            sys.stdout.write(os.read(ready, 10).decode())
            os.wait()
            sys.exit(0)
        os.setsid()
        if os.fork():
            os._exit(0)
        os.chdir("/")
        os.umask(0)
        os.dup2(told, 100)
        os.closerange(3, 100)
        os.closerange(101, os.sysconf("SC_OPEN_MAX"))
        null = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(null, number)
        Monitor.event("work.daemon", {"pid": os.getpid()})
        os.write(100, b"ready")
        os.close(100)
        Monitor.event("work.done")
    """
    done = children.twin(source)
    _wait_for_end(children, done, "work.done")
    assert done.stdout == b"ready"
    sessions = {item["data"]["pid"]: item["session"]["id"] for item in done.named("session.start")}
    assert len(sessions) == 3
    (daemon,) = done.named("work.daemon")
    assert daemon["session"]["id"] == sessions[daemon["data"]["pid"]]
    of_daemon = [item["name"] for item in done.events if item["session"]["id"] == daemon["session"]["id"]]
    assert of_daemon == ["session.start", "work.daemon", "work.done", "session.end"]


def test_daemon_that_closes_everything_and_sleeps_is_alive(children: Children) -> None:
    """It may do nothing for hours: who looks through the spool meanwhile must not take it for dead."""
    source = """
        import os, sys, time
        ready, told = os.pipe()
        if os.fork():
            os.close(told)
            sys.stdout.write(os.read(ready, 10).decode())
            sys.exit(0)
        os.setsid()
        os.dup2(told, 100)
        os.closerange(0, 100)
        os.closerange(101, os.sysconf("SC_OPEN_MAX"))
        first = os.open(os.devnull, os.O_RDWR)
        os.write(100, b"%d" % first)
        os.close(100)
        time.sleep(2)
        sys.exit(3)
    """
    done = children.run(source)
    assert done.stdout == b"0"
    (daemon,) = [item["session"]["id"] for item in done.named("session.start") if item["session"].get("parent")]
    (lock,) = done.spool.glob(f"*.{daemon}.live")
    with lock.open("rb+") as file, pytest.raises(BlockingIOError):
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    _wait_for_end(children, done, "session.exit")


def test_range_that_the_program_closes_is_closed(children: Children) -> None:
    """Only what is ours is spared, and wrong calls fail as ever."""
    source = """
        import os
        files = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
        high = os.dup2(files[0], os.sysconf("SC_OPEN_MAX") - 40)
        print(os.closerange(files[0], high + 1))
        for number in (*files, high):
            try:
                print(os.fstat(number))
            except OSError as error:
                print(error)
        print(os.closerange(9, 3))
        for wrong in ((), (1,), ("a", 2), (1.5, 3), (1, 2, 3), (1, 1 << 70)):
            try:
                os.closerange(*wrong)
            except (TypeError, OverflowError) as error:
                print(error)
    """
    done = children.twin(source)
    assert done.stdout.count(b"Bad file descriptor") == 4
    assert done.names == ["session.start", "session.end"]


def _wait_for_end(children: Children, done: Run, name: str) -> None:
    """Wait until the session that has recorded an event has let go of its lock: a daemon outlives its starter."""
    deadline = time.monotonic() + 60
    while True:
        ends = {item["session"]["id"] for item in done.named("session.end")}
        if {item["session"]["id"] for item in done.named(name)} <= ends and done.named(name):
            return
        assert time.monotonic() < deadline, done.names
        time.sleep(0.01)


DELETING = """
    import glob, os, shutil, sys, time
    from monitor_auto import Monitor
    spool = os.environ.get("MONITOR_SPOOL_DIR", "/nowhere")
    for number in range(5):
        Monitor.event("work.number", {"number": number})
    for pattern in sys.argv[1:]:
        for path in glob.glob(spool + "/" + pattern):
            os.unlink(path)
    if not sys.argv[1:]:
        shutil.rmtree(spool, ignore_errors=True)
    end = time.monotonic() + 60
    number = 5
    while time.monotonic() < end and Monitor.session and not glob.glob(spool + "/*.[1-9].jsonl") and number < 3e6:
        Monitor.event("work.number", {"number": number})
        number += 1
        if "*.live" in sys.argv and "*.jsonl" not in sys.argv and glob.glob(spool + "/*.live"):
            break
    Monitor.event("work.done")
    print("done")
"""


@pytest.mark.parametrize("patterns", [[], ["*.jsonl"], ["*.jsonl", "*.live"]])
def test_deleted_spool_is_made_again_with_what_it_held(children: Children, patterns: list[str]) -> None:
    """`rm -rf ~/.cache` is what people do, also while their programs run."""
    done = children.twin(DELETING, argv=patterns, env={"MONITOR_RATE_LIMIT": "0"})
    assert done.stdout == b"done\n"
    assert done.names[0] == "session.start"
    found = numbers(read_events(children.spool))
    assert found == list(range(len(found)))
    assert len(found) >= 5
    assert done.names[-2:] == ["work.done", "session.end"]
    assert len(list(children.spool.glob("*.live"))) == 1


def test_deleted_lock_is_taken_again(children: Children) -> None:
    """Without it the session would count as dead, and another process would deliver and delete what it still writes."""
    source = """
        import glob, os, sys, time
        from monitor_auto import Monitor
        spool = os.environ.get("MONITOR_SPOOL_DIR", "/nowhere")
        for path in glob.glob(spool + "/*.live"):
            os.unlink(path)
        end = time.monotonic() + 60
        while Monitor.session and not glob.glob(spool + "/*.live") and time.monotonic() < end:
            Monitor.event("work.tick")
            time.sleep(0.01)
        print("ready", flush=True)
        sys.stdin.read()
        Monitor.event("work.done")
    """
    child = children.start(source, stdin=-1)
    assert _line(child) == b"ready\n"
    (live,) = children.spool.glob("*.live")
    descriptor = os.open(live, os.O_RDWR)
    with pytest.raises((BlockingIOError, PermissionError)):
        os.lockf(descriptor, os.F_TEST, 0)
    os.close(descriptor)
    assert child.finish(b"").names[-2:] == ["work.done", "session.end"]


def test_kill_after_the_event_was_recorded_loses_nothing(children: Children) -> None:
    """The promise that all else here serves."""
    source = """
        import os
        from monitor_auto import Monitor
        for number in range(1000):
            Monitor.event("work.number", {"number": number})
        os.kill(os.getpid(), 9)
    """
    done = children.twin(source)
    assert done.status == -signal.SIGKILL
    assert numbers(read_events(children.spool)) == list(range(1000))
    assert len(read_headers(children.spool)) == 1


def test_remains_of_a_short_write_are_nobodys_loss(children: Children, collector: Collector) -> None:
    """The event is there again, whole, in the next line: to report its first half as damage would be a false alarm."""
    source = """
        fill()
        os.truncate(disk + "/more", os.path.getsize(disk + "/more") - 4096)
        record(*range(40))
        os.unlink(disk + "/more")
        record(40)
    """
    env = {"MONITOR_EXIT_TIMEOUT": "0"}
    _, spool = on_small_disk(children, source, endpoint=collector.url, env=env)
    for path in segments(spool):  # the copy of the spool is to be its own original
        inode = json.loads(path.read_bytes().split(b"\n")[0])["inode"]
        path.write_bytes(path.read_bytes().replace(b'"inode":%d' % inode, b'"inode":%d' % path.stat().st_ino, 1))
    assert torn(spool)
    done = children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url, spool=spool)
    assert done.status == 0, done.stderr
    assert numbers(collector.events()) == list(range(41))
    assert not [line for line in done.ledger if line["what"] == "aside"]


def test_spool_with_remains_of_short_writes_is_kept_within_its_bounds(children: Children) -> None:
    """After a disk that was full the lines are looked at one by one, and what is dropped of them is counted once."""
    source = """
        record(*range(10))
        fill()
        os.truncate(disk + "/more", os.path.getsize(disk + "/more") - 4096)
        record(*range(10, 40))
        os.unlink(disk + "/more")
        os.unlink(disk + "/ballast")
        record(*range(40, 400))
    """
    done, spool = on_small_disk(children, source, env={"MONITOR_SPOOL_LIMIT": "32KiB", "MONITOR_RATE_LIMIT": "0"})
    left = numbers(whole(spool))
    assert left == list(range(left[0], 400))
    assert 0 < left[0] == sum(line["count"] for line in read_ledger(spool) if line["what"] == "dropped")
    assert sum(path.stat().st_size for path in segments(spool)) < 48 << 10
    assert_adds_up(spool)


CROWDING = """
    import subprocess

    def session(first, count, is_error=False):
        code = "import sys; from monitor_auto import Monitor\\nfor number in range(%d, %d): " % (first, first + count)
        code += "Monitor.event('work.number', {'number': number, 'pad': 'p' * 300})\\n"
        code += "Monitor.error('trouble')" if is_error else ""
        subprocess.run([sys.executable, "-c", code], check=True)

    def leave(pages):
        with open(disk + "/more", "r+b") as more:
            more.truncate(os.path.getsize(disk + "/more") - 4096 * pages)

    class Limited:
        def __init__(self, limit):
            self.spool_limit_bytes = limit

        def __getattr__(self, name):
            return getattr(recorder.settings, name)

    def keep_bounds(limit):
        if Monitor.session:
            global recorder
            from monitor_auto.boot import recorder
            from monitor_auto.delivery import bounds
            bounds.enforce(Limited(limit), recorder.segment.directory, recorder.segment.base, 60.0)

"""


def test_oldest_events_make_room_on_a_disk_that_is_nearly_full(children: Children) -> None:
    """To write the old ones anew without a few takes more room than there is: younger ones must not go for that."""
    source = """
        os.unlink(disk + "/ballast")
        for first in (0, 100, 200):
            session(first, 100, is_error=True)
        session(300, 5)
        fill()
        leave(pages=3)
        keep_bounds(230 << 10)
    """
    _, spool = on_small_disk(children, textwrap.dedent(CROWDING) + textwrap.dedent(source))
    assert sorted(numbers(whole(spool))) == list(range(100, 305))
    assert [item["name"] for item in whole(spool)].count("error.message") == 3
    dropped = [
        (line["reason"], line["type"], line["count"]) for line in read_ledger(spool) if line["what"] == "dropped"
    ]
    assert dropped == [("bytes", "event", 100)]
    assert_adds_up(spool)


def test_full_spool_makes_room_on_a_disk_that_is_full(children: Children) -> None:
    """Somebody else's log fills the disk, so that no file can be written anew: to delete one takes no room."""
    source = """
        session(0, 3)
        os.unlink(disk + "/ballast")
        record(*range(3, 300))
        Monitor.error("trouble")
        fill()
        keep_bounds(160 << 10)
    """
    limit = {"MONITOR_SPOOL_LIMIT": "300KiB", "MONITOR_RATE_LIMIT": "0"}
    _, spool = on_small_disk(children, textwrap.dedent(CROWDING) + textwrap.dedent(source), env=limit)
    left = sorted(numbers(whole(spool)))
    first = next(number for number in range(300) if number not in left)
    last = next(number for number in range(first, 300) if number in left)
    assert left == [*range(first), *range(last, 300)], "not the oldest that have a file of their own went"
    assert 0 < first < last < 250
    assert [item["name"] for item in whole(spool)].count("error.message") == 1
    assert sum(line["count"] for line in read_ledger(spool) if line["what"] == "dropped") == last - first
    assert_adds_up(spool)


def test_full_disk_is_delivered_from(children: Children, collector: Collector) -> None:
    """Delivering is what makes room; it must not need any for itself."""
    source = """
        record(*range(50))
        fill()
        record(50, 51)
        print(Monitor.session is not None or True)
    """
    done, spool = on_small_disk(children, source, endpoint=collector.url)
    sent = [item["data"]["number"] for item in collector.unique() if item["name"] == "work.number"]
    assert sorted(sent) == list(range(52))
    assert collector.names().count("session.end") == 1
    assert not segments(spool)


def _line(child: Child) -> bytes:
    assert child.process.stdout is not None
    return child.process.stdout.readline()


def test_flush_on_a_full_disk_leaves_everything_and_says_so(children: Children, collector: Collector) -> None:
    """A flush goes on in a fresh segment first; where there is no room for one, the old one must stay in use."""
    source = """
        record(*range(10))
        fill()
        flushed = [Monitor.flush(10), Monitor.flush(10)]
        record(10)
        os.unlink(disk + "/more")
        flushed.append(Monitor.flush(10))
        record(11)
        if Monitor.session is not None and flushed != [False, False, True]:
            print(flushed)
    """
    done, spool = on_small_disk(children, source, endpoint=collector.url)
    assert done.stdout == b""
    assert sorted(numbers(collector.unique())) == list(range(12))
    assert len(collector.unique()) == len(collector.events())
    assert not segments(spool)


def test_threads_that_record_while_others_flush_and_rotate_lose_nothing(
    children: Children, collector: Collector
) -> None:
    """Each of them turns the same descriptor to another file; a line that went to the wrong one would be deleted."""
    source = """
        import threading
        from monitor_auto import Monitor

        def record(first):
            for number in range(first, first + 2000):
                Monitor.event("work.number", {"number": number, "pad": "p" * 200})

        def flush():
            while recording.is_set():
                Monitor.flush(300)  # one that times out may repeat a batch

        recording = threading.Event()
        recording.set()
        recorders = [threading.Thread(target=record, args=(2000 * index,)) for index in range(4)]
        flushers = [threading.Thread(target=flush) for _ in range(2)]
        for thread in recorders + flushers:
            thread.start()
        for thread in recorders:
            thread.join()
        recording.clear()
        for thread in flushers:
            thread.join()
        print("done")
    """
    env = {"MONITOR_RATE_LIMIT": "0", "MONITOR_SPOOL_LIMIT": "2MiB", "MONITOR_EXIT_TIMEOUT": "30"}
    done = children.twin(source, endpoint=collector.url, env=env)
    assert done.stdout == b"done\n"
    dropped = sum(line["count"] for line in done.ledger if line["what"] == "dropped")
    arrived = numbers(collector.unique())
    assert len(arrived) == len(set(arrived)) == 8000 - dropped
    assert len(arrived) > 4000
    assert len(collector.events()) == len(collector.unique())


def test_forked_child_can_flush_while_its_parent_does(children: Children, collector: Collector) -> None:
    """A lock that a thread of the parent held at the fork is never released in the child."""
    source = """
        import os, threading, warnings
        from monitor_auto import Monitor
        warnings.simplefilter("ignore")
        Monitor.event("work.parent")
        thread = threading.Thread(target=Monitor.flush, args=(5,))
        thread.start()
        while Monitor.session and not os.path.exists("asked"):
            pass
        if not os.fork():
            Monitor.event("work.child")
            flushed = Monitor.flush(30)
            os._exit(0 if flushed else 3)
        print(os.waitstatus_to_exitcode(os.wait()[1]))
        thread.join()
    """
    collector.answer_next(STALL)
    child = children.start(source, endpoint=collector.url)
    collector.wait_for_request(1)
    (children.folder / "cwd" / "asked").touch()
    assert child.finish().stdout == b"0\n"
    assert "work.child" in collector.names()


WITHOUT_LOCKS = """
    import errno, os, posix, sys
    def refuse(*args):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    os.lockf = posix.lockf = refuse
"""


def test_file_system_without_locks_is_left_as_it_was(children: Children, collector: Collector) -> None:
    """Some network file systems lock nothing: who lives cannot be told there, and no file of ours may pile up."""
    if os.geteuid():
        miss("only root can mount")
    source = """
        from monitor_auto import Monitor
        Monitor.init(endpoint=sys.argv[1])
        print(Monitor.event("work.number", {"number": 1}) is not None)
    """
    setup = f'mount -t tmpfs none /var/tmp; "$@"; cp -a /var/tmp/. {children.folder}/elsewhere; exit 0'
    (children.folder / "elsewhere").mkdir()
    program = children.folder / "program.py"
    program.write_text(textwrap.dedent(WITHOUT_LOCKS) + textwrap.dedent(source))
    words = [need_command("unshare", "util-linux"), "--mount", "sh", "-ec", setup, "sh", str(children.sandbox.python)]
    env = {"MONITOR_ENDPOINT": None, "MONITOR_SPOOL_DIR": str(children.spool)}
    done = children.run([*words, str(program)], argv=[collector.url], env=env)
    assert (done.stdout, done.stderr) == (b"True\n", b"")
    assert collector.names() == ["session.start", "work.number", "session.end"]
    left = [*children.spool.rglob("*"), *(children.folder / "elsewhere").rglob("*")]
    assert [path.name for path in left if path.name.endswith(".live")] == []


def test_doctor_names_a_spool_that_takes_no_locks(children: Children) -> None:
    """Events that wait in memory alone are lost with the process, and nobody would know why."""
    children.spool.mkdir(0o700)
    run_doctor = """
        from monitor_auto.cli import main
        sys.exit(main(["doctor", "--json"]))
    """
    program = textwrap.dedent(WITHOUT_LOCKS) + textwrap.dedent(run_doctor)
    done = children.run(program, env={"MONITOR_DISABLE": "1"})
    (found,) = [check for check in json.loads(done.stdout)["checks"] if check["name"] == "file system"]
    assert (found["level"], "takes no locks" in found["what"], done.status) == ("wrong", True, 1)
    assert list(children.spool.iterdir()) == []

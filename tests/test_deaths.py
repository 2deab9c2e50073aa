"""`session.lost`: how a session died that could not say so itself, told once, by whoever finds it."""

import os
import resource
import signal
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_auto.delivery import deaths, oomkills
from support.children import Children
from support.collector import Collector
from support.remains import SOURCE, ended, event, lines, session_id, write_segment

FLUSH = ["python", "-m", "monitor_auto", "flush"]
PID = 4242
STACK = 'Current thread 0x00007f0000000001 (most recent call first):\n  File "/srv/job.py", line 7 in work\n'
TERM_STACK = "Stack (most recent call first):\n" + STACK.partition("\n")[2]


def process_exit(parent: str, number: int, started: float, pid: int = PID, **data: Any) -> dict[str, Any]:
    """Return the event by which a parent tells how its child has ended, one second after its start."""
    at = datetime.fromtimestamp(started + 1, timezone.utc).isoformat(timespec="milliseconds")
    item = event(parent, number, "process.exit", "lifecycle")
    return {**item, "timestamp": at, "data": {"child": 1, "pid": pid, "duration_ms": 1000.0, **data}}


class Family:
    """A parent that has ended well, and a child of it that has not."""

    def __init__(self, children: Children, collector: Collector, **header: Any) -> None:
        self.children, self.collector = children, collector
        self.spool, self.started = children.spool, time.time() - 60
        self.spool.mkdir(mode=0o700, exist_ok=True)
        self.parent, self.child = session_id(self.started - 5), session_id(self.started)
        self.header: dict[str, Any] = {"parent": self.parent, "pid": PID, **header}

    def write_parent(self, *exits: dict[str, Any], is_alive: bool = False, session: str = "", **header: Any) -> Path:
        """Write the segment of the parent, which has seen these exits."""
        session = session or self.parent
        body = lines([event(session, 0), *exits, *([] if is_alive else [ended(session, 99)])])
        return write_segment(self.spool, self.collector.url, session, body, tree=self.parent[-12:], **header)

    def write_child(self, stack: str = "", *events: dict[str, Any]) -> Path:
        """Write the segment of the child, and what C code has left of it."""
        body = lines([event(self.child, 0, "work.last"), *events])
        path = write_segment(
            self.spool, self.collector.url, self.child, body, tree=self.parent[-12:], **self.header
        )  # fmt: skip
        path.with_name(path.name.removesuffix(".0.jsonl") + ".live").write_text(stack)
        return path

    def told(self) -> tuple[list[str], dict[str, Any]]:
        """Have somebody deliver; return the errors of the child and the data of its `session.lost`."""
        done = self.children.run(FLUSH, endpoint=self.collector.url)
        assert done.status == 0, done.stderr
        own = [item for item in self.collector.unique() if item["session"]["id"] == self.child]
        (lost,) = [item for item in own if item["name"] == "session.lost"]
        return [item["name"] for item in own if item["type"] == "error"], lost["data"]


@pytest.fixture
def family(children: Children, collector: Collector) -> Family:
    """A dead child and its parent, to be written."""
    return Family(children, collector)


@pytest.mark.parametrize(
    ("seen", "stack", "errors", "said"),
    [
        ({"signal": "SIGKILL"}, "", [], {"signal": "SIGKILL"}),
        ({"signal": "SIGSEGV", "core_dumped": True}, "", ["SIGSEGV"], {"signal": "SIGSEGV", "core_dumped": True}),
        ({"signal": "SIGTERM"}, "", ["SIGTERM"], {"signal": "SIGTERM"}),
        ({"signal": "SIGTERM"}, TERM_STACK, ["SIGTERM"], {"signal": "SIGTERM"}),
        ({"signal": "SIGKILL"}, TERM_STACK, ["SIGTERM"], {"signal": "SIGKILL"}),
        ({"signal": "SIGABRT"}, "Fatal Python error: Aborted\n\n" + STACK, ["SIGABRT"], {"signal": "SIGABRT"}),
        ({"exit_code": 0}, "", [], {"exit_code": 0}),
        ({"exit_code": 7}, TERM_STACK, [], {"exit_code": 7}),
        ({"exit_code": 7, "pid": 4243}, "", [], {}),
        ({"running": True, "waited": False}, "", [], {}),
        ({"signal": "SIGKILL", "duration_ms": "long"}, "", [], {"signal": "SIGKILL"}),
    ],
)
@pytest.mark.tampers("the numbers of made segments are made up")
def test_what_the_parent_saw_is_told(
    family: Family, seen: dict[str, Any], stack: str, errors: list[str], said: dict[str, Any]
) -> None:
    """`kill -9`, the out-of-memory killer and an exit from C leave no word; who waited for the process knows."""
    family.write_parent(process_exit(family.parent, 1, family.started, **seen))
    family.write_child(stack)
    found, lost = family.told()
    assert found == ["error." + name for name in errors]
    assert {name: lost[name] for name in ("signal", "exit_code", "core_dumped") if name in lost} == said
    assert (lost["pid"], lost["last_event"]) == (PID, "work.last")


@pytest.mark.tampers("the numbers of made segments are made up")
def test_pid_that_was_used_before_and_after_is_not_taken_for_the_childs(family: Family) -> None:
    """A parent that starts a process every second has every pid some day."""
    family.write_parent(
        process_exit(family.parent, 1, family.started - 40, exit_code=3),
        process_exit(family.parent, 2, family.started, signal="SIGKILL"),
        process_exit(family.parent, 3, family.started + 30, exit_code=4),
    )
    family.write_child()
    assert family.told()[1]["signal"] == "SIGKILL"
    assert "exit_code" not in family.told()[1]


@pytest.mark.tampers("the numbers of made segments are made up")
def test_program_that_was_replaced_is_looked_for_above(family: Family) -> None:
    """After an exec the pid has another session; its parent is the session before, and who waits is above that."""
    family.write_parent(process_exit(family.parent, 1, family.started, signal="SIGKILL"))
    before = session_id(family.started - 1)
    family.write_parent(session=before, pid=PID, parent=family.parent)
    family.header["parent"] = before
    family.write_child()
    assert family.told()[1]["signal"] == "SIGKILL"


@pytest.mark.tampers("the numbers of made segments are made up")
def test_parent_that_was_delivered_before_is_remembered(family: Family) -> None:
    """The process that delivers a long parent deletes it before it comes to the child."""
    exits = [process_exit(family.parent, number, family.started, pid=number) for number in range(1, 250)]
    family.write_parent(process_exit(family.parent, 0, family.started, signal="SIGKILL"), *exits)
    family.write_child()
    assert family.told()[1]["signal"] == "SIGKILL"


@pytest.mark.parametrize(
    "header",
    [
        {"pid": "x"},
        {"pid": True},
        {"parent": 7},
        {"parent": "../../../etc/passwd/aaaaaaaaaaaaaaaaaaa"},
        {"parent": None},
        {"machine": 5, "boot": []},
    ],
)
@pytest.mark.tampers("the numbers of made segments are made up")
def test_hostile_header_is_no_reason_to_tell_nothing(
    children: Children, collector: Collector, header: dict[str, Any]
) -> None:
    """A spool may have been written by anything."""
    family = Family(children, collector, **header)
    family.write_parent(process_exit(family.parent, 1, family.started, signal="SIGKILL", pid=PID))
    family.write_child()
    assert family.told()[1]["last_event"] == "work.last"


def own_ids() -> tuple[str, str]:
    """Return the ids of this machine and of its boot."""
    return tuple(
        Path(path).read_text().strip() if Path(path).exists() else ""
        for path in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id")
    )  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("is_same_machine", "is_same_boot", "is_told"), [(True, True, False), (True, False, True), (False, False, False)]
)
@pytest.mark.tampers("the numbers of made segments are made up")
def test_start_of_the_machine_since_is_told(
    children: Children, collector: Collector, is_same_machine: bool, is_same_boot: bool, is_told: bool
) -> None:
    """Nobody killed those programs: the machine went down under them."""
    machine, boot = own_ids()
    other = {"machine": machine if is_same_machine else "m" * 32, "boot": boot if is_same_boot else "b" * 36}
    family = Family(children, collector, **other)
    family.write_child()
    assert ("reboot" in family.told()[1]) == (is_told and bool(machine))


@pytest.mark.tampers("the numbers of made segments are made up")
def test_error_of_a_finder_that_died_is_not_told_again(family: Family) -> None:
    """It had written the error, and was killed before `session.lost`."""
    error = event(family.child, 1, "error.SIGTERM", "error", source="auto", message="killed by SIGTERM")
    family.write_child(TERM_STACK, error)
    assert family.told()[0] == ["error.SIGTERM"]


@given(st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2199, 1, 1)), st.integers(-840, 840))
def test_times_are_read_as_datetime_reads_them(moment: datetime, offset: int) -> None:
    """The join hangs on them."""
    sign, minutes = ("-", -offset) if offset < 0 else ("+", offset)
    text = moment.isoformat(timespec="milliseconds") + f"{sign}{minutes // 60:02d}:{minutes % 60:02d}"
    assert abs(deaths.unix_time(text) - datetime.fromisoformat(text).timestamp()) < 0.0011


@given(st.text(max_size=40))
def test_strange_times_are_none(text: str) -> None:
    """A segment may hold anything."""
    assert isinstance(deaths.unix_time(text), float)


KILLED = """
    import os, sys, time
    from monitor_auto import Monitor
    Monitor.event("work.done")
    os.write(1, b"ready ")
    time.sleep(600)
"""


def dead(children: Children, collector: Collector, count: int, number: int = signal.SIGTERM) -> None:
    """Leave so many programs behind that a signal has killed."""
    running = [children.start(KILLED, endpoint=collector.url) for _ in range(count)]
    for child in running:
        assert child.process.stdout is not None
        assert child.process.stdout.read(6) == b"ready "
        child.process.send_signal(number)
        assert child.finish().status == -number


def deaths_told(collector: Collector) -> Counter[tuple[str, str]]:
    """Return how often each session's death was told, by session and name."""
    names = ("session.lost", "error.SIGTERM")
    return Counter((item["session"]["id"], item["name"]) for item in collector.unique() if item["name"] in names)


def test_many_finders_tell_it_once(children: Children, collector: Collector) -> None:
    """Exiting programs, a flusher and `monitor-auto flush` come to the same dead session at the same time."""
    dead(children, collector, 6)
    programs: list[Any] = [FLUSH, FLUSH, FLUSH, ["python", "-c", "pass"], ["python", "-c", "pass"]]
    finders = [children.start(program, endpoint=collector.url) for program in programs]
    assert [finder.finish().status for finder in finders] == [0] * len(finders)
    assert children.run(FLUSH, endpoint=collector.url).status == 0
    told = deaths_told(collector)
    assert len(told) == 12 and set(told.values()) == {1}


def test_finders_that_are_killed_tell_it_once(children: Children, collector: Collector) -> None:
    """A container that is torn down takes the one that was just delivering with it."""
    dead(children, collector, 4)
    for delay in range(12):
        finder = children.start(FLUSH, endpoint=collector.url)
        deadline = time.monotonic() + 0.02 * delay + 0.1
        while finder.process.poll() is None and time.monotonic() < deadline:
            if any(b"session.lost" in content_of(path) for path in children.spool.glob("*.jsonl")):
                break
        if finder.process.poll() is None:
            os.kill(finder.pid, signal.SIGKILL)
        finder.finish()
    assert children.run(FLUSH, endpoint=collector.url).status == 0
    told = deaths_told(collector)
    assert len(told) == 8 and set(told.values()) == {1}
    assert {item["source"]["sdk"] for item in collector.unique()} == {SOURCE["sdk"]}


@pytest.mark.tampers("the numbers of made segments are made up")
def test_disk_that_takes_half_of_it_is_left_as_it_was(family: Family, children: Children, collector: Collector) -> None:
    """Half a line would be set aside as damaged, and the next finder would write the whole anew."""
    path = family.write_child(TERM_STACK)
    limit = path.stat().st_size + 100
    room = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))}
    collector.go_away()
    done = children.run(FLUSH, endpoint=collector.url, env={"MONITOR_DEBUG": "stderr"}, **room)
    assert b"no session.lost" in done.stderr and b"the disk is full" in done.stderr
    assert path.stat().st_size == limit - 100
    collector.come_back()
    assert family.told()[0] == ["error.SIGTERM"]
    assert not (family.spool / "aside").exists()


def test_life_and_last_sign_are_told(children: Children, collector: Collector) -> None:
    """What was it doing, and since when had it been running?"""
    dead(children, collector, 1, signal.SIGKILL)
    assert children.run(FLUSH, endpoint=collector.url).status == 0
    by_name = {item["name"]: item for item in collector.unique()}
    lost = by_name["session.lost"]
    assert lost["data"]["last_event"] == "work.done"
    assert lost["data"]["last_event_at"] == by_name["work.done"]["timestamp"]
    assert lost["data"]["pid"] == by_name["session.start"]["data"]["pid"]
    assert lost["data"]["lived_at_least_ms"] >= 0
    assert "error.SIGKILL" not in by_name


WAITING = """
    import os, subprocess, sys, time
    from monitor_auto import Monitor
    child = "import os, sys; os.write(1, b'ready '); {ending}"
    popen = subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    popen.stdout.read(6)
    {act}
    print(popen.wait(), flush=True)
"""
ENDINGS = {
    "SIGKILL": ("sys.stdin.read()", "popen.kill()", {"signal": "SIGKILL"}),
    "SIGTERM": ("sys.stdin.read()", "popen.terminate()", {"signal": "SIGTERM"}),
    "SIGHUP": ("sys.stdin.read()", "popen.send_signal(1)", {"signal": "SIGHUP"}),
    "exit in C": ("import ctypes; ctypes.CDLL(None)._exit(7)", "pass", {"exit_code": 7}),
    "crash": ("import ctypes; ctypes.string_at(0)", "pass", {"signal": "SIGSEGV"}),
    "abort": ("os.abort()", "pass", {"signal": "SIGABRT"}),
    "after exec": (
        "os.execv(sys.executable, [sys.executable, '-c', 'import os; os.kill(os.getpid(), 9)'])", "pass",
        {"signal": "SIGKILL"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDINGS)
def test_parent_that_waits_tells_how_its_child_died(children: Children, collector: Collector, name: str) -> None:
    """The exiting parent delivers for its child, and has just seen what became of it."""
    ending, act, said = ENDINGS[name]
    source = WAITING.format(ending=ending, act=act)
    done = children.twin(source, endpoint=collector.url)
    assert done.status == 0
    (lost,) = [item["data"] for item in collector.unique() if item["name"] == "session.lost"]
    assert {key: lost[key] for key in ("signal", "exit_code") if key in lost} == said
    errors = [item["name"] for item in collector.unique() if item["type"] == "error"]
    assert errors == ["error." + name for name in said.values() if name in ("SIGTERM", "SIGSEGV", "SIGABRT")]


def test_somebody_else_finds_the_child_while_the_parent_lives(children: Children, collector: Collector) -> None:
    """A long-running parent has recorded the exit in a segment that it goes on writing."""
    source = WAITING.format(ending="sys.stdin.read()", act="popen.kill()") + "    sys.stdin.read()\n"
    parent = children.start(source, endpoint=collector.url, stdin=-1)
    assert parent.process.stdout is not None
    assert parent.process.stdout.readline() == b"-9\n"
    assert children.run(FLUSH, endpoint=collector.url).status == 0
    (lost,) = [item["data"] for item in collector.unique() if item["name"] == "session.lost"]
    assert lost["signal"] == "SIGKILL"
    assert parent.finish(b"").status == 0
    assert collector.names().count("session.lost") == 1


TOLD_LATE = """
    import os, signal, sys, time
    from monitor_auto import Monitor
    def until(path, seconds=300):
        end = time.monotonic() + seconds
        while not os.path.exists(path):
            if time.monotonic() > end:
                sys.exit("never came: " + path)
            time.sleep(0.02)
    def child(number):
        pid = os.fork()
        if pid:
            return pid
        time.sleep(1.1)
        while not os.path.exists("stop"):
            Monitor.event("child.step", {"number": number})
            time.sleep(0.1)
        os._exit(0)
    pids = [child(number) for number in range(3)]
    until("begin")
    os.kill(pids[0], signal.SIGKILL)
    open("killed", "w").close()
    until("wait")
    os.waitpid(pids[0], 0)
    until("stop")
    for pid in pids[1:]:
        os.waitpid(pid, 0)
"""


def test_nobody_tells_a_death_before_the_parent_has_waited(children: Children, collector: Collector) -> None:
    """Siblings that deliver, and programs that end beside them, find a killed worker at once, but not its signal."""
    folder = children.folder / "cwd"
    env = {"MONITOR_FLUSH_INTERVAL": "0.3"}
    child = children.start(TOLD_LATE, endpoint=collector.url, env=env)
    collector.wait_for(10, 120)
    (folder / "begin").touch()
    until_exists(folder / "killed")
    for _ in range(3):  # other trees, whose ends look for what the dead have left
        children.run("pass", endpoint=collector.url, env={"MONITOR_FLUSH_INTERVAL": "0"})
    seen = len(collector.requests)
    collector.wait_for_request(seen + 8, 120)  # its siblings go on delivering
    assert "session.lost" not in collector.names()
    (folder / "wait").touch()
    lost = wait_for_name(collector, "session.lost")
    assert lost["data"]["signal"] == "SIGKILL"
    (folder / "stop").touch()
    assert child.finish(timeout=120).status == 0


def content_of(path: Path) -> bytes:
    """Return what a file holds that somebody else may just have deleted."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def until_exists(path: Path) -> None:
    """Wait for a file."""
    end = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < end, path
        time.sleep(0.02)


def wait_for_name(collector: Collector, name: str) -> dict[str, Any]:
    """Wait until an event of a name has arrived, and return it."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        found = [item for item in collector.unique() if item["name"] == name]
        if found:
            return found[0]
        collector.wait_for_request(len(collector.requests) + 1, 120)
    raise AssertionError(f"no {name} among {collector.names()}")


KERNEL_LOG = (
    b"6,880,1000000,-;eth0: link becomes ready\n SUBSYSTEM=net\n",
    b"6,881,5000000,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),task=python,pid=4242,uid=1000\n",
    b"3,882,5000100,-;Memory cgroup out of memory: Killed process 4242 (python) total-vm:1024kB\n",
    b"6,883,x,-;oom-kill:task=python,pid=7,uid=0\n",
    b"6,884,9000000,-;oom-kill:task=python\n",
    b"",
    b"\xff;oom-kill:,pid=8,\n",
)


def test_kernel_log_is_read_as_the_kernel_writes_it() -> None:
    """Half a record, or another one with the same words, must not make a killer of the kernel."""
    assert list(oomkills.kills(iter(KERNEL_LOG), 100.0)) == [(4242, 105.0)]


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group that holds 64 MiB, whose kills the kernel's log tells us of."""
    top = Path("/sys/fs/cgroup")
    is_first = (top / "memory").is_dir()
    group = (top / "memory" if is_first else top) / f"monitor-test-{os.getpid()}"
    try:
        os.close(os.open(oomkills.LOG, os.O_RDONLY | os.O_NONBLOCK))
        group.mkdir()
    except OSError as error:
        pytest.skip(f"needs the right to make control groups, and to read the kernel's log: {error}")
    try:
        (group / ("memory.limit_in_bytes" if is_first else "memory.max")).write_text(str(64 << 20))
        yield group
    except OSError as error:
        pytest.skip(f"no limits for memory here: {error}")
    finally:
        group.rmdir()


def test_program_that_the_kernel_killed_for_want_of_memory_is_told_as_such(
    children: Children, collector: Collector, small_group: Path
) -> None:
    """SIGKILL by a colleague and SIGKILL by the kernel ask for quite different remedies."""
    source = """
    import subprocess, sys
    code = "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid())); print('in', flush=True); b'x' * (512 << 20)"
    print(subprocess.run([sys.executable, "-c", code, sys.argv[1]]).returncode)
    """
    done = children.run(source, argv=[str(small_group / "cgroup.procs")], endpoint=collector.url)
    assert done.stdout == b"in\n-9\n"
    children.run(FLUSH, endpoint=collector.url)
    (lost,) = [event for event in collector.unique() if event["name"] == "session.lost"]
    assert (lost["data"]["signal"], lost["data"]["oom"]) == ("SIGKILL", True)


def test_program_that_somebody_killed_is_not_taken_for_one_without_memory(
    children: Children, collector: Collector
) -> None:
    """What is not known is not said."""
    source = "import os, subprocess, sys; subprocess.run([sys.executable, '-c', 'import os; os.kill(os.getpid(), 9)'])"
    children.run(source, endpoint=collector.url)
    children.run(FLUSH, endpoint=collector.url)
    (lost,) = [event for event in collector.unique() if event["name"] == "session.lost"]
    assert lost["data"]["signal"] == "SIGKILL"
    assert "oom" not in lost["data"]

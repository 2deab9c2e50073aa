"""The spool on disk: whose it is, where it may be, what lies in it, and who delivers what of it, how often."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import textwrap
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.children import Children, Run
from support.collector import STALL, UNAVAILABLE, Answer, Collector, running_collector
from support.needs import miss, need_command
from support.network import Swallower
from support.remains import ended, event, key_of, lines, session_id, write_segment, write_session
from support.spool import read_events, read_ledger, segments

OTHER_USER = 4242
RECORDING = """
    from monitor_auto import Monitor
    print(Monitor.event("work.done") is not None)
"""


def as_user(number: int = OTHER_USER) -> list[str]:
    """Return the words that start a command as another user, who may read everything: this tree is not everybody's."""
    if os.geteuid():
        miss("only root can become another user")
    words = [need_command("setpriv", "util-linux"), f"--reuid={number}", f"--regid={number}", "--clear-groups"]
    return [*words, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]


def script(children: Children, source: str = RECORDING) -> list[str]:
    """Return the words that run a script in the sandbox."""
    path = children.folder / "recording.py"
    path.write_text(textwrap.dedent(source))
    return [str(children.sandbox.python), str(path)]


def folder(path: Path, mode: int = 0o700, owner: int | None = None) -> Path:
    """Make a folder, of another user if one is given."""
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    path.chmod(mode)
    if owner is not None:
        os.chown(path, owner, owner)
    return path


def flush(children: Children, collector: Collector, spool: Path | None = None) -> Run:
    """Deliver all that there is in a spool."""
    return children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url, spool=spool)


def has_work(spool: Path) -> bool:
    """Return whether the event of RECORDING is in a spool, with the start and the end of its session."""
    return [item["name"] for item in read_events(spool)] == ["session.start", "work.done", "session.end"]


def ids(events: list[dict[str, Any]]) -> list[str]:
    """Return the ids of events."""
    return [item["event_id"] for item in events]


# Whose it is


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o177])
def test_spool_is_private_whatever_the_umask(children: Children, mask: int) -> None:
    """Command lines and errors of every program are in there."""
    spool = folder(children.folder / "cache") / "spool"
    children.run(RECORDING, umask=mask, env={"MONITOR_SPOOL_DIR": str(spool)}, cwd=children.folder)
    assert has_work(spool)
    assert {stat.S_IMODE(path.stat().st_mode) for path in spool.iterdir()} == {0o600}
    assert stat.S_IMODE(spool.stat().st_mode) == 0o700


def obstacle_link(spool: Path) -> None:
    """A link to a folder that is otherwise fine."""
    spool.symlink_to(folder(spool.parent / "target"), target_is_directory=True)


def obstacle_dangling_link(spool: Path) -> None:
    """A link to nothing."""
    spool.symlink_to(spool.parent / "nothing")


def obstacle_file(spool: Path) -> None:
    """A file."""
    spool.write_text("mine")


def obstacle_pipe(spool: Path) -> None:
    """A pipe: opening it would wait for ever."""
    os.mkfifo(spool)


def obstacle_other_user(spool: Path) -> None:
    """Another user's folder, which we could write to."""
    as_user()
    folder(spool, 0o777, OTHER_USER)


@pytest.mark.parametrize(
    "obstacle", [obstacle_link, obstacle_dangling_link, obstacle_file, obstacle_pipe, obstacle_other_user]
)
def test_what_is_no_folder_of_this_user_is_refused(children: Children, obstacle: Callable[[Path], None]) -> None:
    """Whoever can choose where our files go can overwrite the user's, or read them."""
    spool = children.folder / "hostile"
    obstacle(spool)
    before = spool.lstat()
    fallback = children.folder / "runtime"
    env = {"MONITOR_SPOOL_DIR": str(spool), "XDG_RUNTIME_DIR": str(fallback)}
    source = "from monitor_auto import Monitor\nMonitor.event('work.done')\nprint(1)"
    assert children.twin(source, env=env).stdout == b"1\n"
    assert has_work(fallback / "monitor" / "spool")
    assert spool.lstat().st_mode == before.st_mode
    if spool.is_dir():
        assert not list(spool.iterdir())


def test_link_among_the_parents_is_followed(children: Children) -> None:
    """Caches are moved to larger disks that way; only the spool itself has to be what it is called."""
    (children.folder / "cache").symlink_to(folder(children.folder / "large disk"))
    children.run(RECORDING, env={"MONITOR_SPOOL_DIR": str(children.folder / "cache" / "monitor" / "spool")})
    assert has_work(children.folder / "large disk" / "monitor" / "spool")


def test_readable_folder_with_something_in_it_gets_a_folder_of_ours(children: Children) -> None:
    """Its mode is not ours to change: somebody may have to read what lies there."""
    spool = folder(children.folder / "shared", 0o755)
    (spool / "notes.txt").write_text("mine")
    children.run(RECORDING, env={"MONITOR_SPOOL_DIR": str(spool)})
    assert has_work(spool / "monitor-spool")
    assert stat.S_IMODE(spool.stat().st_mode) == 0o755


def test_readable_empty_folder_is_made_private(children: Children) -> None:
    """`mkdir spool` is what people type."""
    spool = folder(children.folder / "new", 0o755)
    children.run(RECORDING, env={"MONITOR_SPOOL_DIR": str(spool)})
    assert has_work(spool)
    assert stat.S_IMODE(spool.stat().st_mode) == 0o700


def test_two_users_with_one_spool_folder_keep_apart(children: Children, collector: Collector) -> None:
    """A variable in /etc/environment names one folder for all; the second user must neither fail nor share."""
    become = as_user()
    shared, home = children.folder / "shared", folder(children.folder / "home2", 0o700, OTHER_USER)
    folder(children.folder, 0o755)
    env = {"MONITOR_SPOOL_DIR": str(shared), "MONITOR_EXIT_TIMEOUT": "0"}
    first = children.run(script(children), env=env, endpoint=collector.url)
    theirs = {**env, "HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
    second = children.run([*become, *script(children)], env=theirs, endpoint=collector.url)
    assert first.stdout == second.stdout == b"True\n"
    assert has_work(shared)
    assert has_work(home / "monitor" / "spool")
    words = ["-m", "monitor_auto", "flush"]
    python = str(children.sandbox.python)
    assert children.run([*become, python, *words], env=theirs, endpoint=collector.url).status == 0
    assert len(collector.unique()) == 3, "the other user's events were delivered, too"
    assert children.run([python, *words], env=env, endpoint=collector.url).status == 0
    assert len(collector.unique()) == len(collector.events()) == 6


def test_squatted_fallback_is_refused(children: Children) -> None:
    """/var/tmp is everybody's: somebody may have made our folder there before us, to read what we write."""
    become = as_user()
    unshare = need_command("unshare", "util-linux")
    setup = 'mount -t tmpfs -o mode=1777 none /var/tmp; mkdir -m 777 /var/tmp/monitor-4242; "$@"; ls -A /var/tmp/*'
    words = [unshare, "--mount", "sh", "-ec", setup, "sh", *become, *script(children)]
    done = children.run(words, env={"MONITOR_SPOOL_DIR": "/proc/nowhere", "HOME": "/nowhere"})
    assert (done.status, done.stdout, done.stderr) == (0, b"True\n", b"")


@pytest.mark.parametrize("name", ["CACHE_DIRECTORY", "XDG_RUNTIME_DIR", "/var/tmp"])
def test_services_without_a_home_spool_where_the_system_gives_them_room(children: Children, name: str) -> None:
    """systemd's units have no home, but often a folder; without any there is /var/tmp."""
    unshare = need_command("unshare", "util-linux")
    if os.geteuid():
        miss("only root can mount")
    out, given = folder(children.folder / "out"), folder(children.folder / "given")
    place = f"/var/tmp/monitor-{os.geteuid()}" if name == "/var/tmp" else f"{given}/monitor/spool"
    setup = f'mount -t tmpfs -o mode=1777 none /var/tmp; "$@"; cp -a {place}/. {out}'
    env = {"MONITOR_SPOOL_DIR": None, "HOME": "/nowhere", "XDG_CACHE_HOME": "/proc/nowhere"}
    if name != "/var/tmp":
        env[name] = str(given)
    done = children.run([unshare, "--mount", "sh", "-ec", setup, "sh", *script(children)], env=env)
    assert (done.status, done.stdout, done.stderr) == (0, b"True\n", b"")
    assert has_work(out)


def test_read_only_spool_leads_to_a_fallback(children: Children) -> None:
    """Containers with a read-only root are good practice; the monitor must not be what breaks in them."""
    unshare = need_command("unshare", "util-linux")
    if os.geteuid():
        miss("only root can mount")
    spool, runtime = folder(children.folder / "spool"), folder(children.folder / "runtime")
    setup = f'mount --bind {spool} {spool}; mount -o remount,ro,bind {spool}; exec "$@"'
    words = [unshare, "--mount", "sh", "-ec", setup, "sh", *script(children)]
    done = children.run(words, env={"XDG_RUNTIME_DIR": str(runtime)})
    assert (done.status, done.stdout, done.stderr) == (0, b"True\n", b"")
    assert has_work(runtime / "monitor" / "spool")
    assert not segments(spool)


def test_where_nothing_can_be_written_the_program_delivers_from_memory(
    children: Children, collector: Collector
) -> None:
    """No home, no cache, nothing writable: what was recorded still reaches the collector when the program ends."""
    unshare = need_command("unshare", "util-linux")
    if os.geteuid():
        miss("only root can mount")
    setup = 'mount -t tmpfs -o ro none /var/tmp; exec "$@"'
    words = [unshare, "--mount", "sh", "-ec", setup, "sh", *script(children)]
    env = {"MONITOR_SPOOL_DIR": "/proc/nowhere", "HOME": "/proc/nowhere"}
    done = children.run(words, env=env, endpoint=collector.url)
    assert (done.status, done.stdout, done.stderr) == (0, b"True\n", b"")
    assert collector.names() == ["session.start", "work.done", "session.end"]


def test_without_any_disk_only_the_first_program_waits_for_a_silent_collector(children: Children) -> None:
    """A container with a read-only root runs a hundred programs; 3 s for each of them would be noticed."""
    unshare = need_command("unshare", "util-linux")
    if os.geteuid():
        miss("only root can mount")
    setup = """
        mount -t tmpfs -o ro none /var/tmp
        mount -t tmpfs -o mode=1777 none /dev/shm
        "$@"; "$@"; "$@"
        stat -c "%a %U" /dev/shm/*
        cat /dev/shm/*/*.away
    """
    words = [unshare, "--mount", "sh", "-ec", setup, "sh", *script(children)]
    env = {"MONITOR_SPOOL_DIR": "/proc/nowhere", "HOME": "/proc/nowhere", "MONITOR_EXIT_TIMEOUT": "1"}
    swallower = Swallower()
    try:
        endpoint = f"http://127.0.0.1:{swallower.port}/v1/events"
        done = children.run(words, env=env, endpoint=endpoint)
    finally:
        swallower.close()
    *shown, owner, record = done.stdout.decode().splitlines()
    assert (done.status, shown, owner, done.stderr) == (0, ["True"] * 3, "700 root", b"")
    assert (len(swallower.connections), json.loads(record)["failures"]) == (1, 1)


def test_back_off_without_any_disk_is_short_and_forgotten(children: Children, collector: Collector) -> None:
    """What is in memory alone has no second chance: after an outage the collector must not be left alone for long."""
    unshare = need_command("unshare", "util-linux")
    if os.geteuid():
        miss("only root can mount")
    shared = folder(children.folder / "shared")
    setup = f'mount -t tmpfs -o ro none /var/tmp; mount --bind {shared} /dev/shm; exec "$@"'
    words = [unshare, "--mount", "sh", "-ec", setup, "sh", *script(children)]
    env = {"MONITOR_SPOOL_DIR": "/proc/nowhere", "HOME": "/proc/nowhere", "MONITOR_EXIT_TIMEOUT": "30"}
    collector.answer = UNAVAILABLE
    for failures in range(1, 6):
        children.run(words, env=env, endpoint=collector.url)
        (record,) = shared.glob("*/*.away")
        facts = json.loads(record.read_text())
        assert facts["failures"] == min(failures, 3)
        assert facts["until"] < time.time() + 25
        record.write_text(record.read_text().replace(f"{facts['until']:.3f}", "1.000"))
    collector.answer = Answer()
    collector.requests.clear()
    done = children.run(words, env=env, endpoint=collector.url)
    assert (done.status, done.stdout, done.stderr) == (0, b"True\n", b"")
    assert collector.names() == ["session.start", "work.done", "session.end"]
    assert list(shared.glob("*/*.away")) == []


def test_relative_spool_stays_where_it_was_when_the_program_moves(children: Children) -> None:
    """A path that means another folder after every chdir would scatter the events."""
    source = """
        import os
        from monitor_auto import Monitor
        os.chdir("/")
        print(Monitor.event("work.done") is not None)
    """
    cwd = folder(children.folder / "here")
    children.run(source, env={"MONITOR_SPOOL_DIR": "events/spool"}, cwd=cwd)
    assert has_work(cwd / "events" / "spool")


# What lies in it


def strange_link(path: Path) -> None:
    """A link to a file that we could read."""
    path.symlink_to("/etc/passwd")


def strange_pipe(path: Path) -> None:
    """A pipe that nobody writes to."""
    os.mkfifo(path)


def strange_socket(path: Path) -> None:
    """A socket; its path may be longer than a socket's may be."""
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(path.parent, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{here}/s")
        os.close(here)
    (path.parent / "s").rename(path)


def strange_folder(path: Path) -> None:
    """A folder with something in it."""
    path.mkdir()
    (path / "file").touch()


def strange_device(path: Path) -> None:
    """A device that never ends."""
    if os.geteuid():
        miss("only root can make a device")
    os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))


def strange_empty_file(path: Path) -> None:
    """Nothing: a disk that was full when it was made."""
    path.touch()


STRANGE = [strange_link, strange_pipe, strange_socket, strange_folder, strange_device, strange_empty_file]


@pytest.mark.parametrize("ending", ["0.jsonl", "live", "0.sent"])
def test_what_only_bears_a_name_of_ours_is_put_aside(children: Children, collector: Collector, ending: str) -> None:
    """A link must not send /etc/passwd to the collector, a pipe must not hold a program's end up."""
    spool = folder(children.spool)
    good = [write_session(spool, collector.url, 2) for _ in range(3)]
    for make in STRANGE:
        session = session_id()
        path = write_segment(spool, collector.url, session, lines([event(session, 0), ended(session, 1)]))
        name = path.name.removesuffix("0.jsonl") + ending
        (spool / name).unlink(missing_ok=True)
        make(spool / name)
    ending_program = children.run("print(1)", endpoint=collector.url)
    assert (ending_program.stdout, ending_program.stderr) == (b"1\n", b"")
    done = flush(children, collector)
    assert done.status == 0, done.stderr
    sent = Counter(item["session"]["id"] for item in collector.events())
    assert all(sent[session] == 3 for session in good)
    assert b"root:" not in b"".join(request.body for request in collector.requests)
    if ending == "0.jsonl":
        assert len(list((spool / "aside").iterdir())) == len(STRANGE)
        assert sum(line["count"] for line in read_ledger(spool) if line["what"] == "aside") == len(STRANGE)
    else:
        assert len(collector.unique()) == 3 * 3 + 2 * len(STRANGE) + 2
        assert not segments(spool)


FAULTS = {
    "binary": os.urandom(5000).replace(b"\n", b""),
    "nulls": b"\0" * 9000,
    "no json": b'{"v":1,"type":"event","name":"a.b","timestamp":1,"event_id":"x","source":{},"session":{},"data":{]}',
    "foreign": b'{"some":"thing else"}',
    "no object": b"[1,2,3]",
    "bad utf-8": b'{"v":1,"type":"event","name":"\xff"}',
    "two in one": b"%s%s",
    "deep": b'{"v":1,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "long": b'{"v":1,"data":"' + b"x" * 5_000_000 + b'"}',
}


def test_damaged_lines_are_set_aside_and_the_rest_is_delivered(children: Children, collector: Collector) -> None:
    """One bad sector, one full disk: it must not cost the events around it, nor stop the queue for ever."""
    spool = folder(children.spool)
    for name, fault in FAULTS.items():
        session = session_id()
        whole = [lines([event(session, number)]) for number in range(4)]
        fault = fault.replace(b"%s", whole[0].strip()) if name == "two in one" else fault
        body = whole[0] + fault + b"\n" + whole[1] + whole[2][:-40] + b"\n" + whole[3] + lines([ended(session, 4)])
        write_segment(spool, collector.url, session, body + whole[0][:50])
    assert flush(children, collector).status == 0
    assert len(collector.events()) == len(collector.unique()) == 4 * len(FAULTS)
    aside = [line for line in read_ledger(spool) if line["what"] == "aside"]
    assert sum(line["count"] for line in aside) == 3 * len(FAULTS)
    assert list((spool / "aside").glob("*.lines"))
    assert not segments(spool)


def test_damage_that_cannot_be_put_aside_is_counted_and_stops_nothing(children: Children, collector: Collector) -> None:
    """The disk that was too full for a whole line has no room for half of one elsewhere either."""
    spool = folder(children.spool)
    (spool / "aside").write_bytes(b"")  # a file in the place of the folder: nothing can be put there
    session, stranger = session_id(), session_id()
    whole = [lines([event(session, number)]) for number in range(2)]
    write_segment(spool, collector.url, session, whole[0] + whole[1][:-40] + b"\n" + lines([ended(session, 2)]))
    strange = write_segment(spool, collector.url, stranger, lines([event(stranger, 0)]))
    strange.write_bytes(b"no header\n")
    assert flush(children, collector).status == 0
    assert ids(collector.events()) == [f"{session}-0", f"{session}-2"]
    assert [line["count"] for line in read_ledger(spool)] == [1]
    assert segments(spool) == [strange]


def test_hundred_megabytes_without_a_newline_are_read_in_bounded_memory(
    children: Children, collector: Collector
) -> None:
    """What a program was killed for must not kill the one that reports it."""
    spool = folder(children.spool)
    session = session_id()
    path = write_segment(spool, collector.url, session, lines([event(session, 0)]))
    with path.open("ab") as segment:
        for _ in range(100):
            segment.write(b"x" * (1 << 20))
        segment.write(b"\n" + lines([ended(session, 1)]))
    source = """
        import resource, sys
        from monitor_auto.cli import main
        resource.setrlimit(resource.RLIMIT_DATA, (90 << 20, 90 << 20))
        sys.exit(main(["flush"]))
    """
    done = children.run(source, endpoint=collector.url, env={"MONITOR_DISABLE": "1"})
    assert done.status == 0, done.stderr
    assert ids(collector.events()) == [f"{session}-0", f"{session}-1"]


@pytest.mark.parametrize(
    "head",
    [
        b'{"monitor_auto_segment":2,"endpoint":"x","session":"y"}',
        b'{"monitor_auto_segment":1,"endpoint":"x"}',
        b'{"monitor_auto_segment":1',
        b"\0" * 200,
        b"",
    ],
)
def test_segments_of_no_known_format_are_set_aside(children: Children, collector: Collector, head: bytes) -> None:
    """A newer version's segments are its own to read; half a header is a machine that died while it started."""
    spool = folder(children.spool)
    good, session = write_session(spool, collector.url, 1), session_id()
    path = write_segment(spool, collector.url, session, b"")
    path.write_bytes(head + b"\n" + lines([event(session, 0)]))
    assert flush(children, collector).status == 0
    assert {item["session"]["id"] for item in collector.events()} == {good}
    assert [found.name for found in (spool / "aside").iterdir()] == [path.name]
    assert [line["count"] for line in read_ledger(spool) if line["what"] == "aside"] == [1]


@pytest.mark.parametrize("position", [b"", b"abc", b"-5", b"99999999999", b"1e3", b"\0\0", b"7" * 5000, b"12 "])
def test_senseless_position_is_none(children: Children, collector: Collector, position: bytes) -> None:
    """Skipping to a wrong place loses events; delivering all again only repeats them."""
    session = write_session(folder(children.spool), collector.url, 3)
    (path,) = segments(children.spool)
    path.with_suffix(".sent").write_bytes(position)
    assert flush(children, collector).status == 0
    assert ids(collector.unique()) == [f"{session}-{number}" for number in range(4)]
    assert not list(children.spool.glob("*.sent"))


def test_session_lost_gets_a_number_of_its_own(children: Children, collector: Collector) -> None:
    """Threads overtake each other, and a kill tears the line that it meets: with a number that was used already, the
    report of a death would be dropped as a repeat.
    """
    spool = folder(children.spool)
    overtaken, torn = session_id(), session_id()
    write_segment(spool, collector.url, overtaken, lines(event(overtaken, number) for number in (0, 2, 3, 1)))
    write_segment(spool, collector.url, torn, lines(event(torn, number) for number in (0, 1)) + b'{"v":1,"type":"ev')
    assert flush(children, collector).status == 0
    lost = {item["session"]["id"]: item["event_id"] for item in collector.events() if item["name"] == "session.lost"}
    assert lost == {overtaken: f"{overtaken}-4", torn: f"{torn}-3"}


# Copies


def test_copied_spool_is_set_aside_and_the_original_delivered(children: Children, collector: Collector) -> None:
    """A container image with a spool in a layer would deliver one build's events from every container."""
    for _ in range(3):
        children.run(RECORDING, endpoint=collector.url, env={"MONITOR_EXIT_TIMEOUT": "0"})
    before = read_events(children.spool)
    copy = children.folder / "copy"
    subprocess.run(["cp", "-a", children.spool, copy], check=True)
    assert flush(children, collector, copy).status == 0
    assert not collector.requests
    assert len(list((copy / "aside").iterdir())) == 3
    assert sum(line["count"] for line in read_ledger(copy) if line["what"] == "aside") == 3
    assert flush(children, collector).status == 0
    assert sorted(ids(collector.events())) == sorted(ids(before))


def test_spool_that_was_moved_or_saw_a_reboot_is_no_copy(children: Children, collector: Collector) -> None:
    """A volume in its next container, a machine after its update: these events are the only ones there are."""
    children.run(RECORDING, endpoint=collector.url, env={"MONITOR_EXIT_TIMEOUT": "0"})
    session = session_id()
    body = lines([event(session, 0), ended(session, 1)])
    write_segment(children.spool, collector.url, session, body, boot="another", machine="another", pid=1)
    moved = children.folder / "moved"
    children.spool.rename(moved)
    assert flush(children, collector, moved).status == 0
    assert len(collector.events()) == 5
    assert not segments(moved)


@pytest.mark.parametrize("how", [shutil.copyfile, os.link])
def test_segment_under_a_second_name_is_set_aside(
    children: Children, collector: Collector, how: Callable[[Path, Path], object]
) -> None:
    """Copied or linked within the spool, an event would be delivered as often as it has names."""
    spool = folder(children.spool)
    session = write_session(spool, collector.url, 2)
    (path,) = segments(spool)
    other = session_id()
    names = [path.name.replace(".0.", ".7."), path.name.replace(session, other)]
    for name in names:
        how(path, spool / name)
    assert flush(children, collector).status == 0
    assert ids(collector.events()) == [f"{session}-{number}" for number in range(3)]
    assert sorted(found.name for found in (spool / "aside").iterdir()) == sorted(names)


# Whose events go where


def test_endpoints_in_one_spool_never_mix(children: Children, collector: Collector) -> None:
    """Two projects on one machine; what goes to the wrong collector is a leak, not a delivery."""
    with running_collector() as second:
        for endpoint in (collector.url, second.url):
            for _ in range(2):
                children.run(RECORDING, endpoint=endpoint, env={"MONITOR_EXIT_TIMEOUT": "0"})
        children.run("pass", endpoint=collector.url)
        flush(children, collector)
        assert len(collector.unique()) == len(collector.events()) == 8
        assert not second.requests
        flush(children, second)
        assert len(second.unique()) == len(second.events()) == 6
        assert not set(ids(second.events())) & set(ids(collector.events()))


def test_local_events_never_leave(children: Children, collector: Collector) -> None:
    """`local:` is for machines whose events must not leave, whatever somebody sets later."""
    local = children.run(RECORDING)
    children.run(RECORDING, endpoint=collector.url)
    flush(children, collector)
    assert len(collector.unique()) == 3
    assert has_work(children.spool)
    assert len(segments(children.spool)) == 1
    assert local.ledger == []


# Who delivers, and how often


def test_several_that_flush_at_once_deliver_each_event_once(children: Children, collector: Collector) -> None:
    """A cron job, an administrator and three exiting programs meet in one spool."""
    spool = folder(children.spool)
    sessions = [write_session(spool, collector.url, 40) for _ in range(60)]
    command = ["python", "-m", "monitor_auto", "flush"]
    runs = [children.start(command, endpoint=collector.url) for _ in range(5)]
    runs += [children.start("pass", endpoint=collector.url) for _ in range(5)]
    for run in runs:
        assert run.finish().stderr == b"" or run.process.returncode == 1
    assert flush(children, collector).status == 0
    sent = Counter(ids(collector.events()))
    assert set(sent.values()) == {1}
    assert set(sent) > {f"{session}-{number}" for session in sessions for number in range(41)}
    assert not segments(spool)


def test_killed_flush_loses_nothing_and_repeats_at_most_a_batch(children: Children, collector: Collector) -> None:
    """Between the answer and its note there is always a moment; it may cost a repeat, never an event."""
    sessions = [write_session(folder(children.spool), collector.url, 99) for _ in range(12)]
    collector.answer_next(*[collector.answer] * 5, STALL)
    command = ["python", "-m", "monitor_auto", "flush"]
    killed = children.start(command, endpoint=collector.url)
    collector.wait_for_request(6)
    killed.process.send_signal(signal.SIGKILL)
    assert killed.finish().status == -9
    assert flush(children, collector).status == 0
    sent = Counter(ids(collector.events()))
    assert set(sent) == {f"{session}-{number}" for session in sessions for number in range(100)}
    assert sum(sent.values()) - len(sent) <= 100


@pytest.mark.slow
def test_five_hundred_processes_lose_and_repeat_nothing(children: Children, collector: Collector) -> None:
    """A parallel build starts them by the hundred, all with one spool."""
    source = """
        import os
        from monitor_auto import Monitor
        for number in range(5):
            Monitor.event("work.number", {"number": number})
    """
    env = {"MONITOR_EXIT_TIMEOUT": "0"}
    loop = 'for i in $(seq 63); do "$@" || exit 1; done'
    words = ["sh", "-c", loop, "sh", *script(children, source)]
    running = [children.start(words, endpoint=collector.url, env=env) for _ in range(8)]
    for child in running:
        assert child.finish(timeout=200).status == 0
    assert flush(children, collector).status == 0
    events = collector.events()
    assert len(events) == len(collector.unique()) == 504 * 7
    numbers = Counter(item["data"]["number"] for item in events if item["name"] == "work.number")
    assert numbers == dict.fromkeys(range(5), 504)
    assert collector.names().count("session.end") == 504
    assert not segments(children.spool)
    assert not list(children.spool.glob("*.live"))


def test_key_of_the_tests_is_the_key_of_the_spool(children: Children) -> None:
    """Most tests here write segments of their own; with another key nobody would ever look at them."""
    children.run("pass", endpoint="http://127.0.0.1:9/v1/events", env={"MONITOR_EXIT_TIMEOUT": "0"})
    (path,) = segments(children.spool)
    assert path.name.startswith(key_of("http://127.0.0.1:9/v1/events") + ".")
    assert json.loads(path.read_bytes().splitlines()[0])["inode"] == path.stat().st_ino

"""The spool's bounds: bytes, age and files, what goes first, and that each drop is counted."""

import fcntl
import os
import textwrap
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from support.children import Child, Children, Run
from support.collector import Collector
from support.remains import ended, event, forget_boot, key_of, lines, session_id, write_segment, write_session
from support.spool import read_events, segments

LOCAL = "local:"
MIXED = """
    import sys
    from monitor_auto import Monitor
    first, count = map(int, sys.argv[1:])
    for number in range(first, first + count):
        Monitor.metric("load.number", number, {"pad": "m" * 200})
        Monitor.event("work.number", {"number": number, "pad": "e" * 200})
    Monitor.error("trouble %d" % first)
"""
ENFORCING = """
    from monitor_auto.boot import recorder
    from monitor_auto.delivery import bounds
    segment = recorder.segment
    bounds.enforce(recorder.settings, segment.directory, segment.base, 60.0)
"""


def fill(children: Children, sessions: int, count: int = 10) -> list[dict[str, Any]]:
    """Leave the events of so many real sessions in the spool, and return them."""
    for number in range(sessions):
        children.run(MIXED, argv=[str(number * count), str(count)])
    return read_events(children.spool)


def enforce(children: Children, endpoint: str = LOCAL, **limits: str) -> Run:
    """Have the bounds kept, by a program that does nothing else."""
    return children.run(ENFORCING, endpoint=endpoint, env={"MONITOR_EXIT_TIMEOUT": "0", **limits})


def dropped(run: Run) -> Counter[tuple[str, str]]:
    """Return the counts of the ledger by reason and type."""
    counts: Counter[tuple[str, str]] = Counter()
    for line in run.ledger:
        if line["what"] == "dropped":
            counts[line["reason"], line["type"]] += line["count"]
    return counts


def size_of(spool: Path) -> int:
    """Return the bytes of all segments in a spool."""
    return sum(path.stat().st_size for path in segments(spool))


def ids(events: list[dict[str, Any]], name: str = "") -> list[str]:
    """Return the ids of the events of a name, or of all."""
    return [item["event_id"] for item in events if name in ("", item["name"])]


def make_old(spool: Path, seconds: float, is_same_boot: bool = False) -> None:
    """Make everything in a spool look as old as that, and as of another boot."""
    then = time.time() - seconds
    if not is_same_boot:
        forget_boot(spool)
    for path in [*spool.iterdir(), *spool.glob("aside/*")]:
        os.utime(path, (then, then), follow_symlinks=False)


def by_type(gone: set[str], events: list[dict[str, Any]], reason: str) -> Counter[tuple[str, str]]:
    """Return what the ledger has to say when these events are gone."""
    return Counter((reason, item["type"]) for item in events if item["event_id"] in gone)


def test_metrics_go_first_and_the_oldest_of_them(children: Children) -> None:
    """Of a full spool the errors are what somebody will look for, and yesterday's load is what nobody will."""
    before = fill(children, 6)
    limit = size_of(children.spool) * 3 // 4
    after = enforce(children, MONITOR_SPOOL_LIMIT=str(limit))
    assert size_of(children.spool) < limit
    had, kept = ids(before, "load.number"), ids(after.events, "load.number")
    assert 0 < len(kept) < len(had) == 60
    assert kept == had[-len(kept) :], "not the oldest went"
    assert dropped(after) == {("bytes", "metric"): len(had) - len(kept)}
    assert set(ids(before)) - set(ids(after.events)) == set(had) - set(kept)


EXACTLY = """
    import os, sys
    from monitor_auto.boot import recorder, repairs
    from monitor_auto.delivery import bounds, listing

    segment = recorder.segment
    repairs.turn(segment)
    names = sorted(name for name in os.listdir(segment.directory) if name.endswith(".0.jsonl"))
    lines = [line for name in names for line in open(os.path.join(segment.directory, name), "rb")]
    metrics = [line for line in lines if b'"name":"load.number"' in line]
    look = listing.Listing(segment.directory)
    look.look()
    target = look.bytes - sum(map(len, metrics[:6]))

    class Limited:
        spool_limit_bytes = next(limit for limit in range(target, 2 * target) if limit - limit // 8 == target)

        def __getattr__(self, name):
            return getattr(recorder.settings, name)

    assert look.bytes > Limited.spool_limit_bytes
    bounds.enforce(Limited(), segment.directory, segment.base, 60.0)
"""


@pytest.mark.parametrize("whose", ["dead", "own"])
def test_what_a_smaller_segment_says_of_itself_takes_no_event_with_it(children: Children, whose: str) -> None:
    """Its header grows by a few bytes: if just these are missing another metric has to go, and not the first event."""
    source = textwrap.dedent(EXACTLY)
    if whose == "own":
        source = textwrap.dedent(MIXED) + source
    else:
        fill(children, 1)
    after = children.run(source, argv=["0", "10"], env={"MONITOR_EXIT_TIMEOUT": "0"})
    assert (after.status, after.stderr) == (0, b"")
    assert [item["data"]["value"] for item in after.named("load.number")] == [7, 8, 9]
    assert [item["data"]["number"] for item in after.named("work.number")] == list(range(10))
    assert dropped(after) == {("bytes", "metric"): 7}


def test_then_events_then_lifecycle_and_errors_last(children: Children) -> None:
    """The order is a promise, and a limit that only metrics obey is none."""
    before = fill(children, 6)
    after = enforce(children, MONITOR_SPOOL_LIMIT=str(size_of(children.spool) // 4))
    assert not after.named("load.number")
    assert 0 < len(after.named("work.number")) < 60
    assert len(after.named("error.message")) == 6
    gone = set(ids(before)) - set(ids(after.events))
    assert dropped(after) == by_type(gone, before, "bytes")

    last = enforce(children, MONITOR_SPOOL_LIMIT="8KiB")
    assert not last.named("work.number")
    assert last.named("error.message"), "errors went before lifecycle"
    assert size_of(children.spool) < 8 << 10


@pytest.mark.tampers("a position is written by hand, without its counts")
def test_what_was_delivered_makes_room_before_anything_is_dropped(children: Children) -> None:
    """Half of a segment may be at the collector already: dropping an event while that lies there is a needless loss."""
    session = session_id()
    body = lines([*(event(session, number, pad="x" * 300) for number in range(100)), ended(session, 100)])
    path = write_segment(_made(children.spool), LOCAL, session, body)
    header = path.read_bytes().index(b"\n") + 1
    position = header + len(lines(event(session, number, pad="x" * 300) for number in range(80)))
    path.with_suffix(".sent").write_text(str(position))
    after = enforce(children, MONITOR_SPOOL_LIMIT=str(path.stat().st_size - 2000))
    assert not dropped(after)
    assert [item for item in ids(after.events) if item.startswith(session)] == [
        f"{session}-{n}" for n in range(80, 101)
    ]
    assert not list(children.spool.glob("*.sent"))


def test_trimmed_sessions_are_delivered_and_not_called_lost(children: Children, collector: Collector) -> None:
    """A session whose end was dropped for room has not died, and a segment with a new inode is no copy then."""
    spool = _made(children.spool)
    for _ in range(4):
        session = session_id()
        events = [event(session, number, pad="x" * 500) for number in range(5)]
        error = event(session, 6, "error.KeyError", "error", message="trouble")
        write_segment(spool, collector.url, session, lines([*events, ended(session, 5), error]))
    before = read_events(spool)
    enforce(children, collector.url, MONITOR_SPOOL_LIMIT=str(size_of(spool) // 4))
    flush(children, collector)
    assert len([name for name in collector.names() if name == "error.KeyError"]) == 4
    assert 0 < collector.names().count("session.end") < 5
    assert "session.lost" not in collector.names()
    assert len(collector.unique()) < len(before)
    assert not segments(spool)


def test_old_events_are_dropped_and_counted(children: Children) -> None:
    """A laptop that sees its collector once a year must not deliver, or keep, last year."""
    before = fill(children, 2)
    make_old(children.spool, 15 * 86400)
    young = children.run(MIXED, argv=["0", "1"]).events
    after = enforce(children)
    gone = set(ids(before))
    assert dropped(after) == by_type(gone, before, "age")
    assert not gone & set(ids(after.events))
    assert set(ids(young)) - gone < set(ids(after.events))
    assert len(list(children.spool.glob("*.live"))) == 2, "the locks of the dropped sessions stayed"


def test_clock_that_was_set_makes_no_event_old(children: Children) -> None:
    """A board without a battery starts in 1970; what it records then is young when it learns the year."""
    before = fill(children, 2)
    make_old(children.spool, 50 * 365 * 86400, is_same_boot=True)
    after = enforce(children, MONITOR_SPOOL_AGE="36500d", MONITOR_SPOOL_LIMIT="1GiB")
    assert not dropped(after)
    after = enforce(children, MONITOR_SPOOL_AGE="10000d")
    assert not dropped(after)
    assert set(ids(before)) < set(ids(after.events))
    make_old(children.spool, 50 * 365 * 86400)
    assert set(dropped(enforce(children, MONITOR_SPOOL_AGE="10000d"))) >= {("age", "event"), ("age", "error")}


def test_age_can_be_set(children: Children) -> None:
    """Who must not keep data for longer than a day says so."""
    fill(children, 1)
    make_old(children.spool, 3600)
    assert enforce(children).named("load.number")
    assert not enforce(children, MONITOR_SPOOL_AGE="0.01d").named("load.number")


def test_living_sessions_are_left_alone(children: Children, tmp_path: Path) -> None:
    """What runs for a month has old events and is no left-over; its lock says that it lives."""
    source = """
        import sys
        from monitor_auto import Monitor
        Monitor.metric("load.number", 1)
        print("ready", flush=True)
        sys.stdin.read()
        Monitor.event("work.done")
    """
    child = children.start(source, stdin=-1)
    _await_line(child)
    make_old(children.spool, 30 * 86400)
    after = enforce(children, MONITOR_SPOOL_LIMIT="1")
    assert len(after.named("load.number")) == 1
    names = child.finish(b"").names
    assert [name for name in names if name in ("load.number", "work.done")] == ["load.number", "work.done"]


def test_own_finished_segments_are_trimmed_while_the_session_lives(children: Children) -> None:
    """A server that never delivers must stay within its bounds by itself: nobody else may touch what it has written."""
    source = """
        from monitor_auto import Monitor
        for number in range(12_000):
            Monitor.metric("load.number", number, {"pad": "m" * 200})
            if number % 1000 == 0:
                Monitor.error("trouble %d" % number)
        print("done")
    """
    done = children.run(source, env={"MONITOR_SPOOL_LIMIT": "1MiB", "MONITOR_RATE_LIMIT": "0"})
    assert done.stdout == b"done\n"
    assert size_of(children.spool) < 2 << 20
    kept = [item["data"]["value"] for item in done.named("load.number")]
    assert kept == list(range(kept[0], 12_000)), "not the oldest went"
    assert len(done.named("error.message")) == 12
    assert dropped(done) == {("bytes", "metric"): kept[0]}


def test_what_was_put_aside_counts_and_goes_first(children: Children) -> None:
    """A thousand copies in a cached folder must not push out what was never delivered, nor fill the disk."""
    before = fill(children, 2)
    folder = children.spool / "aside"
    folder.mkdir(0o700)
    for number in range(4):
        (folder / f"copy-{number}").write_bytes(b"x" * 100_000)
    (folder / "folder").mkdir()
    after = enforce(children, MONITOR_SPOOL_LIMIT=str(size_of(children.spool) + 250_000))
    assert len([path for path in folder.iterdir() if path.is_file()]) == 2
    assert set(ids(before)) < set(ids(after.events))
    assert dropped(after) == {("bytes", "aside"): 2} or dropped(after) == {("bytes", "aside"): 3}


def test_many_small_sessions_are_merged_and_all_delivered(children: Children, collector: Collector) -> None:
    """A build machine starts a hundred thousand interpreters a day: each leaves a file where the collector is away."""
    spool = _made(children.spool)
    begin = time.time() - 7000
    lost = []
    for number in range(1100):
        session = write_session(spool, collector.url, 2, begin + number, is_ended=number % 10 > 0)
        lost += [session] if number % 10 == 0 else []
    before = read_events(spool)
    merging = ENFORCING.replace("segment =", "bounds.MAX_SEGMENTS = 1000; segment =")
    children.run(merging, endpoint=collector.url, env={"MONITOR_EXIT_TIMEOUT": "0"})
    assert len(segments(spool)) < 900
    assert set(ids(before)) < set(ids(read_events(spool)))
    flush(children, collector)
    assert set(ids(before)) <= {item["event_id"] for item in collector.events()}
    assert len(collector.events()) == len(collector.unique())
    told = [item["session"]["id"] for item in collector.unique() if item["name"] == "session.lost"]
    assert sorted(told) == sorted(lost)
    assert not segments(spool)


def test_no_id_is_taken_for_a_secret(children: Children, collector: Collector) -> None:
    """One session id in some hundred holds the digits of a credit card; redacted, its events belong to nobody."""
    session = "01a20e5c-4077-7db7-9155-482130216d6c"
    write_segment(_made(children.spool), collector.url, session, lines([event(session, 1)]))
    children.untold = 1  # number 0
    flush(children, collector)
    assert ids(collector.unique()) == [f"{session}-1", f"{session}-2"]
    assert [item["session"]["id"] for item in collector.unique()] == [session, session]


def test_merging_keeps_endpoints_apart(children: Children) -> None:
    """Merged into the wrong file, one customer's events would go to another customer's collector."""
    spool = _made(children.spool)
    endpoints = ["http://127.0.0.1:1/v1/events", "http://127.0.0.1:2/v1/events"]
    sessions = [write_session(spool, endpoints[number % 2], 1) for number in range(20)]
    before = read_events(spool)
    children.run(ENFORCING.replace("segment =", "bounds.MAX_SEGMENTS = 10; segment ="))
    assert len(segments(spool)) == 3
    for number in range(2):
        texts = [path.read_text() for path in spool.glob(f"{key_of(endpoints[number])}.*.jsonl")]
        assert all(session in texts[0] for session in sessions[number::2])
        assert not any(session in texts[0] for session in sessions[1 - number :: 2])
    assert set(ids(before)) < set(ids(read_events(spool)))


def test_merging_keeps_events_of_a_token_apart(children: Children, collector: Collector) -> None:
    """One file of many programs is sent by whoever comes first, and that may be somebody without what they had."""
    with_token = {"MONITOR_TOKEN": "tell-nobody"}
    before: dict[bool, list[str]] = {True: [], False: []}
    for number in range(20):
        has_token = number % 4 == 0
        env = {"MONITOR_EXIT_TIMEOUT": "0", **(with_token if has_token else {})}
        program = f"from monitor_auto import Monitor; Monitor.event('work.{str(has_token).lower()}')"
        children.run(program, endpoint=collector.url, env=env)
    for has_token in before:
        before[has_token] = ids(read_events(children.spool), f"work.{str(has_token).lower()}")
    merging = ENFORCING.replace("segment =", "bounds.MAX_SEGMENTS = 8; segment =")
    children.run(merging, endpoint=collector.url, env={"MONITOR_EXIT_TIMEOUT": "0"})
    assert len(segments(children.spool)) < 6
    assert children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url).status == 1
    assert ids(collector.events(), "work.false") == before[False]
    assert not ids(collector.events(), "work.true")
    done = children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url, env=with_token)
    assert (done.status, ids(collector.events(), "work.true")) == (0, before[True])
    assert len(before[True]) == 5


def test_a_kill_while_merging_loses_nothing(children: Children, collector: Collector) -> None:
    """Merging deletes files; a death between the new file and the last deletion may repeat, never lose."""
    spool = _made(children.spool)
    for _ in range(12):
        write_session(spool, collector.url, 3)
    before = read_events(spool)
    source = """
        import os
        from monitor_auto.boot import recorder
        from monitor_auto.delivery import bounds, rewrite
        from monitor_auto.delivery.segments import Segment
        bounds.MAX_SEGMENTS = 5
        left = [{deletions}]
        def dying(self, real=Segment.delete):
            if not left[0]:
                os.kill(os.getpid(), 9)
            left[0] -= 1
            real(self)
        Segment.delete = dying
        segment = recorder.segment
        bounds.enforce(recorder.settings, segment.directory, segment.base, 60.0)
    """
    for deletions in (0, 1, 5):
        killed = children.run(source.format(deletions=deletions), endpoint=collector.url)
        assert killed.status == -9
    flush(children, collector)
    assert set(ids(before)) <= set(ids(collector.unique()))
    lost = [item for item in collector.unique() if item["name"] == "session.lost"]
    assert len(lost) == 3, "only those that were killed while they merged are lost"


def test_left_overs_are_removed(children: Children) -> None:
    """Deaths leave locks, positions and halves of files; by themselves they are small, after a year they are many."""
    spool = _made(children.spool)
    base = f"{key_of(LOCAL)}.{'a' * 12}.{session_id()}"
    stale = [f"{base}.live", f"{base}.0.sent", f"{base}.0.jsonl.17.tmp", f"{base[:16]}.away.3.tmp"]
    for name in stale:
        (spool / name).write_text("1")
    make_old(spool, 7200)
    fresh = [f"{base}.3.sent", f"{base}.4.jsonl.17.tmp", "somebody's notes.txt"]
    for name in fresh:
        (spool / name).write_text("1")
    enforce(children)
    left = {path.name for path in spool.iterdir()}
    assert not left & set(stale)
    assert set(fresh) <= left


def test_the_ledger_is_bounded(children: Children) -> None:
    """The count of what was lost must not be what fills the disk."""
    ledger = _made(children.spool) / "ledger.jsonl"
    ledger.write_bytes(b'{"at":1,"pid":1,"what":"problem","count":1}\n' * 30_000)
    ledger.chmod(0o600)
    enforce(children)
    assert not ledger.exists() or ledger.stat().st_size < 1000
    assert (children.spool / "ledger.old").stat().st_size > 1 << 20


def test_one_enforcer_at_a_time(children: Children) -> None:
    """Two that trim the same spool would drop twice as much as needed."""
    before = fill(children, 3)
    lock = children.spool / "bounds.lock"
    with open(os.open(lock, os.O_RDWR | os.O_CREAT, 0o600), "wb") as held:
        fcntl.lockf(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert set(ids(before)) < set(ids(enforce(children, MONITOR_SPOOL_LIMIT="1KiB").events))
    assert not set(ids(before, "load.number")) & set(ids(enforce(children, MONITOR_SPOOL_LIMIT="1KiB").events))


def test_a_long_session_looks_after_the_bounds_when_it_ends(children: Children) -> None:
    """Nobody else may ever come by: sessions that spool only, one after the other, must not fill the disk."""
    source = """
        from monitor_auto import Monitor
        for number in range(1100):
            Monitor.metric("load.number", number, {"pad": "m" * 200})
    """
    for _ in range(5):
        done = children.run(source, env={"MONITOR_SPOOL_LIMIT": "1MiB"})
    assert size_of(children.spool) < 1 << 20
    assert dropped(done)["bytes", "metric"] > 0


@pytest.mark.parametrize("timeout", ["0", "3"])
def test_one_in_sixteen_looks_after_a_crowded_spool(children: Children, collector: Collector, timeout: str) -> None:
    """Programs that live for a moment fill a spool as well, and each of them is too quick to list it every time."""
    spool = _made(children.spool)
    for _ in range(400):
        write_session(spool, "http://127.0.0.1:9/v1/events", 1)
    if spool.stat().st_size <= 32 << 10:
        for number in range(2000):  # a file system whose folders are small
            (spool / f"{number}{'x' * 60}").touch()
    if spool.stat().st_size <= 32 << 10:
        pytest.skip("this file system gives folders no size that grows with their files")
    base = write_session(spool, "http://127.0.0.1:9/v1/events", 1)
    make_old(spool, 15 * 86400)
    endpoint = LOCAL if timeout == "0" else collector.url
    runs = 0
    while list(spool.glob(f"*.{base}.0.jsonl")):
        children.run("pass", endpoint=endpoint)
        runs += 1
        assert runs < 250, "of 250 sessions none looked after the bounds"
    assert runs > 0


def test_small_programs_clear_up_after_large_ones_that_were_killed(children: Children) -> None:
    """They leave many bytes in few files, and nobody who writes as much may ever come again."""
    source = """
        import os, signal, sys
        from monitor_auto import Monitor
        for number in range(100):
            Monitor.metric("load.number", number, {"pad": "m" * 40_000})
        os.kill(os.getpid(), signal.SIGKILL)
    """
    children.run(source)
    before = size_of(children.spool)
    assert before > 3 << 20
    forks = """
        import os
        for _ in range(100):
            pid = os.fork()
            if not pid:
                break
            os.waitpid(pid, 0)
    """
    runs = 0
    while size_of(children.spool) > 1 << 20:
        children.run(forks, env={"MONITOR_SPOOL_LIMIT": "1MiB", "MONITOR_RATE_LIMIT": "0"})
        runs += 1
        assert runs < 40, "of 4,000 sessions none looked after the bounds"
    assert runs > 0


def test_flush_keeps_the_bounds(children: Children, collector: Collector) -> None:
    """Somebody who calls flush has the time that exiting programs have not."""
    write_session(_made(children.spool), "http://127.0.0.1:9/v1/events", 3)
    make_old(children.spool, 15 * 86400)
    write_session(children.spool, collector.url, 3)
    flush(children, collector)
    assert len(collector.unique()) == 4
    assert not segments(children.spool)


def flush(children: Children, collector: Collector) -> Run:
    """Deliver all that there is."""
    return children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url)


def _made(spool: Path) -> Path:
    spool.mkdir(0o700, exist_ok=True)
    return spool


def _await_line(child: Child) -> bytes:
    assert child.process.stdout is not None
    return child.process.stdout.readline()

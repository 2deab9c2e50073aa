"""`monitor-auto flush`: everything that ended programs have left, delivered while somebody watches."""

import json
import os
import pty
import re
import signal
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from support.children import Child, Children, Run
from support.collector import DRIP, PAGE, UNAVAILABLE, Answer, Collector
from support.spool import read_headers, segments

SPOOL_ONLY = {"MONITOR_EXIT_TIMEOUT": "0"}
FLUSH = ("python", "-m", "monitor_auto", "flush")


@pytest.fixture
def flush(children: Children, collector: Collector) -> Callable[..., Run]:
    """`flush(*options, **how)`: run the command against the collector."""

    def run(*options: str, **how: object) -> Run:
        return children.run([*FLUSH, *options], **{"endpoint": collector.url, **how})  # type: ignore[arg-type]

    return run


def leave(children: Children, collector: Collector, programs: int = 1, source: str = "pass") -> int:
    """Have programs end without delivering; return how many events they have left."""
    for _ in range(programs):
        done = children.run(source, endpoint=collector.url, env=SPOOL_ONLY)
    return len(done.events)


def multiply(children: Children, sessions: int, events: int) -> int:
    """Make many dead sessions out of one that was real; return the number of events in all."""
    (model,) = segments(children.spool)
    header, first, *_ = model.read_bytes().splitlines(keepends=True)
    old = str(read_headers(children.spool)[0]["session"])
    inode = str(model.stat().st_ino)
    key = model.name.partition(".")[0]
    for _ in range(sessions):
        new = old[:14] + "7" + str(uuid.uuid4())[15:]
        path = children.spool / f"{key}.{new[-12:]}.{new}.0.jsonl"
        path.touch(0o600)
        place = {inode: str(path.stat().st_ino), old: new, old[-12:]: new[-12:]}
        lines = [substituted(header, place)]
        line = substituted(first, place)
        lines += [line.replace(f"{new}-0".encode(), f"{new}-{number}".encode()) for number in range(events)]
        lines[-1] = lines[-1].replace(b'"session.start"', b'"session.end"')
        path.write_bytes(b"".join(lines))
    for path in children.spool.glob(f"*{old}*"):
        path.unlink()
    return sessions * events


def substituted(line: bytes, places: dict[str, str]) -> bytes:
    """Return a line in which every old text is a new one."""
    for old, new in places.items():
        line = line.replace(old.encode(), new.encode())
    return line


def assert_once(collector: Collector, count: int) -> None:
    """Assert that so many events have arrived, each once."""
    assert len(collector.unique()) == len(collector.events()) == count


def rest_of(children: Children) -> list[str]:
    """Return what is left in the spool, but for what went wrong and what tells of the collector."""
    return [path.name for path in children.spool.iterdir() if path.suffix in (".jsonl", ".live", ".sent")]


def test_everything_of_ended_programs_is_delivered(
    children: Children, collector: Collector, flush: Callable[..., Run]
) -> None:
    """It is what one runs before a machine goes away; afterwards the spool is empty."""
    left = leave(children, collector, 3, "import sys; sys.exit(3)")
    done = flush()
    assert (done.status, done.stderr) == (0, b"")
    assert re.fullmatch(rb"Delivered %d events in \d+\.\d s\.\n" % left, done.stdout)
    assert_once(collector, left)
    assert rest_of(children) == []
    assert [event["name"] for event in collector.events()].count("session.start") == 3, "the command is no session"
    again = flush()
    assert (again.status, again.stdout, again.stderr) == (0, b"There was nothing to deliver.\n", b"")


def test_thousands_of_events_in_many_segments_arrive(
    children: Children, collector: Collector, flush: Callable[..., Run]
) -> None:
    """After a long outage there are thousands of them, of hundreds of programs."""
    leave(children, collector)
    count = multiply(children, 250, 20)
    done = flush("--json")
    assert done.status == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert (outcome["delivered"], outcome["left"], outcome["why"]) == (count, 0, "") and count == 5000
    assert_once(collector, count)
    assert len(collector.requests) == count / 100
    assert rest_of(children) == []


def test_console_script_does_the_same(children: Children, collector: Collector) -> None:
    """`monitor-auto` is what people type."""
    left = leave(children, collector)
    done = children.run([str(children.sandbox.bin / "monitor-auto"), "flush", "--quiet"], endpoint=collector.url)
    assert (done.status, done.stdout, done.stderr) == (0, b"", b"")
    assert_once(collector, left)


def test_living_programs_are_left_alone_and_counted(
    children: Children, collector: Collector, flush: Callable[..., Run]
) -> None:
    """Their events are theirs to deliver; the user should know that there will be more."""
    child = children.start("print(1, flush=True); input()", endpoint=collector.url, stdin=-1)
    assert child.process.stdout and child.process.stdout.read(1) == b"1"
    left = leave(children, collector)
    done = flush("--json")
    outcome = json.loads(done.stdout)
    assert (done.status, outcome["running"]) == (0, 1)
    assert b"1 program still runs" in flush().stdout
    assert len(collector.unique()) < 2 * left + 2
    child.finish(b"\n")
    assert collector.names().count("session.start") == collector.names().count("session.end") == 2


def test_command_asks_although_the_collector_was_away(
    children: Children, collector: Collector, flush: Callable[..., Run]
) -> None:
    """Somebody who calls it has just repaired the collector and does not want to wait for a back-off."""
    collector.answer_next(PAGE)
    children.run("pass", endpoint=collector.url)
    children.run("pass", endpoint=collector.url)
    assert len(collector.requests) == 1
    assert flush().status == 0
    assert_once(collector, 4)
    assert list(children.spool.glob("*.away")) == []
    children.run("pass", endpoint=collector.url)
    assert_once(collector, 6)


FAILURES = [(UNAVAILABLE, "answered 503"), (PAGE, "web page"), (Answer(401), "MONITOR_TOKEN"), (Answer(404), "address")]


@pytest.mark.parametrize(("answer", "words"), FAILURES)
def test_failure_says_why_and_what_to_do(
    answer: Answer, words: str, children: Children, collector: Collector, flush: Callable[..., Run]
) -> None:
    """ "Failed" alone helps nobody who sits in front of it."""
    left = leave(children, collector)
    collector.answer = answer
    done = flush()
    assert (done.status, done.stdout) == (1, b"Nothing was delivered.\n")
    assert f"monitor-auto: {left} events left: " in done.stderr.decode()
    assert words in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert flush("--quiet").stdout == b""
    collector.answer = Answer()
    assert flush().status == 0
    assert_once(collector, left)


def test_collector_that_goes_away_in_the_middle_is_resumed_without_repeats(
    children: Children, collector: Collector, flush: Callable[..., Run]
) -> None:
    """What was answered is noted; what was not comes with the next call."""
    leave(children, collector)
    count = multiply(children, 30, 30)
    collector.answer_next(*[Answer()] * 4, UNAVAILABLE)
    done = flush("--json")
    outcome = json.loads(done.stdout)
    assert (done.status, outcome["delivered"], outcome["left"]) == (1, 400, count - 400)
    collector.go_away()
    done = flush()
    assert done.status == 1 and b"no answer from http://127.0.0.1" in done.stderr
    collector.come_back()
    assert flush().status == 0
    assert_once(collector, count)
    assert rest_of(children) == []


def test_several_flushes_at_once_share_the_work(children: Children, collector: Collector) -> None:
    """Cron jobs overlap, and two people repair the same outage."""
    leave(children, collector)
    count = multiply(children, 60, 10)
    crowd = [children.start(FLUSH, endpoint=collector.url) for _ in range(4)]
    for flusher in crowd:
        assert flusher.finish().status in (0, 1)
    assert_once(collector, count)
    assert rest_of(children) == []


def test_session_that_another_has_just_delivered_leaves_no_lock(children: Children, collector: Collector) -> None:
    """Who has listed a session and comes too late for it must not leave an empty lock in the spool: they pile up."""
    leave(children, collector)
    assert children.run(FLUSH, endpoint=collector.url).status == 0
    assert rest_of(children) == []
    source = """
        import os, sys
        from monitor_auto.delivery import claims, drain
        spool, base = sys.argv[1:]
        claim = claims.claim(spool, base)
        print(claim is None, drain.is_free(spool, base), os.path.lexists(f"{spool}/{base}.live"))
        open(f"{spool}/{base}.0.jsonl", "w").close()
        claim = claims.claim(spool, base)
        print(claim is not None, os.path.lexists(f"{spool}/{base}.live"))
    """
    base = "0123456789abcdef.0123456789ab.01234567-89ab-7cde-8f01-23456789abcd"
    done = children.run(source, argv=[str(children.spool), base], env={"MONITOR_DISABLE": "1"})
    assert done.stdout == b"True False False\nTrue True\n", done.stderr


def test_interrupted_flush_loses_nothing(children: Children, collector: Collector) -> None:
    """Ctrl-C while a slow collector thinks: what is answered is done, the rest stays, and there is no traceback."""
    leave(children, collector)
    count = multiply(children, 3, 100)
    collector.answer_next(Answer(), Answer(silent=True))
    child = children.start(FLUSH, endpoint=collector.url)
    collector.wait_for_request(2)
    child.process.send_signal(signal.SIGINT)
    done = child.finish()
    assert (done.status, done.stdout[:24]) == (1, b"Delivered 100 events in ")
    assert done.stderr.startswith(b"monitor-auto: 200 events left: interrupted.\n"), done.stderr
    assert b"Traceback" not in done.stderr
    assert children.run(FLUSH, endpoint=collector.url).status == 0
    assert_once(collector, count)


@pytest.mark.parametrize("when", ["before", "within"])
def test_interrupt_that_python_loses_ends_it_all_the_same(children: Children, collector: Collector, when: str) -> None:
    """What a signal handler raises while an object is destroyed is printed and forgotten: who presses Ctrl-C just then
    would wait for half a minute.
    """
    source = """
        import httpx, os, signal, sys
        class Destroyed:
            def __del__(self):
                os.kill(os.getpid(), signal.SIGINT)
        def losing(real):
            def call(*args, **more):
                Destroyed()
                return real(*args, **more)
            return call
        if sys.argv.pop() == "within":
            httpx.Client.post = losing(httpx.Client.post)
        else:
            httpx.Client.__init__ = losing(httpx.Client.__init__)
        from monitor_auto.cli import main
        main(["flush"])
    """
    leave(children, collector)
    collector.answer = Answer(silent=True)
    done = children.run(source, argv=[when], endpoint=collector.url, env={"MONITOR_DISABLE": "1"}, timeout=25)
    assert b"Exception ignored in: <function Destroyed.__del__" in done.stderr
    assert b"monitor-auto: 2 events left: interrupted.\n" in done.stderr
    assert len(collector.requests) == (when == "within")


@pytest.mark.parametrize("answer", [Answer(silent=True), DRIP], ids=["silent", "drips"])
def test_timeout_ends_it_whatever_the_collector_does(
    answer: Answer, children: Children, collector: Collector, flush: Callable[..., Run]
) -> None:
    """A cron job has its time; a server that sends one byte a second passes every timeout of a single read."""
    left = leave(children, collector)
    collector.answer = answer
    done = flush("--timeout", "1", timeout=40)
    assert done.status == 1
    assert f"{left} events left".encode() in done.stderr
    assert len(collector.requests) == 1


def on_terminal(children: Children, *options: str, **how: object) -> tuple[Child, Callable[[], bytes]]:
    """Start the command with a terminal as its standard error; return it and what reads that to its end."""
    main, side = pty.openpty()
    child = children.start([*FLUSH, *options], stderr=side, **how)  # type: ignore[arg-type]
    os.close(side)

    def read() -> bytes:
        data = b""
        try:
            while piece := os.read(main, 65536):
                data += piece
        except OSError:  # Linux says EIO when the last one has closed the other side
            pass
        os.close(main)
        return data

    return child, read


def test_bar_is_drawn_on_a_terminal_and_nowhere_else(children: Children, collector: Collector) -> None:
    """Who waits wants to see how far it is; a log file does not."""
    leave(children, collector)
    multiply(children, 5, 100)
    child, read = on_terminal(children, endpoint=collector.url)
    shown = read().decode()
    done = child.finish()
    assert done.status == 0
    shares = [int(share) for share in re.findall(r"\[[#.]{30}\] +(\d+)% of \d+\.\d MiB", shown)]
    assert len(shares) == 5 and shares == sorted(shares)
    assert shown.endswith("\r\x1b[K"), "the bar is gone when the report comes"
    for option in ("--json", "--quiet"):
        leave(children, collector)
        child, read = on_terminal(children, option, endpoint=collector.url)
        assert read() == b""
        assert child.finish().status == 0


@pytest.mark.parametrize("command", [("--help",), ("flush", "--help"), ("--version",)])
def test_help_teaches(command: tuple[str, ...], children: Children) -> None:
    """It is read by somebody who has an outage and has never seen this tool."""
    done = children.run(["python", "-m", "monitor_auto", *command], bare=True)
    assert (done.status, done.stderr) == (0, b"")
    text = done.stdout.decode()
    if command[0] != "--version":
        assert "MONITOR_ENDPOINT" in text and "monitor-auto flush" in text
        assert max(map(len, text.splitlines())) <= 80
    if command[0] == "flush":
        assert all(word in text for word in ("--json", "--quiet", "--timeout", "exit status", "NO_PROXY"))


WRONG = [(), ("--timeout", "0"), ("--timeout", "soon"), ("--nonsense",), ("--timeout", "nan")]


@pytest.mark.parametrize("options", WRONG, ids=" ".join)
def test_wrong_call_says_how_to_call_it(options: tuple[str, ...], children: Children) -> None:
    """Status 2 is for what the caller has to change."""
    done = children.run([*FLUSH, *options], bare=True)
    assert (done.status, done.stdout) == (2, b"")
    assert b"Traceback" not in done.stderr
    assert b"_seconds" not in done.stderr, "a name of ours tells nobody what to type"
    assert b"export MONITOR_ENDPOINT=" in done.stderr if not options else b"usage: monitor-auto" in done.stderr


ENDPOINTS = {"local:": b"stay on this machine", "nonsense": b"monitor-auto: ", "ftp://example.test": b"monitor-auto: "}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_endpoint_that_is_no_address_is_explained(endpoint: str, children: Children) -> None:
    """A typing mistake in the variable is the first thing that goes wrong."""
    done = children.run(FLUSH, endpoint=endpoint)
    assert (done.status, done.stdout) == (2, b"")
    assert ENDPOINTS[endpoint] in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("token", ["hush\n", "hüsh"])
def test_token_that_cannot_be_sent_is_explained(
    token: str, children: Children, collector: Collector, flush: Callable[..., Run]
) -> None:
    """A token read from a file often has a newline at its end."""
    leave(children, collector)
    done = flush(env={"MONITOR_TOKEN": token})
    assert (done.status, collector.requests) == (2, [])
    assert b"MONITOR_TOKEN" in done.stderr and b"h\xc3\xbcsh" not in done.stderr and b"hush" not in done.stderr


def test_request_of_the_command_is_well_formed(
    children: Children, collector: Collector, flush: Callable[..., Run]
) -> None:
    """Gateways refuse what is chunked or has no length; the token is sent as at an exit."""
    leave(children, collector)
    assert flush(env={"MONITOR_TOKEN": "hush-token", "MONITOR_BATCH_SIZE": "1"}).status == 0
    assert len(collector.requests) == 2
    assert {request.headers["authorization"] for request in collector.requests} == {"Bearer hush-token"}


PROXIES = ("HTTP_PROXY", "http_proxy", "ALL_PROXY")


@pytest.mark.parametrize("variable", PROXIES)
@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "nonsense://x"])
def test_collector_on_this_machine_is_reached_without_a_proxy(
    variable: str, proxy: str, children: Children, collector: Collector, flush: Callable[..., Run]
) -> None:
    """A proxy cannot reach our loopback; programs deliver there directly, and so must the command."""
    left = leave(children, collector)
    done = flush(env={variable: proxy})
    assert (done.status, done.stderr) == (0, b"")
    assert_once(collector, left)


def test_proxy_of_the_environment_is_used_for_other_machines(children: Children, collector: Collector) -> None:
    """In many companies the proxy alone knows the collector's name."""
    endpoint = "http://collector.example.test/v1/events"
    children.run("pass", endpoint=endpoint, env=SPOOL_ONLY)
    proxy = collector.url.removesuffix("/v1/events")
    done = children.run(FLUSH, endpoint=endpoint, env={"http_proxy": proxy})
    assert done.status == 0, done.stderr
    assert len(collector.events()) == 2
    collector.violations.clear()  # a proxy is asked for the whole address


def test_proxy_that_cannot_be_used_is_explained(children: Children) -> None:
    """httpx makes no client at all with a proxy that it does not know; its reason is what helps."""
    endpoint = "http://collector.example.test/v1/events"
    children.run("pass", endpoint=endpoint, env=SPOOL_ONLY)
    done = children.run(FLUSH, endpoint=endpoint, env={"http_proxy": "nonsense://x"})
    assert done.status == 1
    assert b"2 events left: requests cannot be made here: " in done.stderr and b"nonsense" in done.stderr
    assert b"Traceback" not in done.stderr


def test_kill_switch_does_not_stop_the_command(
    children: Children, collector: Collector, flush: Callable[..., Run]
) -> None:
    """Somebody has switched the monitor off in an emergency and wants the last events out."""
    left = leave(children, collector)
    assert flush(env={"MONITOR_DISABLE": "1"}).status == 0
    assert_once(collector, left)


def test_folder_full_of_shadows_does_not_stop_the_command(children: Children, collector: Collector) -> None:
    """`python -m` puts the current folder first: a token.py there is no library."""
    left = leave(children, collector)
    folder: Path = children.folder / "course"
    folder.mkdir()
    for name in ("token", "queue", "json", "email", "ssl", "socket", "httpx", "argparse", "typing", "dataclasses"):
        (folder / f"{name}.py").write_text("raise RuntimeError('shadow')\n", encoding="utf-8")
    done = children.run([str(children.sandbox.bin / "monitor-auto"), "flush"], endpoint=collector.url, cwd=folder)
    assert (done.status, done.stderr) == (0, b"")
    assert_once(collector, left)


def test_second_attempt_of_a_request_is_a_batch_of_its_own(children: Children, collector: Collector) -> None:
    """A server may hang up on a kept connection; a collector that knows batches by their id must not mix the two."""
    source = "from monitor_auto import Monitor\nfor number in range(198): Monitor.event('work.step', {'n': number})"
    children.run(source, endpoint=collector.url, env={"MONITOR_EXIT_TIMEOUT": "0"})
    collector.answer_next(Answer(200), Answer(200, cut=0))
    flushed = children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url)
    assert (flushed.status, flushed.stderr) == (0, b"")
    ids = [request.batch["batch_id"] for request in collector.requests if request.batch]
    assert len(set(ids)) == len(ids) == 3
    assert len(collector.unique()) == 200

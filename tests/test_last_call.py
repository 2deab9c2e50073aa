"""What an exiting process delivers, to whom, and for how long at most; and who delivers what it could not."""

import itertools
import json
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.children import Children, Run
from support.collector import DRIP, HALF, PAGE, REDIRECT, UNAVAILABLE, Answer, Collector, running_collector
from support.rawserver import raw_server
from support.spool import segments

ONE_SECOND = {"MONITOR_EXIT_TIMEOUT": "1"}
PATIENCE_SECONDS = 30
"""Against a hang; a slow machine is no hang."""
WORK = """
    import sys
    print("working")
    print("and failing", file=sys.stderr)
    sys.exit(7)
"""
EXPECTED = ["session.start", "session.exit", "session.end"]


def records_of(run: Run) -> list[Path]:
    """Return the breakers' records of the spool."""
    return list(run.spool.glob("*.away"))


def rest_of(run: Run) -> list[str]:
    """Return what is left in the spool, but for the ledger, the account, and the lock of who keeps the bounds."""
    names = [path.name for path in run.spool.iterdir() if path.suffix not in (".account", ".lock")]
    return [name for name in names if name != "ledger.jsonl"]


def arrive_later(children: Children, collector: Collector, run: Run) -> list[str]:
    """Have later processes, two at most, deliver what one has left; return the names of all that has arrived."""
    for record in records_of(run):
        record.unlink()  # as if the back-off had passed
    patient = {"MONITOR_EXIT_TIMEOUT": "30"}
    children.run("pass", endpoint=collector.url, env=patient)
    if rest_of(run):
        children.run("pass", endpoint=collector.url, env=patient)
    assert rest_of(run) == []
    ids = [event["event_id"] for event in collector.events()]
    assert len(ids) == len(set(ids)), "something came twice"
    return collector.names()


def test_everything_that_a_program_recorded_arrives_in_one_request(children: Children, collector: Collector) -> None:
    """Short scripts end all the time; a request for each event would be a flood."""
    done = children.twin(WORK, endpoint=collector.url)
    assert len(collector.requests) == 1
    assert collector.names() == EXPECTED
    assert rest_of(done) == []


def test_request_is_well_formed(children: Children, collector: Collector) -> None:
    """Gateways in front of collectors are strict."""
    children.run("pass", endpoint=collector.url, env={"MONITOR_TOKEN": "hush-token"})
    (request,) = collector.requests
    assert (request.method, request.path) == ("POST", "/v1/events")
    assert request.headers["host"] == collector.url.split("/")[2]
    assert request.headers["content-length"] == str(len(request.body))
    assert request.headers["authorization"] == "Bearer hush-token"
    assert "transfer-encoding" not in request.headers


@pytest.mark.parametrize("host", ["[::1]", "localhost"])
def test_literal_names_of_this_machine_need_no_look_up(host: str, children: Children) -> None:
    """Collectors on the machine itself are addressed in all three ways; `localhost` may mean either family."""
    try:
        with raw_server(b"HTTP/1.1 200 OK\r\n\r\n", family=socket.AF_INET6) as server:
            done = children.twin(WORK, endpoint=server.url(host))
            assert [request.count(b"session.end") for request in server.requests] == [1]
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    assert done.events == []


@pytest.mark.parametrize(("size", "counts"), [("100", [100, 100, 52]), ("7", [7] * 36), ("10000", [252])])
def test_many_events_go_in_batches_back_to_back(
    size: str, counts: list[int], children: Children, collector: Collector
) -> None:
    """A collector says how much it takes at once; a program that recorded more than that loses nothing by it."""
    collector.max_batch = int(size)
    source = """
        from monitor_auto import Monitor
        for number in range(250):
            Monitor.event("loop.step", {"number": number})
    """
    done = children.twin(source, endpoint=collector.url, env={"MONITOR_BATCH_SIZE": size})
    assert [len(batch["events"]) for batch in collector.batches] == counts
    numbers = [event["data"]["number"] for event in collector.events() if event["name"] == "loop.step"]
    assert numbers == list(range(250))
    assert rest_of(done) == []


def test_batch_that_fails_leaves_it_and_what_follows(children: Children, collector: Collector) -> None:
    """What was answered with success must not come again, and what was not must."""
    source = """
        from monitor_auto import Monitor
        for number in range(250):
            Monitor.event("loop.step", {"number": number})
    """
    collector.answer_next(Answer(), UNAVAILABLE)
    done = children.twin(source, endpoint=collector.url)
    assert [request.kept for request in collector.requests] == [True, False]
    assert len(arrive_later(children, collector, done)) == 252 + 2 * 2


def test_children_that_die_first_are_delivered_by_their_parent(children: Children, collector: Collector) -> None:
    """A child that only spools is gone at once, and its parent has the one connection for all of them."""
    source = """
        import subprocess, sys
        for number in range(3):
            subprocess.run([sys.executable, "-c", f"import sys; sys.exit({number})"])
        subprocess.run([sys.executable, "-c", "import os; os._exit(4)"])
        subprocess.run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
    """
    done = children.twin(source, endpoint=collector.url)
    assert len(collector.requests) == 1
    names = collector.names()
    assert (names.count("session.start"), names.count("session.end"), names.count("session.lost")) == (6, 5, 1)
    assert rest_of(done) == []


def test_child_that_outlives_its_parent_is_a_root(children: Children, collector: Collector) -> None:
    """A daemon that its launcher left behind has nobody else to deliver for it."""
    source = """
        import subprocess, sys
        child = "import os, sys; sys.stdin.read(); sys.exit(5)"
        process = subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        import os
        os.dup2(process.stdin.fileno(), 9)  # open until we are gone
    """
    children.run(source, endpoint=collector.url)
    events = collector.wait_for(5)
    ends = [event["data"].get("exit_code") for event in events if event["name"] == "session.end"]
    assert sorted(map(str, ends)) == ["0", "5"]
    assert len(collector.requests) == 2


def test_child_with_another_endpoint_delivers_itself(children: Children, collector: Collector) -> None:
    """Two endpoints may belong to two owners: neither may see what the other's programs do."""
    source = """
        import os, subprocess, sys
        environment = {**os.environ, "MONITOR_ENDPOINT": sys.argv[1]}
        subprocess.run([sys.executable, "-c", "raise SystemExit(3)"], env=environment)
    """
    with running_collector() as other:
        done = children.run(source, argv=[other.url], endpoint=collector.url)
        assert other.names() == ["session.start", "session.end"]
        assert collector.names() == ["session.start", "process.start", "process.exit", "session.end"]
        assert {event["session"]["id"] for event in other.events()}.isdisjoint(
            event["session"]["id"] for event in collector.events()
        )
    assert rest_of(done) == []


def test_two_endpoints_in_one_spool_never_mix(children: Children, collector: Collector) -> None:
    """What one collector could not take must not be sent to whoever is there."""
    with running_collector() as other:
        other.go_away()
        lost = children.run("raise SystemExit(3)", endpoint=other.url)
        for _ in range(3):
            children.run("pass", endpoint=collector.url)
        assert collector.names() == ["session.start", "session.end"] * 3
        assert lost.names == ["session.start", "session.end"]
        other.come_back()
        assert arrive_later(children, other, lost) == ["session.start", "session.end"] * 2


def test_exit_delivers_one_batch_of_orphans_and_no_more(children: Children, collector: Collector) -> None:
    """The dead are owed delivery, but not all of them by whoever ends next."""
    for _ in range(9):
        children.run("pass", endpoint=collector.url, env={"MONITOR_EXIT_TIMEOUT": "0"})
    assert collector.requests == []
    children.run("pass", endpoint=collector.url, env={"MONITOR_BATCH_SIZE": "10"})
    assert [len(batch["events"]) for batch in collector.batches] == [2, 10]
    children.run("pass", endpoint=collector.url)
    assert len(collector.unique()) == 2 * 11
    assert len(collector.events()) == 2 * 11


def test_no_exit_timeout_sends_nothing(children: Children, collector: Collector) -> None:
    """Somebody who cannot spare a millisecond still wants the events, later."""
    done = children.twin(WORK, endpoint=collector.url, env={"MONITOR_EXIT_TIMEOUT": "0"})
    assert collector.requests == []
    assert done.names == EXPECTED


def test_program_of_the_middle_leaves_living_siblings_alone(children: Children, collector: Collector) -> None:
    """Events of a session that lives are its own to deliver."""
    living = children.start("print(1, flush=True); input()", endpoint=collector.url, stdin=-1)
    assert living.process.stdout and living.process.stdout.read(1) == b"1"
    children.run("pass", endpoint=collector.url)
    assert len(collector.unique()) == 2
    living.finish(b"\n")
    assert len(collector.unique()) == 4


REFUSALS = {
    "drips": DRIP,
    "half an answer": HALF,
    "503": UNAVAILABLE,
    "500 with a page": Answer(500, b"<html>"),
    "a web page": PAGE,
    "redirect": REDIRECT,
    "permanent redirect": Answer(308, b"", (("Location", "/v1/events"),)),
    "404": Answer(404),
    "401": Answer(401, b"{}"),
    "408": Answer(408),
    "status of its own": Answer(299, b"{}"),
    "teapot": Answer(418, b"{}"),
}


@pytest.mark.parametrize("how", REFUSALS)
def test_what_was_not_answered_with_success_arrives_later(how: str, children: Children, collector: Collector) -> None:
    """The exit is that of a bare run, everything is kept, and the next process that may try has success."""
    collector.answer_next(REFUSALS[how])
    done = children.twin(WORK, endpoint=collector.url, env=ONE_SECOND, timeout=PATIENCE_SECONDS)
    assert len(collector.requests) == 1
    assert done.names == EXPECTED
    assert len(records_of(done)) == 1
    collector.requests.clear()  # this collector keeps what it has answered with half a success; ours has no answer
    assert arrive_later(children, collector, done) == ["session.start", "session.end", *EXPECTED]


FLOODS: dict[str, tuple[bytes, ...]] = {
    "headers without end": (b"X: x\r\n",),
    "one line without end": (b"x" * 1000,),
    "100-continue without end": (b"HTTP/1.1 100 Continue\r\n\r\n",),
    "body without end": (b"HTTP/1.1 200 OK\r\n\r\n", b"{" * 4096),
    "chunks without end": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n{\r\n"),
    "empty pieces": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n", b"{"),
}


@pytest.mark.parametrize("how", FLOODS)
def test_answer_without_an_end_is_left(how: str, children: Children) -> None:
    """Whatever is behind that port, the program is on its way out: it hangs up, and the events stay."""
    first, last = FLOODS[how][0], FLOODS[how][-1]
    with raw_server(endless=Repeating(first, last)) as server:
        done = children.twin(WORK, endpoint=server.url(), env=ONE_SECOND, timeout=PATIENCE_SECONDS)
        assert server.closed.acquire(timeout=PATIENCE_SECONDS), "the connection was left open"
        assert len(server.requests) == 1
    assert done.names == EXPECTED


class Repeating:
    """One piece, then another one without end; for every connection anew."""

    def __init__(self, first: bytes, rest: bytes) -> None:
        self.first, self.rest = first, rest

    def __iter__(self) -> Iterator[bytes]:
        return itertools.chain([self.first], itertools.repeat(self.rest))


ENDS = {
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20,
    "nothing": b"",
    "greeting of another protocol": b"220 mail.example.test ESMTP\r\n",
    "half a header": b"HTTP/1.1 200 OK\r\nContent-Le",
}


@pytest.mark.parametrize("keep_open", [False, True])
@pytest.mark.parametrize("how", ENDS)
def test_server_that_speaks_something_else_is_left(how: str, keep_open: bool, children: Children) -> None:
    """A wrong port leads to a mail server, to TLS, to a proxy that gives up; each keeps quiet or hangs up."""
    with raw_server(ENDS[how], keep_open=keep_open) as server:
        done = children.twin(WORK, endpoint=server.url(), env=ONE_SECOND, timeout=PATIENCE_SECONDS)
        assert server.closed.acquire(timeout=PATIENCE_SECONDS), "the connection was left open"
    assert done.names == EXPECTED


def test_server_that_never_accepts_is_waited_for_once(children: Children) -> None:
    """The first process finds out, within its time; the others do not wait for it again until the back-off passed."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        endpoint = "http://127.0.0.1:%d/v1/events" % listener.getsockname()[1]
        first = children.twin(WORK, endpoint=endpoint, env=ONE_SECOND, timeout=PATIENCE_SECONDS)
        listener.settimeout(PATIENCE_SECONDS)
        listener.accept()[0].close()
        children.twin(WORK, endpoint=endpoint, env=ONE_SECOND, timeout=PATIENCE_SECONDS)
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
        (record,) = records_of(first)
        age_record(record)
        children.twin(WORK, endpoint=endpoint, env=ONE_SECOND, timeout=PATIENCE_SECONDS)
        listener.accept()[0].close()
        assert json.loads(record.read_bytes())["failures"] == 2
    assert len(first.events) == 3 * len(EXPECTED)


def age_record(record: Path) -> None:
    """Make the time of a breaker's record pass."""
    text = record.read_text()
    until = text.partition(":")[2].partition(",")[0]
    record.write_text(text.replace(until, "%.3f" % (time.time() - 1)))


def test_away_collector_is_asked_by_one_process_in_a_back_off(children: Children, collector: Collector) -> None:
    """A hundred processes a minute must not each wait for a collector that is down; one of them finds that it is up."""
    collector.answer = UNAVAILABLE
    done = children.run(WORK, endpoint=collector.url)
    for _ in range(3):
        children.twin(WORK, endpoint=collector.url)
    assert len(collector.requests) == 1
    (record,) = records_of(done)
    collector.answer = Answer()
    age_record(record)
    children.run(WORK, endpoint=collector.url)
    assert records_of(done) == []
    children.run("pass", endpoint=collector.url)
    assert len(collector.unique()) == len(collector.events()) == 5 * len(EXPECTED) + 2


@pytest.mark.parametrize("text", [" ", "{", '{"until":1e400,"failures":1,"status":0}', "\0" * 100, '{"until":9e9}'])
def test_record_that_makes_no_sense_is_none(text: str, children: Children, collector: Collector) -> None:
    """A torn or hostile file in the spool must not silence every process of the machine."""
    done = children.run("pass", endpoint=collector.url, env={"MONITOR_EXIT_TIMEOUT": "0"})
    (segment,) = segments(done.spool)
    (done.spool / f"{segment.name.partition('.')[0]}.away").write_text(text)
    children.run("pass", endpoint=collector.url)
    assert len(collector.unique()) == 4


def test_token_is_in_the_request_and_nowhere_else(children: Children, collector: Collector) -> None:
    """The spool, the debug log and the command lines of a machine are read by more people than may send events."""
    log = children.folder / "debug.log"
    source = """
        import os, sys
        from monitor_auto import Monitor
        Monitor.event("my.settings", dict(os.environ))
        raise LookupError("lost")
    """
    env = {"MONITOR_TOKEN": "hush-1234-token", "MONITOR_DEBUG": str(log)}
    collector.answer_next(UNAVAILABLE)
    done = children.run(source, endpoint=collector.url, env=env)
    assert collector.requests[0].headers["authorization"] == "Bearer hush-1234-token"
    assert b"503" in log.read_bytes()
    kept = [log, *(path for path in done.spool.iterdir() if path.is_file())]
    assert [path.name for path in kept if b"hush-1234" in path.read_bytes()] == []


def test_events_of_a_session_with_a_token_wait_for_a_token(children: Children, collector: Collector) -> None:
    """Sent without, they are refused, or taken by somebody who was not to have them."""
    collector.go_away()
    with_token = {"MONITOR_TOKEN": "mine", "MONITOR_EXIT_TIMEOUT": "0"}
    children.run("print(1)", endpoint=collector.url, env=with_token)
    collector.come_back()
    children.run("print(2)", endpoint=collector.url)
    assert len(collector.names()) == 2
    flush = ["python", "-m", "monitor_auto", "flush"]
    flushed = children.run(flush, endpoint=collector.url)
    assert flushed.status == 1
    assert b"2 events left: the programs that recorded them had a MONITOR_TOKEN" in flushed.stderr
    assert len(collector.names()) == 2
    children.run("print(3)", endpoint=collector.url, env={"MONITOR_TOKEN": "another"})
    assert len(collector.names()) == 6
    assert {request.headers.get("authorization") for request in collector.requests} == {None, "Bearer another"}


@pytest.mark.parametrize(
    ("change", "token", "requests"),
    [
        ("os.environ['MONITOR_TOKEN'] = 'mine'", None, ["Bearer mine", None]),
        ("", None, [None]),
        ("", "mine", ["Bearer mine"]),
        ("del os.environ['MONITOR_TOKEN']", "mine", ["Bearer mine"]),
    ],
    ids=["child alone", "none", "both", "parent alone"],
)
def test_child_leaves_its_events_to_a_parent_that_may_send_them(
    children: Children, collector: Collector, change: str, token: str | None, requests: list[str | None]
) -> None:
    """Secrets are not always handed down; but who has one must not leave its events to somebody who has none."""
    program = f"import os, subprocess, sys\n{change}\nsubprocess.run([sys.executable, '-c', 'print(1)'], check=True)"
    children.twin(program, endpoint=collector.url, env={"MONITOR_TOKEN": token})
    assert collector.names().count("session.end") == 2
    assert [request.headers.get("authorization") for request in collector.requests] == requests


@pytest.mark.parametrize("token", ["hush\nX-Evil: 1", "hush\r", "hüsh"])
def test_token_that_no_header_may_hold_is_not_sent(token: str, children: Children, collector: Collector) -> None:
    """A newline in a token would end the header; nothing goes out, and the log says which setting it is."""
    log = children.folder / "debug.log"
    env = {"MONITOR_TOKEN": token, "MONITOR_DEBUG": str(log)}
    done = children.twin(WORK, endpoint=collector.url, env=env)
    assert collector.requests == []
    assert done.names == EXPECTED
    assert b"MONITOR_TOKEN" in log.read_bytes()
    assert b"hush" not in log.read_bytes()


HABITS = {
    "sigpipe": "import signal; signal.signal(signal.SIGPIPE, signal.SIG_DFL)",
    "no standard streams": "import os; [os.close(number) for number in range(3)]",
    "streams set to None": "import sys; sys.stdout = sys.stderr = sys.stdin = None",
    "deleted folder": "import os; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')",
    "relative folder": "import os; os.chdir('/')",
    "default timeout": "import socket; socket.setdefaulttimeout(0.000001)",
    "no timeout": "import socket; socket.setdefaulttimeout(None)",
    "sockets patched": "import socket; socket.socket = socket.create_connection = socket.getaddrinfo = None",
    "_socket patched": "import _socket; _socket.socket = None",
    "json patched": "import json; json.dumps = json.loads = None; json.encoder.c_make_encoder = None",
    "time patched": "import time; time.time = time.monotonic = time.strftime = lambda *a: 0.0",
    "time frozen": "import time; real = time.time(); time.time = lambda: real",
    "os patched": "import os; os.path.exists = os.listdir = None",
    "builtins patched": "import builtins; builtins.open = builtins.print = builtins.input = None",
    "modules emptied": "import sys; [sys.modules.pop(name) for name in list(sys.modules) if name[0] != '_']",
    "path emptied": "import sys; sys.path[:] = []",
    "no importer cache": "import sys; sys.path_importer_cache.clear(); sys.path_hooks.clear()",
    "environment emptied": "import os; os.environ.clear()",
    "proxies": "import os; os.environ['HTTP_PROXY'] = os.environ['http_proxy'] = 'http://127.0.0.1:9'",
    "umask": "import os; os.umask(0o777)",
    "locale": "import locale; locale.setlocale(locale.LC_ALL, 'C')",
    "recursion": "import sys; sys.setrecursionlimit(60)",
    "tracing": "import sys; sys.settrace(lambda *a: None); sys.setprofile(lambda *a: None)",
    "no garbage collection": "import gc; gc.disable(); gc.freeze()",
    "alarm": """
import signal
signal.signal(signal.SIGALRM, lambda *a: None)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
""",
    "descriptors used up": """
import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
kept = []
try:
    while True: kept.append(os.open(os.devnull, 0))
except OSError: pass
""",
    "low file size limit": "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))",
    "address space": "import resource; resource.setrlimit(resource.RLIMIT_AS, (96 << 20, resource.RLIM_INFINITY))",
}


@pytest.mark.parametrize("how", HABITS)
def test_program_with_habits_of_its_own_is_delivered(how: str, children: Children, collector: Collector) -> None:
    """Whatever a program does to its process, it exits as it would, and nothing that was recorded is lost."""
    source = HABITS[how] + "\nraise SystemExit(3)\n"
    done = children.twin(source, endpoint=collector.url, announce_internal_errors=how in BREAKING)
    arrived = {*collector.names(), *done.names}
    assert {"session.start", "session.end"} <= arrived or how == "low file size limit"
    if how not in NOT_AT_ONCE:
        assert collector.names() == ["session.start", "session.end"], "it could have been delivered at once"


NOT_AT_ONCE = {"_socket patched", "time patched", "builtins patched", "modules emptied", "path emptied"}
NOT_AT_ONCE |= {"no importer cache", "recursion", "descriptors used up", "low file size limit", "address space"}
NOT_AT_ONCE |= {"os patched"}
BREAKING = {"_socket patched", "os patched"}
"""What we need ourselves is broken: the ledger says so."""

FLAGS = [
    ["-I"],
    ["-E"],
    ["-s"],
    ["-B"],
    ["-O"],
    ["-OO"],
    ["-X", "utf8"],
    ["-W", "error"],
    ["-u"],
    ["-bb"],
    ["-X", "dev"],
]


@pytest.mark.parametrize("flags", FLAGS, ids=" ".join)
def test_interpreter_options_change_nothing(flags: list[str], children: Children, collector: Collector) -> None:
    """Services run with -I, containers with -B and -O, tests with -W error and -X dev."""
    done = children.twin(WORK, flags=flags, endpoint=collector.url)
    assert collector.names() == EXPECTED
    assert rest_of(done) == []


def test_daemon_threads_that_still_record_lose_nothing(children: Children, collector: Collector) -> None:
    """They run on until the interpreter is gone; what comes after the last request is the next process's."""
    source = """
        import threading
        from monitor_auto import Monitor
        begun = threading.Barrier(5)
        def work(thread):
            for number in range(1_000_000):
                last = Monitor.event("loop.step", {"thread": thread, "number": number})
                if number == 50:
                    begun.wait()
        for thread in range(4):
            threading.Thread(target=work, args=(thread,), daemon=True).start()
        begun.wait()
    """
    children.untold = 4  # each may be stopped between a number and its line
    env = {"MONITOR_BATCH_SIZE": "1000", "MONITOR_RATE_LIMIT": "0"}
    collector.max_batch = 1000
    done = children.run(source, endpoint=collector.url, env=env)
    children.run("pass", endpoint=collector.url, env=env)
    for _ in range(50):
        if not segments(done.spool):
            break
        children.run("pass", endpoint=collector.url, env=env)
    events = [event for event in collector.unique() if event["name"] == "loop.step"]
    for thread in range(4):
        numbers = sorted(event["data"]["number"] for event in events if event["data"]["thread"] == thread)
        assert numbers == list(range(len(numbers)))
        assert len(numbers) > 50
    assert len(collector.events()) == len(collector.unique())
    assert collector.names().count("session.lost") == 0


@pytest.mark.parametrize("how", ["default", "handled", "ignored"])
def test_interrupt_during_the_last_call_ends_the_program_as_a_bare_one(
    how: str, children: Children, collector: Collector
) -> None:
    """Somebody sees a prompt that does not come back and presses Ctrl-C: the program had already ended."""
    collector.answer_next(Answer(silent=True))
    action = {"default": "signal.default_int_handler", "handled": "lambda *a: sys.exit(9)", "ignored": "signal.SIG_IGN"}
    source = f"import signal, sys; signal.signal(signal.SIGINT, {action[how]}); print('out'); sys.exit(7)"
    limit = "2" if how == "ignored" else "20"
    child = children.start(source, endpoint=collector.url, env={"MONITOR_EXIT_TIMEOUT": limit})
    collector.wait_for_request()
    child.process.send_signal(signal.SIGINT)
    done = child.finish()
    assert (done.status, done.stdout, done.stderr) == (7, b"out\n", b"")
    assert done.names == EXPECTED + ["session.exit"] * (how == "handled")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP], ids=lambda number: number.name)
def test_death_during_the_last_call_loses_nothing(number: int, children: Children, collector: Collector) -> None:
    """Between the request and its answer nobody knows whether it was taken: so it comes again, with the same ids."""
    collector.answer_next(Answer(silent=True))
    child = children.start(WORK, endpoint=collector.url, env={"MONITOR_EXIT_TIMEOUT": "20"})
    collector.wait_for_request()
    child.process.send_signal(number)
    done = child.finish()
    assert done.status == -number
    assert done.names == EXPECTED
    children.run("pass", endpoint=collector.url)
    assert collector.names()[2:][: len(EXPECTED)] == EXPECTED
    assert rest_of(done) == []


def test_many_programs_that_end_together_lose_and_repeat_nothing(children: Children, collector: Collector) -> None:
    """CI jobs end in crowds; their last calls meet in one spool."""
    crowd = [children.start(WORK, endpoint=collector.url) for _ in range(12)]
    for child in crowd:
        assert child.finish().status == 7
    children.run("pass", endpoint=collector.url)
    assert len(collector.unique()) == len(collector.events()) == 12 * len(EXPECTED) + 2


def test_program_without_any_disk_delivers_from_memory(children: Children, collector: Collector) -> None:
    """On a full disk, or in a container without one, the events are in memory until the exit."""
    source = """
        import sys
        from monitor_auto import Monitor
        Monitor.event("a.b")
        sys.exit(7)
    """

    def forbid_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    done = children.twin(source, endpoint=collector.url, preexec_fn=forbid_files)
    assert done.status == 7
    assert set(collector.names()) == {"a.b", *EXPECTED}


@pytest.mark.skipif(sys.platform != "linux", reason="the name of a program's file is Linux's")
def test_nothing_is_left_running_or_open(children: Children, collector: Collector) -> None:
    """No helper process, no socket and no thread may outlive a program for a plain address."""
    source = """
        import atexit, os
        print(len(os.listdir("/proc/self/task")))
        print(len([1 for entry in os.scandir("/proc/self/fd") if "socket" in os.readlink(entry.path)]))
    """
    done = children.twin(source, endpoint=collector.url)
    assert done.stdout == b"1\n0\n"
    assert collector.names() == ["session.start", "session.end"]


ENDS_THAT_TAKE_MORE = {
    "many events": "from monitor_auto import Monitor\nfor number in range(150): Monitor.event('work.step')",
    "a child": "import os\nif os.fork() == 0: os._exit(0)\nos.wait()",
    "a child that was killed": "import os\nif os.fork() == 0: os.kill(os.getpid(), 9)\nos.wait()",
}


@pytest.mark.parametrize("how", ENDS_THAT_TAKE_MORE)
def test_end_searches_for_no_module(how: str, children: Children, collector: Collector) -> None:
    """importlib's search for a dozen modules takes a quarter of what a small program takes in all."""
    done = children.run(ENDS_THAT_TAKE_MORE[how], flags=["-X", "importtime"], endpoint=collector.url)
    assert b"import time:" in done.stderr
    assert b"monitor_auto.delivery" not in done.stderr, "boot/flushing.py should have it in its lists"
    assert "session.end" in collector.names()
    assert rest_of(done) == []


@pytest.mark.parametrize("batch_size", ["100", "1"], ids=["usual end", "any end"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_event_that_comes_while_the_lock_is_deleted_has_a_lock(
    when: str, batch_size: str, children: Children, collector: Collector
) -> None:
    """A signal handler may record at any moment: a segment of a living session without a lock is delivered as a dead
    one's, and deleted while it is written to.
    """
    program = """
        import os, posix, sys
        from monitor_auto import Monitor
        real_unlink = os.unlink
        def unlink(path, *args, **kwargs):  # comes at the moment that a signal would have to meet by chance
            is_lock = str(path).endswith(".live")
            if is_lock and sys.argv[1] == "before":
                os.unlink = posix.unlink = real_unlink
                Monitor.event("late.event", {})
            real_unlink(path, *args, **kwargs)
            if is_lock and sys.argv[1] == "after":
                Monitor.event("late.event", {})
        os.unlink = posix.unlink = unlink
    """
    children.run(program, argv=[when], endpoint=collector.url, env={"MONITOR_BATCH_SIZE": batch_size})
    assert sorted(path.name[66:] for path in children.spool.iterdir()) == ["", ".1.jsonl", ".live"]
    assert children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url).status == 0
    assert sorted(collector.names()) == ["late.event", "session.end", "session.start"]

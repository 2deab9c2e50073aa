"""`monitor-auto run` on pipes and files: the command's bytes, statuses and signals, and what is recorded of it."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from support.children import Children, Run
from support.collector import Collector
from support.commands import WORDS
from support.needs import need_command
from support.relaying import RUN, relayed, said, twin
from support.sandbox import Sandboxes, other_pythons

EVENT = 'monitor-event: {"name": "job.step", "data": {"n": 1}}'


def script(children: Children, source: str) -> str:
    """Write a Python program of the bare kind and return its path."""
    path = children.folder / "command.py"
    path.write_text(source, encoding="utf-8")
    return str(path)


def process(run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the data of the only process.start and process.exit."""
    (start,), (end,) = run.named("process.start"), run.named("process.exit")
    assert start["data"]["pid"] == end["data"]["pid"]
    return start["data"], end["data"]


def wait_until(truth: Any, what: str, timeout: float = 60) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + timeout
    while not truth():
        if time.monotonic() > deadline:
            pytest.fail(f"after {timeout} s still not: {what}")
        time.sleep(0.01)


def state_of(pid: int) -> str:
    """Return the state of a process: R, S, T, Z; "" when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def our_words(children: Children) -> list[str]:
    """Return `monitor-auto run --` as words with the sandbox's interpreter."""
    return [str(children.sandbox.python), *RUN[1:]]


def ours(children: Children) -> str:
    """Return `monitor-auto run --` for a shell."""
    return " ".join(our_words(children))


def test_line_becomes_an_event_and_all_else_passes(children: Children) -> None:
    """A shell script has nothing but echo."""
    line = "echo before; echo '{}'; echo after; echo '{}' >&2; printf \"no newline\"; exit 3"
    metric = 'monitor-event: {"name": "job.size", "type": "metric", "data": {"value": 1.5}}'
    done = children.run([*RUN, "sh", "-c", line.format(EVENT, metric)])
    assert (done.status, done.stdout, done.stderr) == (3, b"before\nafter\nno newline", b"")
    assert sorted(said(done)) == [("job.size", {"value": 1.5}), ("job.step", {"n": 1})]
    assert {event["type"] for event in done.events} == {"lifecycle", "event", "metric"}
    start, end = process(done)
    assert start["argv"] == ["sh", "-c", "[code]"]
    assert (end["exit_code"], "signal" in end) == (3, False)
    assert {event["data"]["_pid"] for event in done.events if event["type"] != "lifecycle"} == {start["pid"]}
    (over,) = done.named("session.end")
    assert (over["data"]["reason"], over["data"]["exit_code"]) == ("exit", 3)


@pytest.mark.parametrize(
    "command",
    [
        ("true",),
        ("false",),
        ("sh", "-c", "exit 200"),
        ("sh", "-c", "printf 'a\\0b\\377\\r\\n\\033[31mred\\033[0m'; printf 'err\\n' >&2"),
        ("sh", "-c", "printf 'monitor-event: {oops\\nmonitor-event: '"),
        ("cat",),
        ("sh", "-c", "cat; pwd; umask; ulimit -n; echo $PPID | grep -c ."),
        ("sh", "-c", "exec >&-; echo lost; echo error >&2"),
        ("sh", "-c", "kill -TERM $$"),
        ("sh", "-c", "kill -KILL $$"),
        ("sh", "-c", "kill -SEGV $$"),
        ("sh", "-c", "kill -INT $$"),
        ("sh", "-c", "yes | head -c 100000"),
        ("sh", "-c", "trap '' PIPE; kill -PIPE $$; echo alive"),
        ("sh", "-c", "kill -PIPE $$; echo alive"),
    ],
)
def test_command_is_as_without_us(children: Children, command: tuple[str, ...]) -> None:
    """Whoever puts `run` before a line of a CI job must not have to think about it."""
    done = twin(children, *command, stdin=b"in\0put\xff")
    start, end = process(done)
    assert end.get("exit_code", -1) == max(done.status, -1)
    if done.status < 0:
        assert end["signal"] == signal.Signals(-done.status).name
    assert end["duration_ms"] > 0


def test_no_core_of_ours_is_left(children: Children) -> None:
    """The command that crashed has left its core; a second one, of `run`, would be taken for it."""
    source = script(children, "import os, resource\nresource.setrlimit(resource.RLIMIT_CORE, (0, 0))\nos.abort()\n")
    done = children.run([*RUN, "python3", source], preexec_fn=lambda: os.chdir(children.home))
    assert done.status == -signal.SIGABRT
    assert not list(children.home.glob("core*"))


def test_command_that_cannot_be_started_has_a_shells_status(children: Children) -> None:
    """Scripts tell 126 and 127 apart."""
    plain = children.folder / "plain"
    plain.write_text("echo text\n")
    for command, status, text in (
        ("no-such-command", 127, b"no-such-command: there is no such command"),
        (str(children.folder / "no" / "where"), 127, b"there is no such command"),
        (str(plain), 126, b"Permission denied"),
        (str(children.folder), 126, b"Permission denied"),
        ("", 127, b"there is no such command"),
    ):
        done = children.run([*RUN, command])
        assert (done.status, done.stdout) == (status, b""), command
        assert text in b" ".join(done.stderr.split())  # broken where a path is long
    assert not done.named("process.start")
    plain.chmod(0o755)
    assert children.run([*RUN, str(plain), "x"]).stdout == b"text\n", "a script without a first line is run by sh"


def test_wrong_call_says_what_is_wrong(children: Children) -> None:
    """A typo must not be taken for a failure of the command."""
    for words, text in (
        ((), b"name a command"),
        (("--",), b"name a command"),
        (("--no-such-option", "true"), b"--no-such-option"),
        (("--endpoint", "ftp://x", "true"), b"MONITOR_ENDPOINT must be"),
    ):
        done = children.run([*WORDS, "run", *words])
        assert (done.status, done.stdout, done.events) == (2, b"", [])
        assert text in done.stderr and b"Traceback" not in done.stderr


def test_options_of_the_command_are_its_own(children: Children) -> None:
    """`run sh --help` is about sh, and a command may itself take `--`."""
    show = script(children, "import sys; print(sys.argv[1:])")
    for words in (("--",), ()):
        done = children.run([*WORDS, "run", *words, "python3", show, "--help", "--", "--endpoint", "status"])
        assert done.stdout == b"['--help', '--', '--endpoint', 'status']\n"
    shown = children.run([*WORDS, "run", "--help"])
    assert shown.status == 0 and b"monitor-event:" in shown.stdout


def test_python_below_the_command_is_linked_to_it(children: Children, collector: Collector) -> None:
    """The point of it all: one tree for a job that is a shell script around Python programs."""
    source = script(children, "from monitor_auto import Monitor; Monitor.event('inner.step'); raise SystemExit(4)")
    command = ["sh", "-c", f"echo '{EVENT}'; python {source}"]
    done = children.run([*RUN, *command], endpoint=collector.url)
    assert (done.status, done.events) == (4, [])
    events = {event["name"]: event for event in collector.unique()}
    outer, inner = events["process.start"]["session"], events["inner.step"]["session"]
    assert inner["parent"] == outer["id"] == events["job.step"]["session"]["id"]
    assert inner["trace_id"] == outer["trace_id"]
    assert "parent" not in outer
    assert len(collector.batches) == 1, "the program that lives delivers for all"


def test_endpoint_on_the_command_line_counts_for_the_children_too(children: Children, collector: Collector) -> None:
    """One run can be sent to a collector without a change to the environment."""
    source = script(children, "print('in')")
    done = children.run([*WORDS, "run", "--endpoint", collector.url, "--", "python", source], bare=True)
    assert done.stdout == b"in\n"
    assert collector.names().count("session.start") == 2


def test_collector_that_is_away_changes_nothing_but_the_spool(children: Children, collector: Collector) -> None:
    """A job must not fail because nobody listens."""
    collector.go_away()
    done = children.run([*RUN, "sh", "-c", f"echo '{EVENT}'; echo out; exit 5"], endpoint=collector.url)
    assert (done.status, done.stdout, done.stderr) == (5, b"out\n", b"")
    assert "job.step" in done.names and "process.exit" in done.names


def test_without_an_endpoint_each_run_has_a_spool_of_its_own(children: Children) -> None:
    """What a laptop records must neither pile up in the spool nor be sent anywhere; it is there to be looked at."""
    source = script(children, "print('in')")
    runs = children.home / ".cache" / "monitor" / "spool" / "runs"
    for number in (1, 2):
        done = children.run([*RUN, "python", source], bare=True)
        assert (done.status, done.stdout, done.stderr) == (0, b"in\n", b"")
        assert len(list(runs.iterdir())) == number
    last = max(runs.iterdir())
    names = [Run(0, b"", b"", last).names][0]
    assert names.count("session.start") == 2 and "process.exit" in names
    assert last.stat().st_mode & 0o777 == 0o700


def test_only_the_latest_runs_are_kept(children: Children) -> None:
    """A disk that fills up over months is how such folders are found."""
    runs = children.home / ".cache" / "monitor" / "spool" / "runs"
    for number in range(60):
        (runs / f"0000-{number:02d}").mkdir(parents=True, mode=0o700)
    done = children.run([*RUN, "true"], bare=True)
    assert done.status == 0
    names = sorted(path.name for path in runs.iterdir())
    assert len(names) == 50 and names[0] == "0000-11"


def test_switched_off_it_is_the_command_alone(children: Children) -> None:
    """MONITOR_DISABLE wins over everything; then not even a line of the output is looked at."""
    done = children.run([*RUN, "sh", "-c", f"echo '{EVENT}'; echo $PPID; exit 6"], env={"MONITOR_DISABLE": "1"})
    assert (done.status, done.stdout.splitlines()[0], done.events) == (6, EVENT.encode(), [])
    assert int(done.stdout.splitlines()[1]) == os.getpid(), "nothing stands between"
    assert children.run([*RUN, "no-such"], env={"MONITOR_DISABLE": "1"}).status == 127


def test_endpoint_of_no_use_stops_no_command(children: Children) -> None:
    """A wrong setting of the operator's must not stop the job; `doctor` names it."""
    done = children.run([*RUN, "sh", "-c", "echo out; exit 7"], endpoint="nonsense")
    assert (done.status, done.stdout, done.stderr) == (7, b"out\n", b"")


BAD = """
    printf 'monitor-event: {oops\\n'
    printf 'monitor-event: {"name": ""}\\nmonitor-event: {"name": "a.b", "type": "lifecycle"}\\n'
    printf 'monitor-event: {"name": "a.b", "type": "metric"}\\nmonitor-event: {"name": "a.b", "data": [1]}\\n'
    printf 'monitor-event: {"name": "a\\377"}\\nmonitor-event: [1]\\nmonitor-event: {"name": "a", "name": }\\n'
    printf 'monitor-event: {"name": "good", "data": {"n": 1234567890123, "f": 1e3, "deep": [[{}]]}}\\n'
    printf 'monitor-event: {"name": "long", "data": {"x": "%70000d"}}\\n' 1
"""


def test_line_that_is_no_event_passes_and_is_counted(children: Children) -> None:
    """A typo in a script must neither eat the line nor go unseen."""
    before = children.run(["sh", "-c", BAD], bare=True)
    done = children.run([*RUN, "sh", "-c", BAD])
    good = [line for line in before.stdout.splitlines(True) if b'"good"' not in line]
    assert done.stdout == b"".join(good)
    assert said(done) == [("good", {"n": 1234567890123, "f": 1000.0, "deep": [[{}]]})]
    assert relayed(done) == {"no event": 8, "longer than 64 KiB": 1}
    status = children.run([*WORDS, "status"]).stdout.decode()
    assert "a line began with monitor-event: and was no event" in " ".join(status.split())


def test_many_bad_lines_do_not_fill_the_ledger(children: Children) -> None:
    """A program that gets it wrong a million times writes two lines of our log."""
    done = children.run([*RUN, "sh", "-c", "yes 'monitor-event: nonsense' | head -n 100000"])
    assert done.stdout == b"monitor-event: nonsense\n" * 100_000
    assert relayed(done) == {"no event": 100_000}
    assert len([line for line in done.ledger if line["what"] == "relay"]) == 2


def test_error_line_has_an_errors_shape_and_secrets_go(children: Children) -> None:
    """What a script says is redacted as what a program says."""
    line = 'monitor-event: {"name": "backup.failed", "type": "error", "data": {"password": "hunter2-x"}}'
    done = children.run([*RUN, "sh", "-c", f"echo '{line}'"])
    (error,) = [event for event in done.events if event["type"] == "error"]
    assert error["data"]["level"] == "error" and error["data"]["password"] == "[REDACTED]"
    assert "hunter2" not in "".join(path.read_text() for path in done.spool.glob("*.jsonl"))


WRITERS = """
import os, sys
for writer in range(4):
    if not os.fork():
        for number in range(500):
            os.write(1, b'monitor-event: {"name": "w.%d", "data": {"n": %d}}\\n' % (writer, number))
            os.write(1, b"line %d of %d\\n" % (number, writer))
        os._exit(0)
for writer in range(4):
    os.wait()
"""


def test_lines_of_many_writers_are_all_there(children: Children) -> None:
    """`make -j` writes from many processes into one pipe; a line by one write is never torn."""
    done = children.run([*RUN, "python3", "-S", script(children, WRITERS)])
    assert sorted(done.stdout.splitlines()) == sorted(b"line %d of %d" % (n, w) for n in range(500) for w in range(4))
    numbers: dict[str, list[int]] = {}
    for name, data in said(done):
        numbers.setdefault(name, []).append(data["n"])
    assert numbers == {f"w.{writer}": list(range(500)) for writer in range(4)}


def test_order_of_both_streams_in_one_file_is_kept(children: Children) -> None:
    """`>log 2>&1` shows what came before the error."""
    source = "import os\nfor n in range(300): os.write(1, b'out %d\\n' % n); os.write(2, b'err %d\\n' % n)"
    done = children.run([*RUN, "python3", "-S", script(children, source)], stderr=subprocess.STDOUT)
    assert done.stdout == b"".join(b"out %d\nerr %d\n" % (n, n) for n in range(300))


def test_partial_lines_are_seen_at_once(children: Children) -> None:
    """Somebody reads the prompt and answers it: what waits for a newline waits for ever."""
    source = "import os\nfor word in (b'name? ', b'monitor-', b'mon'): os.write(1, word); os.write(2, os.read(0, 9))"
    child = children.start([*RUN, "python3", "-S", script(children, source)], stdin=subprocess.PIPE)
    out, to = child.process.stdout, child.process.stdin
    assert out is not None and to is not None
    for word in (b"name? ", b"monitor-", b"mon"):
        seen = b""
        while seen != word:  # the last ones could be the beginning of an event, so they come a little later
            seen += os.read(out.fileno(), 100)
        os.write(to.fileno(), b"x")
    assert child.finish().stderr == b"xxx"


def test_reader_that_goes_away_ends_the_command_as_ever(children: Children) -> None:
    """`monitor-auto run -- yes | head -1` must end."""
    for command in ("yes", f"{ours(children)} yes"):
        shell = f"{command} | head -n 1; echo ${{PIPESTATUS[0]}}"
        done = children.run(["bash", "-c", shell])
        assert (done.stdout, done.stderr) == (b"y\n141\n", b"")
    assert process(done)[1]["signal"] == "SIGPIPE"


def test_disk_that_is_full_is_told(children: Children) -> None:
    """The command cannot see it any more: we are who writes."""
    with open("/dev/full", "wb") as full:
        done = children.run([*RUN, "sh", "-c", "yes | head -c 3000000; exit 8"], stdout=full)
    assert b"the output of the command cannot be written: No space left on device" in b" ".join(done.stderr.split())
    assert process(done)[1]["exit_code"] == 8


def test_closed_streams_stay_closed(children: Children) -> None:
    """A service without standard streams must not find files of ours there."""
    source = script(children, """
import os, sys
for number in (0, 1, 2):
    try:
        os.fstat(number)
    except OSError:
        os.write(9, b"closed %d\\n" % number)
sys.exit(3)
""")  # fmt: skip
    for closing in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        shell = f"{{}} -S {source} 9>seen {closing}; echo $?; cat seen"
        bare, run = (
            children.run(["sh", "-c", shell.format(command)], cwd=children.folder).stdout
            for command in ("python3", f"{ours(children)} python3")
        )
        assert run == bare and bare.startswith(b"3\nclosed")


def test_descriptors_are_inherited_as_they_are(children: Children) -> None:
    """make hands its job server on as descriptors 3 and 4; and ours must not be among them."""
    source = script(children, "import os; print(sorted(os.listdir('/proc/self/fd'), key=int))")
    shell = "exec 7</dev/null; {} python3 -S " + source
    bare, run = (children.run(["sh", "-c", shell.format(word)]).stdout for word in ("", ours(children)))
    assert run == bare and b"'7'" in bare


@pytest.mark.parametrize("name", ["TERM", "HUP", "INT", "QUIT", "USR1", "USR2", "WINCH", "ALRM", "RTMIN"])
@pytest.mark.parametrize("to", ["us", "group"])
def test_signal_reaches_the_command_once(children: Children, name: str, to: str) -> None:
    """A second SIGTERM in the middle of a clean-up has broken many; none at all leaves an orphan."""
    source = script(children, f"""
import os, signal, sys
seen = []
signal.signal(signal.SIG{name}, lambda number, frame: seen.append(number))
signal.signal(signal.SIGUSR2 if "{name}" != "USR2" else signal.SIGUSR1, lambda number, frame: sys.exit(len(seen)))
os.write(1, b"%d\\n" % os.getpid())
while True:
    signal.pause()
""")  # fmt: skip
    child = children.start([*RUN, "python3", "-S", source])
    assert child.process.stdout is not None
    pid = int(child.process.stdout.readline())
    number = getattr(signal, f"SIG{name}")
    before = time.monotonic()
    (os.killpg if to == "group" else os.kill)(child.pid, number)
    wait_until(lambda: pending_is_clear(pid) and time.monotonic() > before + 0.3, "the signal has come")
    os.kill(pid, signal.SIGUSR2 if name != "USR2" else signal.SIGUSR1)
    assert child.finish().status == 1


def pending_is_clear(pid: int) -> bool:
    """True while no signal waits for a process."""
    return "ShdPnd:\t0000000000000000" in Path(f"/proc/{pid}/status").read_text()


def test_command_that_dies_of_a_signal_takes_us_along(children: Children) -> None:
    """`kill`, a timeout or Ctrl-C: a shell asks how we ended."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1):
        child = children.start([*RUN, "sh", "-c", "echo up; exec sleep 600"])
        assert child.process.stdout is not None
        child.process.stdout.readline()
        os.kill(child.pid, number)
        done = child.finish()
        assert (done.status, done.stderr) == (-number, b"")
    ends = [event["data"]["signal"] for event in done.named("process.exit")]
    assert ends == ["SIGTERM", "SIGHUP", "SIGINT", "SIGUSR1"]
    assert [event["data"]["reason"] for event in done.named("session.end")] == ["signal"] * 4


def test_signal_that_is_ignored_stays_ignored(children: Children) -> None:
    """`nohup` and background jobs of a shell."""
    shell = "trap '' HUP INT; exec {} sh -c 'kill -HUP $$; kill -INT $$; echo alive; kill -HUP $PPID; echo still'"
    done = children.run(["sh", "-c", shell.format(ours(children))])
    assert (done.status, done.stdout) == (0, b"alive\nstill\n")


@pytest.mark.parametrize("number", [signal.SIGKILL])
def test_killed_run_leaves_no_command_behind(children: Children, number: int) -> None:
    """A watchdog's kill -9 means the job."""
    child = children.start([*RUN, "sh", "-c", "echo $$; exec sleep 600"])
    assert child.process.stdout is not None
    pid = int(child.process.stdout.readline())
    os.kill(child.pid, number)
    wait_until(lambda: state_of(pid) in ("", "Z"), "the command is gone")
    done = child.finish()
    assert done.status == -number
    assert "process.start" in done.names and "session.end" not in done.names


def test_stopped_command_stops_us_and_goes_on_with_us(children: Children) -> None:
    """The shell shows `Stopped` only when what it has started stops."""
    gate = children.folder / "gate"
    os.mkfifo(gate)
    command = f"{ours(children)} sh -c 'echo $$; exec cat {gate}'"
    child = children.start(["bash", "-c", f"set -m; {command} & wait -f %1; exit 9"])
    assert child.process.stdout is not None
    pid = int(child.process.stdout.readline())
    run = parent_of(parent_of(pid))
    for number in (signal.SIGTSTP, signal.SIGSTOP) * 15:  # `run` may not yet be done with the last SIGCONT
        os.kill(pid, number)
        wait_until(lambda: (state_of(pid), state_of(run)) == ("T", "T"), "both have stopped")
        os.kill(pid, signal.SIGCONT)
        wait_until(lambda: "T" not in (state_of(pid), state_of(run)), "both go on")
    os.killpg(os.getpgid(run), signal.SIGTSTP)
    wait_until(lambda: (state_of(pid), state_of(run)) == ("T", "T"), "both have stopped")
    os.kill(run, signal.SIGCONT)
    wait_until(lambda: "T" not in (state_of(pid), state_of(run)), "both go on")
    gate.write_text("text")
    done = child.finish()
    assert (done.status, done.stdout) == (9, b"text")


def parent_of(pid: int) -> int:
    """Return the parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_what_the_command_leaves_behind_is_not_waited_for_and_not_cut_off(children: Children) -> None:
    """A script that starts a service ends; the service goes on to write where it always has."""
    gate = children.folder / "gate"
    os.mkfifo(gate)
    shell = f"(cat {gate}; echo late) & echo early"
    child = children.start([*RUN, "sh", "-c", shell])
    assert child.process.stdout is not None
    assert child.process.stdout.readline() == b"early\n"
    child.process.wait(60)
    gate.write_text("through the gate\n")
    done = child.finish()
    assert (done.status, done.stdout) == (0, b"through the gate\nlate\n")


def test_timeout_of_coreutils_sends_no_more_than_without_us(children: Children) -> None:
    """`timeout` sends to its child and then to the whole group: two SIGTERMs bare, and no third one from us."""
    source = script(children, """
import signal, sys, os
count = 0
def on_term(number, frame):
    global count
    count += 1
    if count == 1:
        signal.alarm(1)
signal.signal(signal.SIGTERM, on_term)
signal.signal(signal.SIGALRM, lambda number, frame: (print(count, flush=True), os._exit(count)))
print("up", flush=True)
while True:
    signal.pause()
""")  # fmt: skip
    done = children.run(["timeout", "--preserve-status", "2", *our_words(children), "python3", "-S", source])
    assert (done.status, done.stdout) in ((1, b"up\n1\n"), (2, b"up\n2\n"))


def test_guardian_that_is_killed_is_told(children: Children) -> None:
    """Whatever is killed, nothing hangs and the status says that something was wrong."""
    child = children.start([*RUN, "sh", "-c", "echo $$; exec cat"], stdin=subprocess.PIPE)
    assert child.process.stdout is not None
    pid = int(child.process.stdout.readline())
    os.kill(parent_of(pid), signal.SIGKILL)
    done = child.finish(b"")
    assert done.status == 125
    assert b"the process that looked after the command was killed" in done.stderr


def test_examples_of_shell_and_node_run(children: Children, collector: Collector) -> None:
    """The documentation shows them."""
    node = need_command("node", "nodejs")
    examples = Path(__file__).parents[1] / "examples"
    for command in (["sh", str(examples / "relay.sh")], [node, str(examples / "relay.js")]):
        before = len(collector.unique())
        done = children.run([*RUN, *command], endpoint=collector.url)
        assert (done.status, done.stderr) == (0, b"")
        assert b"monitor-event" not in done.stdout and b"3 of 3" in done.stdout
        events = collector.unique()[before:]
        assert [event["name"] for event in events if event["type"] != "lifecycle"] == [
            "file.read", "file.read", "file.read", "job.files"
        ]  # fmt: skip
        assert json.dumps(events[-1])


@pytest.mark.slow
@pytest.mark.parametrize("version", other_pythons())
def test_run_of_every_other_interpreter(sandboxes: Sandboxes, children: Children, version: str) -> None:
    """From 3.12 a fork beside a thread warns, argparse treats `--` in more than one way, and so on."""
    sandbox = sandboxes.get(other_pythons()[version])
    shell = f"echo '{EVENT}'; echo out; echo error >&2; exit 3"
    words = [*sandbox.command, "-W", "error", *RUN[1:]]
    done = children.run([*words, "sh", "-c", shell])
    assert (done.status, done.stdout, done.stderr) == (3, b"out\n", b"error\n")
    assert said(done) == [("job.step", {"n": 1})]
    assert children.run([*words, "sh", "-c", "kill -TERM $$"]).status in (-signal.SIGTERM, 128 + signal.SIGTERM)
    program = f"""
        import subprocess
        from monitor_auto import Monitor
        child = Monitor.relay(subprocess.Popen(["sh", "-c", {shell!r}], stdout=subprocess.PIPE, stderr=-1, text=True))
        print(child.communicate(), child.returncode)
    """
    done = children.run(program, python=sandbox, flags=["-W", "error"])
    assert (done.status, done.stdout, done.stderr) == (0, b"('out\\n', 'error\\n') 3\n", b"")

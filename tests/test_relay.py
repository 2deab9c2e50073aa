"""`Monitor.relay`: the captured output of a child is what it wrote, but for its events, whatever way it is read."""

import textwrap

import pytest

from support.children import Children, Run
from support.relaying import relayed, said

CHILD = """
import os, sys
os.write(1, b'before\\r\\nmonitor-event: {"name": "child.step", "data": {"n": 1}}\\nafter\\0\\xff\\n')
os.write(2, b'monitor-event: {"name": "child.step", "data": {"n": 2}}\\nerror')
sys.exit(3)
"""
START = """
import os, subprocess, sys
from subprocess import PIPE, STDOUT, Popen
from monitor_auto import Monitor

def child(**how):
    return Popen([sys.executable, "-S", os.path.dirname(__file__) + "/child.py"], **how)
"""
BOTH = [("child.step", {"n": 1}), ("child.step", {"n": 2})]


def run(children: Children, source: str, child: str = CHILD, **how: object) -> Run:
    """Run a program that has `child(**popen)` and `Monitor`."""
    done = children.run(START + textwrap.dedent(source), files={"child.py": child}, **how)
    assert (done.status, done.stderr) == (0, b""), done.stderr.decode()
    return done


READERS = {
    "communicate": "p = Monitor.relay(child(stdout=PIPE, stderr=PIPE)); print(p.communicate(), p.returncode)",
    "with input": "p = Monitor.relay(child(stdin=PIPE, stdout=PIPE, stderr=PIPE)); print(p.communicate(b'x' * 99999))",
    "one stream": "p = Monitor.relay(child(stdout=PIPE, stderr=STDOUT)); print(p.communicate())",
    "unbuffered": """
        p = Monitor.relay(child(stdout=PIPE, stderr=PIPE, bufsize=0))
        print(p.stdout.read(), p.stderr.read())
    """,
    "lines": "p = Monitor.relay(child(stdout=PIPE, stderr=PIPE)); print(list(p.stdout), p.stderr.read(), p.wait())",
    "text": "p = Monitor.relay(child(stdout=PIPE, stderr=PIPE, text=True, errors='replace')); print(p.communicate())",
    "os.read": """
        p = Monitor.relay(child(stdout=PIPE, stderr=PIPE))
        data = b""
        while piece := os.read(p.stdout.fileno(), 3):
            data += piece
        print(data, p.stderr.read())
    """,
    "selectors": """
        import selectors
        p = Monitor.relay(child(stdout=PIPE, stderr=PIPE))
        found = {}
        with selectors.DefaultSelector() as selector:
            for stream in (p.stdout, p.stderr):
                os.set_blocking(stream.fileno(), False)
                selector.register(stream, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select():
                    data = os.read(key.fd, 100)
                    found.setdefault(key.fileobj is p.stdout, []).append(data)
                    if not data:
                        selector.unregister(key.fileobj)
        print({name: b"".join(parts) for name, parts in found.items()}[True])
    """,
    "pipeline": """
        p = Monitor.relay(child(stdout=PIPE, stderr=PIPE))
        q = Popen(["cat"], stdin=p.stdout, stdout=PIPE)
        p.stdout.close()
        print(q.communicate(), p.stderr.read())
    """,
    "after the end": """
        p = child(stdout=PIPE, stderr=PIPE)
        p.wait()
        Monitor.relay(p)
        print(p.communicate())
    """,
    "twice": "p = Monitor.relay(Monitor.relay(child(stdout=PIPE, stderr=PIPE))); print(p.communicate())",
}


@pytest.mark.parametrize("name", READERS)
def test_program_reads_all_but_the_events(children: Children, name: str) -> None:
    """What a program parses must not depend on how it happens to read."""
    quiet = CHILD.replace('monitor-event: {"name": "child.step", "data": {"n": 1}}\\n', "").replace(
        'monitor-event: {"name": "child.step", "data": {"n": 2}}\\n', ""
    )
    before = run(children, READERS[name].replace("Monitor.relay", ""), quiet, bare=True)
    done = run(children, READERS[name])
    assert done.stdout == before.stdout and b"after" in done.stdout
    assert sorted(said(done), key=str) == BOTH


def test_program_reads_the_same_where_no_monitor_is_configured(children: Children) -> None:
    """A script that runs on a laptop without a collector must not meet lines there that it never sees elsewhere."""
    source = READERS["communicate"]
    assert run(children, source, bare=True).stdout == run(children, source).stdout


def test_event_comes_while_the_child_runs(children: Children) -> None:
    """A build takes an hour; its steps are to be seen when they happen."""
    child = CHILD.replace("os.write(2", "sys.stdin.read()\nos.write(2", 1)
    source = """
        p = Monitor.relay(child(stdin=PIPE, stdout=PIPE, stderr=PIPE))
        assert p.stdout.readline() == b"before\\r\\n" and p.stdout.readline() == b"after\\0\\xff\\n"
        Monitor.event("between")
        p.communicate()
    """
    assert [name for name, _ in said(run(children, source, child))] == ["child.step", "between", "child.step"]


def test_partial_line_is_read_at_once(children: Children) -> None:
    """Drivers of interactive programs wait for a prompt without a newline, be it the beginning of our prefix."""
    child = "import os\nfor word in (b'name? ', b'mon', b'monitor-event: {'): os.write(1, word); os.read(0, 1)"
    source = """
        p = Monitor.relay(child(stdin=PIPE, stdout=PIPE, bufsize=0))
        for word in (b"name? ", b"mon", b"monitor-event: {"):
            data = b""
            while data != word:
                data += p.stdout.read(99)
            p.stdin.write(b"x")
    """
    run(children, source, child)


def test_child_whose_reader_closes_gets_a_broken_pipe(children: Children) -> None:
    """`head` closes early; the program before it must end."""
    child = "import os, signal\nsignal.signal(signal.SIGPIPE, signal.SIG_DFL)\nwhile True: os.write(1, b'y\\n')"
    source = """
        import signal
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        p = Monitor.relay(child(stdout=PIPE))
        assert p.stdout.readline() == b"y\\n"
        p.stdout.close()
        assert p.wait(60) == -signal.SIGPIPE
    """
    run(children, source, child)


def test_forked_worker_does_not_hide_the_end_of_the_output(children: Children) -> None:
    """A worker inherits every descriptor; were the writing end among them, the reader would wait for the worker."""
    source = """
        import warnings
        warnings.simplefilter("ignore")
        p = Monitor.relay(child(stdin=PIPE, stdout=PIPE, stderr=PIPE))
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(writing)
            p.stdin.close()
            os.read(reading, 1)
            os._exit(0)
        print(len(p.communicate()[0]))
        os.close(writing)
        os.waitpid(pid, 0)
    """
    assert run(children, source, CHILD.replace("import os", "import os, sys; sys.stdin.read()", 1)).stdout == b"16\n"


def test_no_descriptor_and_no_thread_is_left(children: Children) -> None:
    """A service relays a thousand children."""
    source = """
        import _thread, time
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            with Monitor.relay(child(stdout=PIPE, stderr=PIPE)) as p:
                p.communicate()
        deadline = time.monotonic() + 30
        while (_thread._count() or len(os.listdir("/proc/self/fd")) > before) and time.monotonic() < deadline:
            pass
        assert (_thread._count(), len(os.listdir("/proc/self/fd"))) == (0, before)
    """
    # No background thread either, which a program has that takes more than a second.
    assert len(said(run(children, source, env={"MONITOR_FLUSH_INTERVAL": "0"}))) == 40


def test_program_that_does_not_read_loses_no_event(children: Children) -> None:
    """Events come out also where nobody looks at the rest."""
    source = "p = Monitor.relay(child(stdout=PIPE, stderr=PIPE)); p.wait()"
    assert sorted(said(run(children, source)), key=str) == BOTH


def test_child_that_is_killed_in_a_line_has_its_half_line_passed(children: Children) -> None:
    """Half an event is no event, and nothing is swallowed."""
    child = 'import os\nos.write(1, b\'monitor-event: {"name": "a.b"\')\nos.kill(os.getpid(), 9)'
    done = run(children, "p = Monitor.relay(child(stdout=PIPE)); print(p.communicate()[0])", child)
    assert done.stdout == b'b\'monitor-event: {"name": "a.b"\'\n'
    assert relayed(done) == {"no event": 1}


def test_what_is_not_captured_is_left_alone(children: Children) -> None:
    """relay is for what the program reads; what the child inherits goes past us."""
    source = """
        p = child(stdout=2, stderr=subprocess.DEVNULL)
        assert Monitor.relay(p) is p and p.stdout is None
        p.wait()
    """
    done = children.run(START + textwrap.dedent(source), files={"child.py": CHILD})
    assert b"monitor-event" in done.stderr and not said(done)


@pytest.mark.parametrize("given", ["None", "'text'", "42", "subprocess"])
def test_what_is_no_popen_is_refused(children: Children, given: str) -> None:
    """A mistake that says nothing is found a year later."""
    source = f"""
        try:
            Monitor.relay({given})
        except TypeError as error:
            print(error)
    """
    assert b"relay takes a subprocess.Popen, not " in run(children, source).stdout


def test_closed_stream_is_no_error(children: Children) -> None:
    """After communicate both are closed."""
    assert said(run(children, "p = child(stdout=PIPE, stderr=PIPE); p.communicate(); Monitor.relay(p)")) == []


def test_modules_beside_the_script_are_not_ours(children: Children) -> None:
    """A `json.py` or `select.py` of the program must not be run by us."""
    hostile = "raise SystemExit('the program has its own')"
    files = {
        "child.py": CHILD,
        "json.py": hostile,
        "_json.py": hostile,
        "threading.py": "from _real_threading import *",
    }
    files.pop("threading.py")
    done = children.run(START + READERS["communicate"], files=files)
    assert (done.status, len(said(done))) == (0, 2), done.stderr


CAPTURING = {
    "run": "p = subprocess.run(WORDS, capture_output=True); print(p.stdout, p.stderr, p.returncode)",
    "text": "p = subprocess.run(WORDS, capture_output=True, encoding='utf-8', errors='replace'); print(p.stdout)",
    "check_output": """
        try:
            subprocess.check_output(WORDS, stderr=STDOUT)
        except subprocess.CalledProcessError as error:
            print(error.output, error.returncode)
    """,
    "Popen": "print(list(Popen(WORDS, stdout=PIPE, stderr=PIPE).stdout)); os.wait()",
    "preexec_fn": "p = Popen(WORDS, stdout=PIPE, stderr=PIPE, preexec_fn=lambda: None); print(p.communicate())",
    "asyncio": """
        import asyncio
        async def main():
            p = await asyncio.create_subprocess_exec(*WORDS, stdout=PIPE, stderr=PIPE)
            print(await p.communicate(), p.returncode)
        asyncio.run(main())
    """,
    "os.popen": "pipe = os.popen(f'{WORDS[0]} -S {WORDS[2]} 2>&1', 'r')\nprint(pipe.buffer.read())",
}


@pytest.mark.parametrize("name", CAPTURING)
def test_captured_output_is_relayed_when_the_operator_asks(children: Children, name: str) -> None:
    """A Python program that calls a Node tool needs no change for the tool's events to come out."""
    words = 'WORDS = [sys.executable, "-S", os.path.dirname(__file__) + "/child.py"]\n'
    source = words + textwrap.dedent(CAPTURING[name])
    quiet = CHILD.replace('monitor-event: {"name": "child.step", "data": {"n": 1}}\\n', "").replace(
        'monitor-event: {"name": "child.step", "data": {"n": 2}}\\n', ""
    )
    before = run(children, source, quiet, bare=True)
    done = run(children, source, env={"MONITOR_RELAY": "1"})
    assert done.stdout == before.stdout and b"after" in done.stdout
    if name != "Popen":  # its standard error is never read to the end
        assert sorted(said(done), key=str) == BOTH
    assert children.run(START + source, files={"child.py": CHILD}).stdout.count(b"monitor-event") > 0


def test_call_that_subprocess_refuses_is_refused_as_ever_under_relay(children: Children) -> None:
    """Wrong arguments and missing programs raise what they always raised."""
    source = """
        for words in (["/no/such/program"], [], [1], ["a\\0b"]):
            try:
                subprocess.run(words, capture_output=True)
            except Exception as error:
                print(type(error).__name__, error)
        import time
        deadline = time.monotonic() + 30
        while len(os.listdir("/proc/self/fd")) > 6 and time.monotonic() < deadline:
            pass
        print(len(os.listdir("/proc/self/fd")))
    """
    before, done = run(children, source, bare=True), run(children, source, env={"MONITOR_RELAY": "1"})
    assert done.stdout.splitlines()[:4] == before.stdout.splitlines()[:4]
    assert int(done.stdout.splitlines()[4]) <= int(before.stdout.splitlines()[4]) + 2, "the monitor's own two"


HOSTILE = {
    "progress bar": r"for n in range(300): os.write(1, b'\r%3d%% done' % (n // 3))",
    "line that never ends": "for _ in range(64): os.write(1, b'x' * (1 << 20))",
    "prefix that never ends": "os.write(1, b'monitor-event: {')\nfor _ in range(8): os.write(1, b'x' * (1 << 20))",
    "broken text in an event": r"os.write(1, b'monitor-event: {\"name\": \"a.b\", \"data\": \"\xff\xfe\"}\n\xc3')",
    "zeros in the prefix": r"os.write(1, b'monitor-\0event: {}\nmonitor-event:\0{\"name\": \"a.b\"}\n')",
    "escape sequences": r"os.write(1, b'\x1b[2K\x1b[1A\x1b]0;title\x07\r\n\x1b[?25l')",
    "nothing": "pass",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_output_is_passed_as_it_is(children: Children, name: str) -> None:
    """A build prints what it likes; what is relayed must be that, byte for byte, and must not fill the memory."""
    source = """
        import hashlib, re
        p = Monitor.relay(child(stdout=PIPE, stderr=PIPE))
        found = hashlib.sha256()
        while piece := p.stdout.read1(65536):
            found.update(piece)
        print(found.hexdigest(), p.stderr.read(), p.wait())
        # Not ru_maxrss: that of who has started us counts there, too.
        print(int(re.search(r"VmHWM:\\s+([0-9]+)", open("/proc/self/status").read())[1]) < 120_000)
    """
    child = "import os, sys\n" + HOSTILE[name]
    before = run(children, source.replace("Monitor.relay", ""), child, bare=True)
    done = run(children, source, child)
    assert done.stdout == before.stdout and done.stdout.endswith(b"b'' 0\nTrue\n")
    assert said(done) == []
    assert done.named("process.exit")[0]["data"]["exit_code"] == 0


def test_child_that_closes_its_output_early_is_at_its_end_for_the_reader(children: Children) -> None:
    """Daemons close it and go on; who reads to the end must not wait for them."""
    child = CHILD.replace("sys.exit(3)", "os.close(1); os.close(2); sys.stdin.read(); os._exit(4)")
    source = """
        p = Monitor.relay(child(stdin=PIPE, stdout=PIPE, stderr=PIPE))
        print(p.stdout.read(), p.stderr.read(), p.poll())
        p.stdin.close()
        print(p.wait())
    """
    done = run(children, source, child)
    assert done.stdout.endswith(b"None\n4\n")
    assert sorted(said(done), key=str) == BOTH


def test_grandchild_that_holds_the_output_is_relayed_to_its_end(children: Children) -> None:
    """A service that a script has started in the background still writes there when the script has ended."""
    child = """
import os, sys
if os.fork():
    os._exit(5)
sys.stdin.read()
os.write(1, b'late\\nmonitor-event: {"name": "child.step", "data": {"n": 9}}\\nlast')
"""
    source = """
        p = Monitor.relay(child(stdin=PIPE, stdout=PIPE))
        print(p.wait(), flush=True)
        p.stdin.close()
        print(p.stdout.read())
    """
    done = run(children, source, child)
    assert done.stdout == b"5\nb'late\\nlast'\n"
    assert said(done) == [("child.step", {"n": 9})]

"""Prompts: Python's own, IPython's, Jupyter's. Each mistake is recorded once, and the session goes on."""

import os
import pty
import select
import sysconfig
import time
from collections.abc import Sequence
from typing import Any

import pytest

from support.children import Children, Run
from support.sandbox import Sandbox, Sandboxes, other_pythons

LINES = b"""
1 / 0
print("still here")
{}["x"]
def f(:
try:
    raise ValueError("bad") from OSError("worse")
except Exception:
    print("caught")

raise LookupError("lost")
import threading; t = threading.Thread(target=lambda: [].pop()); t.start(); t.join()
print("the end")
"""
ERRORS = ["ZeroDivisionError", "KeyError", "SyntaxError", "LookupError", "IndexError"]


def errors(done: Run) -> list[str]:
    """Return the classes of the recorded errors; at a prompt none is fatal."""
    found = [event for event in done.events if event["type"] == "error"]
    assert {event["data"]["level"] for event in found} <= {"error"}
    return [event["name"].partition(".")[2] for event in found]


def end(done: Run) -> dict[str, Any]:
    """Return the data of the only `session.end`."""
    (event,) = done.named("session.end")
    data: dict[str, Any] = event["data"]
    return data


def test_prompt_records_each_mistake_and_goes_on(children: Children) -> None:
    """Every typo at a prompt comes through sys.excepthook; none of them ends anything."""
    done = children.twin(["python", "-i", "-q"], stdin=LINES)
    assert done.stdout == b"still here\ncaught\nthe end\n"
    assert errors(done) == ERRORS
    assert (done.status, end(done)["reason"]) == (0, "return")


@pytest.mark.parametrize(
    ("last", "status", "reason"),
    [(b"exit()", 0, "exit"), (b"import sys; sys.exit(3)", 3, "exit"), (b"raise SystemExit(4)", 4, None),
     (b"import os; os._exit(5)", 5, "os._exit"), (b"quit(2)", 2, None)],
)  # fmt: skip
def test_prompt_that_is_left(children: Children, last: bytes, status: int, reason: str | None) -> None:
    """A pasted session of a CI job ends by what its last line says."""
    done = children.twin(["python", "-i", "-q"], stdin=b"1 / 0\n" + last + b"\n")
    assert done.status == status
    assert errors(done) == ["ZeroDivisionError"]
    assert end(done)["reason"] == reason or reason in (None, "exit")
    assert end(done).get("exit_code") in (status, None)


SCRIPTS = {
    "returns": ("print('script')", []),
    "raises": ("raise ValueError('script')", ["ValueError"]),
    "exits": ("import sys; sys.exit(3)", []),
    "raises SystemExit": ("raise SystemExit(3)", []),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_with_a_prompt_behind_it(children: Children, name: str) -> None:
    """`python -i` keeps the process when the script is over; only the prompt's end is the end."""
    source, expected = SCRIPTS[name]
    done = children.twin(source, flags=["-i"], stdin=b"{}['x']\nprint('after')\n")
    assert done.stdout.endswith(b"after\n")
    assert errors(done) == [*expected, "KeyError"]
    assert end(done).get("exit_code") in (done.status, None)
    assert end(done)["reason"] == "return" or end(done).get("exit_code") == done.status


@pytest.mark.parametrize("name", SCRIPTS)
def test_program_on_standard_input_is_no_prompt(children: Children, name: str) -> None:
    """`python < program`, or a program in a pipe, ends by its first error."""
    source, expected = SCRIPTS[name]
    done = children.twin(["python"], stdin=source.encode() + b"\n")
    assert [event["name"] for event in done.events if event["type"] == "error"] == [
        f"error.{kind}" for kind in expected
    ]
    assert end(done)["reason"] == ("exception" if expected else "exit" if "xit" in source else "return") or (
        name == "raises SystemExit"
    )


def on_a_terminal(children: Children, lines: Sequence[bytes], sandbox: Sandbox, **how: Any) -> tuple[Run, bytes]:
    """Type lines at a prompt, each when the one before is answered; return what was left, and the transcript."""
    master, slave = pty.openpty()
    child = children.start(["python", "-q"], python=sandbox, stdin=slave, stdout=slave, stderr=slave, **how)
    os.close(slave)
    transcript = b""
    try:
        for line in lines:
            transcript += _until(master, b">>> ")
            os.write(master, line + b"\r")
        transcript += _until(master, b"")
    finally:
        os.close(master)
    return child.finish(), transcript


def _until(master: int, mark: bytes) -> bytes:
    """Read a terminal until a mark, or (with no mark) until its end."""
    text, deadline = b"", time.monotonic() + 60
    while not (mark and mark in text):
        ready, _, _ = select.select([master], [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            pytest.fail(f"no {mark!r} within 60 s in {text!r}")
        try:
            data = os.read(master, 10000)
        except OSError:  # nobody has the other side any more
            break
        if not data:
            break
        text += data
    return text


TYPED = [b"1 / 0", b"{}['x']", b"print('after', 6 * 7)", b"exit()"]


def test_prompt_on_a_terminal(children: Children, sandbox: Sandbox) -> None:
    """The prompt that people use has a terminal, and from 3.13 its own reader."""
    before = on_a_terminal(children, TYPED, sandbox, bare=True, env={"TERM": "dumb"})
    done, transcript = on_a_terminal(children, TYPED, sandbox, env={"TERM": "dumb"})
    assert (done.status, transcript) == (before[0].status, before[1])
    assert b"after 42" in transcript
    assert errors(done) == ["ZeroDivisionError", "KeyError"]


@pytest.mark.slow
@pytest.mark.parametrize("version", other_pythons())
@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_prompt_of_every_other_interpreter(sandboxes: Sandboxes, children: Children, version: str, term: str) -> None:
    """3.13 rewrote the prompt in Python; its errors take another way."""
    sandbox = sandboxes.get(other_pythons()[version])
    done = children.run(["python", "-i", "-q"], stdin=LINES, python=sandbox)
    assert errors(done) == ERRORS
    done, transcript = on_a_terminal(children, TYPED, sandbox, env={"TERM": term}, spool=_private(children))
    assert b"after 42" in transcript
    assert errors(done) == ["ZeroDivisionError", "KeyError"]


def _private(children: Children) -> Any:
    folder = children.folder / "terminal-spool"
    folder.mkdir(mode=0o700)
    return folder


def test_prompt_inside_a_program(children: Children) -> None:
    """`code.interact` and debuggers are prompts, too: what is caught there ends nothing."""
    source = """
        import code, sys
        code.interact(banner="", local={}, exitmsg="")
        print("went on")
        sys.exit(2)
    """
    done = children.twin(source, stdin=b"1 / 0\nprint('in')\ndef f(:\n")
    assert done.status == 2
    assert errors(done) == ["ZeroDivisionError", "SyntaxError"]
    assert (end(done)["reason"], end(done)["exit_code"]) == ("exit", 2)
    done = children.twin("import pdb; pdb.run('x = 1 / 0')", stdin=b"c\n", spool=_private(children))
    assert errors_of_any_level(done) == ["ZeroDivisionError"] if done.status else True


def errors_of_any_level(done: Run) -> list[str]:
    """Return the classes of the recorded errors."""
    return [event["name"].partition(".")[2] for event in done.events if event["type"] == "error"]


@pytest.fixture(scope="session")
def notebooks(sandboxes: Sandboxes) -> Sandbox:
    """An environment with the wheel of its own, and IPython, a kernel and a client from the one that tests run in."""
    sandbox = sandboxes.empty()
    sandbox.pip("install", "--quiet", "--no-deps", "--no-index", str(sandboxes.wheel))
    (sandbox.site_packages / "notebooks.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return sandbox


IPYTHON = b"""
1 / 0
print("still here")
{}["x"]
x = = 1
raise LookupError("lost")
%run no_such_file.py
print("the end")
exit
"""


@pytest.mark.slow
def test_ipython_records_its_cells_errors_once(children: Children, notebooks: Sandbox) -> None:
    """IPython shows errors itself, so that no hook of Python's sees them; users of it see the same as ever."""
    flags = ["-m", "IPython", "--simple-prompt", "--colors=NoColor", "--no-banner", "--HistoryManager.enabled=False"]
    done = children.twin(["python", *flags], stdin=IPYTHON, python=notebooks, timeout=200,
                         env={"PYTHONWARNINGS": "ignore", "IPYTHONDIR": str(children.folder / "ipython")})  # fmt: skip
    assert b"still here" in done.stdout and b"the end" in done.stdout
    assert errors(done)[:4] == ["ZeroDivisionError", "KeyError", "SyntaxError", "LookupError"]
    assert len(done.named("session.start")) == 1
    assert done.status == 0


KERNEL = """
    import sys
    from jupyter_client.manager import start_new_kernel

    cells = ["1 / 0", "x = 6 * 7\\nprint('x is', x)", "x", "{}['x']", "def f(:", "import sys; sys.exit(3)",
             "raise LookupError('lost')", "import os; print('MONITOR_PARENT' in os.environ)"]
    manager, client = start_new_kernel(kernel_name="python3", startup_timeout=120)
    for cell in cells:
        client.execute(cell)
        while True:
            message = client.get_iopub_msg(timeout=120)
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                print(kind, content["name"], content["text"])
            elif kind == "error":
                print(kind, content["ename"], content["evalue"])
            elif kind == "execute_result":
                print(kind, content["data"])
            elif kind == "status" and content["execution_state"] == "idle":
                break
    client.stop_channels()
    manager.shutdown_kernel()
    print("done")
"""


@pytest.mark.slow
def test_jupyter_kernel_records_its_cells_errors_once(children: Children, notebooks: Sandbox) -> None:
    """A notebook that fails at night shows it to nobody; and no cell may look otherwise for being watched."""
    done = children.twin(KERNEL, python=notebooks, timeout=280, env={"PYTHONWARNINGS": "ignore"})
    assert (done.status, done.stdout.splitlines()[-1:]) == (0, [b"done"]), done.stderr
    names = ["ZeroDivisionError", "KeyError", "SyntaxError", "LookupError"]
    assert errors(done) == names
    starts = {event["session"]["id"]: event for event in done.named("session.start")}
    owner = {event["session"]["id"] for event in done.events if event["type"] == "error"}
    assert len(owner) == 1 and "ipykernel" in str(starts[owner.pop()]["data"]["argv"])


def test_script_that_had_a_prompt_can_still_end_by_an_exception(children: Children) -> None:
    """code.interact leaves sys.ps1 behind; what comes after it is a program like any other."""
    source = "import code\ncode.interact(banner='', exitmsg='')\nraise LookupError('gone')\n"
    done = children.twin(source, stdin=b"1 + 1\n")
    assert done.status == 1
    (end,) = done.named("session.end")
    assert (end["data"]["reason"], end["data"]["exit_code"]) == ("exception", 1)
    assert done.named("error.LookupError")[0]["data"]["level"] == "fatal"

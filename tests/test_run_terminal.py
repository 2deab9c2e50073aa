"""`monitor-auto run` on a terminal: the command has one, too, and the user's is what it was afterwards."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.children import Children, Run
from support.needs import need_command
from support.relaying import RUN, Terminal, said

EVENT = b'monitor-event: {"name": "job.step", "data": {"n": 1}}'
MakeTerminal = Callable[..., Terminal]


@pytest.fixture
def terminal(children: Children) -> Iterator[MakeTerminal]:
    """`terminal(command)`: a terminal with that command on it."""
    made: list[Terminal] = []

    def make(*command: str, **how: Any) -> Terminal:
        made.append(Terminal(children, command, **how))
        return made[-1]

    yield make
    children.kill_all()
    for one in made:
        one.close()


def both(terminal: MakeTerminal, play: Callable[[Terminal], None], *command: str, **how: Any) -> Run:
    """Play the same on a command bare and under `run`; what is shown and the status must be equal."""
    runs = []
    for words in (command, (*RUN, *command)):
        one = terminal(*words, **how)
        play(one)
        runs.append(one.finish())
        assert one.is_as_before()
    bare, run = runs
    assert (run.status, run.stdout, run.stderr) == (bare.status, bare.stdout, bare.stderr)
    return run


def our_words(children: Children) -> list[str]:
    """Return `monitor-auto run --` as words with the sandbox's interpreter."""
    return [str(children.sandbox.python), *RUN[1:]]


def look(_: Terminal) -> None:
    """Do nothing but look."""


FACTS = "import os, sys; print([os.isatty(n) for n in (0, 1, 2)], os.get_terminal_size(1), os.ctermid())"


def test_terminal_is_one_for_the_command_with_its_size(terminal: MakeTerminal) -> None:
    """Colours, columns and progress bars come from what the command finds there."""
    for columns in (80, 133):
        done = both(terminal, look, "python3", "-S", "-c", FACTS, columns=columns)
        assert b"[True, True, True]" in done.stdout and b"columns=%d" % columns in done.stdout
    done = both(terminal, look, "stty", "-a")
    assert b"columns 80" in done.stdout


@pytest.mark.parametrize("number", ["stdin", "stdout", "stderr"])
def test_stream_that_is_no_terminal_is_none_for_the_command(
    terminal: MakeTerminal, number: str, tmp_path: Path
) -> None:
    """`run -- cmd 2>log` on a terminal: the log must not be full of colours."""
    with open(os.devnull if number == "stdin" else tmp_path / "file", "r+b" if number == "stdin" else "w+b") as file:
        shell = "for n in 0 1 2; do test -t $n && echo $n; done; echo error >&2"
        done = both(terminal, look, "sh", "-c", shell, **{number: file})
    seen = done.stdout + (tmp_path / "file").read_bytes() if number != "stdin" else done.stdout
    assert b"error" in seen


def test_line_on_a_terminal_becomes_an_event(terminal: MakeTerminal) -> None:
    """The terminal adds a carriage return to each newline."""
    one = terminal(*RUN, "sh", "-c", f"echo before; echo '{EVENT.decode()}'; echo after")
    done = one.finish()
    assert done.stdout == b"before\r\nafter\r\n"
    assert said(done) == [("job.step", {"n": 1})]


def test_what_is_typed_reaches_the_command(terminal: MakeTerminal) -> None:
    """A prompt, its answer, and an end of file."""

    def play(one: Terminal) -> None:
        one.wait_for(b"name? ")
        one.type(b"Ada\r")
        one.wait_for(b"hello Ada")
        one.wait_for(b"more")
        one.type(b"m\x7fx\r\x04")

    shell = 'printf "name? "; read name; echo "hello $name"; echo more; cat'
    done = both(terminal, play, "sh", "-c", shell)
    assert done.status == 0 and done.stdout.endswith(b"x\r\nx\r\n")


def test_beginning_of_the_prefix_is_echoed_when_it_is_typed(terminal: MakeTerminal) -> None:
    """Whoever types `mo` at the beginning of a line sees it, though an event might begin like that."""

    def play(one: Terminal) -> None:
        one.wait_for(b"go\r\n")
        for letter in (b"m", b"o", b"n"):
            one.type(letter)
            one.wait_for(letter)
        one.type(b"\r")
        one.wait_for(b"mon\r\n")
        one.type(b"\x04")

    assert both(terminal, play, "sh", "-c", "echo go; cat").status == 0


def test_password_is_not_shown(terminal: MakeTerminal) -> None:
    """getpass, ssh and sudo switch the echo off on the terminal that they find."""

    def play(one: Terminal) -> None:
        one.wait_for(b"Password: ")
        one.type(b"hunter2\r")

    done = both(terminal, play, "python3", "-S", "-c", "import getpass; print(len(getpass.getpass()))")
    assert done.stdout == b"\r\n7\r\n"


@pytest.mark.parametrize(("key", "number"), [(b"\x03", signal.SIGINT), (b"\x1c", signal.SIGQUIT)])
def test_keys_that_interrupt_reach_the_command(terminal: MakeTerminal, key: bytes, number: int) -> None:
    """Ctrl-C is what everybody presses when it takes too long."""

    def play(one: Terminal) -> None:
        one.wait_for(b"up")
        one.type(key)

    done = both(terminal, play, "sh", "-c", "ulimit -c 0; echo up; exec sleep 600")
    assert done.status == -number


def test_command_that_catches_ctrl_c_gets_it_once(terminal: MakeTerminal) -> None:
    """Many programs count: the second Ctrl-C kills without a clean-up."""
    source = """
import os, signal
count = []
signal.signal(signal.SIGINT, lambda number, frame: (count.append(1), os.write(1, b"got %d\\n" % len(count))))
os.write(1, b"up\\n")
while len(count) < 2:
    signal.sigtimedwait([], 0.1)
"""

    def play(one: Terminal) -> None:
        one.wait_for(b"up")
        one.type(b"\x03")
        one.wait_for(b"got 1")
        one.type(b"\x03")

    done = both(terminal, play, "python3", "-S", "-c", source)
    assert (done.status, done.stdout) == (0, b"\r\n^Cgot 2\r\n")


def test_ctrl_c_reaches_the_rest_of_the_script_that_called_us(terminal: MakeTerminal, children: Children) -> None:
    """Without us the kernel interrupts the whole process group; a loop in a script must not go on."""
    shell = "trap 'echo script interrupted; exit 5' INT; {} sh -c 'echo up; exec sleep 600'; echo went on"

    def play(one: Terminal) -> None:
        one.wait_for(b"up")
        one.type(b"\x03")

    for word in ("", " ".join(our_words(children))):
        one = terminal("sh", "-c", shell.format(word))
        play(one)
        done = one.finish()
        assert (done.status, b"script interrupted" in done.stdout, b"went on" in done.stdout) == (5, True, False)


def test_window_that_changes_its_size_changes_the_commands(terminal: MakeTerminal) -> None:
    """An editor redraws itself."""
    source = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGWINCH])
os.write(1, b"up\\n")
signal.sigwait([signal.SIGWINCH])
print(tuple(os.get_terminal_size()))
"""

    def play(one: Terminal) -> None:
        one.wait_for(b"up")
        one.resize(50, 101)

    done = both(terminal, play, "python3", "-S", "-c", source)
    assert done.stdout == b"\r\n(101, 50)\r\n"


def test_interactive_python_works(terminal: MakeTerminal, children: Children) -> None:
    """A prompt with history and line editing needs all of a terminal."""

    def play(one: Terminal) -> None:
        for line, answer in ((b"6 * 7", b"42"), (b"1 / 0", b"ZeroDivisionError")):
            one.wait_for(b">>> ")
            one.type(line + b"\r")
            one.wait_for(answer)
        one.wait_for(b">>> ")
        one.type(b"exit(3)\r")

    python = str(children.sandbox.python)
    for words in ((python, "-q"), (*our_words(children), python, "-q")):
        one = terminal(*words, env={"TERM": "dumb"})
        play(one)
        done = one.finish()
        assert done.status == 3 and one.is_as_before()
    assert "error.ZeroDivisionError" in done.names


def test_pager_works_also_with_its_text_from_a_pipe(terminal: MakeTerminal, children: Children) -> None:
    """`git log | less`: the text comes from a pipe and the keys from the terminal."""
    less = need_command("less", "less")
    numbers = "\n".join(f"line {number}" for number in range(1, 200))
    (children.folder / "text").write_text(numbers)
    for shell in (f"{less} {{}}/text", f"cat {{}}/text | {' '.join(our_words(children))} {less}"):
        ours = shell.format(children.folder)
        words = [*our_words(children), less, str(children.folder / "text")] if "cat" not in ours else ["sh", "-c", ours]
        one = terminal(*words, env={"TERM": "xterm", "LESS": "", "LESSHISTFILE": "-"})
        one.wait_for(b"line 23")
        one.type(b"G")
        one.wait_for(b"line 199")
        one.type(b"q")
        assert one.finish().status == 0
        assert one.is_as_before()


def shell_with_jobs(terminal: MakeTerminal, children: Children) -> Terminal:
    """Return a terminal with bash on it, as a user has."""
    one = terminal("bash", "--norc", "--noprofile", "-i", env={"PS1": "$ ", "TERM": "dumb", "RUN": ours(children)})
    one.wait_for(b"$ ")
    return one


def ours(children: Children) -> str:
    """Return `monitor-auto run --` for a shell."""
    return " ".join(our_words(children))


def test_ctrl_z_gives_the_shell_back_and_fg_the_command(terminal: MakeTerminal, children: Children) -> None:
    """Suspend, look at something, go on: the terminal must fit each of them."""
    one = shell_with_jobs(terminal, children)
    one.type(b"$RUN sh -c 'echo up; exec cat'\r")
    one.wait_for(b"up\r\n")
    for _ in range(3):
        one.type(b"\x1a")
        one.wait_for(b"Stopped")
        one.wait_for(b"$ ")
        one.type(b"echo $((6 * 7))\r")
        one.wait_for(b"\n42\r\n")
        one.wait_for(b"$ ")
        one.type(b"fg\r")
        one.wait_for(b"exec cat'\r\n")
        one.type(b"word\r")
        one.wait_for(b"word\r\nword\r\n")
    one.type(b"\x04")
    one.wait_for(b"$ ")
    one.type(b"echo status $?; exit\r")
    one.wait_for(b"status 0\r\n")
    assert one.finish().status == 0


def test_job_in_the_background_leaves_the_terminal_alone_until_it_is_fetched(
    terminal: MakeTerminal, children: Children
) -> None:
    """`run -- make &`: the shell reads what is typed meanwhile."""
    one = shell_with_jobs(terminal, children)
    one.type(b"$RUN sh -c 'echo up; read x; echo got $x' &\r")
    one.wait_for(b"up")
    one.type(b"echo $((6 * 7))\r")
    one.wait_for(b"42\r\n")
    one.type(b"fg\r")
    one.wait_for(b"got $x'\r\n")
    time_to_see = time.monotonic() + 60
    while one.is_as_before() and time.monotonic() < time_to_see:  # raw from the moment that we have it
        time.sleep(0.01)
    one.type(b"here\r")
    one.wait_for(b"got here")
    one.wait_for(b"$ ")
    one.type(b"exit\r")
    assert one.finish().status == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_killed_run_leaves_the_terminal_as_it_was(terminal: MakeTerminal, number: int) -> None:
    """A terminal that shows nothing of what is typed is what people remember of a tool."""
    one = terminal(*RUN, "sh", "-c", "echo up $$; exec sleep 600")
    one.wait_for(b"up ")
    one.wait_for(b"\r\n")
    deadline = time.monotonic() + 60
    while one.is_as_before() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not one.is_as_before(), "else there is nothing to restore"
    os.kill(one.child.pid, number)
    done = one.finish()
    while not one.is_as_before() and time.monotonic() < deadline:  # the guardian's work when it was SIGKILL
        time.sleep(0.01)
    assert (done.status, one.is_as_before()) == (-number, True)


def test_terminal_that_hangs_up_takes_the_command_along(terminal: MakeTerminal, children: Children) -> None:
    """The window is closed, the connection breaks."""
    left = children.folder / "left"
    one = terminal(*RUN, "sh", "-c", f"trap 'echo hup >{left}; exit 3' HUP; echo up; while :; do sleep 0.05; done")
    one.wait_for(b"up")
    one.close()
    one.child.process.wait(60)
    deadline = time.monotonic() + 60
    while not left.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left.read_text() == "hup\n"


def test_settings_that_the_command_makes_for_good_stay(terminal: MakeTerminal, children: Children) -> None:
    """`run -- stty -echo` is about the user's terminal."""
    one = terminal("sh", "-c", f"{ours(children)} stty -echo; stty -a; stty echo")
    assert b" -echo " in one.finish().stdout


def test_output_of_a_gigabyte_a_second_is_not_garbled(terminal: MakeTerminal) -> None:
    """Much output on a terminal is cut anywhere."""
    done = both(terminal, look, "sh", "-c", "seq 1 30000")
    assert done.stdout.count(b"\r\n") == 30_000


def test_size_is_what_the_window_has(terminal: MakeTerminal) -> None:
    """No size at all (0 × 0) is passed on, too: programs have their own fallback."""
    done = both(terminal, look, "stty", "size", rows=0, columns=0)
    assert done.stdout == b"0 0\r\n"

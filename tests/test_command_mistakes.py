"""Commands that are called wrongly: each says what is wrong and what its own options are, and exits with 2. And those
that somebody gives up at once.
"""

import pytest

from support.children import Children
from support.commands import command

ENDPOINT = "http://127.0.0.1:9/v1/events"
MISTAKES = {
    "an option that status has not": (("status", "--bogus"), "usage: monitor-auto status", "--bogus"),
    "an option that event has not": (("event", "a.b", "--bogus"), "usage: monitor-auto event", "--bogus"),
    "a command that there is not": (("nonsense",), "usage: monitor-auto ", "nonsense"),
    "a folder that there is not": (("doctor", "--folder", "/no/such/folder"), "", "there is no /no/such/folder"),
    "an endpoint that is none": (
        ("purge", "--yes", "--endpoint", "nonsense"), "", "--endpoint must be http(s)://"),
    "a value without a key": (("event", "a.b", "=1"), "", "'=1' is no key=value"),
    "a word that is no pair": (("event", "a.b", "word"), "", "'word' is no key=value"),
    "a token file that there is not": (
        ("enable", "--endpoint", ENDPOINT, "--token-file", "/no/such/file"), "", "/no/such/file: No such file"),
}  # fmt: skip


@pytest.mark.parametrize(("words", "usage", "said"), MISTAKES.values(), ids=MISTAKES)
def test_wrong_call_says_what_is_wrong(children: Children, words: tuple[str, ...], usage: str, said: str) -> None:
    """Whoever has mistyped something shall not have to look it up."""
    done = command(children, *words, endpoint=ENDPOINT)
    text = " ".join(done.stderr.decode().split())
    assert (done.status, done.stdout) == (2, b"")
    assert text.startswith(usage)
    assert said in text
    assert "Errno" not in text and "Traceback" not in text
    assert not done.names


@pytest.mark.parametrize("name", ["report", "tail"])
def test_collector_that_is_not_there_is_named_without_a_number(children: Children, name: str) -> None:
    """The number of an error is for programs."""
    done = command(children, name, "--from", "http://127.0.0.1:9", endpoint=ENDPOINT)
    text = " ".join(done.stderr.decode().split())
    assert (done.status, done.stdout) == (1, b"")
    assert "http://127.0.0.1:9 cannot be reached: Connection refused." in text


@pytest.mark.parametrize("words", [("status",), ("run", "--", "true"), ("tail",)], ids=" ".join)
def test_interrupt_while_a_command_is_imported_shows_no_traceback(children: Children, words: tuple[str, ...]) -> None:
    """Who sees a typing error in the line just sent presses Ctrl-C at once; that is no error of the tool."""
    source = """
        import sys
        class Impatient:
            def find_spec(self, name, path=None, target=None):
                if name == "argparse":
                    raise KeyboardInterrupt
        sys.meta_path.insert(0, Impatient())
        from monitor_auto.cli import main
        sys.exit(main())
    """
    done = children.run(source, argv=words, env={"MONITOR_DISABLE": "1"})
    assert (done.status, done.stdout, done.stderr) == (130, b"", b"\nmonitor-auto: interrupted\n")

"""faulthandler belongs to the program: every answer and every dump as if the monitor did not use it."""

import signal

import pytest

from support.children import Children
from support.collector import Collector

MODES = {
    "plain": {},
    "-X faulthandler": {"flags": ["-X", "faulthandler"]},
    "-X dev": {"flags": ["-X", "dev"]},
    "PYTHONFAULTHANDLER": {"env": {"PYTHONFAULTHANDLER": "1"}},
}
ANSWERS = """
    import faulthandler, os, signal, sys, tempfile

    def ask(text):
        try:
            print(text, "->", eval(text))
        except Exception as error:
            print(text, "->", type(error).__name__, error)

    dump = tempfile.TemporaryFile("w+")
    # The process lives on in spite of SIGTERM: a child asks whether it would not.
    def status_of_term():
        pid = os.fork()
        if pid == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    for text in '''
        faulthandler.is_enabled()
        faulthandler.unregister(signal.SIGTERM)
        faulthandler.unregister(signum=signal.SIGTERM)
        status_of_term()
        faulthandler.enable(dump)
        faulthandler.is_enabled()
        faulthandler.enable(file=dump, all_threads=False)
        faulthandler.disable()
        faulthandler.disable()
        faulthandler.is_enabled()
        faulthandler.enable(5000)
        faulthandler.enable(nonsense=1)
        faulthandler.is_enabled(1)
        faulthandler.disable(1)
        faulthandler.is_enabled()
        faulthandler.register(signal.SIGUSR1, dump, chain=False)
        os.kill(os.getpid(), signal.SIGUSR1)
        dump.seek(0) or "most recent call first" in dump.read()
        faulthandler.unregister(signal.SIGUSR1)
        faulthandler.unregister(signal.SIGUSR1)
        faulthandler.register(signal.SIGTERM, dump, chain=False)
        os.kill(os.getpid(), signal.SIGTERM)
        faulthandler.unregister(signal.SIGTERM)
        faulthandler.unregister(signal.SIGTERM)
        status_of_term()
        faulthandler.unregister("x")
        faulthandler.unregister()
        faulthandler.register()
        faulthandler.register(signal.SIGSEGV)
        faulthandler.unregister(signal.SIGTERM, 2)
        signal.getsignal(signal.SIGTERM)
        signal.getsignal(signal.SIGSEGV)
        faulthandler.dump_traceback(dump)
        faulthandler.enable.__name__, faulthandler.register.__doc__, faulthandler.disable.__module__
    '''.split("\\n"):
        if text.strip():
            ask(text.strip())
"""


@pytest.mark.parametrize("mode", MODES)
def test_every_answer_is_the_bare_interpreters(children: Children, mode: str) -> None:
    """pytest, for one, asks whether it is enabled and "restores" what it finds."""
    done = children.twin(ANSWERS, **MODES[mode])
    assert b"status_of_term() -> -15" in done.stdout
    assert done.named("session.end")[-1]["data"]["reason"] == "return"


CRASHES = {
    "enabled": "faulthandler.enable()",
    "enabled to a file": "faulthandler.enable(open('dump', 'w'))",
    "enabled, disabled": "faulthandler.enable(); faulthandler.disable()",
    "not enabled": "pass",
    "enabled for all threads": "faulthandler.enable(all_threads=True)",
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CRASHES)
def test_crash_prints_what_it_would_print_anyway(
    children: Children, collector: Collector, name: str, mode: str
) -> None:
    """A dump on standard error where a bare run has none, or none where it has one, gives the monitor away."""
    done = children.twin(f"import faulthandler\n{CRASHES[name]}\nfaulthandler._sigsegv()\n", **MODES[mode],
                         endpoint=collector.url)  # fmt: skip
    assert done.status == -signal.SIGSEGV
    children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url)
    is_ours = name == "enabled, disabled" or (name, mode) == ("not enabled", "plain")
    assert collector.names() == ["session.start", *["error.SIGSEGV"] * is_ours, "session.lost"]


def test_pytest_does_not_change_where_later_crashes_print(children: Children) -> None:
    """Its plugin enables faulthandler and at its end enables what it thinks was there before."""
    source = """
        import faulthandler, sys
        was_enabled = faulthandler.is_enabled()
        faulthandler.enable(file=sys.stderr)
        faulthandler.disable()
        if was_enabled:
            faulthandler.enable(file=sys.__stderr__)
        faulthandler._sigsegv()
    """
    done = children.twin(source)
    assert (done.status, done.stderr) == (-signal.SIGSEGV, b"")
    assert done.names == ["session.start"]

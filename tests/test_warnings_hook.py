"""Warnings counted by category where somebody asks for it, and that a program shows what it shows without us."""

import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest

from support.children import Children, Run
from support.sandbox import Sandbox
from support.testruns import outcomes_of, twin_of_pytest

ASKED = {"MONITOR_INSTRUMENT": "all,warnings"}


def counts_of(run: Run) -> list[tuple[str, int, int]]:
    """Return category, value and news of each report, in order."""
    found = [event["data"] for event in run.named("python.warnings")]
    return [(data["category"], data["value"], data["new"]) for data in found]


MANY = """
    import warnings
    warnings.simplefilter("always")
    class Own(UserWarning):
        pass
    def work():
        warnings.warn("password=hunter2 is old", DeprecationWarning)
        warnings.warn("mine", Own)
    for _ in range(5):
        work()
    warnings.warn_explicit("one", RuntimeWarning, "some.py", 7)
"""


def test_warnings_are_counted_by_category(children: Children) -> None:
    """What an upgrade will break is announced in thousands of lines that nobody reads."""
    done = children.twin(MANY, env=ASKED)
    assert done.stderr.count(b"DeprecationWarning: password=hunter2") == 5
    assert counts_of(done) == [
        ("DeprecationWarning", 1, 1),
        ("Own", 1, 1),
        ("RuntimeWarning", 1, 1),
        ("DeprecationWarning", 5, 4),
        ("Own", 5, 4),
    ]
    first, _, third = [event["data"] for event in done.named("python.warnings")][:3]
    assert first["location"].endswith("script.py:7") and third["location"] == "some.py:7"
    assert "hunter2" not in first["message"] and "is old" in first["message"]
    (end,) = done.named("session.end")
    assert end["data"]["hooks"]["warnings"] == 5


@pytest.mark.parametrize("setting", [None, "all", "httpx", "warnings"])
def test_nothing_is_counted_unless_asked_for(children: Children, setting: str | None) -> None:
    """Who has not asked pays nothing: not even the function is another one."""
    source = """
    import sys, types, warnings
    warnings.warn("seen")
    print(isinstance(warnings._showwarnmsg, types.FunctionType), "monitor_auto.hooks" in sys.modules)
    """
    env = {"MONITOR_INSTRUMENT": setting} if setting else {}
    done = children.run(source, env={**env, **({"MONITOR_SKIP": "Warnings"} if setting == "warnings" else {})})
    assert done.stdout == b"True False\n"
    assert not counts_of(done) and b"UserWarning: seen" in done.stderr
    assert done.names[-1] == "session.end"


def test_named_alone_it_is_the_only_one(children: Children) -> None:
    """The variable names what is wanted; `all` stands for what is there without it."""
    source = "import logging, warnings\nwarnings.warn('x')\nlogging.error('x')\n"
    done = children.twin(source, env={"MONITOR_INSTRUMENT": "warnings"})
    assert counts_of(done) == [("UserWarning", 1, 1)] and not done.named("log.error")
    both = children.run(source, env=ASKED, spool=children.folder / "both")
    assert counts_of(both) == [("UserWarning", 1, 1)] and len(both.named("log.error")) == 1


FILTERS = """
    import logging, sys, traceback, warnings
    def show(message, category, filename, lineno, file=None, line=None):
        print("shown", message, category.__name__, lineno)
        traceback.print_stack(file=sys.stdout)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("caught")
        print([str(one.message) for one in caught])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.warn("ignored")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            warnings.warn("raised")
        except UserWarning as error:
            traceback.print_exc()
    for _ in range(3):
        warnings.warn("once for this line")
    warnings.warn("a level up", stacklevel=2)
    real = warnings.showwarning
    warnings.showwarning = show
    warnings.warn("shown by the program")
    warnings.showwarning = real
    logging.basicConfig()
    logging.captureWarnings(True)
    warnings.warn("to the log")
    logging.captureWarnings(False)
    def fail(*args, **kwargs):
        raise LookupError("cannot show")
    warnings.showwarning = fail
    try:
        warnings.warn("not shown")
    except LookupError:
        traceback.print_exc()
    warnings.showwarning = 7
    try:
        warnings.warn("nor this")
    except TypeError:
        traceback.print_exc()
    warnings.showwarning = real
    for wrong in ((), (1,), (1, 2)):
        try:
            warnings._showwarnmsg(*wrong)
        except Exception:
            traceback.print_exc()
"""


@pytest.mark.parametrize("flags", [(), ("-W", "error::RuntimeWarning"), ("-W", "always")], ids=["", "error", "always"])
def test_filters_and_replaced_functions_work_as_ever(children: Children, flags: tuple[str, ...]) -> None:
    """Tools take warnings apart in every way there is; each must see its own stack, once."""
    done = children.twin(FILTERS, env=ASKED, flags=flags)
    assert done.status == 0 and b"monitor" not in done.stdout + done.stderr
    shown = 9 if "always" in flags else 7  # of three on one line, one
    assert counts_of(done) == [("UserWarning", 1, 1), ("UserWarning", shown, shown - 1)]


def test_warning_that_is_an_error_is_one(children: Children) -> None:
    """With -W error nothing is shown: the program dies of it, which is recorded as every death is."""
    done = children.twin("import warnings\nwarnings.warn('x')\n", env=ASKED, flags=("-W", "error"))
    assert done.status == 1
    assert not counts_of(done) and len(done.named("error.UserWarning")) == 1


def test_warnings_of_the_interpreter_are_counted(children: Children) -> None:
    """C code warns, too: of files that nobody has closed, of words that will be syntax errors."""
    source = """
    import warnings
    open(__file__)
    compile("'\\\\d'", "some.py", "exec")
    """
    done = children.twin(source, env=ASKED, flags=("-W", "always"))
    kinds = {category for category, _, _ in counts_of(done)}
    assert "ResourceWarning" in kinds and len(kinds) == 2


def test_all_threads_are_counted(children: Children) -> None:
    """A count that loses some is no count."""
    source = """
    import threading, warnings
    warnings.simplefilter("always")
    warnings._showwarnmsg_impl = lambda message: None
    def work():
        for _ in range(2000):
            warnings.warn("x")
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    """
    done = children.twin(source, env=ASKED, timeout=120)
    assert counts_of(done)[-1][1] == 8000
    assert sum(new for _, _, new in counts_of(done)) == 8000


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX only")
def test_first_of_a_category_survives_every_death(children: Children) -> None:
    """It is in the file before anything else happens; only how many followed is lost."""
    source = """
    import os, signal, warnings
    warnings.warn("x")
    os.kill(os.getpid(), signal.SIGKILL)
    """
    done = children.twin(source, env=ASKED)
    assert done.status == -signal.SIGKILL
    assert counts_of(done) == [("UserWarning", 1, 1)]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX only")
def test_forked_child_begins_anew(children: Children) -> None:
    """Each session counts its own: what the parent has said is not said again."""
    source = """
    import os, sys, warnings
    warnings.simplefilter("always")
    for _ in range(3): warnings.warn("before")
    if os.fork() == 0:
        warnings.warn("in the child")
        os._exit(0)
    os.wait()
    """
    done = children.twin(source, env=ASKED)
    found: dict[str, list[int]] = {}
    for event in done.named("python.warnings"):
        found.setdefault(event["session"]["id"], []).append(event["data"]["value"])
    assert sorted(found.values()) == [[1], [1, 3]]


def test_session_that_lives_long_says_how_many_meanwhile(children: Children) -> None:
    """A server does not end: its reports have the numbers."""
    source = """
    import warnings
    from monitor_auto import boot
    warnings.simplefilter("always")
    for _ in range(3): warnings.warn("x")
    boot.load("selfreport").record()
    warnings.warn("x")
    """
    done = children.run(source, env=ASKED)
    assert counts_of(done) == [("UserWarning", 1, 1), ("UserWarning", 3, 2), ("UserWarning", 4, 1)]
    reports = [event["data"]["hooks"] for event in done.named("sdk.hooks")]
    assert [hooks["warnings"] for hooks in reports] == [2]


def test_hostile_warnings_are_counted(children: Children) -> None:
    """Messages and categories are the program's; a hundred categories are enough."""
    source = """
    import warnings
    warnings.simplefilter("always")
    warnings._showwarnmsg_impl = lambda message: None
    class Bad(UserWarning):
        asked = 0
        def __str__(self):
            Bad.asked += 1
            if Bad.asked > 1:
                raise RuntimeError("no text")
            return "for the filters"
    warnings.warn(Bad())
    warnings.warn("x" * 100_000)
    warnings.warn("\\ud800 lone", RuntimeWarning)
    for number in range(150):
        warnings.warn("x", type("Made%d" % number, (Warning,), {}))
    print("alive")
    """
    done = children.twin(source, env=ASKED)
    assert done.stdout == b"alive\n"
    latest = {category: value for category, value, _ in counts_of(done)}
    assert len(latest) == 101 and sum(latest.values()) == 153
    assert latest["other"] == 53


@pytest.mark.slow
def test_pytest_shows_and_checks_warnings_as_ever(children: Children, sandbox_for: Callable[..., Sandbox]) -> None:
    """`recwarn`, `pytest.warns`, its filters and its summary stand on the same functions."""
    source = """
import warnings, pytest
def test_recorded(recwarn):
    warnings.warn("one")
    assert [str(one.message) for one in recwarn] == ["one"]
def test_expected():
    with pytest.warns(DeprecationWarning, match="old"):
        warnings.warn("old", DeprecationWarning)
def test_in_the_summary(): warnings.warn("shown", FutureWarning)
@pytest.mark.filterwarnings("error")
def test_fails(): warnings.warn("raised")
def test_none_is_expected():
    with pytest.warns(UserWarning):
        pass
"""
    python = sandbox_for(sys.executable, "pytest", "pytest-xdist", "pytest-rerunfailures", "pytest-asyncio")
    done = twin_of_pytest(children, python, (), {"test_all.py": source}, env=ASKED)
    assert sorted(outcomes_of(done).values()) == ["failed", "failed", "passed", "passed", "passed"]
    latest: dict[str, Any] = {category: value for category, value, _ in counts_of(done)}
    assert latest["FutureWarning"] == latest["DeprecationWarning"] == latest["UserWarning"] == 1


def test_hook_undone_leaves_the_original(children: Children) -> None:
    """The same function is in its place again, and nothing is counted."""
    source = """
    import types, warnings
    from monitor_auto.hooks import warnings as hook
    ours = warnings._showwarnmsg
    hook.uninstall()
    print(type(warnings._showwarnmsg) is types.FunctionType, warnings._showwarnmsg is not ours)
    warnings.warn("x")
    hook.install(warnings)
    warnings.warn("y")
    def patched(message): print("patched")
    patched.__wrapped__ = warnings._showwarnmsg
    warnings._showwarnmsg = patched
    hook.uninstall()
    warnings.warn("z")
    """
    done = children.run(source, env=ASKED)
    assert done.stdout == b"True True\npatched\n"
    assert counts_of(done) == [("UserWarning", 1, 1)]

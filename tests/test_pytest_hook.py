"""What is recorded of tests that pytest runs, and that its output is the same to the letter."""

import signal
import sys
from collections.abc import Callable

import pytest

from support.children import Children
from support.sandbox import Sandbox
from support.testruns import EVERY_OUTCOME, OUTCOMES, apart, outcomes_of, results_of, twin_of_pytest


@pytest.fixture(scope="session")
def with_pytest(sandbox_for: Callable[..., Sandbox]) -> Sandbox:
    """An environment that has pytest and the plugins that run tests in other ways than it does."""
    plugins = ("pytest-xdist", "pytest-rerunfailures", "pytest-asyncio")
    return sandbox_for(sys.executable, "pytest", *plugins)


def test_every_outcome_is_recorded(children: Children, with_pytest: Sandbox) -> None:
    """What a CI job has to say in the end is which tests failed, and why."""
    done = twin_of_pytest(children, with_pytest, ("-v", "-ra"), {"test_all.py": EVERY_OUTCOME})
    assert done.status == 1
    assert outcomes_of(done) == OUTCOMES
    by_name = {data["nodeid"].rpartition("::")[2]: data for data in results_of(done)}
    error = by_name["test_fails"]["error"]
    assert (error["type"], error["phase"]) == ("AssertionError", "call")
    assert "hunter2" not in error["message"] and "[REDACTED]" in error["message"]
    assert error["location"].endswith("test_all.py:5:test_fails")
    assert by_name["test_equal"]["error"]["location"].endswith("test_all.py:29:test_equal")
    assert by_name["test_has_no_fixture"]["error"]["phase"] == "setup"
    assert by_name["test_is_untidy"]["error"]["phase"] == "teardown"
    assert by_name["test_is_skipped"]["reason"] == "not today"
    assert by_name["test_fails_as_expected"]["reason"] == "known"
    assert "must fail" in by_name["test_passes_and_must_not"]["error"]["message"]
    for data in results_of(done):
        phases = sum(data.get(f"{phase}_ms", 0) for phase in ("setup", "call", "teardown"))
        assert data["duration_ms"] == pytest.approx(phases, abs=0.01)


@pytest.mark.parametrize(
    "words",
    [
        ("--collect-only",),
        ("--setup-only",),
        ("--fixtures",),
        ("--trace-config", "--collect-only", "-q"),
        ("--version",),
    ],
    ids=" ".join,
)
def test_what_runs_no_test_records_none(children: Children, with_pytest: Sandbox, words: tuple[str, ...]) -> None:
    """Nothing was tested; and no plugin is there that --trace-config or --fixtures could name."""
    done = twin_of_pytest(children, with_pytest, words, {"test_all.py": "def test_one(): pass\n"})
    assert not results_of(done)
    assert "session.end" in done.names


@pytest.mark.parametrize("words", [("-p", "no:terminal"), ("-p", "no:logging", "-p", "no:faulthandler"), ("-s",)])
def test_switched_off_plugins_change_nothing(children: Children, with_pytest: Sandbox, words: tuple[str, ...]) -> None:
    """The hook stands on none of pytest's plugins."""
    done = twin_of_pytest(children, with_pytest, words, {"test_all.py": EVERY_OUTCOME})
    assert outcomes_of(done) == OUTCOMES


def test_first_failure_ends_the_run(children: Children, with_pytest: Sandbox) -> None:
    """With -x the tests behind it did not run, and so have no result."""
    source = "def test_one(): assert 0\ndef test_two(): pass\n"
    done = twin_of_pytest(children, with_pytest, ("-x",), {"test_all.py": source})
    assert outcomes_of(done) == {"test_one": "failed"}


@pytest.mark.parametrize("flags", [(), ("--full-trace",)], ids=["short", "full trace"])
def test_interrupted_test_is_recorded(children: Children, with_pytest: Sandbox, flags: tuple[str, ...]) -> None:
    """Ctrl-C at a hanging test: which one hung is what everybody asks. The traceback shows no frame of ours."""
    source = "def test_one(): pass\ndef test_hangs(): raise KeyboardInterrupt\ndef test_three(): pass\n"
    done = twin_of_pytest(children, with_pytest, flags, {"test_all.py": source})
    assert done.status == 2
    assert outcomes_of(done) == {"test_one": "passed", "test_hangs": "interrupted"}
    assert b"monitor" not in done.stdout


def test_test_that_ends_the_process_is_recorded(children: Children, with_pytest: Sandbox) -> None:
    """Time-outs are often ended by os._exit: no report is ever made."""
    source = "import os\ndef test_one(): pass\ndef test_ends(): os._exit(7)\n"
    done = twin_of_pytest(children, with_pytest, ("-s",), {"test_all.py": source})
    assert done.status == 7
    assert outcomes_of(done) == {"test_one": "passed", "test_ends": "interrupted"}


def test_module_that_cannot_be_imported_is_an_error(children: Children, with_pytest: Sandbox) -> None:
    """None of its tests runs: that is worse than a failure, and must not look like nothing."""
    files = {"test_bad.py": "import no_such_module\n", "test_good.py": "def test_one(): pass\n"}
    done = twin_of_pytest(children, with_pytest, ("--continue-on-collection-errors",), files)
    (bad,) = [data for data in results_of(done) if data["outcome"] == "error"]
    assert bad["nodeid"] == "test_bad.py"
    assert "no_such_module" in bad["error"]["message"]
    assert "passed" in outcomes_of(done).values()


def test_events_of_a_test_name_its_span(children: Children, with_pytest: Sandbox) -> None:
    """A failed request within a test belongs to that test."""
    source = """
import asyncio, pytest
from monitor_auto import Monitor
def test_one(): Monitor.event("in.one", {})
@pytest.mark.asyncio
async def test_two():
    await asyncio.sleep(0)
    Monitor.event("in.two", {})
"""
    done = twin_of_pytest(children, with_pytest, (), {"test_all.py": source})
    for name, inner in (("test_one", "in.one"), ("test_two", "in.two")):
        (result,) = [event for event in done.named("test.result") if event["data"]["nodeid"].endswith(name)]
        (event,) = done.named(inner)
        assert event["span"]["span_id"] == result["span"]["span_id"]
        assert result["span"]["parent_span_id"] == result["session"]["span_id"]
    assert outcomes_of(done) == {"test_one": "passed", "test_two": "passed"}


def test_each_run_of_a_rerun_test_is_an_attempt(children: Children, with_pytest: Sandbox) -> None:
    """A flaky test that passes in the end is not a failure, and not a good test either."""
    source = """
import pytest
seen = []
def test_flaky():
    seen.append(1)
    assert len(seen) == 3
def test_hopeless(): assert 0
def test_good(): pass
"""
    done = twin_of_pytest(children, with_pytest, ("--reruns", "2"), {"test_all.py": source})
    found = [(data["nodeid"][13:], data["outcome"], data.get("attempt", 1)) for data in results_of(done)]
    assert found == [
        *[("test_flaky", "failed", 1), ("test_flaky", "failed", 2), ("test_flaky", "passed", 3)],
        *[("test_hopeless", "failed", attempt) for attempt in (1, 2, 3)],
        ("test_good", "passed", 1),
    ]


def test_workers_of_xdist_record_what_they_run(children: Children, with_pytest: Sandbox) -> None:
    """A large suite runs in several processes: each test once, by its worker, whose parent is the controller."""
    source = "import pytest\n@pytest.mark.parametrize('n', range(20))\ndef test_one(n): assert n != 7\n"
    files = {"test_all.py": source, "test_bad.py": "import no_such_module\n"}
    folder_words = ("-n", "2", "--continue-on-collection-errors", "-q", "--no-header", "--tb=no", "--show-capture=no")
    (children.folder / "tests").mkdir()
    for name, text in files.items():
        (children.folder / "tests" / name).write_text(text)
    command = ["python", "-m", "pytest", "-p", "no:cacheprovider", *folder_words]
    how = {"python": with_pytest, "cwd": children.folder / "tests", "env": apart(children), "timeout": 120}
    done = children.run(command, **how)
    assert done.status == 1
    found = [(data["nodeid"], data["outcome"]) for data in results_of(done)]
    expected = [(f"test_all.py::test_one[{n}]", "failed" if n == 7 else "passed") for n in range(20)]
    assert sorted(found) == sorted([*expected, ("test_bad.py", "error")])
    starts = {event["session"]["id"]: event for event in done.named("session.start")}
    (controller,) = [key for key, event in starts.items() if event["session"].get("parent") not in starts]
    for event in done.named("test.result"):
        is_worker = event["session"].get("parent") == controller
        assert is_worker is event["data"]["nodeid"].startswith("test_all.py")
        assert event["data"].get("worker") == ("gw0" if is_worker else None) or event["data"]["worker"] == "gw1"


def test_test_that_kills_its_worker_has_crashed(children: Children, with_pytest: Sandbox) -> None:
    """The worker can tell nothing any more: its controller knows which test it was."""
    source = "import os, signal\ndef test_one(): pass\ndef test_dies(): os.kill(os.getpid(), signal.SIGKILL)\n"
    (children.folder / "tests").mkdir()
    (children.folder / "tests" / "test_all.py").write_text(source)
    command = ["python", "-m", "pytest", "-p", "no:cacheprovider", "-n", "1", "--max-worker-restart=1"]
    how = {"python": with_pytest, "cwd": children.folder / "tests", "env": apart(children), "timeout": 120}
    done = children.run(command, **how)
    assert done.status == 1
    assert outcomes_of(done) == {"test_one": "passed", "test_dies": "crashed"}
    (crashed,) = [data for data in results_of(done) if data["outcome"] == "crashed"]
    assert crashed["worker"] == "gw0"


FORKED = """
import os, pytest
from _pytest import runner
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    pid = os.fork()
    if pid == 0:
        runner.runtestprotocol(item, log=False)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    call = runner.CallInfo.from_call(lambda: 0 / 0, "???")
    call.excinfo = f"crashed with {code}" if code else None
    if code:
        item.ihook.pytest_runtest_logreport(report=runner.pytest_runtest_makereport(item, call))
    item.session._setupstate.teardown_exact(nextitem)
    return True
"""


def test_forked_test_that_dies_has_crashed_once(children: Children, with_pytest: Sandbox) -> None:
    """pytest-forked runs each test in a process of its own, and has pytest make the report of one that has died."""
    source = "import os, signal\ndef test_one(): pass\ndef test_dies(): os.kill(os.getpid(), signal.SIGKILL)\n"
    words = ("-p", "no:xdist", "-p", "no:rerunfailures", "-p", "no:asyncio")
    done = twin_of_pytest(children, with_pytest, words, {"conftest.py": FORKED, "test_all.py": source})
    assert done.status == 1
    assert outcomes_of(done) == {"test_one": "passed", "test_dies": "crashed"}
    (crashed,) = [data for data in results_of(done) if data["outcome"] == "crashed"]
    assert crashed["error"] == {"message": "crashed with -9"}


def test_failure_that_the_debugger_was_left_at_is_told(children: Children, with_pytest: Sandbox) -> None:
    """With --pdb the run often ends there: what had failed is known all the same."""
    words = ("--pdb", "-q")
    done = twin_of_pytest(children, with_pytest, words, {"test_all.py": "def test_one(): assert 0\n"})
    (data,) = results_of(done)
    assert data["outcome"] == "interrupted" and data["error"]["type"] == "AssertionError"


def test_pytest_within_a_test_says_so(children: Children, with_pytest: Sandbox) -> None:
    """Plugins are tested by running pytest within a test: what fails there on purpose is not a failure."""
    source = """
pytest_plugins = "pytester"
def test_outer(pytester):
    pytester.makepyfile("def test_inner(): assert 0")
    pytester.runpytest_inprocess("-p", "no:xdist", "-p", "no:asyncio").assert_outcomes(failed=1)
def test_after(): pass
"""
    done = twin_of_pytest(
        children,
        with_pytest,
        (
            "-p",
            "no:asyncio",
        ),
        {"test_all.py": source},
    )
    found = [(data["nodeid"].rpartition("::")[2], data["outcome"], data.get("within")) for data in results_of(done)]
    assert found == [
        ("test_inner", "failed", "test_all.py::test_outer"),
        ("test_outer", "passed", None),
        ("test_after", "passed", None),
    ]


def test_pytest_gives_faulthandler_back(children: Children, with_pytest: Sandbox) -> None:
    """pytest restores at its end what it found: were that ours, a later crash would print."""
    source = """
import faulthandler, os, pathlib, pytest, signal
path = pathlib.Path("test_one.py")
path.write_text("def test_one(): pass")
pytest.main(["-p", "no:cacheprovider", "-p", "no:terminal", str(path)])
print(faulthandler.is_enabled(), flush=True)
os.kill(os.getpid(), signal.SIGSEGV)
"""
    done = children.twin(source, python=with_pytest, env=apart(children))
    assert done.status == -signal.SIGSEGV
    assert b"Fatal Python error" not in done.stderr
    assert [data["outcome"] for data in results_of(done)] == ["passed"]


@pytest.mark.parametrize("setting", ["MONITOR_SKIP", "MONITOR_INSTRUMENT"])
def test_hook_can_be_switched_off(children: Children, with_pytest: Sandbox, setting: str) -> None:
    """Who does not want tests recorded says so by the name of the library."""
    value = "pytest" if setting == "MONITOR_SKIP" else "httpx"
    done = twin_of_pytest(
        children, with_pytest, ("-q",), {"test_all.py": "def test_one(): pass\n"}, env={setting: value}
    )
    assert not results_of(done)
    assert "session.end" in done.names


def test_undone_hook_leaves_pytest_as_it_was(children: Children, with_pytest: Sandbox) -> None:
    """What was replaced is the original again, the same object."""
    source = """
    import sys
    import _pytest.runner as runner
    from monitor_auto.hooks import pytest as hook
    names = [(runner, "_update_current_test_var"), (runner.CollectReport, "__init__")]
    ours = [vars(owner)[name] for owner, name in names]
    hook.uninstall()
    print([vars(owner)[name] is not old for (owner, name), old in zip(names, ours)])
    print(runner.TestReport.from_item_and_call.__self__ is runner.TestReport)
    import pytest, pathlib
    pathlib.Path("test_one.py").write_text("def test_one(): pass")
    print(int(pytest.main(["-p", "no:cacheprovider", "-p", "no:terminal", "test_one.py"])))
    """
    done = children.run(source, python=with_pytest)
    assert done.stdout.decode().split() == ["[True,", "True]", "True", "0"]
    assert not results_of(done)

"""Files of the program that bear a library's name, and a package that changes under a running program."""

import shutil
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from support.children import Child, Children, Run
from support.collector import Collector
from support.sandbox import Sandbox

STDLIB = (
    *("queue", "email", "token", "json", "socket", "ssl", "types", "typing", "threading", "inspect", "re", "abc"),
    *("_json", "_socket", "select", "fcntl", "zlib", "math", "time", "errno", "marshal", "posix", "signal", "struct"),
    *("collections", "functools", "contextlib", "logging", "asyncio", "importlib", "http", "urllib", "random", "uuid"),
    *("calendar", "datetime", "copy", "enum", "string", "operator", "weakref", "warnings", "traceback", "linecache"),
    *("faulthandler", "atexit", "platform", "encodings", "concurrent", "multiprocessing", "subprocess", "locale"),
)
LIBRARIES = ("wrapt", "httpx", "httpcore", "anyio", "certifi", "idna", "h11", "platformdirs", "monitor_auto_hooks")
LOUD = "print('loaded', __name__)\n"
QUIET = """
    import sys
    print(sorted(name for name in sys.modules if hasattr(sys.modules[name], "is_the_programs_own")))
"""
DELIVERED = ["session.start", "session.end"]


def beside(*names: str) -> dict[str, str]:
    """Return files that bear these names, and tell when they are imported."""
    return {f"{name}.py": LOUD for name in names}


def problems_of(run: Run) -> list[str]:
    """Return what the ledger says went wrong, other than errors of our own."""
    return [line["reason"] for line in run.ledger if line["what"] == "problem"]


@pytest.mark.parametrize("name", [*STDLIB, *LIBRARIES])
def test_file_with_a_librarys_name_is_never_run_by_us(name: str, children: Children, collector: Collector) -> None:
    """After the start sys.path[0] is the script's folder: a late `import queue` of ours would run the program's."""
    source = """
        import sys
        from monitor_auto import Monitor
        Monitor.event("my.step", {"nested": {"password": "x"}, "number": 1})
        Monitor.error("text")
        sys.exit(4)
    """
    done = children.twin(source, files=beside(name), endpoint=collector.url)
    assert b"loaded" not in done.stdout or name in ("types", "abc")
    assert collector.names() == ["session.start", "my.step", "error.message", "session.exit", "session.end"]
    assert done.events == []


@pytest.mark.parametrize("kind", ["package", "extension", "bytecode only"])
def test_other_kinds_of_shadows_are_no_better(kind: str, children: Children, collector: Collector) -> None:
    """A folder named json, or somebody's queue.so, is found before the library's as well."""
    names = {"package": "json/__init__.py", "extension": "_json.abi3.so", "bytecode only": "_socket.pyc"}
    done = children.twin("raise LookupError('lost')", files={names[kind]: LOUD}, endpoint=collector.url)
    assert done.status == 1
    assert collector.names() == ["session.start", "error.LookupError", "session.end"]


def test_flush_in_the_middle_runs_no_file_of_the_program(children: Children, collector: Collector) -> None:
    """Monitor.flush imports what delivers while the program runs, with everything beside it still to be imported."""
    source = """
        from monitor_auto import Monitor
        Monitor.event("my.step")
        print(Monitor.flush(30))
    """
    names = [name for name in (*STDLIB, *LIBRARIES) if name not in ("types", "abc")]
    done = children.twin(source.replace("print(M", "print(True or M"), files=beside(*names), endpoint="local:")
    assert done.named("my.step")
    done = children.run(source, files=beside(*names), endpoint=collector.url)
    assert (done.status, done.stdout) == (0, b"True\n")
    assert collector.names() == ["session.start", "my.step", "session.end"]


def test_everything_shadowed_at_once_changes_nothing(children: Children, collector: Collector) -> None:
    """The folder of a course on the standard library has a file for each of its modules."""
    source = """
        import sys
        def work():
            raise LookupError("lost")
        try:
            work()
        finally:
            print("done", file=sys.stderr)
    """
    names = [name for name in (*STDLIB, *LIBRARIES) if name not in ("traceback", "linecache", "tokenize")]
    done = children.twin(source, files=beside(*names), endpoint=collector.url)
    assert b"LookupError" in done.stderr
    assert collector.names() == ["session.start", "error.LookupError", "session.end"]


CALL = """
    import httpx
    transport = httpx.MockTransport(lambda request: httpx.Response(204))
    with httpx.Client(transport=transport, trust_env=False) as client:
        print(client.get("http://example.test/path").status_code)
"""


@pytest.mark.parametrize("name", ["statistics", "wave", "turtle", "xmlrpc", "graphlib", "wrapt"])
def test_hooks_stay_off_where_a_library_could_be_shadowed(name: str, children: Children) -> None:
    """The program's call works as ever; that it is not recorded is in the ledger, with the name of the file."""
    done = children.twin(CALL, files=beside(name))
    assert done.stdout == b"204\n"
    assert DELIVERED == [event for event in done.names if event in DELIVERED]
    (problem,) = problems_of(done)
    assert name in problem


def test_file_named_like_the_target_is_the_programs_own(children: Children) -> None:
    """A script's own httpx.py is what it imports; it has no client, and that is nobody's fault."""
    files = {"httpx.py": "print('mine')\nclass Client:\n    def send(self):\n        return 5\n"}
    done = children.twin("import httpx; print(httpx.Client().send())", files=files, announce_internal_errors=True)
    assert done.stdout == b"mine\n5\n"
    assert DELIVERED == [event for event in done.names if event in DELIVERED]


def test_names_that_are_loaded_already_hide_nothing(children: Children) -> None:
    """A file that the program itself has been started from, or that comes too late, is no reason to be off."""
    done = children.twin(CALL, files=beside("os", "sys", "io", "codecs", "time"))
    assert problems_of(done) == []
    assert len(done.named("http.client.request")) == 1


@pytest.fixture
def scratch(sandbox: Sandbox, tmp_path: Path) -> Sandbox:
    """A copy of the default environment, for a test that changes it."""
    shutil.copytree(sandbox.folder, tmp_path / "environment", symlinks=True)
    return Sandbox(tmp_path / "environment")


def remove(package: Path) -> None:
    """Take the package away, as an uninstall does."""
    shutil.rmtree(package)


def upgrade(package: Path) -> None:
    """Lay another version in its place, as pip does: new files, not changed ones. Every part of it is loud."""
    old = package.with_name("old")
    package.rename(old)
    shutil.copytree(old, package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(old)
    for path in package.rglob("*.py"):
        path.write_text(f"print('version 2 of', {path.name!r})\n", encoding="utf-8")


def reinstall(package: Path) -> None:
    """Copy new files over the old ones, as rsync or a layer of an image does; the bytecode is new, too."""
    shutil.rmtree(package / "boot" / "__pycache__")
    for path in package.rglob("*.py"):
        path.write_text(f"print('version 2 of', {path.name!r})\n", encoding="utf-8")


CHANGES = {"removed": remove, "upgraded": upgrade, "overwritten": reinstall}
PROGRAM = """
    import os, sys
    from monitor_auto import Monitor
    print("ready", flush=True)
    sys.stdin.readline()
    Monitor.event("my.step", {"nested": [1, {"token": "x"}]})
    Monitor.error(ValueError("told"))
    CALL
    print(Monitor.flush(5), flush=True)
    if os.fork() == 0:
        os._exit(0)
    os.wait()
    sys.exit(6)
"""


def changed_while_running(
    children: Children, scratch: Sandbox, change: Callable[[Path], None], call: str, endpoint: str
) -> Run:
    """Start the program, change the package under it, and let it go on to its end."""
    source = dedent(PROGRAM).replace("CALL", call)
    child: Child = children.start(source, python=scratch, endpoint=endpoint, stdin=-1)
    assert child.process.stdout is not None
    assert child.process.stdout.readline() == b"ready\n"
    change(scratch.site_packages / "monitor_auto")
    return child.finish(b"\n")


@pytest.mark.parametrize("how", CHANGES)
def test_package_that_changes_under_a_program_harms_neither_it_nor_its_events(
    how: str, scratch: Sandbox, children: Children, collector: Collector
) -> None:
    """Services run for months and are upgraded beneath; half old and half new code would do anything at all."""
    call = "import httpx; httpx.Client().close()"
    done = changed_while_running(children, scratch, CHANGES[how], call, collector.url)
    assert (done.status, done.stdout, done.stderr) == (6, b"False\n", b"")
    own = ["session.start", "my.step", "error.ValueError", "session.exit", "session.end"]
    child = ["process.start", "session.start", "session.end", "process.exit"]
    assert sorted(done.names) == sorted(own + child)
    assert {line["what"] for line in done.ledger} == {"problem"}
    assert any("upgraded or removed" in problem for problem in problems_of(done))
    assert collector.requests == []


def test_events_of_a_program_that_was_upgraded_beneath_arrive_later(
    scratch: Sandbox, children: Children, collector: Collector
) -> None:
    """It only spools; the next process, with the new version, delivers."""
    changed_while_running(children, scratch, remove, "", collector.url)
    children.run("pass", endpoint=collector.url)
    assert {"my.step", "error.ValueError", "session.end"} <= set(collector.names())
    assert len(collector.unique()) == len(collector.events())


def test_package_that_stays_is_used_to_the_end(scratch: Sandbox, children: Children, collector: Collector) -> None:
    """The check that finds a change must not find one where there is none."""
    done = changed_while_running(children, scratch, lambda package: None, "import httpx", collector.url)
    assert (done.status, done.stdout) == (6, b"True\n")
    assert done.events == [] and done.ledger == []
    assert "session.exit" in collector.names()

"""Installations that are not whole, start lines that run twice, platforms that lack parts: programs run on."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.children import Children
from support.collector import Collector
from support.sandbox import Sandbox

PROGRAM = """
    import os, subprocess, sys
    print("out")
    print(subprocess.run([sys.executable, "-c", "print('child'); raise SystemExit(2)"], capture_output=True))
    pid = os.fork()
    if pid == 0:
        os._exit(4)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    try:
        sys.exit(3)
    except SystemExit as stop:
        print(stop)
    try:
        os.execv("/no/such/program", ["x"])
    except OSError as error:
        print(error)
    import faulthandler
    print(faulthandler.enable(sys.stderr), faulthandler.is_enabled(), faulthandler.disable())
    raise LookupError("lost")
"""


@pytest.fixture
def scratch(sandbox: Sandbox, tmp_path: Path) -> Iterator[Sandbox]:
    """A copy of the default environment: same paths inside, so the package is the real one, and may be broken."""
    folder = tmp_path / "environment"
    shutil.copytree(sandbox.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("pip"), copy_function=_copy)
    yield Sandbox(folder)
    shutil.rmtree(folder)


def _copy(source: str, target: str) -> None:
    """Copy what is ours and may be broken; of all else a link will do."""
    if "/monitor_auto" in source:
        shutil.copy2(source, target)
    else:
        os.link(source, target, follow_symlinks=False)


def package(sandbox: Sandbox) -> Path:
    """Return the folder of the installed package."""
    return sandbox.site_packages / "monitor_auto"


def remove(sandbox: Sandbox, *names: str) -> None:
    """Delete modules, with their bytecode."""
    for name in names:
        path = package(sandbox) / name
        if path.suffix != ".py":
            shutil.rmtree(path)
            continue
        path.unlink()
        for compiled in (path.parent / "__pycache__").glob(path.stem + ".*"):
            compiled.unlink()


MISSING = {
    "a hot module": (["boot/session.py"], []),
    "the last hot module": (["boot/endings.py"], []),
    "the shield": (["boot/guard.py"], []),
    "all hot modules": (["boot/guard.py", "boot/settings.py", "boot/recorder.py"], []),
    "what notes errors": (["boot/notes.py"], ["session.start", "session.end"]),
    "what exits need": (["boot/exits.py"], ["session.start", "session.end"]),
    "what errors need": (["boot/errors.py"], ["session.start", "session.end"]),
    "what forks need": (["boot/forked.py"], ["session.start", "session.end"]),
    "what faulthandler needs": (["boot/faulthandling.py"], ["session.start"]),
    "what hands over": (["boot/handover.py"], ["session.start", "session.end"]),
    "delivery": (["delivery"], ["session.start", "session.end"]),
    "the last call": (["delivery/last_call.py"], ["session.start", "session.end"]),
    "hooks and api": (["hooks", "api.py"], ["session.start", "session.end"]),
}


@pytest.mark.parametrize("name", MISSING)
def test_half_removed_package_is_silent(children: Children, scratch: Sandbox, collector: Collector, name: str) -> None:
    """An upgrade that was interrupted, a full disk, an over-eager image cleaner: programs are not to know."""
    files, expected = MISSING[name]
    remove(scratch, *files)
    done = children.twin(PROGRAM, python=scratch, endpoint=collector.url, announce_internal_errors=True)
    assert done.status == 1
    assert set(expected) <= {*done.names, *collector.names()}
    assert expected or not done.names


# What Python itself cannot read, e.g. the first file of any package cut in the middle, stays its own error.
BYTECODE = {"empty": b"", "text": b"garbage", "zeros": b"\x00" * 100, "cut": None}


@pytest.mark.parametrize("content", BYTECODE.values(), ids=list(BYTECODE))
@pytest.mark.parametrize("module", ["guard", "session", "exits", "recording"])
def test_broken_bytecode_is_silent(
    children: Children, scratch: Sandbox, collector: Collector, module: str, content: bytes | None
) -> None:
    """A machine that lost power leaves files of zeros; Python itself would raise EOFError or worse."""
    for path in (package(scratch) / "boot" / "__pycache__").glob(module + ".*"):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    done = children.twin(PROGRAM, python=scratch, endpoint=collector.url, announce_internal_errors=True)
    assert done.status == 1


def test_package_that_vanishes_while_a_program_runs(children: Children, scratch: Sandbox, collector: Collector) -> None:
    """pip upgrades under long-lived programs; what was not loaded yet is gone or another version's."""
    source = """
        import os, shutil, sys
        shutil.rmtree(sys.argv[1])
        def fail():
            try:
                {}["x"]
            except KeyError as error:
                raise ValueError("bad") from error
        if os.fork() == 0:
            fail()
        os.wait()
        fail()
    """
    done = children.run(source, argv=[str(package(scratch))], python=scratch, announce_internal_errors=True,
                        endpoint=collector.url)  # fmt: skip
    assert done.status == 1
    assert b"monitor_auto" not in done.stderr.replace(b"/site-packages/monitor_auto", b"")
    names = {*done.names, *collector.names()}
    assert {"session.start", "error.ValueError", "session.end"} <= names


def test_error_is_recorded_without_a_descriptor_and_without_the_package(children: Children, scratch: Sandbox) -> None:
    """A program that leaks files dies of that after weeks, in which the package was upgraded: then nothing can be read
    any more, and what records the error has to be at hand.
    """
    source = """
        import os, resource, shutil, sys
        shutil.rmtree(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        while True:
            os.open(os.devnull, os.O_RDONLY)
    """
    done = children.run(source, argv=[str(package(scratch))], python=scratch, announce_internal_errors=True)
    assert done.status == 1
    assert b"monitor_auto" not in done.stderr
    (error,) = done.named("error.OSError")
    assert "Too many open files" in error["data"]["message"]
    (end,) = done.named("session.end")
    assert end["data"]["reason"] == "exception"


def test_start_line_that_runs_twice_starts_one_monitor(children: Children, scratch: Sandbox) -> None:
    """Two site folders, or site.addsitedir, process it again; a second session would be counted as a second program."""
    again = scratch.site_packages / "again.pth"
    again.write_text((scratch.site_packages / "monitor_auto.pth").read_text())
    source = """
        import site, sys
        site.addsitedir(sys.argv[1])
        site.main()
        import monitor_auto.boot
        print(monitor_auto.boot.start(), monitor_auto.boot.start())
        try:
            sys.exit(3)
        except SystemExit:
            pass
        raise LookupError
    """
    done = children.run(source, argv=[str(scratch.site_packages)], python=scratch)
    assert done.stdout == b"True True\n"
    assert done.names == ["session.start", "session.exit", "error.LookupError", "session.end"]


def test_start_is_not_entered_again_from_within(children: Children, scratch: Sandbox) -> None:
    """A hook of somebody else's that runs while ours starts may call it: one session, no recursion."""
    (scratch.site_packages / "aaa_first.py").write_text(
        "import sys\n"
        "def audit(event, args):\n"
        "    boot = sys.modules.get('monitor_auto.boot')\n"
        "    if event in ('open', 'exec') and boot is not None and hasattr(boot, 'start'):\n"
        "        boot.start()\n"
        "sys.addaudithook(audit)\n"
    )
    (scratch.site_packages / "aaa_first.pth").write_text("import aaa_first\n")
    done = children.run("print('out')", python=scratch)
    assert (done.status, done.stdout, done.stderr) == (0, b"out\n", b"")
    assert done.names == ["session.start", "session.end"]


def test_what_is_frozen_before_the_start_stays_frozen(children: Children, scratch: Sandbox) -> None:
    """Who freezes objects does so for the memory that forked workers share, and counts on it."""
    (scratch.site_packages / "aaa_freezes.pth").write_text("import gc; gc.freeze()\n")
    done = children.run("import gc; print(gc.get_freeze_count() > 1000)", python=scratch)
    assert (done.stdout, done.stderr) == (b"True\n", b"")
    assert done.names == ["session.start", "session.end"]


# What a platform may lack: the line of a start file that takes it away.
ABSENT = {
    "fcntl": "import sys; sys.modules['fcntl'] = None",
    "fork": "import os; del os.register_at_fork, os.fork, os.forkpty",
    "register_at_fork": "import os; del os.register_at_fork",
    "lockf": "import os; del os.lockf",
    "faulthandler.register": "import faulthandler; del faulthandler.register, faulthandler.unregister",
    "faulthandler": "import sys; sys.modules['faulthandler'] = None",
    "getuid and kin": "import os; del os.geteuid, os.getuid, os.getegid, os.getgid",
    "uname": "import os; del os.uname",
    "flags": "import os; del os.O_CLOEXEC, os.O_NOFOLLOW, os.O_NONBLOCK",
    "sysconf": "import os; del os.sysconf",
    "_json": "import sys; sys.modules['_json'] = None",
    "pread": "import os; del os.pread",
    "all of it": "import os, sys, faulthandler; sys.modules['fcntl'] = sys.modules['_json'] = None; "
    "del os.register_at_fork, os.lockf, os.geteuid, os.getuid, os.getegid, os.getgid, os.uname, os.sysconf, os.pread, "
    "os.O_CLOEXEC, os.O_NOFOLLOW, os.O_NONBLOCK, faulthandler.register, faulthandler.unregister",
}
POOR = """
    import sys
    print("out")
    def fail():
        raise LookupError("lost")
    fail()
"""


@pytest.mark.parametrize("name", ABSENT)
def test_platform_without_some_part_is_still_monitored(
    children: Children, scratch: Sandbox, collector: Collector, name: str
) -> None:
    """macOS, Windows and builds without modules lack parts; there it must start, record and deliver all the same."""
    (scratch.site_packages / "aaa_absent.pth").write_text(ABSENT[name] + "\n")
    done = children.twin(POOR, python=scratch, endpoint=collector.url)
    assert done.status == 1
    assert collector.names() == ["session.start", "error.LookupError", "session.end"]
    children.run(POOR, python=scratch)
    left = children.run(["python", "-c", "import os; os.kill(os.getpid(), 9)"], python=scratch, endpoint=collector.url)
    assert left.status == -9


SUB = """
    import sys
    try:
        import {module} as interpreters
    except ImportError:
        print("none")
        raise SystemExit
    code = "import sys, os; print('inside', 'threading' in sys.modules); sys.excepthook; sys.stdout.flush()"
    for _ in range(3):
        number = interpreters.create({how})
        try:
            print(interpreters.{run}(number, code))
        except Exception as error:
            print(type(error).__name__)
        interpreters.destroy(number)
    print("outside")
"""


@pytest.mark.parametrize(
    ("module", "run", "how"),
    [("_xxsubinterpreters", "run_string", ""), ("_xxsubinterpreters", "run_string", "isolated=False"),
     ("_interpreters", "run_string", ""), ("_interpreters", "exec", "'legacy'")],
)  # fmt: skip
def test_sub_interpreters_start_nothing(children: Children, module: str, run: str, how: str) -> None:
    """They run site, and so the start line, again: other tools printed tracebacks there, or crashed the interpreter."""
    done = children.twin(SUB.format(module=module, run=run, how=how))
    assert (done.status, done.stderr) == (0, b"")
    assert done.names == ["session.start", "session.end"]
    assert os.listdir(done.spool)


def test_threads_that_load_the_same_part_at_once_share_it(children: Children) -> None:
    """A part that is loaded twice has two locks: two threads delivered the same events at the same time."""
    source = """
        import sys, threading
        from monitor_auto import boot
        sys.setswitchinterval(1e-6)
        names = [name for name in (*boot.COLD, *boot.COLDER) if name not in vars(boot) and name != "teardown"]
        for name in names:
            barrier, found = threading.Barrier(8), []
            def work():
                barrier.wait()
                found.append(boot.load(name))
            threads = [threading.Thread(target=work) for _ in range(8)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            assert len(found) == 8 and len(set(map(id, found))) == 1, name
        print(len(names) > 5)
    """
    assert children.run(source).stdout == b"True\n"

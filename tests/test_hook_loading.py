"""How our hooks come into a program: past importlib's search, bringing nothing of others, and gone at its end."""

import shutil
import sys

import pytest

from support.children import Children
from support.sandbox import Sandbox, Sandboxes

STDLIB = {"logging": "logging", "unittest": "unittest", "http.client": "http.client", "wsgiref.handlers": "wsgiref"}
"""Module of the standard library -> the name of its hook."""


@pytest.mark.parametrize("module", [*STDLIB, "code", "socket", "asyncio", "multiprocessing.pool"])
def test_hook_of_the_standard_library_brings_no_other_module(children: Children, module: str) -> None:
    """`typing` is 10 ms; and a module that comes unasked may be a file of the program's that was never to be run."""
    source = f"import sys, {module}; print(*sorted(sys.modules), sep='\\n')"
    bare = set(children.run(source, bare=True).stdout.decode().split())
    done = children.run(source)
    added = set(done.stdout.decode().split()) - bare
    assert {name for name in added if not name.startswith("monitor_auto")} <= set(sys.builtin_module_names)
    assert bare <= {*added, *done.stdout.decode().split()}
    if module in STDLIB:
        (end,) = done.named("session.end")
        assert end["data"]["hooks"][STDLIB[module]] == 0


LOOKS = """
    import importlib, importlib.util, inspect, logging, os, pickle, sys, unittest
    from pathlib import Path
    import httpx
    ours = {name: module for name, module in sys.modules.items() if name.startswith("monitor_auto.hooks")}
    print(sorted(ours))
    for name, module in ours.items():
        spec = module.__spec__
        path = inspect.getsourcefile(module)
        assert Path(path).samefile(module.__file__) and spec.origin == module.__file__, name
        assert spec.name == module.__name__ == name and spec.parent == module.__package__, name
        assert spec.loader is module.__loader__ and spec.has_location, name
        assert spec.loader.get_source(name) == inspect.getsource(module), name
        assert importlib.util.find_spec(name) is spec, name
        assert importlib.import_module(name) is module, name
        parent, _, child = name.rpartition(".")
        assert getattr(sys.modules[parent], child) is module, name
        assert Path(spec.cached).exists() and repr(module), name
    function = ours["monitor_auto.hooks.logs"].record
    assert pickle.loads(pickle.dumps(function)) is function
    package = ours["monitor_auto.hooks"]
    assert list(package.__path__) == package.__spec__.submodule_search_locations
    for wrong in ("nonsense", "_nonsense"):
        try:
            getattr(package, wrong)
        except AttributeError as error:
            print(error)
        try:
            importlib.import_module("monitor_auto.hooks." + wrong)
        except ModuleNotFoundError as error:
            print(error)
    importlib.reload(ours["monitor_auto.hooks.logs"])
"""


def test_loaded_hooks_are_modules_as_importlib_makes_them(children: Children) -> None:
    """Debuggers, reloaders, asyncio's debug mode and pickle ask modules for their spec, loader and source."""
    done = children.run(LOOKS, flags=("-X", "dev"))
    assert (done.status, done.stderr) == (0, b""), done.stderr
    names, *errors = done.stdout.decode().splitlines()
    assert {"'monitor_auto.hooks.httpx'", "'monitor_auto.hooks.logging'"} <= set(names.strip("[]").split(", "))
    assert errors == [
        f"{text} '{name}'" if "attribute" in text else f"{text}{name}'"
        for name in ("nonsense", "_nonsense")
        for text in ("module 'monitor_auto.hooks' has no attribute", "No module named 'monitor_auto.hooks.")
    ]
    (end,) = done.named("session.end")
    assert {"httpx", "logging", "unittest"} <= set(end["data"]["hooks"])


@pytest.fixture
def scratch(sandboxes: Sandboxes) -> Sandbox:
    """An environment of its own with nothing but the wheel, for a test that changes it."""
    sandbox = sandboxes.empty()
    sandbox.pip("install", "--quiet", "--no-deps", "--no-index", str(sandboxes.wheel))
    return sandbox


LOGS = "import logging, unittest; logging.error('no stock of tea')"


@pytest.mark.parametrize("how", ["missing", "another Python's", "cut off"])
def test_hook_without_usable_bytecode_is_left_to_importlib(scratch: Sandbox, children: Children, how: str) -> None:
    """Installers that do not compile, and disks that were full, are no reason to miss what a program does."""
    folder = scratch.site_packages / "monitor_auto" / "hooks" / "__pycache__"
    if how == "missing":
        shutil.rmtree(folder)
    for path in folder.glob("*.pyc"):
        data = path.read_bytes()
        path.write_bytes(data[:10] if how == "cut off" else b"\0\0\0\0" + data[4:])
    done = children.twin(LOGS, python=scratch, env={"PYTHONDONTWRITEBYTECODE": "1"})
    (event,) = done.named("log.error")
    assert event["data"]["message"] == "no stock of tea"


def test_hooks_come_up_once_where_many_threads_import(children: Children) -> None:
    """Two threads may import two libraries at the same time, and both hooks want the same modules of ours."""
    source = """
        import importlib, sys, threading
        targets = ["logging", "http.client", "unittest", "wsgiref.handlers", "code", "httpx"]
        ready = threading.Barrier(len(targets))
        def load(name):
            ready.wait()
            importlib.import_module(name)
        threads = [threading.Thread(target=load, args=(name,)) for name in targets]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        import logging
        from monitor_auto.hooks import logging as ours, methods, passing
        assert type(vars(logging.Logger)["callHandlers"]) is passing.Method
        assert methods.passing is passing and ours.methods is methods
        logging.error("no stock of tea")
    """
    done = children.run(source)
    assert (done.status, done.stderr) == (0, b"ERROR:root:no stock of tea\n")
    (end,) = done.named("session.end")
    assert end["data"]["hooks"] == {"logging": 1, "http.client": 0, "unittest": 0, "wsgiref": 0, "httpx": 0}


def test_what_copy_looks_for_is_no_package_of_the_program(children: Children) -> None:
    """Python's own copy and pickle try to import Jython's `org`: most programs would pay for a search of hooks."""
    source = "import copy, pickle; from monitor_auto.boot import targets; print(bool(targets.outside))"
    done = children.run(source)
    assert done.stdout == b"True\n", done.stderr
    done = children.run(source.replace("pickle;", "pickle, platformdirs;"))
    assert done.stdout == b"False\n"
    assert "session.end" in done.names


TAKEN_DOWN = """
    import atexit, os
    import logging, unittest, {module} as watched

    class Canary:
        def __init__(self, facts):
            self.facts = facts
        def __del__(self, write=os.write):
            write(1, b"emptied" if "{name}" not in self.facts else b"cleared name by name")
    vars(watched)["canary"] = Canary(vars(watched))
    atexit.register(print, "the program's own exit function", flush=True)
"""


@pytest.mark.parametrize(
    ("module", "name"),
    [("http.client", "HTTPConnection"), ("logging", "Logger"), ("unittest.case", "TestCase"), ("httpx", "Client")],
)
def test_end_takes_the_module_down_as_ever(children: Children, module: str, name: str) -> None:
    """What we still held of it Python would clear name by name, with all that it has imported: 2.5 M instructions, and
    every `__del__` finds its module half gone.
    """
    done = children.twin(TAKEN_DOWN.format(module=module, name=name))
    assert b"exit function" in done.stdout and b"c" in done.stdout
    (end,) = done.named("session.end")
    assert end["data"]["hooks"]

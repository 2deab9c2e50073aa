"""The finder that waits for targets: the program's imports are what they would be without it, and hooks arrive."""

import shutil
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from support.children import Children, Run
from support.collector import Collector
from support.sandbox import Sandbox, other_pythons

CALL = """
    transport = httpx.MockTransport(lambda request: httpx.Response(204))
    with httpx.Client(transport=transport) as client:
        print(client.get("http://example.test/path").status_code)
"""
IMPORT_AND_CALL = "import httpx" + dedent(CALL)


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Path:
    """A copy of the default environment's packages, to be changed by tests."""
    folder = tmp_path_factory.mktemp("pristine") / "environment"
    shutil.copytree(sandbox.folder, folder, symlinks=True)
    return folder


@pytest.fixture
def scratch(pristine: Path, tmp_path: Path) -> Sandbox:
    """An environment with everything in it, for a test that damages it."""
    shutil.copytree(pristine, tmp_path / "environment", symlinks=True)
    return Sandbox(tmp_path / "environment")


def calling(*parts: str) -> str:
    """Return a program of parts, each indented as it stands here, that makes one request at its end."""
    return "".join(map(dedent, (*parts, CALL)))


def requests_of(run: Run) -> list[dict[str, object]]:
    """Return what was recorded of httpx calls."""
    return [event["data"] for event in run.named("http.client.request")]


def problems_of(run: Run) -> list[str]:
    """Return what the ledger says went wrong, other than errors of our own."""
    return [line["reason"] for line in run.ledger if line["what"] == "problem"]


def test_program_without_a_target_never_loads_wrapt(children: Children) -> None:
    """wrapt costs 80 ms, six times what the interpreter itself does."""
    source = """
        import sys
        import json, subprocess, logging, urllib.request
        print([name for name in sys.modules if name.partition(".")[0] == "wrapt"])
    """
    done = children.run(source)
    assert done.stdout == b"[]\n"
    assert "session.end" in done.names


def test_target_brings_wrapt_once_and_its_hook(children: Children) -> None:
    """A hook that was registered and never installed records nothing and nobody notices."""
    source = """
        import sys
        import httpx
        loaded = sys.modules.get("wrapt")
        import httpx as again
        print(file=sys.stderr)
        sys.stderr.write(str(loaded is not None and loaded is sys.modules["wrapt"]))
    """
    done = children.run(source)
    assert done.stderr == b"\nTrue"
    assert len(requests_of(children.twin(IMPORT_AND_CALL))) == 1


@pytest.mark.parametrize("version", sorted(other_pythons()))
def test_target_is_hooked_on_every_python(
    version: str, children: Children, sandbox_for: Callable[..., Sandbox], collector: Collector
) -> None:
    """What cuts our frame out of tracebacks is CPython's own; it has to hold on each of them."""
    sandbox = sandbox_for(other_pythons()[version])
    assert len(requests_of(children.twin(IMPORT_AND_CALL, python=sandbox))) == 1
    files = {"httpx.py": "import sys\n\n\ndef fail():\n    raise LookupError('no httpx today')\n\n\nfail()\n"}
    done = children.twin("import httpx", python=sandbox, files=files)
    assert b"no httpx today" in done.stderr
    assert done.named("error.LookupError")


LOOKS = {
    "spec": """
        import httpx
        spec = httpx.__spec__
        print(type(spec), spec.name, spec.origin, spec.cached, spec.parent, spec.submodule_search_locations)
        print(type(spec.loader), spec.loader is httpx.__loader__, vars(spec.loader), spec._initializing)
        print(httpx.__file__, httpx.__path__, httpx.__package__, httpx.__cached__)
    """,
    "spec seen from inside": """
        import sys
        class Probe:
            @staticmethod
            def find_spec(name, path=None, target=None):
                if name == "httpx.__version__":
                    module = sys.modules["httpx"]
                    print(type(module.__spec__.loader), type(module.__loader__), vars(module.__loader__))
        sys.meta_path.insert(0, Probe)
        import httpx
    """,
    "reload": """
        import importlib, httpx
        send = httpx.Client
        again = importlib.reload(httpx)
        print(again is httpx, httpx.Client is send, type(again.__loader__), vars(again.__loader__))
    """,
    "looked for, then imported": """
        import importlib.abc, importlib.util, sys
        spec = importlib.util.find_spec("httpx")
        print(type(spec.loader), spec.origin, "httpx" in sys.modules, "wrapt" in sys.modules)
        print(repr(spec)[:40], isinstance(spec.loader, importlib.abc.SourceLoader))
        print(len(spec.loader.get_code("httpx").co_code) > 100)
        module = importlib.util.module_from_spec(spec)
        sys.modules["httpx"] = module
        spec.loader.exec_module(module)
        print(module.__version__, vars(module.__loader__))
    """,
    "runpy": """
        import runpy
        try:
            runpy.run_module("httpx", run_name="not main")
        except BaseException as error:
            print(type(error), error)
        print(sorted(runpy.run_module("httpx.__version__"))[:3])
    """,
    "meta path": """
        import sys
        import httpx
        print([getattr(finder, "__name__", type(finder)) for finder in sys.meta_path if "boot" not in str(finder)])
    """,
    "lazy loader": """
        import importlib.util, sys
        spec = importlib.util.find_spec("httpx")
        spec.loader = importlib.util.LazyLoader(spec.loader)
        module = importlib.util.module_from_spec(spec)
        sys.modules["httpx"] = module
        spec.loader.exec_module(module)
        print(module.__version__, module.Client.__name__)
    """,
}


@pytest.mark.parametrize("how", LOOKS)
def test_module_looks_as_if_nobody_had_waited_for_it(how: str, children: Children) -> None:
    """Packagers, debuggers and test runners read specs and loaders; a stranger there breaks them."""
    done = children.twin(calling(LOOKS[how], "import httpx"))
    assert done.status == 0, done.stderr
    assert len(requests_of(done)) == 1


FAILURES = {
    "exception": "def fail():\n    raise LookupError('no httpx today')\n\nfail()\n",
    "import error": "import there_is_no_such_module\n",
    "chained": "try:\n    import no_such\nexcept ImportError as error:\n    raise OSError('x') from error\n",
    "syntax": "def broken(:\n",
    "exit": "raise SystemExit(7)\n",
    "interrupt": "raise KeyboardInterrupt\n",
    "deep": "import other\n",
}


@pytest.mark.parametrize("how", FAILURES)
def test_target_that_cannot_be_imported_fails_as_without_us(how: str, children: Children) -> None:
    """The traceback of an import that fails is what its author debugs with; frames of ours would mislead."""
    source = """
        import sys, traceback
        for attempt in range(2):
            try:
                import httpx
            except BaseException:
                traceback.print_exc()
        print("wrapt" in sys.modules)
        import httpx
    """
    files = {"httpx.py": FAILURES[how], "other.py": "raise ValueError('in another file')\n"}
    done = children.twin(source, files=files)
    assert done.status != 0
    assert {"session.start", "session.end"} <= set(done.names)


def test_target_that_fails_first_is_hooked_when_it_succeeds(children: Children) -> None:
    """A program that waits until its library can be imported must not lose the recording of it."""
    source = """
        import sys
        sys.modules["idna"] = None
        try:
            import httpx
        except ImportError as error:
            print("first:", error)
        del sys.modules["idna"]
        for name in [name for name in sys.modules if name.startswith("httpx")]:
            del sys.modules[name]
    """
    assert len(requests_of(children.twin(calling(source, "import httpx")))) == 1


def test_threads_that_import_a_target_at_once_all_get_it(children: Children) -> None:
    """A web server's first requests import its client in all workers together."""
    source = """
        import threading
        barrier = threading.Barrier(8)
        seen = []
        def work():
            barrier.wait()
            import httpx
            seen.append(httpx.Client)
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(len(seen), len(set(seen)))
    """
    assert len(requests_of(children.twin(calling(source, "import httpx")))) == 1


def test_target_in_a_circle_of_imports_is_hooked(children: Children) -> None:
    """A library that imports a module which imports it again is seen half made, by us too."""
    files = {"first.py": "import second\n", "second.py": "import first\nimport httpx\n"}
    source = calling("import first\nfrom second import httpx")
    assert len(requests_of(children.twin(source, files=files))) == 1


FINDERS = {
    "in front": """
        import sys
        class Front:
            def find_spec(self, name, path=None, target=None):
                if name == "httpx": print("front asked")
        sys.meta_path.insert(0, Front())
    """,
    "behind": """
        import sys
        class Behind:
            def find_spec(self, name, path=None, target=None):
                if name == "httpx": print("behind asked")
        sys.meta_path.append(Behind())
    """,
    "finds itself": """
        import importlib.machinery, sys
        class Own:
            def find_spec(self, name, path=None, target=None):
                if name == "httpx":
                    print("own asked")
                    sys.meta_path.remove(self)
                    return importlib.machinery.PathFinder.find_spec(name, path, target)
        place = [getattr(finder, "__name__", "") for finder in sys.meta_path].index("PathFinder")
        sys.meta_path.insert(place, Own())
    """,
    "raises": """
        import sys
        class Angry:
            count = 0
            def find_spec(self, name, path=None, target=None):
                if name == "httpx" and not self.count:
                    self.count += 1
                    raise KeyError("angry")
        place = [getattr(finder, "__name__", "") for finder in sys.meta_path].index("PathFinder")
        sys.meta_path.insert(place, Angry())
        try:
            import httpx
        except KeyError as error:
            print("raised", error)
    """,
    "replaced list": """
        import sys
        sys.meta_path = list(sys.meta_path)
    """,
    "shared loader": """
        import importlib.machinery, importlib.util, os, sys
        class Shared(importlib.machinery.PathFinder):
            def __init__(self):
                self.loaders = {}
            def find_spec(self, name, path=None, target=None):
                spec = importlib.machinery.PathFinder.find_spec(name, path, target)
                if spec is None or not name.startswith("http"):
                    return None
                self.loaders[name] = spec.loader
                spec.loader = self
                return spec
            def create_module(self, spec):
                return None
            def exec_module(self, module):
                self.loaders[module.__name__].exec_module(module)
        place = [getattr(finder, "__name__", "") for finder in sys.meta_path].index("PathFinder")
        sys.meta_path.insert(place, Shared())
    """,
}


@pytest.mark.parametrize("how", FINDERS)
def test_finders_of_the_program_are_asked_as_ever(how: str, children: Children) -> None:
    """Editable installs, test runners and plugin systems bring finders; each must be asked once, in its place."""
    assert len(requests_of(children.twin(calling(FINDERS[how], "import httpx")))) == 1


GONE = {
    "cleared": """
        import sys
        import httpx
        sys.meta_path.clear()
    """,
    "replaced": """
        import importlib.machinery as machinery, sys
        sys.meta_path = [machinery.BuiltinImporter, machinery.FrozenImporter, machinery.PathFinder]
        import httpx
    """,
}


@pytest.mark.parametrize("how", GONE)
def test_program_may_take_the_finders_away(how: str, children: Children, collector: Collector) -> None:
    """A sandbox or a bundler that rules imports itself wins; what was recorded is kept or delivered all the same."""
    done = children.twin(dedent(GONE[how]) + "raise LookupError('after')", endpoint=collector.url)
    assert "error.LookupError" in {*done.names, *collector.names()}
    assert "session.end" in {*done.names, *collector.names()}


CHOICES = [({"MONITOR_SKIP": "httpx"}, 0), ({"MONITOR_SKIP": "ipython"}, 1), ({"MONITOR_SKIP": "ipython, httpx"}, 0)]
CHOICES += [({"MONITOR_INSTRUMENT": "ipython"}, 0), ({"MONITOR_INSTRUMENT": "httpx"}, 1)]


@pytest.mark.parametrize(("settings", "count"), CHOICES)
def test_operator_says_what_is_recorded(settings: dict[str, str], count: int, children: Children) -> None:
    """A library whose hook does harm must be switched off without waiting for a release."""
    source = calling("import sys, httpx") + "sys.exit(7 if 'wrapt' in sys.modules else 6)"
    done = children.run(source, env=settings)
    assert done.status == 6 + count
    assert len(requests_of(done)) == count


def test_target_imported_before_the_monitor_started_is_hooked(children: Children) -> None:
    """A program that calls Monitor.init has often imported its libraries first."""
    source = """
        import httpx, sys
        from monitor_auto import Monitor
        print(Monitor.init(endpoint="local:"))
    """
    done = children.run(calling(source), env={"MONITOR_ENDPOINT": None})
    assert done.stdout == b"True\n204\n"
    assert len(requests_of(done)) == 1


def test_program_may_iterate_over_its_modules_while_it_is_recorded(children: Children) -> None:
    """ "dictionary changed size during iteration" in a loop of the program's own would be our doing."""
    source = """
        import sys
        from monitor_auto import Monitor
        class Noisy:
            def __del__(self): raise ValueError("unraisable")
        for name in sys.modules:
            Monitor.event("loop.step", {"password": "x", "name": name, "what": {"nested": object}})
            Monitor.error("a text")
            try:
                sys.exit(3)
            except SystemExit:
                pass
        sys.unraisablehook = lambda facts: None
        print("done")
    """
    # The background thread of a long life imports what it needs, as any thread of the program's may.
    done = children.twin(source, env={"MONITOR_FLUSH_INTERVAL": "0"})
    assert done.status == 0, done.stderr
    assert {"loop.step", "error.message", "session.exit"} <= set(done.names)


def test_hook_that_raises_is_switched_off_and_noted_once(scratch: Sandbox, children: Children) -> None:
    """One broken hook must neither fail the program's import nor stop the rest of the monitor."""
    hook = scratch.site_packages / "monitor_auto/hooks/httpx.py"
    hook.write_text("def install(module):\n    raise RuntimeError('broken hook')\n", encoding="utf-8")
    for compiled in (hook.parent / "__pycache__").glob("httpx.*"):  # where we are installed nobody edits the source
        compiled.unlink()
    source = IMPORT_AND_CALL + "import importlib; importlib.reload(httpx)"
    done = children.twin(source, python=scratch, announce_internal_errors=True)
    (line,) = done.ledger
    assert (line["what"], line["part"], line["error"]) == ("internal_error", "hook of httpx", "RuntimeError")
    assert {"session.start", "session.end"} <= set(done.names)


WRAPTS = {
    "missing": None,
    "broken": "raise RuntimeError('broken wrapt')\n",
    "another library": "answer = 42\n",
    "leaves": "raise SystemError('out of it')\n",
}


@pytest.mark.parametrize("how", WRAPTS)
def test_program_lives_without_a_wrapt_that_works(how: str, scratch: Sandbox, children: Children) -> None:
    """Somebody pins another wrapt, or a packager leaves it out: the calls go unrecorded, and the ledger says why."""
    shutil.rmtree(scratch.site_packages / "wrapt")
    text = WRAPTS[how]
    if text is not None:
        (scratch.site_packages / "wrapt.py").write_text(text, encoding="utf-8")
    done = children.twin(IMPORT_AND_CALL, python=scratch, announce_internal_errors=True)
    assert done.stdout == b"204\n"
    (line,) = done.ledger
    assert "httpx" in line["part"]
    assert {"session.start", "session.end"} <= set(done.names)


def test_importing_under_warnings_as_errors_prints_nothing_of_ours(children: Children) -> None:
    """Under `-W error` and `-b` a warning that our imports cause would kill the program's import."""
    done = children.twin(IMPORT_AND_CALL, flags=["-W", "error", "-bb"])
    assert len(requests_of(done)) == 1


def test_verbose_import_still_works(children: Children) -> None:
    """`python -v` tells of every import, ours too; it must not fall over our finder."""
    done = children.run(IMPORT_AND_CALL, flags=["-v"])
    assert done.stdout == b"204\n"
    assert b"import 'httpx' # <_frozen_importlib_external.SourceFileLoader object" in done.stderr
    assert len(requests_of(done)) == 1


def test_program_can_use_wrapt_itself_behind_us(children: Children) -> None:
    """Our hook goes through wrapt's post-import hooks and takes their finder away again; the program's must work."""
    source = """
        import sys
        import httpx, wrapt
        print([type(finder).__name__ for finder in sys.meta_path].count("ImportHookFinder"))
        wrapt.register_post_import_hook(lambda module: print("arrived", module.__name__), "colorsys")
        print([type(finder).__name__ for finder in sys.meta_path].count("ImportHookFinder"))
        import colorsys
        with httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(204))) as client:
            print(client.get("http://example.test/").status_code)
    """
    done = children.twin(source)
    assert done.stdout == b"0\n1\narrived colorsys\n204\n"
    assert "http.client.request" in done.names

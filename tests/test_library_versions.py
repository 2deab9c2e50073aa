"""Hooks with the oldest and the newest version of each library, on every Python here: `make test-libraries` runs it."""

import re
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from monitor_auto.boot import arrivals, targets
from support.children import Children
from support.clients import CLIENTS, requests_of, traces_of
from support.libraries import LIBRARIES, PYTHONS, Library, installed, number, short
from support.sandbox import ROOT, Sandbox
from support.serving import (
    AIOHTTP,
    ASGI,
    DJANGO,
    FASTAPI,
    FLASK,
    PARENT,
    STARLETTE,
    TRACE,
    TRACEPARENT,
    UNKNOWN,
    WSGI,
    WSGIREF,
    Served,
    expected,
    get,
    serve_twice,
)
from support.testruns import EVERY_OUTCOME, OUTCOMES, apart, outcomes_of, results_of, twin_of_pytest
from support.web import running_web

Check = Callable[[str, Children, Sandbox], None]

GRID = [
    (name, version, age)
    for name, library in LIBRARIES.items()
    for version in PYTHONS
    for age in ("oldest", "newest")
    if (age == "newest" or library.project) and number(version) <= number(library.last)
]


@pytest.mark.libraries
@pytest.mark.parametrize(("name", "version", "age"), GRID, ids=[" ".join(words) for words in GRID])
def test_library_is_recorded_and_undisturbed(
    name: str, version: str, age: str, children: Children, sandbox_for: Callable[..., Sandbox]
) -> None:
    """What we hook is private to the libraries; each version may have moved it."""
    library = LIBRARIES[name]
    sandbox = sandbox_for(PYTHONS[version], *library.requirements(age, version))
    CHECKS[library.kind](name, children, sandbox)
    if age == "newest" and library.project:
        assert_known(library, sandbox)


def assert_known(library: Library, sandbox: Sandbox) -> None:
    """A version that came out meanwhile, and works, goes into the data and the page."""
    found = short(installed(sandbox, library.project))
    assert number(found) <= number(library.known), f"{library.project} {found}: name it in support/libraries.py"


CALLS = """
    print(call(base + "/items/1?hush"), call(base + "/a%20b", "POST", body=b"hush"), call(base + "/to/end"))
    try:
        call(base + "/hang", timeout=0.5)
    except Exception as error:
        print(type(error))
    call(base + "/drop", "POST", body=b"x")
"""


def check_client(name: str, children: Children, sandbox: Sandbox) -> None:
    """Requests that are answered, redirected, never answered, and cut off."""
    with running_web() as web:
        client = CLIENTS[name]
        source = "import sys\nbase = sys.argv[1]\n" + dedent(client.source) + dedent(CALLS)
        done = children.twin(source, argv=[web.base], python=sandbox)
        assert done.status == 1 and b"monitor_auto" not in done.stderr
        found = [(call["method"], call["path"], call.get("status")) for call in requests_of(done)]
        answered = [("GET", "/items/1", 200), ("POST", "/a%20b", 200), ("GET", "/to/end", 302)]
        answered += [("GET", "/end", 200)] if client.follows else []
        assert found == [*answered, ("GET", "/hang", None), ("POST", "/drop", None)]
        assert web.traces()[len(found) :] == traces_of(done)
        errors = [call["error"] for call in requests_of(done)[len(answered) :]]
        assert errors == [client.errors[2], client.errors[1]]


SERVERS = {
    "wsgiref": "server.py {port} 5",
    "gunicorn": "-m gunicorn --bind 127.0.0.1:{port} application",
    "gunicorn, threads": "-m gunicorn --bind 127.0.0.1:{port} --worker-class gthread application",
    "gunicorn, ASGI": "-m gunicorn --bind 127.0.0.1:{port} --worker-class asgi application",
    "uvicorn": "-m uvicorn --host 127.0.0.1 --port {port} application:application",
    "uvicorn in gunicorn": "-m gunicorn --bind 127.0.0.1:{port} -k uvicorn.workers.UvicornWorker application",
    "hypercorn": "-m hypercorn --bind 127.0.0.1:{port} application:application",
    "hypercorn, WSGI": "-m hypercorn --bind 127.0.0.1:{port} wsgi:application:application",
}
REQUESTS = [get("/plain?token=hush"), get("/missing"), get("/told", TRACEPARENT), get("/error")]


def check_server(name: str, children: Children, sandbox: Sandbox) -> None:
    """Requests that are answered, traced, streamed, and never caught, under a server without a framework."""
    is_asgi = name in ("uvicorn", "uvicorn in gunicorn", "hypercorn", "gunicorn, ASGI")
    stream = "/stream" if is_asgi else "/generator"
    files = {"application.py": ASGI if is_asgi else WSGI, "server.py": WSGIREF}
    done = serve_twice(
        children,
        ["python", *SERVERS[name].split()],
        [*REQUESTS, get(stream)],
        python=sandbox,
        files=files,
        **({"stop": None} if name == "wsgiref" else {}),
    )
    server = re.split("[, ]", name)[0]
    assert done.requests == [
        expected(server, "/plain"),
        expected(server, "/missing", 404),
        expected(server, "/told"),
        expected(server, "/error", 500, error="ValueError"),
        expected(server, stream),
    ]
    assert_below_the_caller(done, "/told")
    told = [event for event in done.run.events if event["type"] == "error" and event["data"].get("type")]
    assert [event["data"]["type"] for event in told] == ["ValueError"]
    assert b"hush" not in repr([event["data"] for event in done.run.named("http.server.request")]).encode()


def assert_below_the_caller(done: Served, path: str) -> None:
    """The request belongs to the trace that came with it, and what was recorded in it to the request."""
    own = done.request(path)["span"]
    assert own["trace_id"] == TRACE and own["parent_span_id"] == PARENT
    assert done.span_of("in.request") == {"trace_id": TRACE, "span_id": own["span_id"]}


UWSGI = "--http-socket 127.0.0.1:{port} --module application:application --die-on-term --disable-logging"
FRAMEWORKS = {
    "aiohttp.web": (AIOHTTP, "application.py {port}", "aiohttp", "/things/{number}"),
    "flask": (FLASK, "server.py {port} 4 wsgi", "little", "/things/<int:number>"),
    "flask on uWSGI": (FLASK, UWSGI, "uwsgi", "/things/<int:number>"),
    "django": (DJANGO, "server.py {port} 4 wsgi", "little", "/things/<int:number>"),
    "django, ASGI": (DJANGO, "server.py {port} 4 asgi", "asgi", "/things/<int:number>"),
    "starlette": (STARLETTE, "server.py {port} 4 asgi", "asgi", "/things/{number:int}"),
    "fastapi": (FASTAPI, "server.py {port} 4 asgi", "asgi", "/things/{number}"),
}


def check_framework(name: str, children: Children, sandbox: Sandbox) -> None:
    """The route of a request, and what the framework makes an answer of, where the server has no hook."""
    source, command, server, route = FRAMEWORKS[name]
    requests = [get("/things/7", TRACEPARENT), get("/error"), get("/stream"), get("/nowhere")]
    # uWSGI is a program of its own; where the interpreter stands behind a wrapper, so does that.
    start = [*sandbox.wrapper, str(sandbox.bin / "uwsgi")] if name == "flask on uWSGI" else ["python"]
    done = serve_twice(
        children,
        [*start, *command.split()],
        requests,
        python=sandbox,
        files={"application.py": source, "server.py": UNKNOWN},
        **({"stop": None} if "server.py" in command else {}),
    )
    assert done.requests == [
        expected(server, "/things/7", route=route),
        expected(server, "/error", 500, route="/error", error="ValueError"),
        expected(server, "/stream", route="/stream"),
        expected(server, "/nowhere", 404),
    ]
    assert_below_the_caller(done, "/things/7")
    assert done.span_of("in.stream")["span_id"] == done.request("/stream")["span"]["span_id"]
    errors = [event for event in done.run.events if event["type"] == "error" and event["data"].get("type")]
    assert [event["data"]["type"] for event in errors] == ["ValueError"]


UNITTEST = """
import unittest

class Some(unittest.TestCase):
    def test_passes(self): pass
    def test_fails(self): self.assertEqual(1, 2)
    def test_raises(self): raise KeyError("x")
    @unittest.skip("not today")
    def test_is_skipped(self): pass
    @unittest.expectedFailure
    def test_fails_as_expected(self): self.fail()
    def test_parts(self):
        for number in range(3):
            with self.subTest(number=number):
                self.assertNotEqual(number, 1)

if __name__ == "__main__":
    import io
    unittest.main(testRunner=unittest.TextTestRunner(stream=io.StringIO()))
"""


def check_tests(name: str, children: Children, sandbox: Sandbox) -> None:
    """Every outcome of a test; with pytest also workers and repetitions."""
    if name == "unittest":
        done = children.twin(UNITTEST, python=sandbox)
        found = {data["nodeid"].rpartition(".")[2]: data["outcome"] for data in results_of(done)}
        assert found == {
            "test_passes": "passed",
            "test_fails": "failed",
            "test_raises": "error",
            "test_is_skipped": "skipped",
            "test_fails_as_expected": "xfailed",
            "test_parts": "failed",
        }
        return
    done = twin_of_pytest(children, sandbox, ("-v", "-ra"), {"test_all.py": EVERY_OUTCOME})
    assert outcomes_of(done) == OUTCOMES
    flaky = "seen = []\ndef test_flaky():\n    seen.append(1)\n    assert len(seen) == 3\n"
    done = twin_of_pytest(
        children, sandbox, ("--reruns", "2"), {"test_all.py": flaky}, "flaky", spool=spool_of(children, "flaky")
    )
    assert [(data["outcome"], data.get("attempt")) for data in results_of(done)] == [
        ("failed", None),
        ("failed", 2),
        ("passed", 3),
    ]
    check_workers(children, sandbox)


def spool_of(children: Children, name: str) -> Path:
    """Make a spool for a second program of a test."""
    spool = children.folder / f"spool-{name}"
    spool.mkdir(mode=0o700)
    return spool


DYING = """
import os, pytest, signal
@pytest.mark.parametrize("n", range(6))
def test_some(n): assert n != 3
def test_dies(): os.kill(os.getpid(), signal.SIGKILL)
"""


def check_workers(children: Children, sandbox: Sandbox) -> None:
    """Each test once, by its worker or, of one that has died, by the controller."""
    folder = children.folder / "workers"
    folder.mkdir()
    (folder / "test_all.py").write_text(DYING, encoding="utf-8")
    words = ["python", "-m", "pytest", "-p", "no:cacheprovider", "-n", "2", "--max-worker-restart=2", "-q"]
    how = {"python": sandbox, "cwd": folder, "timeout": 120, "env": apart(children)}
    done = children.run(words, spool=spool_of(children, "workers"), **how)
    assert done.status == 1
    expected = {f"test_some[{n}]": "failed" if n == 3 else "passed" for n in range(6)}
    assert outcomes_of(done) == {**expected, "test_dies": "crashed"}


LOGS = {
    "logging": """
        import logging
        logging.basicConfig(format="%(levelname)s %(funcName)s:%(lineno)d %(message)s")
        log = logging.getLogger("some")
        def work():
            log.error("no stock of %s", "tea")
    """,
    "loguru": """
        import sys
        from loguru import logger as log
        log.remove()
        log.add(sys.stderr, format="{level} {function}:{line} {message}", backtrace=False)
        def work():
            log.error("no stock of {}", "tea")
    """,
    "structlog": """
        import structlog
        structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])
        log = structlog.get_logger()
        def work():
            log.error("no stock of tea")
    """,
}
LOGGING = """
            log.info("not this")
            try:
                1 / 0
            except ZeroDivisionError:
                log.exception("in division")
        work()
"""


def check_log(name: str, children: Children, sandbox: Sandbox) -> None:
    """A message, one that is not serious enough, and an exception."""
    done = children.twin(dedent(LOGS[name].rstrip() + LOGGING), python=sandbox)
    first, second = [event["data"] for event in done.named("log.error")]
    assert first["library"] == name and "no stock of tea" in first["message"]
    assert re.search(r"script.py:\d+:work$", first["location"])
    assert second["type"] == "ZeroDivisionError" and "in division" in second["message"]


CELLS = """
    from IPython.core.interactiveshell import InteractiveShell
    shell = InteractiveShell.instance(colors="NoColor", history_load_length=0)
    shell.run_cell("1 + 1")
    shell.run_cell("def fail(): return 1 / 0")
    shell.run_cell("fail()")
    shell.run_cell("wrong wrong")
    print("after")
"""


def check_prompt(name: str, children: Children, sandbox: Sandbox) -> None:
    """Cells that raise, and one that cannot be compiled."""
    done = children.twin(CELLS, python=sandbox)
    assert done.stdout.endswith(b"after\n")
    assert [event["name"] for event in done.events if event["type"] == "error"] == [
        "error.ZeroDivisionError",
        "error.SyntaxError",
    ]


CHECKS: dict[str, Check] = {
    "client": check_client,
    "server": check_server,
    "framework": check_framework,
    "tests": check_tests,
    "prompt": check_prompt,
    "log": check_log,
}


def rows_of_the_page() -> list[list[str]]:
    """Return the cells of each row of the table of libraries."""
    page = (ROOT / "docs" / "instrumentation.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| .*\|$", page.partition("## Requests")[0], re.M)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table[1:]]


@pytest.mark.parametrize("name", LIBRARIES)
def test_page_has_the_versions_of_the_grid(name: str) -> None:
    """Who looks whether a version is supported finds what is tried in fact."""
    library = LIBRARIES[name]
    word = library.project or name
    pattern = rf"(?i)(^|[ `(]){re.escape(word)}(?![.\w])"
    row = next(cells for cells in rows_of_the_page() if re.search(pattern, cells[0]))
    if library.project:
        versions = f"{library.lowest} to {library.known}" if library.lowest != library.known else library.known
        assert versions in row[1]
    else:
        assert row[1].startswith("Python 3.10 to 3.1")


def test_names_on_the_page_are_those_that_switch() -> None:
    """A name that switches nothing is worse than none."""
    hooks = {**targets.LIBRARY, **targets.THIRD_PARTY, **targets.ASKED}
    switched: dict[str, set[str]] = {name: set() for name in hooks}
    for cells in rows_of_the_page():
        for name in re.findall("`([^`]+)`", cells[3]):
            only = Namespace(instrument={name}, skip=())
            without = Namespace(instrument=(), skip={name})
            found = [hook for hook in hooks if arrivals.is_wanted(only, hook)]
            assert found and found == [hook for hook in hooks if not arrivals.is_wanted(without, hook)], name
            for hook in found:
                switched[hook].add(name)
    assert all(switched.values()), switched

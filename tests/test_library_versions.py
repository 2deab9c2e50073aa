"""Hooks with the oldest and the newest version of each library, on every Python here: `make test-libraries` runs it."""

import sys
from collections.abc import Callable, Iterator
from textwrap import dedent

import pytest

from support.children import Children
from support.clients import CLIENTS, requests_of, traces_of
from support.sandbox import Sandbox, other_pythons
from support.web import Web, running_web

OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"
PYTHONS = {OWN: sys.executable, **other_pythons()}
OLDEST: dict[str, dict[str, tuple[str, ...]]] = {
    "urllib.request": {"3.10": ()},
    "httpx": {"3.10": ("httpx==0.24.0",)},
    "httpx, async": {"3.10": ("httpx==0.24.0",)},
    # Earlier ones have no wheel for that Python, or do not run on it.
    "aiohttp": {
        "3.10": ("aiohttp==3.8.1",),
        "3.11": ("aiohttp==3.8.3",),
        "3.12": ("aiohttp==3.9.0",),
        "3.13": ("aiohttp==3.10.6",),
        "3.14": ("aiohttp==3.13.0",),
    },
    "urllib3": {"3.10": ("urllib3==1.26.5",), "3.12": ("urllib3==1.26.18",)},
    "requests": {"3.10": ("requests==2.28.0", "urllib3==1.26.5"), "3.12": ("requests==2.28.0", "urllib3==1.26.18")},
}
"""From which Python on what is the oldest version that is held."""
NEWEST: dict[str, tuple[str, ...]] = {
    "urllib.request": (),
    "httpx": ("httpx",),
    "httpx, async": ("httpx",),
    "aiohttp": ("aiohttp",),
    "urllib3": ("urllib3",),
    "requests": ("requests", "urllib3"),
}


def oldest(name: str, version: str) -> tuple[str, ...]:
    """Return the requirements of the oldest version of a library for a Python."""
    fitting = [since for since in OLDEST[name] if [*map(int, since.split("."))] <= [*map(int, version.split("."))]]
    return OLDEST[name][fitting[-1]]


GRID = [(name, version, age) for name in OLDEST for version in PYTHONS for age in ("oldest", "newest")]


@pytest.fixture
def web() -> Iterator[Web]:
    """The server that programs call."""
    with running_web() as running:
        yield running


PROGRAM = """
    print(call(base + "/items/1?hush"), call(base + "/a%20b", "POST", body=b"hush"), call(base + "/to/end"))
    try:
        call(base + "/hang", timeout=0.5)
    except Exception as error:
        print(type(error))
    call(base + "/drop", "POST", body=b"x")
"""


@pytest.mark.libraries
@pytest.mark.parametrize(("name", "version", "age"), GRID, ids=[" ".join(words) for words in GRID])
def test_library_is_recorded_and_undisturbed(
    name: str, version: str, age: str, children: Children, web: Web, sandbox_for: Callable[..., Sandbox]
) -> None:
    """What we hook is private to the libraries; each version may have moved it."""
    client = CLIENTS[name]
    requirements = oldest(name, version) if age == "oldest" else NEWEST[name]
    source = "import sys\nbase = sys.argv[1]\n" + dedent(client.source) + dedent(PROGRAM)
    done = children.twin(source, argv=[web.base], python=sandbox_for(PYTHONS[version], *requirements))
    assert done.status == 1 and b"monitor_auto" not in done.stderr
    found = [(call["method"], call["path"], call.get("status")) for call in requests_of(done)]
    answered = [("GET", "/items/1", 200), ("POST", "/a%20b", 200), ("GET", "/to/end", 302), ("GET", "/end", 200)]
    assert found == [*answered, ("GET", "/hang", None), ("POST", "/drop", None)]
    assert web.traces()[6:] == traces_of(done)
    assert [call["error"] for call in requests_of(done)[4:]] == [client.errors[2], client.errors[1]]

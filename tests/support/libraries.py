"""The libraries that have a hook, with the oldest and the newest version that `make test-libraries` tries on every
Python; docs/instrumentation.md says the same, and a test holds the two equal.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from support.sandbox import Sandbox, call, other_pythons

OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"
PYTHONS = {OWN: sys.executable, **other_pythons()}
Requirements = tuple[str, ...]


@dataclass(frozen=True)
class Library:
    """One library. `project` is its name at the package index; empty for what belongs to Python.

    `oldest` says from which Python on which is the oldest version that is held: earlier ones have no wheel for that
    Python, or do not run on it themselves. `known` is the newest version that this was seen with, as the page says it.
    """

    kind: str
    project: str = ""
    known: str = ""
    oldest: Mapping[str, Requirements] = field(default_factory=lambda: {"3.10": ()})
    more: Requirements = ()
    """What the newest version needs beside it to be tried."""
    last: str = "3.15"
    """The last Python that there is a wheel for, as the page says it."""

    def requirements(self, age: str, python: str) -> Requirements:
        """Return what to install for a Python."""
        if age == "newest":
            return (self.project, *self.more) if self.project else self.more
        fitting = [since for since in self.oldest if number(since) <= number(python)]
        return self.oldest[fitting[-1]]

    @property
    def lowest(self) -> str:
        """Return the oldest version of all, as the page says it."""
        pinned = [word for words in self.oldest.values() for word in words if word.startswith(self.project + "==")]
        return short(min((word.partition("==")[2] for word in pinned), key=number))


def number(version: str) -> list[int]:
    """Return a version as numbers to compare; what is none ends it."""
    numbers = []
    for part in version.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return numbers


def short(version: str) -> str:
    """Return the first two numbers of a version."""
    return ".".join(version.split(".")[:2])


def installed(sandbox: Sandbox, project: str) -> str:
    """Return the version of a project in an environment."""
    code = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    return call([*sandbox.command, "-c", code, project]).strip()


AIOHTTP = {
    "3.10": ("aiohttp==3.8.1",),
    "3.11": ("aiohttp==3.8.3",),
    "3.12": ("aiohttp==3.9.0",),
    "3.13": ("aiohttp==3.10.6",),
    "3.14": ("aiohttp==3.13.0",),
    "3.15": ("aiohttp==3.14.5",),
}
URLLIB3 = {"3.10": ("urllib3==1.26.5",), "3.12": ("urllib3==1.26.18",)}
REQUESTS = {since: ("requests==2.28.0", *words) for since, words in URLLIB3.items()}
HTTPX = {"3.10": ("httpx==0.24.0",), "3.14": ("httpx==0.27.2",)}

LIBRARIES = {
    # clients
    "urllib.request": Library("client"),
    "http.client": Library("client"),
    "httpx": Library("client", "httpx", "0.28", HTTPX),
    "httpx, async": Library("client", "httpx", "0.28", HTTPX),
    "aiohttp": Library("client", "aiohttp", "3.14", AIOHTTP),
    "urllib3": Library("client", "urllib3", "2.8", URLLIB3),
    "requests": Library("client", "requests", "2.34", REQUESTS, ("urllib3",)),
    # servers
    "wsgiref": Library("server"),
    "gunicorn": Library("server", "gunicorn", "27.0", {"3.10": ("gunicorn==20.1.0", "setuptools<80")}),
    "gunicorn, threads": Library("server", "gunicorn", "27.0", {"3.10": ("gunicorn==20.1.0", "setuptools<80")}),
    "gunicorn, ASGI": Library("server", "gunicorn", "27.0", {"3.10": ("gunicorn==25.0.0",)}),
    "uvicorn": Library("server", "uvicorn", "0.54", {"3.10": ("uvicorn==0.15.0",)}),
    "uvicorn in gunicorn": Library(
        "server", "uvicorn", "0.54", {"3.10": ("uvicorn==0.15.0", "gunicorn==20.1.0", "setuptools<80")}, ("gunicorn",)
    ),
    "hypercorn": Library("server", "hypercorn", "0.18", {"3.10": ("hypercorn==0.14.0",)}),
    "hypercorn, WSGI": Library("server", "hypercorn", "0.18", {"3.10": ("hypercorn==0.14.0",)}),
    # frameworks
    "aiohttp.web": Library("framework", "aiohttp", "3.14", AIOHTTP),
    "flask": Library(
        "framework",
        "flask",
        "3.1",
        {"3.10": ("flask==2.0.0", "werkzeug==2.0.0"), "3.14": ("flask==3.0.0", "werkzeug==3.0.0")},
    ),
    "flask on uWSGI": Library(
        "framework",
        "pyuwsgi",
        "2.0",
        {
            "3.10": ("pyuwsgi==2.0.20", "flask"),
            "3.11": ("pyuwsgi==2.0.21", "flask"),
            "3.12": ("pyuwsgi==2.0.26", "flask"),
            "3.13": ("pyuwsgi==2.0.28.post1", "flask"),
            "3.14": ("pyuwsgi", "flask"),
        },
        ("flask",),
        last="3.14",
    ),
    "django": Library(
        "framework", "django", "6.1", {"3.10": ("django==3.2",), "3.12": ("django==4.2.8",), "3.13": ("django==5.1.3",)}
    ),
    "django, ASGI": Library(
        "framework", "django", "6.1", {"3.10": ("django==3.2",), "3.12": ("django==4.2.8",), "3.13": ("django==5.1.3",)}
    ),
    "starlette": Library("framework", "starlette", "1.10", {"3.10": ("starlette==0.14.2",)}),
    "fastapi": Library(
        "framework",
        "fastapi",
        "0.165",
        {
            "3.10": ("fastapi==0.68.0", "pydantic==1.10.2"),
            "3.12": ("fastapi==0.68.0", "pydantic==1.10.13"),
            "3.13": ("fastapi==0.115.0", "pydantic==2.9.2"),
            "3.14": ("fastapi==0.119.0",),
        },
    ),
    # tests
    "unittest": Library("tests"),
    "pytest": Library(
        "tests",
        "pytest",
        "9.2",
        {
            # anyio, which httpx brings, has a plugin for pytest; from 4.0 on it needs pytest 7.
            "3.10": (
                "pytest==6.2.5",
                "anyio<4",
                "pytest-xdist==2.4.0",
                "pytest-rerunfailures==10.2",
                "setuptools<80",
                "pytest-asyncio==0.16.0",
            ),
            "3.12": ("pytest==7.4.0", "pytest-xdist==3.3.0", "pytest-rerunfailures==12.0", "pytest-asyncio==0.21.2"),
        },
        ("pytest-xdist", "pytest-rerunfailures", "pytest-asyncio"),
    ),
    # prompts
    "ipython": Library(
        "prompt",
        "ipython",
        "9.18",
        {"3.10": ("ipython==8.0.1",), "3.12": ("ipython==8.18.1",), "3.13": ("ipython==8.30.0",)},
    ),
    # log messages
    "logging": Library("log"),
    "loguru": Library("log", "loguru", "0.7", {"3.10": ("loguru==0.5.3",)}),
    "structlog": Library("log", "structlog", "26.1", {"3.10": ("structlog==21.1.0",)}),
}

"""Imports what httpx needs in small steps, so that a fork or an exit that comes meanwhile has to wait for one of them
only. Runs in the background thread.

`import httpx` alone takes 100 ms of processor time. It must not be broken off in its middle either: Python takes the
package that was being imported out of `sys.modules`, but leaves what was complete of it, and the next import, which
may be the program's, then fails: `asyncio` and, in 3.13, `pathlib` read a name that only a first import of their parts
sets.

Guarantees: nothing is imported that httpx would not import, but what one of its versions, or Python's, does not need.
"""

import sys

from monitor_auto.boot import background, targets

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from typing import Any

BEFORE_HTTPX = (
    *("functools", "copyreg", "typing", "contextlib", "datetime", "re", "linecache", "textwrap", "traceback"),
    *("weakref", "string", "logging", "hashlib", "struct", "base64", "urllib", "bisect", "email", "http"),
    *("email.errors", "email.quoprimime", "email.base64mime", "quopri", "email.encoders", "email.charset"),
    *("email.header", "ipaddress", "urllib.parse", "email._parseaddr", "email.utils", "email._policybase"),
    *("email.feedparser", "email.parser", "email._encoded_words", "email.iterators", "email.message", "ssl"),
    *("http.client", "fnmatch", "zlib", "bz2", "lzma", "shutil", "random", "tempfile", "urllib.response"),
    *("urllib.error", "urllib.request", "json", "copy", "locale", "calendar", "http.cookiejar", "ast", "opcode"),
    *("dis", "importlib.machinery", "token", "tokenize", "inspect", "mimetypes", "glob", "ntpath", "pathlib"),
    *("unicodedata", "dataclasses", "h11", "idna", "certifi", "anyio"),
)
"""In the order in which `import httpx` and a first client complete them (httpx 0.27 and 0.28; CPython 3.10 to 3.15): so
each is small, 18 ms of processor time at the most. Only parts whose package is complete before them are named."""
BEFORE_WRAPT = (
    *("selectors", "concurrent.futures", "heapq", "signal", "subprocess", "contextvars", "asyncio", "csv"),
    *("importlib.util", "zipfile", "importlib.abc", "importlib.metadata", "wrapt"),
)
"""What the hook of httpx needs, which comes with httpx where it is wanted."""
HTTPX = ("httpcore", "httpx")
BEFORE_ASYNC = ("sniffio", "anyio._backends._asyncio")
"""What a first request of the async client imports beyond that, in a program that has asyncio."""


def load_httpx(state: "Any") -> None:
    """Import httpx and all that comes with it. Raises Stopped when the thread is to end."""
    load(state, BEFORE_HTTPX)
    if "httpx" in targets.waiting:
        load(state, BEFORE_WRAPT)
    load(state, HTTPX)


def load(state: "Any", names: tuple[str, ...]) -> None:
    """Import these. Raises Stopped between two of them when the thread is to end."""
    from .flusher import Stopped

    for name in names:
        if state.is_stopping:
            raise Stopped
        if name not in sys.modules:
            try:
                __import__(name)
            except ImportError:  # not in this version; or who needs it will say so
                continue
        if name == "logging" and not state.is_stopping:
            background.hook_forks()
    if state.is_stopping:
        raise Stopped

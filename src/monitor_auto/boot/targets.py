"""Hot: which hook waits for which module, and the finder that waits. Builtin modules only; `arrivals.py` does the rest.

A new library is a line in THIRD_PARTY (in LIBRARY, if it is part of Python), a file in `hooks/` and a test file.

Guarantees:
- A module that is no target costs one dict look-up. A program that imports no third-party target never loads wrapt.
- The module's `__spec__`, `__loader__` and import errors, their tracebacks included, are what they would be without us.
"""

import sys
import time

from . import guard, recorder

STDLIB = {
    "code": "monitor_auto.hooks.prompt:install",
    "asyncio.base_events": "monitor_auto.boot.loops:install",
    "uvloop": "monitor_auto.boot.loops:install_uvloop",
    "multiprocessing.forkserver": "monitor_auto.boot.starting:install_forkserver",
    "subprocess": "monitor_auto.boot.children:install",
    "socket": "monitor_auto.boot.listening:install",
    "pyuwsgi": "monitor_auto.boot.embedded:install_uwsgi",
    "uwsgidecorators": "monitor_auto.boot.embedded:install_uwsgidecorators",
}
"""What shows how programs and their children end: always wanted, and patched without wrapt. Of the standard library but
uvloop, a loop, and uWSGI, which forks."""

LIBRARY = {
    "http.client": "monitor_auto.hooks.http_client:install",
    "wsgiref.handlers": "monitor_auto.hooks.wsgiref:install",
    "logging": "monitor_auto.hooks.logging:install",
    "unittest.suite": "monitor_auto.hooks.unittest:install",
}
"""What programs call of the standard library: patched without wrapt, if MONITOR_INSTRUMENT and MONITOR_SKIP want it."""

THIRD_PARTY = {
    "aiohttp": "monitor_auto.hooks.aiohttp:install",
    "httpx": "monitor_auto.hooks.httpx:install",
    "urllib3.connectionpool": "monitor_auto.hooks.urllib3:install",
    "IPython.core.interactiveshell": "monitor_auto.hooks.ipython:install",
    "aiohttp.web_protocol": "monitor_auto.hooks.aiohttp_web:install",
    "django.core.handlers.asgi": "monitor_auto.hooks.django:install_asgi",
    "django.core.handlers.base": "monitor_auto.hooks.django:install_base",
    "django.core.handlers.exception": "monitor_auto.hooks.django:install_exception",
    "django.core.handlers.wsgi": "monitor_auto.hooks.django:install_wsgi",
    "fastapi.routing": "monitor_auto.hooks.starlette:install_fastapi",
    "flask.app": "monitor_auto.hooks.flask:install",
    "gunicorn.http.wsgi": "monitor_auto.hooks.gunicorn:install_create",
    "gunicorn.workers.base_async": "monitor_auto.hooks.gunicorn:install_worker",
    "gunicorn.workers.gasgi": "monitor_auto.hooks.gunicorn:install_asgi",
    "gunicorn.workers.gthread": "monitor_auto.hooks.gunicorn:install_worker",
    "gunicorn.workers.sync": "monitor_auto.hooks.gunicorn:install_worker",
    "hypercorn.app_wrappers": "monitor_auto.hooks.hypercorn:install",
    "starlette.applications": "monitor_auto.hooks.starlette:install",
    "starlette.routing": "monitor_auto.hooks.starlette:install_routing",
    "uvicorn.config": "monitor_auto.hooks.uvicorn:install",
    "_pytest.runner": "monitor_auto.hooks.pytest:install",
    "loguru._handler": "monitor_auto.hooks.loguru:install",
    "structlog._loggers": "monitor_auto.hooks.structlog:install",
    "structlog._output": "monitor_auto.hooks.structlog:install",
}

ASKED = {"warnings": "monitor_auto.hooks.warnings:install"}
"""What is hooked only where MONITOR_INSTRUMENT names it; no wrapt either."""

waiting = {**STDLIB, **LIBRARY, **THIRD_PARTY}
installed = []
settings = None
outside = sys.stdlib_module_names
"""The first import of another name is when hooks of other packages are looked for; afterwards empty. `org` is what
Python's own copy and pickle ask for, in vain (Jython has it; 3.10 to 3.15)."""
monotonic = time.monotonic  # the program may replace it
FIRST_SECONDS = 1.05
"""A little more than background.py asks for."""
ready = 0.0
"""From then on (`monotonic`) an import is a sign that this session lives on; 0: nobody waits for one."""
on_collection = None


def find_spec(name, path=None, target=None):
    """Return None for what is no target, else the real finders' spec, with a step of ours after its execution.

    What `sys.meta_path` asks: this module itself is the finder. What the real finders raise is the program's.
    """
    global outside
    if (
        outside
        and path is None
        and name not in outside
        and name != "org"
        and name[:1] != "_"
        and name[-9:] != "customize"
    ):
        outside = ()
        guard.late("entries", "look")
    if name not in waiting:
        if 0 < ready < monotonic():
            recorder.show_life()
        return None
    if name == "subprocess":  # what it starts children with is replaced before it takes it
        installed.append(name)
        del waiting[name]
        guard.late("children", "install", None)
        return None
    find = guard.late("arrivals", "finder_of", name)
    return None if find is None else find(name, path, target)


def await_life():
    """Take an import, or a collection of garbage, for a sign that this session lives on, once its first second is over.

    Until then a collection runs no step of Python: an exception of the program's signal handlers that came there
    would be printed and lost (gcmodule.c: invoke_gc_callback, 3.10 to 3.15). What `gc` calls is `getattr(module, phase,
    info)`; the module has no such name and asks its own `__getattr__`, the `next` of an iterator that looks at the
    clock and takes its next step from one of two others.
    """
    global ready, on_collection
    gc = collector()
    if on_collection in gc.callbacks:
        gc.callbacks.remove(on_collection)
    ready = monotonic() + FIRST_SECONDS
    method = type(guard.late.__get__(guard))
    nothing, once = iter(int, 1), map(guard.call, ("life",), (recorder.show_life,))
    steps = map((nothing, once).__getitem__, map(ready.__lt__, iter(monotonic, None)))
    asked = type(sys)("monitor_auto_life")
    asked.__getattr__ = method(next, map(next, steps, nothing))
    on_collection = method(getattr, asked)
    gc.callbacks.append(on_collection)


def collector():
    """Return the module `gc`; one of our own where nobody has imported it: that costs a quarter, and sys.modules is as
    it was.
    """
    gc = sys.modules.get("gc")
    if gc is None:
        imp = sys.modules["_imp"]
        gc = imp.create_builtin(type(sys.implementation)(name="gc"))
        imp.exec_builtin(gc)
    return gc


def install(given_settings):
    """Wait for targets from now on; those that are there already get their hook at once.

    Our place is before the finder that looks at files, so that builtin and frozen modules are none the dearer.
    """
    global settings
    settings = given_settings
    for name in settings.instrument:
        if name in ASKED:
            waiting[name] = ASKED[name]
    if settings.flush_interval_seconds:
        await_life()
    place = 0
    for index, finder in enumerate(sys.meta_path):
        if getattr(finder, "__name__", "") == "PathFinder":
            place = index
            break
    sys.meta_path.insert(place, sys.modules[__name__])
    for name in list(filter(sys.modules.__contains__, waiting)):
        guard.late("arrivals", "install_late", name)

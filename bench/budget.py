"""Data: every row of the budget that applies so far, in its order. A new row is an entry here and a function."""

from math import inf

from bench.bursts import burst
from bench.calls import dormant_event, error, event, make_call
from bench.exits import answering, https, make_away, proxied
from bench.fleets import fleet, flush_orphans
from bench.imports import make_import
from bench.ingest import ingest
from bench.loops import loop_lag, loop_work
from bench.rows import Limit, Row
from bench.starts import (
    CHILD,
    EXIT,
    PASS,
    PIP,
    company,
    descriptors,
    difference_json,
    foreign_modules,
    make_ratio_on,
    memory,
    ratio_off,
)

RATIO = "{:.3f} ×"
MS = "{:.1f} ms"
US = "{:.2f} µs"
CALL = (Limit(15, "{:.1f} µs"),)
IMPORTS = (Limit(0, "{:+.0f} M beside wrapt"),)
TEST = (Limit(inf, "{:.1f} µs"),)
"""No row of the budget, which speaks of calls."""
HOOKED = {
    "logging": "logging",
    "unittest": "unittest",
    "http.client": "http.client",
    "wsgiref.simple_server": "wsgiref",
    "httpx": "httpx",
    "requests": "urllib3",
    "aiohttp": "aiohttp",
    "flask": "flask",
    "django.core.handlers.wsgi": "django",
    "starlette.applications": "starlette",
    "pytest": "pytest",
}
AWAY = (Limit(3.2, "first {:.2f} s"), Limit(15, "others " + MS))

ROWS = (
    Row("off", "python -c pass, instructions, off / bare", (Limit(1.025, RATIO),), ratio_off),
    Row("import-json", "import json, instructions, on - bare", (Limit(7, "{:.2f} M"),), difference_json),
    Row("on", "python -c pass, instructions, on / bare", (Limit(1.2, RATIO),), make_ratio_on(PASS)),
    Row("sys-exit", "sys.exit(0), instructions, on / bare", (Limit(1.2, RATIO),), make_ratio_on(EXIT)),
    Row("child", "subprocess.run, instructions, on / bare", (Limit(1.08, RATIO),), make_ratio_on(CHILD)),
    Row("pip", "pip --version, instructions, on / bare", (Limit(1.02, RATIO),), make_ratio_on(PIP)),
    Row("modules", "modules at the first line, not ours", (Limit(0, "{} foreign"),), foreign_modules),
    Row(
        "threads",
        "threads, sockets, children at the first line",
        tuple(Limit(0, "{} " + what) for what in ("threads", "sockets", "children")),
        company,
    ),
    Row("descriptors", "descriptors, on - bare", (Limit(3, "{}"), Limit(0, "{} in the way")), descriptors),
    Row("memory", "resident memory, on - bare", (Limit(0.5, "{:.2f} MiB"),), memory),
    Row("event", "Monitor.event, on disk, / one write", (Limit(4, "{:.2f} ×"), Limit(6, US)), event),
    Row("dormant", "Monitor.event, dormant", (Limit(0.15, "{:.3f} µs"),), dormant_event),
    Row("error", "Monitor.error, ten frames", (Limit(80, "{:.1f} µs"),), error),
    Row("exit", "exit, collector answering, on - spool only", (Limit(5, MS),), answering),
    Row("exit-https", "exit, https by a name, on - spool only", (Limit(60, MS),), https),
    # No row of the budget: the helper imports httpx, which knows all rules about proxies.
    Row("exit-proxy", "exit, through a proxy, on - spool only", (Limit(250, MS),), proxied),
    Row("exit-refuse", "exit, collector refusing", AWAY, make_away("refuse")),
    Row("exit-black-hole", "exit, collector never answering", AWAY, make_away("black-hole")),
    Row("exit-drip", "exit, collector dripping 1 byte/s", AWAY, make_away("drip")),
    Row("exit-unresolvable", "exit, collector's name unresolvable", AWAY, make_away("unresolvable")),
    Row("exit-handshake", "exit, TLS handshake never answered", AWAY, make_away("handshake")),
    Row("exit-proxy-hangs", "exit, proxy never answering", AWAY, make_away("proxy")),
    *(
        Row(f"call-{kind}", f"one call of {kind}, on - bare", CALL, make_call(kind, "http.client.request"))
        for kind in ("httpx", "http.client", "urllib.request", "requests", "aiohttp")
    ),
    *(
        Row(f"request-{kind}", f"one request to {kind}, on - bare", CALL, make_call(kind, "http.server.request"))
        for kind in ("wsgiref", "uvicorn", "flask", "django")
    ),
    Row("log-error", "one logger.error, on - bare", CALL, make_call("logging", "log.error")),
    Row("test-pytest", "one test of pytest, on - bare", TEST, make_call("pytest", "test.result")),
    *(
        Row(f"import-{hook}", f"import {target}, instructions, on - bare", IMPORTS, make_import(target, hook))
        for target, hook in HOOKED.items()
    ),
    Row(
        "loop-lag",
        "event-loop lag added, 99th percentile",
        (Limit(20, "first flush " + MS), Limit(1, "later {:.2f} ms")),
        loop_lag,
    ),
    # Of the budget's 5 % for a program that is flushed in the background, here for one that keeps a loop busy.
    Row("loop-work", "asyncio program, processor time, flushed / not", (Limit(1.05, RATIO),), loop_work),
    Row(
        "burst",
        "100,000 events flushed beside work: time, its slowdown",
        (Limit(10, "{:.1f} s"), Limit(1.05, RATIO)),
        burst,
    ),
    # The limit is 10,000 events a second on two cores.
    Row("ingest", "collector, each event of 4 connections", (Limit(100, "{:.0f} µs"),), ingest),
    Row("flush", "monitor-auto flush, 100,000 events", (Limit(10, "{:.2f} s"),), flush_orphans),
    Row("fleet", "200 scripts, two at a time, on / bare", (Limit(1.2, RATIO), Limit(0, "{} missing")), fleet),
)

"""The routes. Events come in at POST /v1/events and are answered when they are committed; everything else reads."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from monitor_auto import __version__

from . import answers
from .admission import Admission, Rules
from .answers import fresh, later
from .exposition import exposition
from .live import Live, TooMany
from .posting import Posting
from .pruning import Retention
from .questions import BadQuestion
from .reading import Reader, TooSlow
from .store import Committed, Store

EVENTS_PATH = "/v1/events"
PAGES = Path(__file__).parent / "pages"


@dataclass(frozen=True)
class Options:
    """What the command line says. `hosts` is None where any name is fine."""

    database: Path
    retention: Retention
    hosts: frozenset[str] | None
    token: str | None


class Server:
    """The state that all requests share: the writer, the readers, the open pages."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.started = time.monotonic()
        self._live: Live | None = None
        self.store = Store(options.database, options.retention, self._publish)
        self.posting = Posting(self.store)
        self.reader = Reader(options.database)

    def uptime_seconds(self) -> float:
        """Return for how long it has run."""
        return round(time.monotonic() - self.started, 3)

    def _publish(self, committed: Committed) -> None:
        if self._live is not None:
            self._live.publish(committed)

    @property
    def live(self) -> Live:
        """The open pages; made on the loop when it runs."""
        if self._live is None:
            self._live = Live(asyncio.get_running_loop())
        return self._live

    def close(self) -> None:
        """Commit what waits and close the database."""
        self.store.close()
        self.reader.close()


class Collector:
    """The ASGI application: who may ask, then POST /v1/events, then all that is read."""

    def __init__(self, options: Options) -> None:
        """Raises schema.Unusable when there is no database to be had."""
        self.server = Server(options)
        self._pages = pages(self.server)
        self._admitted = Admission(self._route, Rules(options.hosts, options.token))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or live as long as the server does."""
        await self._admitted(scope, receive, send)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_post = scope["type"] == "http" and scope["method"] == "POST" and scope["path"] == EVENTS_PATH
        await (self.server.posting if is_post else self._pages)(scope, receive, send)


def pages(server: Server) -> Starlette:
    """Return the application of what is read."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        server.live.close()
        await run_in_threadpool(server.close)

    return Starlette(
        routes=routes(server),
        lifespan=lifespan,
        exception_handlers={
            BadQuestion: answers.on_bad_question,
            TooSlow: answers.on_too_slow,
            sqlite3.Error: answers.on_database_error,
        },
    )


def routes(server: Server) -> list[Route | Mount]:
    """Return what is served where."""
    reader = server.reader
    return [
        Route("/", page),
        Route("/health", bound(health, server)),
        Route("/metrics", bound(metrics, server)),
        Route(EVENTS_PATH, server.posting, methods=["POST"]),  # never reached, but in the list of 405
        Route(EVENTS_PATH, asking(reader.events)),
        Route("/v1/events/summary", asking(reader.summary)),
        Route("/v1/runs", asking(reader.runs)),
        Route("/v1/runs/{key}", finding(reader.run)),
        Route("/v1/errors", asking(reader.errors)),
        Route("/v1/errors/{key}", finding(reader.error)),
        Route("/v1/lost", asking(reader.lost)),
        Route("/v1/metrics", asking(reader.metric_names)),
        Route("/v1/metrics/{name:path}", bound(metric, server)),
        Route("/v1/tests", asking(reader.tests)),
        Route("/v1/stream", bound(stream, server)),
        Mount("/static", Files(directory=PAGES)),
    ]


class Files(StaticFiles):
    """The page's own files. Browsers ask each time whether they have changed: after an update a module that is still in
    their cache would meet a newer one.
    """

    def file_response(self, *args: Any, **named: Any) -> Response:
        """Return a file, or 304."""
        answer = super().file_response(*args, **named)
        answer.headers["Cache-Control"] = "no-cache"
        return answer


Endpoint = Callable[[Request], Awaitable[Response]]


def bound(function: Callable[[Request, Server], Awaitable[Response]], server: Server) -> Endpoint:
    """Return an endpoint that knows the server."""

    async def endpoint(request: Request) -> Response:
        return await function(request, server)

    return endpoint


def asking(question: Callable[[dict[str, str]], Any]) -> Endpoint:
    """Return an endpoint that answers a question, on a thread."""

    async def endpoint(request: Request) -> Response:
        return fresh(await run_in_threadpool(question, dict(request.query_params)))

    return endpoint


def finding(question: Callable[[str], Any]) -> Endpoint:
    """Return an endpoint that looks something up; 404 where it is not there."""

    async def endpoint(request: Request) -> Response:
        found = await run_in_threadpool(question, request.path_params["key"])
        return JSONResponse({"error": "There is nothing of that id here."}, 404) if found is None else fresh(found)

    return endpoint


async def page(request: Request) -> Response:
    """The page; what it shows it asks for itself."""
    return FileResponse(PAGES / "index.html", headers={"Cache-Control": "no-cache"})


async def health(request: Request, server: Server) -> Response:
    """GET /health"""
    totals = await run_in_threadpool(server.reader.totals)
    return fresh({"status": "ok", "version": __version__, "uptime_seconds": server.uptime_seconds(), **totals})


async def metric(request: Request, server: Server) -> Response:
    """GET /v1/metrics/NAME"""
    return fresh(await run_in_threadpool(server.reader.metric, request.path_params["name"], dict(request.query_params)))


async def stream(request: Request, server: Server) -> Response:
    """GET /v1/stream: server-sent events."""
    try:
        messages = server.live.join()
    except TooMany:
        return later(503, "Too many pages are open.", answers.FAILED_SECONDS)
    return StreamingResponse(messages, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def metrics(request: Request, server: Server) -> Response:
    """GET /metrics: for Prometheus."""
    totals = await run_in_threadpool(server.reader.totals)
    text = exposition(totals, server.uptime_seconds(), server.store.counters, server.posting.answers)
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

"""The routes. Events come in at POST /v1/events and are answered when they are committed; everything else reads."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from monitor_auto import __version__

from . import intake
from .admission import Admission, Rules
from .live import Live, TooMany
from .reading import BadQuestion, Reader, TooSlow
from .store import Busy, Committed, Failed, Retention, Store

PAGES = Path(__file__).parent / "pages"
BODY_SECONDS = 30.0
"""For the whole body of a POST: somebody who drips one byte a second gets 408."""
INLINE_BYTES = 128 << 10
"""A body up to this size is read on the loop: 3 ms, less than handing it to a thread beside the writer."""
BUSY_SECONDS, FAILED_SECONDS = 1, 10
"""`retry_after` when the writer is behind, and when the disk is full."""


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
        self.answers: dict[int, int] = {}
        self._live: Live | None = None
        self.store = Store(options.database, options.retention, self._publish)
        self.reader = Reader(options.database)

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


def make_app(options: Options) -> Starlette:
    """Return the application. Raises schema.Unusable when there is no database to be had."""
    server = Server(options)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        server.live.close()
        await run_in_threadpool(server.close)

    app = Starlette(
        routes=routes(server),
        middleware=[Middleware(Admission, rules=Rules(options.hosts, options.token))],
        lifespan=lifespan,
        exception_handlers={
            BadQuestion: on_bad_question,
            TooSlow: on_too_slow,
            intake.Refused: on_refused,
            sqlite3.Error: on_database_error,
        },
    )
    app.state.server = server
    return app


def routes(server: Server) -> list[Route | Mount]:
    """Return what is served where."""
    reader = server.reader
    return [
        Route("/", page),
        Route("/health", bound(health, server)),
        Route("/metrics", bound(metrics, server)),
        Route("/v1/events", bound(post_events, server), methods=["POST"]),
        Route("/v1/events", asking(reader.events)),
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
    uptime = round(time.monotonic() - server.started, 3)
    return fresh({"status": "ok", "version": __version__, "uptime_seconds": uptime, **totals})


async def metric(request: Request, server: Server) -> Response:
    """GET /v1/metrics/NAME"""
    return fresh(await run_in_threadpool(server.reader.metric, request.path_params["name"], dict(request.query_params)))


async def stream(request: Request, server: Server) -> Response:
    """GET /v1/stream: server-sent events."""
    try:
        messages = server.live.join()
    except TooMany:
        return later(503, "Too many pages are open.", FAILED_SECONDS)
    return StreamingResponse(messages, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def post_events(request: Request, server: Server) -> Response:
    """POST /v1/events: store, and answer when it is committed."""
    answer = await take(request, server)
    server.answers[answer.status_code] = server.answers.get(answer.status_code, 0) + 1
    return answer


async def take(request: Request, server: Server) -> Response:
    """Return the answer to a POST."""
    try:
        body = await asyncio.wait_for(read_body(request), BODY_SECONDS)
        encoding = request.headers.get("content-encoding", "")
        received = round(time.time() * 1000)
        plain = await run_in_threadpool(intake.unpack, body, encoding) if encoding else body
        if len(plain) <= INLINE_BYTES:
            posted, rows, problems = understand(plain, received)
        else:
            posted, rows, problems = await run_in_threadpool(understand, plain, received)
        if rows:
            await asyncio.shield(asyncio.wrap_future(server.store.submit(rows)))
    except intake.Refused as refused:
        return refusal_of(refused)
    except asyncio.TimeoutError:
        return JSONResponse({"error": f"The body took longer than {BODY_SECONDS:.0f} s."}, 408)
    except ClientDisconnect:
        return Response(status_code=400)  # nobody reads it
    except Busy:
        return later(429, "More is coming in than can be stored; try again.", BUSY_SECONDS)
    except Failed as failed:
        return later(503, f"The events cannot be stored: {failed}.", FAILED_SECONDS)
    return answer_of(posted, rows, problems)


def understand(body: bytes, received: int) -> tuple[intake.Posted, list[intake.Row], list[intake.Problem]]:
    """Parse and check a body. Raises intake.Refused."""
    posted = intake.parse(body)
    return posted, *intake.check(posted, received)


async def read_body(request: Request) -> bytes:
    """Read a body that is not too large. Raises intake.Refused (413) as soon as it is."""
    announced = request.headers.get("content-length", "")
    too_large = intake.Refused(413, f"The body is larger than {intake.MAX_BODY_BYTES} bytes.")
    if announced.isdigit() and int(announced) > intake.MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > intake.MAX_BODY_BYTES:
            raise too_large
    return bytes(body)


def answer_of(posted: intake.Posted, rows: list[intake.Row], problems: list[intake.Problem]) -> Response:
    """Return 200 when all was taken, 207 when some of several was not, 400 for a single event that was not."""
    if problems and posted.is_single:
        return refusal_of(intake.Refused(400, problems[0].message, problems[0].fields))
    errors = [{"index": one.index, "message": one.message, "fields": one.fields} for one in problems]
    return JSONResponse({"accepted": len(rows), "rejected": len(problems), "errors": errors}, 207 if problems else 200)


def refusal_of(refused: intake.Refused) -> Response:
    """Return the answer to a body that cannot be taken as a whole."""
    return JSONResponse({"error": refused.message, "fields": refused.fields}, refused.status)


def later(status: int, message: str, seconds: int) -> Response:
    """Return an answer that says when to come again."""
    return JSONResponse({"error": message, "retry_after": seconds}, status, {"Retry-After": str(seconds)})


def fresh(value: Any) -> Response:
    """Return a JSON answer that nobody may keep."""
    return Ascii(value, headers={"Cache-Control": "no-store"})


class Ascii(JSONResponse):
    """JSON in ASCII, as it is stored: half a surrogate pair, which any program may record, has no other form."""

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return json.dumps(content, separators=(",", ":")).encode("ascii")


async def on_bad_question(request: Request, error: Exception) -> Response:
    """A parameter cannot be used."""
    assert isinstance(error, BadQuestion)
    return JSONResponse({"error": error.message, "fields": [error.field]}, 400)


async def on_too_slow(request: Request, error: Exception) -> Response:
    """A question took too long."""
    return later(503, str(error), BUSY_SECONDS)


async def on_refused(request: Request, error: Exception) -> Response:
    """A body cannot be taken."""
    assert isinstance(error, intake.Refused)
    return refusal_of(error)


async def on_database_error(request: Request, error: Exception) -> Response:
    """The database does not answer: the disk is full, or somebody has changed the file."""
    return later(503, f"The database does not answer: {error}.", FAILED_SECONDS)


async def metrics(request: Request, server: Server) -> Response:
    """GET /metrics: the text that Prometheus reads (exposition format 0.0.4)."""
    totals = await run_in_threadpool(server.reader.totals)
    counters = server.store.counters
    lines = []
    for name, kind, purpose, values in (
        ("events", "gauge", "Events that are stored.", {"": totals["total_events"]}),
        ("storage_bytes", "gauge", "Bytes of the database that are in use.", {"": totals["storage_bytes"]}),
        ("uptime_seconds", "gauge", "Seconds since the start.", {"": round(time.monotonic() - server.started, 3)}),
        ("stored_events_total", "counter", "Events stored since the start.", {"": counters.stored}),
        ("repeated_events_total", "counter", "Events that were there already.", {"": counters.repeated}),
        ("pruned_events_total", "counter", "Events deleted for age or size.", {"": counters.pruned}),
        ("commits_total", "counter", "Transactions.", {"": counters.commits}),
        ("failures_total", "counter", "Transactions that failed.", {"": counters.failures}),
        ("answers_total", "counter", "Answers to POST /v1/events.", labelled(server.answers)),
    ):
        full = f"monitor_auto_collector_{name}"
        lines += [f"# HELP {full} {purpose}", f"# TYPE {full} {kind}"]
        lines += [f"{full}{label} {value}" for label, value in values.items()]
    return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")


def labelled(answers: dict[int, int]) -> dict[str, float]:
    """Return counts by status with Prometheus labels."""
    return {f'{{status="{status}"}}': count for status, count in sorted(answers.items())}

"""POST /v1/events: events come in here, and are answered when they are committed. Runs on the loop, for every batch; so
it speaks ASGI itself and goes through none of starlette's layers.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from . import intake
from .answers import BUSY_SECONDS, FAILED_SECONDS, later, refusal_of
from .rows import Problem, Row, check
from .store import Busy, Failed, Store

BODY_SECONDS = 30.0
"""For the whole body of a POST: somebody who drips one byte a second gets 408."""
INLINE_BYTES = 128 << 10
"""A body up to this size is read on the loop: 3 ms, less than handing it to a thread beside the writer."""
INLINE_PACKED_BYTES = INLINE_BYTES // 8
"""The same of a compressed one: events shrink to a tenth or a fifth."""


class Gone(Exception):
    """The sender has closed the connection before its body was here."""


class TooLate(Exception):
    """The body was not here in time."""


@dataclass(frozen=True)
class Understood:
    """What a body holds: is it one event alone, what can be stored, what cannot."""

    is_single: bool
    rows: list[Row]
    problems: list[Problem]


class Posting:
    """The ASGI application of this one path. `answers` counts them by status."""

    def __init__(self, store: Store) -> None:
        self.answers: dict[int, int] = {}
        self._store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one POST."""
        answer = await self._answer(Headers(scope=scope), receive)
        self.answers[answer.status_code] = self.answers.get(answer.status_code, 0) + 1
        await answer(scope, receive, send)

    async def _answer(self, headers: Headers, receive: Receive) -> Response:
        try:
            return await self._take(headers, receive)
        except intake.Refused as refused:
            return refusal_of(refused)
        except TooLate:
            return JSONResponse({"error": f"The body took longer than {BODY_SECONDS:.0f} s."}, 408)
        except Gone:
            return Response(status_code=400)  # nobody reads it
        except Busy:
            return later(429, "More is coming in than can be stored; try again.", BUSY_SECONDS)
        except Failed as failed:
            return later(503, f"The events cannot be stored: {failed}.", FAILED_SECONDS)

    async def _take(self, headers: Headers, receive: Receive) -> Response:
        body = await read_body(headers, receive)
        received = round(time.time() * 1000)
        encoding = headers.get("content-encoding", "")
        if len(body) <= (INLINE_PACKED_BYTES if encoding else INLINE_BYTES):
            understood = understand(body, encoding, received)
        else:
            understood = await run_in_threadpool(understand, body, encoding, received)
        if understood.rows:
            await asyncio.shield(asyncio.wrap_future(self._store.submit(understood.rows)))
        return answer_of(understood)


def understand(body: bytes, encoding: str, received: int) -> Understood:
    """Unpack, parse and check a body. Raises intake.Refused."""
    posted = intake.parse(intake.unpack(body, encoding))
    return Understood(posted.is_single, *check(posted, received))


async def read_body(headers: Headers, receive: Receive) -> bytes:
    """Read a body that is not too large. Raises intake.Refused (413) as soon as it is, TooLate, Gone."""
    announced = headers.get("content-length", "")
    if announced.isdigit() and int(announced) > intake.MAX_BODY_BYTES:
        raise too_large()
    try:
        if sys.version_info < (3, 11):
            return await asyncio.wait_for(pieces_of_body(receive), BODY_SECONDS)
        async with deadline(BODY_SECONDS):  # makes no task of it
            return await pieces_of_body(receive)
    except asyncio.TimeoutError:
        raise TooLate from None


def deadline(seconds: float) -> AbstractAsyncContextManager[object]:
    """asyncio.timeout, which Python 3.10 has not."""
    return asyncio.timeout(seconds)  # type: ignore[attr-defined,no-any-return,unused-ignore]  # checked as for 3.10


async def pieces_of_body(receive: Receive) -> bytes:
    """Read until the end. Raises intake.Refused (413), Gone."""
    pieces, size, is_more = [], 0, True
    while is_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > intake.MAX_BODY_BYTES:
            raise too_large()
        is_more = message.get("more_body", False)
    return b"".join(pieces)


def too_large() -> intake.Refused:
    """Return what a body that is too large is answered."""
    return intake.Refused(413, f"The body is larger than {intake.MAX_BODY_BYTES} bytes.")


def answer_of(understood: Understood) -> Response:
    """Return 200 when all was taken, 207 when some of several was not, 400 for a single event that was not."""
    problems = understood.problems
    if problems and understood.is_single:
        return refusal_of(intake.Refused(400, problems[0].message, problems[0].fields))
    errors = [{"index": one.index, "message": one.message, "fields": one.fields} for one in problems]
    told = {"accepted": len(understood.rows), "rejected": len(problems), "errors": errors}
    return JSONResponse(told, 207 if problems else 200)

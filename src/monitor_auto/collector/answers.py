"""The answers that several routes give."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from . import intake
from .questions import BadQuestion

BUSY_SECONDS, FAILED_SECONDS = 1, 10
"""`retry_after` when the writer is behind, and when the disk is full."""


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


async def on_database_error(request: Request, error: Exception) -> Response:
    """The database does not answer: the disk is full, or somebody has changed the file."""
    return later(503, f"The database does not answer: {error}.", FAILED_SECONDS)

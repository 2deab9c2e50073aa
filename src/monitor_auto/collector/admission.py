"""Who may ask. Runs before every request.

Guarantees:
- A web page of somebody else in the user's browser can neither read nor write: its own origin is in `Origin` or
  `Sec-Fetch-Site`, and a name of its own that it has pointed at this machine (DNS rebinding) is in `Host`.
- With a token, nothing but the page's own files and /health is given without it; it is compared in constant time.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
OPEN_PATHS = ("/", "/health", "/favicon.ico")


@dataclass(frozen=True)
class Rules:
    """What is let in. `hosts`: names that a request may use for us, without the port; None: any."""

    hosts: frozenset[str] | None
    token: str | None


class Admission:
    """ASGI middleware that answers 403 or 401 itself, and puts the protecting headers on every answer."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self.app = app
        self.rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or answer it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = refuse(Request(scope), self.rules)
        await (refusal or self.app)(scope, receive, with_headers(send))


def refuse(request: Request, rules: Rules) -> Response | None:
    """Return the answer for a request that may not come in; None for one that may."""
    host = request.headers.get("host", "")
    if rules.hosts is not None and name_of(host) not in rules.hosts:
        return no(403, f"This collector does not answer to the name {host[:100]!r}; start it with --allow-host.")
    if is_foreign(request, host):
        return no(403, "Requests from other web sites are not answered.")
    if rules.token and not is_open(request) and not has_token(request, rules.token):
        return no(401, "A token is needed: send Authorization: Bearer TOKEN.", {"WWW-Authenticate": "Bearer"})
    return None


def name_of(host: str) -> str:
    """Return a Host header without its port, in lower case."""
    name, _, port = host.rpartition(":")
    return (name if name and port.isdigit() else host).lower().rstrip(".")


def is_foreign(request: Request, host: str) -> bool:
    """True for a request that a page of another origin has caused."""
    origin = request.headers.get("origin")
    if origin is not None and origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower()):
        return True
    site = request.headers.get("sec-fetch-site", "none")
    # A link from elsewhere may open the page itself, which shows it to the user alone.
    is_opened = request.method == "GET" and request.headers.get("sec-fetch-mode") == "navigate"
    return site not in ("none", "same-origin") and not (is_opened and request.url.path == "/")


def is_open(request: Request) -> bool:
    """True for what holds no event."""
    path = request.url.path
    return request.method in ("GET", "HEAD") and (path in OPEN_PATHS or path.startswith("/static/"))


def has_token(request: Request, token: str) -> bool:
    """True when the request carries the token."""
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), token.encode("utf-8"))


def no(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    """Return an answer that says why not."""
    return JSONResponse({"error": message}, status, headers)


def with_headers(send: Send) -> Send:
    """Return a `send` that adds the protecting headers."""
    extra = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]

    async def send_with_headers(message):  # type: ignore[no-untyped-def]  # starlette's Message
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *extra]
        await send(message)

    return send_with_headers

"""The httpx transport: https, names, proxies and connections that are used again. Runs in commands and in flush.

Guarantees: no redirect is followed, so a token never leaves for another origin; requests have a Content-Length; the
client is marked as our own, so that no hook records it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monitor_auto.boot.formats import monotonic

from .batches import renewed
from .exchange import Answer, NoAnswer, addresses

if TYPE_CHECKING:
    from types import TracebackType

MIN_GZIP_BYTES = 4096


class Transport:
    """A client for one endpoint. Use it as a context manager; `close` ends its connections."""

    def __init__(self, settings: Any, timeout_seconds: float) -> None:
        """Raises ImportError without httpx, or what it needs for the environment's proxy; ValueError, OSError for a
        proxy's address or a file of certificates that cannot be used.
        """
        import httpx

        self.url, self.is_gzip_worthwhile, options = client_options(settings)
        self.client = httpx.Client(timeout=timeout_seconds, **options)
        self.client._monitor_auto_own = True  # type: ignore[attr-defined]
        self.errors = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError)
        self.lost_connection = httpx.RemoteProtocolError

    def __enter__(self) -> Transport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def post(self, body: bytes, deadline: float | None = None) -> Answer:
        """Send one body and return the Answer. Raises NoAnswer.

        `deadline`: on the clock of `time.monotonic()`; the operations of this one request get what is left until then.
        """
        try:
            return self._send(body, deadline)
        except self.lost_connection:
            # A kept connection that the server had just closed; `event_id` covers the case that it had read it all.
            try:
                return self._send(renewed(body), deadline)
            except self.errors as error:
                raise NoAnswer(reason(error)) from error
        except self.errors as error:  # names, certificates, proxies, sockets
            raise NoAnswer(reason(error)) from error

    def _send(self, body: bytes, deadline: float | None) -> Answer:
        options: dict[str, Any] = {}
        body, headers = packed(body) if self.is_gzip_worthwhile else (body, {})
        if deadline is not None:
            options["timeout"] = max(0.001, deadline - monotonic())
        response = self.client.post(self.url, content=body, headers=headers, **options)
        told = response.headers
        content_type, retry_after = told.get("content-type", ""), told.get("retry-after", "")
        return Answer(response.status_code, content_type, response.content, retry_after)


def client_options(settings: Any) -> tuple[str, bool, dict[str, Any]]:
    """Return the endpoint's URL, whether gzip is worth its time on the way there, and the arguments for httpx's
    clients.
    """
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    is_loopback = any(address == "::1" or address[:4] == "127." for address in addresses(settings.host))
    headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "monitor-auto"}
    if settings.token:
        headers["Authorization"] = f"Bearer {settings.token}"
    # A proxy cannot reach this machine's own loopback, whatever the environment says.
    options: dict[str, Any] = {"mounts": {f"all://{host}": None}} if is_loopback else {}
    if is_loopback and settings.scheme == "http":  # no TLS is spoken: to load the certificates would take 20 ms
        options |= {"trust_env": False, "verify": False}
    url = f"{settings.scheme}://{host}:{settings.port}{settings.path}"
    return url, not is_loopback, {"headers": headers, "follow_redirects": False, **options}


def packed(body: bytes) -> tuple[bytes, dict[str, str]]:
    """Return a body and its headers, compressed where it is long enough for that."""
    if len(body) < MIN_GZIP_BYTES:
        return body, {}
    import zlib

    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush(), {"Content-Encoding": "gzip"}


def reason(error: Exception) -> str:
    """Return why there was no answer."""
    return "timeout" if "Timeout" in type(error).__name__ else str(error) or type(error).__name__

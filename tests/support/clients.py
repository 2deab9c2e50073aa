"""The same few calls through each HTTP client: what a program of a user does, and what is to be recorded of it."""

from dataclasses import dataclass
from typing import Any

from support.children import Run

NAME = "http.client.request"


@dataclass(frozen=True)
class Client:
    """A way to make a request. `source` defines `call(url, method, headers, timeout, body)`, which returns a status."""

    told_as: str
    source: str
    requirements: tuple[str, ...] = ()
    follows: bool = True
    errors: tuple[str, str, str] = ("ConnectionRefusedError", "RemoteDisconnected", "TimeoutError")
    """What is recorded of a connection that is refused, one that is closed, and one that never answers."""


HTTP_CLIENT = """
    import http.client, urllib.parse
    def call(url, method="GET", headers={}, timeout=30, body=None):
        parts = urllib.parse.urlsplit(url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)
        try:
            connection.request(method, url[len(parts.scheme + "://" + parts.netloc):], body=body, headers=headers)
            response = connection.getresponse()
            response.read()
            return response.status
        finally:
            connection.close()
"""
URLLIB = """
    import urllib.error, urllib.request
    def call(url, method="GET", headers={}, timeout=30, body=None):
        request = urllib.request.Request(url, data=body, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                response.read()
                return response.status
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
"""
URLLIB3 = """
    import urllib3
    pool = urllib3.PoolManager(retries=urllib3.Retry(connect=0, read=0, redirect=5))
    def call(url, method="GET", headers={}, timeout=30, body=None):
        return pool.request(method, url, headers=headers, timeout=timeout, body=body).status
"""
REQUESTS = """
    import requests
    session = requests.Session()
    def call(url, method="GET", headers={}, timeout=30, body=None):
        response = session.request(method, url, headers=headers, timeout=timeout, data=body)
        assert headers or "traceparent" not in response.request.headers
        return response.status_code
"""
HTTPX = """
    import httpx
    client = httpx.Client(trust_env=False, follow_redirects=True)
    def call(url, method="GET", headers={}, timeout=30, body=None):
        response = client.request(method, url, headers=headers, timeout=timeout, content=body)
        assert headers or "traceparent" not in response.request.headers
        return response.status_code
"""
HTTPX_ASYNC = """
    import asyncio, httpx
    async def calling(url, method, headers, timeout, body):
        async with httpx.AsyncClient(trust_env=False, follow_redirects=True) as client:
            response = await client.request(method, url, headers=headers, timeout=timeout, content=body)
            assert headers or "traceparent" not in response.request.headers
            return response.status_code
    def call(url, method="GET", headers={}, timeout=30, body=None):
        return asyncio.run(calling(url, method, headers, timeout, body))
"""
AIOHTTP = """
    import asyncio, aiohttp
    async def calling(url, method, headers, timeout, body):
        total = aiohttp.ClientTimeout(total=timeout)
        async with aiohttp.ClientSession(timeout=total) as session:
            async with session.request(method, url, headers=headers, data=body) as response:
                await response.read()
                assert headers or "traceparent" not in response.request_info.headers
                return response.status
    def call(url, method="GET", headers={}, timeout=30, body=None):
        return asyncio.run(calling(url, method, headers, timeout, body))
"""
NEWEST = ("aiohttp", "requests", "urllib3")
CLIENTS = {
    "http.client": Client("http.client", HTTP_CLIENT, follows=False),
    "urllib.request": Client("http.client", URLLIB),
    "urllib3": Client(
        "urllib3", URLLIB3, NEWEST, errors=("NewConnectionError", "RemoteDisconnected", "ReadTimeoutError")
    ),
    "requests": Client(
        "urllib3", REQUESTS, NEWEST, errors=("NewConnectionError", "RemoteDisconnected", "ReadTimeoutError")
    ),
    "httpx": Client("httpx", HTTPX, NEWEST, errors=("ConnectError", "RemoteProtocolError", "ReadTimeout")),
    "httpx, async": Client("httpx", HTTPX_ASYNC, NEWEST, errors=("ConnectError", "RemoteProtocolError", "ReadTimeout")),
    "aiohttp": Client(
        "aiohttp", AIOHTTP, NEWEST, errors=("ClientConnectorError", "ServerDisconnectedError", "TimeoutError")
    ),
}


def requests_of(run: Run) -> list[dict[str, Any]]:
    """Return what was recorded of requests, in order, without the durations, which are checked here."""
    calls = [dict(event["data"]) for event in run.named(NAME)]
    for call in calls:
        duration = call.pop("duration_ms")
        assert isinstance(duration, float) and 0 < duration < 60_000
    return calls


def traces_of(run: Run) -> list[str]:
    """Return the `traceparent` that belongs to each recorded request."""
    spans = [event["span"] for event in run.named(NAME)]
    return [f"00-{span['trace_id']}-{span['span_id']}-01" for span in spans]

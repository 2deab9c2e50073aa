"""The web servers that collectors are made of, as processes of their own with one small application.

The application appends the body of every request to a file, one JSON text a line: which answer it gives is in the
path of the server's setting FORM. So a test sees what came over a real server's own parser.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.network import free_port, wait_until_open
from support.sandbox import Sandbox

REQUIREMENTS = ("uvicorn", "hypercorn", "gunicorn", "aiohttp")

# One module for all of them. A body comes as one line: JSON from a machine has no newline in it.
APPLICATION = """
import os, sys

FORM, BODIES, PORT = os.environ["FORM"], os.environ["BODIES"], os.environ["PORT"]


def keep(body):
    with open(BODIES, "ab") as file:
        file.write(body + b"\\n")


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("only http")
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    keep(body)
    headers = [(b"content-type", b"application/json")]
    pieces = [b"{}"]
    if FORM == "length":
        headers.append((b"content-length", b"2"))
    if FORM == "chunked":
        pieces = [b"{", b'"accepted": 2', b"}"]
    await send({"type": "http.response.start", "status": 204 if FORM == "empty" else 200, "headers": headers})
    if FORM != "empty":
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def wsgi(environ, start_response):
    keep(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    headers = [("Content-Type", "application/json")]
    if FORM == "length":
        headers.append(("Content-Length", "2"))
    start_response("204 No Content" if FORM == "empty" else "200 OK", headers)
    if FORM == "empty":
        return []
    return iter([b"{", b'"accepted": 2', b"}"]) if FORM == "chunked" else [b"{}"]


def aiohttp():
    from aiohttp import web

    async def take(request):
        keep(await request.read())
        if FORM == "empty":
            return web.Response(status=204)
        if FORM == "length":
            return web.json_response({})
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        if FORM == "chunked":
            answer.enable_chunked_encoding()
        await answer.prepare(request)
        await answer.write(b"{}")
        return answer

    application = web.Application(client_max_size=8 << 20)
    application.router.add_post("/v1/events", take)
    web.run_app(application, host="127.0.0.1", port=int(PORT), print=None)


def standard():
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        # An answer without a length ends with the connection, which is what HTTP/1.0 always does.
        protocol_version = "HTTP/1.0" if FORM == "close" else "HTTP/1.1"

        def do_POST(self):
            keep(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204 if FORM == "empty" else 200)
            self.send_header("Content-Type", "application/json")
            if FORM == "length":
                self.send_header("Content-Length", "2")
            if FORM == "chunked":
                self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            texts = {"empty": b"", "chunked": b"1\\r\\n{\\r\\n1;x=y\\r\\n}\\r\\n0\\r\\nTrailer: 1\\r\\n\\r\\n"}
            self.wfile.write(texts.get(FORM, b"{}"))

        def log_message(self, *args):
            pass

    ThreadingHTTPServer(("127.0.0.1", int(PORT)), Handler).serve_forever()


if __name__ == "__main__":
    {"aiohttp": aiohttp, "http.server": standard}[sys.argv[1]]()
"""

COMMANDS = {
    "uvicorn": "-m uvicorn --no-access-log --log-level warning --host 127.0.0.1 --port {port} application:asgi",
    "hypercorn": "-m hypercorn --bind 127.0.0.1:{port} application:asgi",
    "gunicorn": "-m gunicorn --log-level warning --workers 1 --bind 127.0.0.1:{port} application:wsgi",
    "aiohttp": "application.py aiohttp",
    "http.server": "application.py http.server",
}
"""What is run by the environment's own python."""

TLS_OPTIONS = {
    "uvicorn": "--ssl-certfile {certificate} --ssl-keyfile {key}",
    "hypercorn": "--certfile {certificate} --keyfile {key}",
    "gunicorn": "--certfile {certificate} --keyfile {key}",
}


@dataclass(frozen=True)
class Server:
    """A running server; what it has read lies in `bodies`."""

    port: int
    bodies: Path
    scheme: str

    @property
    def url(self) -> str:
        """The endpoint: a literal address, or a name where there is a certificate for it."""
        host = "localhost" if self.scheme == "https" else "127.0.0.1"
        return f"{self.scheme}://{host}:{self.port}/v1/events"

    def events(self) -> list[dict[str, Any]]:
        """Return all events that have come, in order."""
        texts = self.bodies.read_text(encoding="utf-8").splitlines() if self.bodies.exists() else []
        return [event for text in texts if text for event in json.loads(text)["events"]]


@contextmanager
def running_server(
    name: str, form: str, environment: Sandbox, folder: Path, certificate: Path | None = None
) -> Iterator[Server]:
    """Run one of COMMANDS, unmonitored, until the block ends; under TLS with a certificate (its key lies beside it)."""
    (folder / "application.py").write_text(APPLICATION, encoding="utf-8")
    server = Server(free_port(), folder / "bodies", "https" if certificate else "http")
    text = COMMANDS[name]
    if certificate is not None:
        text = text.replace("-m " + name, f"-m {name} {TLS_OPTIONS[name]}")
    key = certificate.with_name("key.pem") if certificate else ""
    words = [word.format(port=server.port, certificate=certificate, key=key) for word in text.split()]
    settings = {"FORM": form, "BODIES": str(server.bodies), "PORT": str(server.port), "PYTHONPATH": str(folder)}
    with started([*environment.command, *words], folder, server.port, settings):
        yield server


@contextmanager
def started(words: list[str], folder: Path, port: int, settings: dict[str, str]) -> Iterator[None]:
    """Run a server that listens on a port, with nothing of the monitor in its environment; end it and its workers."""
    environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environment |= {"HOME": str(folder), **settings}
    with open(folder / "server.log", "wb") as log:
        process = subprocess.Popen(
            words, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_until_open(port, process, folder / "server.log")
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


NGINX = """
daemon off;
worker_processes 1;
{user}
pid {folder}/nginx.pid;
error_log {folder}/server.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {tls}
    server {{
        listen 127.0.0.1:{port} {listen};
        client_max_body_size {limit};
        location / {{
            proxy_pass http://127.0.0.1:{behind};
            proxy_set_header Host $http_host;
            {options}
        }}
    }}
}}
"""


@contextmanager
def running_nginx(
    nginx: str, folder: Path, behind: int, limit: str = "8m", options: str = "", certificate: Path | None = None
) -> Iterator[str]:
    """Run nginx in front of a port on loopback until the block ends; yield the endpoint to name to a program."""
    port = free_port()
    key = certificate.with_name("key.pem") if certificate else ""
    text = NGINX.format(
        user="user root;" if os.geteuid() == 0 else "",
        folder=folder,
        tls=f"ssl_certificate {certificate}; ssl_certificate_key {key};" if certificate else "",
        port=port,
        listen="ssl" if certificate else "",
        limit=limit,
        behind=behind,
        options=options,
    )
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    words = [nginx, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "server.log")]
    with started(words, folder, port, {}):
        yield f"https://localhost:{port}/v1/events" if certificate else f"http://127.0.0.1:{port}/v1/events"

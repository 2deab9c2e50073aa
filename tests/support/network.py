"""Pieces of a network that tests need beside a collector: certificates, a proxy, a listener that never answers."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from support.needs import need_command


def make_certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Make a certificate of localhost for a day; return its file and a server's context that shows it."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    words = [need_command("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    words += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*words, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context


class Swallower:
    """Accepts connections and says nothing; counts them."""

    def __init__(self) -> None:
        self.connections: list[socket.socket] = []
        self._changed = threading.Condition()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # closed
                return
            with self._changed:
                self.connections.append(connection)
                self._changed.notify_all()

    def wait_for(self, count: int, timeout: float = 30) -> None:
        """Wait until so many connections were made; fail after `timeout` seconds."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.connections) >= count, timeout)

    def close(self) -> None:
        """End everything. Only a shutdown wakes the thread; until then it may take a connection."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        for connection in self.connections:
            connection.close()


@contextmanager
def running_proxy(port: int) -> Iterator[tuple[str, list[str]]]:
    """Run an HTTP proxy that sends every request to `port` on loopback; yield its URL and what it was asked for."""
    log: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _make_proxy(port, log))
    server.daemon_threads, server.block_on_close = True, False
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", log
    finally:
        server.shutdown()
        server.server_close()


def _make_proxy(port: int, log: list[str]) -> type[BaseHTTPRequestHandler]:
    class Proxy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            log.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            behind = HTTPConnection("127.0.0.1", port, timeout=60)
            path = "/" + self.path.split("/", 3)[3]
            behind.request("POST", path, body, dict(self.headers.items()))
            answer = behind.getresponse()
            self.send_response(answer.status)
            content = answer.read()
            behind.close()
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing."""

    return Proxy


def free_port() -> int:
    """Return a port on loopback that nobody uses just now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def wait_until_open(port: int, process: "subprocess.Popen[bytes]", log: Path, seconds: float = 120) -> None:
    """Wait until a server that was started accepts connections; fail with its log when it ends or takes too long."""
    deadline = monotonic() + seconds
    while monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
            return
        except OSError:
            sleep(0.01)
    raise AssertionError(f"the server does not listen: {log.read_text(errors='replace')}")

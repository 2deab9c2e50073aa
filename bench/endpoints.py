"""Starts collectors, good and bad, and asks them what has come."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import ROOT
from bench.lab import Lab
from bench.verdicts import Failed, Skipped

UNRESOLVABLE = "http://collector.invalid:9090/v1/events"
"""RFC 6761: no resolver knows a name below .invalid. How long it takes to say so is the machine's affair."""


@dataclass(frozen=True)
class Collector:
    """A running collector. `url` is the endpoint to name to a program."""

    url: str
    process: subprocess.Popen[str]

    def counts(self) -> dict[str, Any]:
        """Return what has come so far: connections, requests, and the number of different events by name."""
        assert self.process.stdin and self.process.stdout
        print(file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise Failed("the collector got something that is no batch, or died; it says why on standard error")
        counts: dict[str, Any] = json.loads(line)
        return counts

    def count(self, name: str) -> int:
        """Return how many different events of a name have come."""
        found: int = self.counts()["names"].get(name, 0)
        return found


@dataclass(frozen=True)
class Certificate:
    """Files of a certificate for `localhost` that vouches for itself."""

    chain: Path
    key: Path


@contextmanager
def running_collector(mode: str, certificate: Certificate | None = None) -> Iterator[Collector]:
    """Run a collector of bench/collector.py until the block ends; with a certificate over https, by a name."""
    files = [str(certificate.chain), str(certificate.key)] if certificate else []
    command = [sys.executable, "-m", "bench.collector", mode, *files]
    # Its errors go where ours go. It has to be the last one to hear of a Ctrl-C: the end of its input ends it.
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdin and process.stdout
        port = process.stdout.readline().strip()
        base = f"https://localhost:{port}" if certificate else f"http://127.0.0.1:{port}"
        try:
            yield Collector(f"{base}/v1/events", process)
        finally:
            process.stdin.close()
            process.wait(10)


def make_certificate(lab: Lab) -> Certificate:
    """Make a certificate for localhost, valid for a day. Raises Skipped without openssl."""
    if not shutil.which("openssl"):
        raise Skipped("install the Debian package openssl")
    made = Certificate(lab.folder / "chain.pem", lab.folder / "key.pem")
    words = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    command = [*words.split(), "-keyout", str(made.key), "-out", str(made.chain)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"openssl made no certificate: {done.stderr[-300:]}")
    return made

"""`monitor-auto collect` as users start it, and a small client for it."""

import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from support.sandbox import Sandbox

REQUIREMENTS = ("starlette", "uvicorn")
"""What the extra `local` brings; the oldest versions it allows are tried in test_collector_versions.py."""


@dataclass
class LocalCollector:
    """A running collector. `base` is its page, `process` its Popen."""

    base: str
    database: Path
    process: "subprocess.Popen[bytes]"
    client: httpx.Client = field(default_factory=lambda: httpx.Client(trust_env=False, timeout=60))

    @property
    def endpoint(self) -> str:
        """Where events are posted."""
        return self.base + "/v1/events"

    def post(self, body: Any, **how: Any) -> httpx.Response:
        """Post a JSON value."""
        return self.client.post(self.endpoint, json=body, **how)

    def get(self, path: str, **how: Any) -> httpx.Response:
        """Get a path, as it comes."""
        return self.client.get(self.base + path, **how)

    def json(self, path: str, **parameters: Any) -> Any:
        """Get a path that must be answered with 200, and return its JSON."""
        answer = self.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def events(self, **parameters: Any) -> list[dict[str, Any]]:
        """Return all events that match, following the cursor, the newest first."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while cursor is not None:
            page = self.json("/v1/events", limit=1000, **{**parameters, **({"cursor": cursor} if cursor else {})})
            found += page["events"]
            cursor = page["next_cursor"]
        return found

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; return the status."""
        self.client.close()
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def running_local_collector(
    sandbox: Sandbox, folder: Path, *words: str, port: int = 0, **env: str
) -> Iterator[LocalCollector]:
    """Start a collector with its database in `folder`, and end it."""
    database = folder / "collector" / "events.sqlite3"
    command = [*sandbox.command, "-m", "monitor_auto", "collect", "--json", "--port", str(port)]
    command += ["--database", str(database), *words]
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("MONITOR_", "PYTHON"))}
    with (folder / "collector.err").open("ab") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env={**clean, **env})
    assert process.stdout is not None
    running: LocalCollector | None = None
    try:
        line = process.stdout.readline()
        assert line, (folder / "collector.err").read_text()
        told = json.loads(line)
        running = LocalCollector(told["page"], database, process)
        yield running
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if running is not None:
            running.client.close()
        process.stdout.close()
    assert "Traceback" not in (folder / "collector.err").read_text(), (folder / "collector.err").read_text()


def new_id() -> str:
    """Return a UUID of version 7 of now."""
    milliseconds = time.time_ns() // 1_000_000
    return str(uuid.UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | int.from_bytes(os.urandom(7), "big")))


def event(name: str = "hook.run", session: str | None = None, number: int = 0, **changed: Any) -> dict[str, Any]:
    """Return a sound event; `changed` replaces its fields, and None leaves one out."""
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    made: dict[str, Any] = {
        "v": 1,
        "type": "event",
        "name": name,
        "timestamp": f"{at}.{number % 1000:03d}+00:00",
        "source": {"sdk": "python", "app": "demo", "version": "1.0", "platform": "linux", "os": "6.1.0"},
        "data": {"number": number},
    }
    if session:
        made |= {"event_id": f"{session}-{number}", "session": {"id": session, "started": f"{at}.000+00:00"}}
    return {key: value for key, value in (made | changed).items() if value is not None}

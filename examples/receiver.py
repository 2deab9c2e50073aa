"""A small receiver for trying things out: takes events over HTTP on loopback and prints what happened, as a tree.

    python examples/receiver.py [PORT]

It keeps nothing but what is in its memory and checks nobody: it is a demonstration, not a collector.
"""

import gzip
import json
import sys
import textwrap
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Event = dict[str, Any]
PATH = "/v1/events"
DEFAULT_PORT = 9090
WIDTH = 100
# What these say stands in the line of their session.
SHOWN_IN_HEADING = ("session.start", "session.exit", "session.end")


class Receiver:
    """Answers 200 to every batch and keeps its events. With `is_telling` it prints each batch as it comes."""

    def __init__(self, port: int = 0, is_telling: bool = False) -> None:
        self.events: list[Event] = []
        self.batches = 0
        self._is_telling = is_telling
        self._lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", port), _make_handler(self))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}{PATH}"

    def take(self, body: bytes) -> None:
        """Keep the events of one batch. Raises ValueError, KeyError or TypeError for anything else."""
        events = json.loads(body)["events"]
        with self._lock:
            known = {event["event_id"] for event in self.events}
            self.events += [event for event in events if event["event_id"] not in known]
            self.batches += 1
            if self._is_telling:
                print(account(events), end="\n\n", flush=True)

    def start(self) -> None:
        """Answer on a thread until `stop`."""
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Stop answering."""
        self.server.shutdown()
        self.server.server_close()


def account(events: list[Event]) -> str:
    """Tell what happened: every session below the one that started it, with its errors and events."""
    sessions: dict[str, list[Event]] = {}
    for event in events:
        sessions.setdefault(event["session"]["id"], []).append(event)
    roots = [own for own in sessions.values() if own[0]["session"].get("parent") not in sessions]
    return "\n".join(line.rstrip() for root in roots for line in _tell(root, sessions))


def _tell(own: list[Event], sessions: dict[str, list[Event]]) -> Iterator[str]:
    """Yield the lines of one session and, indented, those of its children."""
    session = own[0]["session"]["id"]
    children = [other for other in sessions.values() if other[0]["session"].get("parent") == session]
    yield _heading(own)
    bar = "│  " if children else "   "
    for event in own:
        if event["name"] not in SHOWN_IN_HEADING:
            yield from (bar + line for line in _tell_event(event))
    for number, child in enumerate(children, 1):
        first, rest = ("└─ ", "   ") if number == len(children) else ("├─ ", "│  ")
        lines = _tell(child, sessions)
        yield first + next(lines)
        yield from (rest + line for line in lines)


def _heading(own: list[Event]) -> str:
    """One line for a session: the program, when it started, how long it ran and how it ended."""
    start, end = _data(own, "session.start"), _data(own, "session.end")
    program = start.get("program") or own[0]["source"].get("app", "?")
    program = "python -c …" if program == "-c" else program
    facts = [own[0]["session"]["started"][11:23], f"pid {start.get('pid', '?')}", f"Python {start.get('python', '?')}"]
    return f"{program}  ({', '.join(facts)})  {_ending(end)}"


def _ending(end: dict[str, Any]) -> str:
    if not end:
        return "no end recorded"
    code = f", exit code {end['exit_code']}" if "exit_code" in end else ""
    return f"ended by {end['reason']} after {_duration(end['duration_ms'])}{code}"


def _duration(milliseconds: float) -> str:
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


def _tell_event(event: Event) -> Iterator[str]:
    data = event.get("data", {})
    if event["type"] == "error":
        yield f"✗ {event['name']} at {data.get('location', 'an unknown place')}"
        yield f"  {_short(data.get('message', ''))}"
    else:
        yield f"• {event['name']}  {_short(', '.join(f'{key}={value}' for key, value in data.items()))}"


def _data(own: list[Event], name: str) -> dict[str, Any]:
    return next((event["data"] for event in own if event["name"] == name), {})


def _short(text: Any) -> str:
    return textwrap.shorten(str(text), WIDTH - 20, placeholder=" …")


def _make_handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            try:
                receiver.take(body)
                self._answer(200)
            except (ValueError, KeyError, TypeError) as error:
                print(f"that was no batch: {error!r}", file=sys.stderr)
                self._answer(400)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Print no access log between the accounts."""

    return Handler


def main(argv: list[str]) -> int:
    """Receive until Ctrl-C."""
    receiver = Receiver(int(argv[1]) if argv[1:] else DEFAULT_PORT, is_telling=True)
    print(f"MONITOR_ENDPOINT={receiver.url}   (Ctrl-C ends)\n", flush=True)
    try:
        receiver.server.serve_forever()
    except KeyboardInterrupt:
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))

"""A collector that fails in every way while a program runs, which is delivered by the thread or by its event loop."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.account import accounts
from support.children import Children
from support.collector import (
    DRIP,
    GARBAGE,
    HALF,
    PAGE,
    REDIRECT,
    STALL,
    UNAVAILABLE,
    Answer,
    Collector,
    running_collector,
)
from support.flushing import OFTEN, UNTIL, go_on, numbers
from support.network import make_certificate

BY_THREAD = (
    UNTIL
    + """
from monitor_auto import Monitor
time.sleep(1.1)
for number in range(30):
    Monitor.event("work.done", {"number": number})
until("failed")
for number in range(30, 60):
    Monitor.event("work.done", {"number": number})
print("done")
"""
)
BY_LOOP = (
    UNTIL
    + """
import asyncio
from monitor_auto import Monitor
async def main():
    for number in range(30):
        Monitor.event("work.done", {"number": number})
    end = time.monotonic() + 300
    while not os.path.exists("failed") and time.monotonic() < end:
        await asyncio.sleep(0.02)
    for number in range(30, 60):
        Monitor.event("work.done", {"number": number})
    from monitor_auto.delivery import async_flusher
    Monitor.event("work.sent", {"by_loop": async_flusher.in_use[0].client is not None})
    print("done")
time.sleep(1.1)
asyncio.run(main())
"""
)
PROGRAMS = {"thread": BY_THREAD, "loop": BY_LOOP}
FLUSH = ["python", "-m", "monitor_auto", "flush"]


@dataclass
class Fault:
    """A collector in trouble. `env` is what the program is started with, `later` what a flush afterwards has."""

    collector: Collector
    env: dict[str, str] = field(default_factory=dict)
    later: dict[str, str] = field(default_factory=dict)

    def is_felt(self, spool: Path) -> bool:
        """Return whether a request has come, or it was noted that nobody takes one."""
        return bool(self.collector.requests or list(spool.glob("*.away")))

    def wait_until_felt(self, spool: Path) -> None:
        """Wait until the program has met it."""
        end = time.monotonic() + 120
        while not self.is_felt(spool):
            assert time.monotonic() < end, "nothing was sent"
            time.sleep(0.02)

    def heal(self) -> None:
        """Answer as a collector should."""
        self.collector.answer, self.collector.refuse_when = Answer(), lambda body: None
        self.collector.come_back()


class Unshaken(Fault):
    """One that takes connections, and shakes no hands."""

    def is_felt(self, spool: Path) -> bool:
        """Return whether somebody has connected; then hang up."""
        waiting = self.collector._placeholder
        assert waiting is not None
        waiting.settimeout(0.01)
        try:
            waiting.accept()[0].close()
        except TimeoutError:
            return False
        return True


def answering(answer: Answer) -> "Callable[[Path], AbstractContextManager[Fault]]":
    """Return what makes a collector that gives the same answer to everything."""

    @contextmanager
    def fault(folder: Path) -> Iterator[Fault]:
        with running_collector(answer) as collector:
            yield Fault(collector)

    return fault


@contextmanager
def rejecting_one(folder: Path) -> Iterator[Fault]:
    """One event of the first batch is taken and found wanting."""
    with running_collector() as collector:
        collector.answer_next(Answer(207, b'{"errors": [{"index": 3, "message": "not this one"}]}'))
        yield Fault(collector)


@contextmanager
def refusing_one(folder: Path) -> Iterator[Fault]:
    """Whatever has one of the events in it is refused."""
    with running_collector() as collector:
        collector.refuse_when = lambda body: Answer(400) if b'"number":7}' in body else None
        yield Fault(collector)


@contextmanager
def gone(folder: Path) -> Iterator[Fault]:
    """Nobody listens."""
    with running_collector() as collector:
        collector.go_away()
        yield Fault(collector)


@contextmanager
def shaking_no_hands(folder: Path) -> Iterator[Fault]:
    """A connection that breaks before it is a secure one."""
    certificate, context = make_certificate(folder)
    env = {"SSL_CERT_FILE": str(certificate)}
    with running_collector(tls=context) as collector:
        collector.go_away(silently=True)
        yield Unshaken(collector, env, env)


@contextmanager
def unsigned(folder: Path) -> Iterator[Fault]:
    """A certificate that nobody has signed."""
    certificate, context = make_certificate(folder)
    with running_collector(tls=context) as collector:
        yield Fault(collector, later={"SSL_CERT_FILE": str(certificate)})


FAULTS: "dict[str, Callable[[Path], AbstractContextManager[Fault]]]" = {
    "nobody listens": gone,
    "no handshake": shaking_no_hands,
    "no certificate": unsigned,
    "silent": answering(STALL),
    "drip": answering(DRIP),
    "half an answer": answering(HALF),
    "no HTTP": answering(GARBAGE),
    "503": answering(UNAVAILABLE),
    "429": answering(Answer(429, b'{"retry_after": 1}', (("Retry-After", "1"),))),
    "401": answering(Answer(401, b"{}")),
    "redirect": answering(REDIRECT),
    "page": answering(PAGE),
    "one is rejected": rejecting_one,
    "one is refused": refusing_one,
}


@pytest.mark.parametrize("sender", PROGRAMS)
@pytest.mark.parametrize("kind", FAULTS)
def test_collector_fails_while_the_program_runs(children: Children, tmp_path: Path, kind: str, sender: str) -> None:
    """Whatever a collector does, the program goes on as ever, and nothing is lost that the spool can keep."""
    with FAULTS[kind](tmp_path) as fault:
        url, collector = fault.collector.url, fault.collector
        env = {**OFTEN, **fault.env, "MONITOR_EXIT_TIMEOUT": "1"}
        child = children.start(PROGRAMS[sender], endpoint=url, env=env)
        fault.wait_until_felt(children.spool)
        go_on(children, "failed")
        run = child.finish(timeout=120)
        assert (run.status, run.stdout, run.stderr) == (0, b"done\n", b"")
        fault.heal()
        flush = children.run(FLUSH, endpoint=url, env=fault.later, timeout=120)
        assert flush.status == 0, flush.stdout
    missing = sorted({*range(60)} - {*numbers(collector)})
    if kind == "429":  # the session keeps a part of what it records then; what was recorded before stays whole
        assert not missing or missing[0] >= 30
    else:
        assert missing == [7] * (kind == "one is refused")
    assert collector.names().count("session.end") == 1
    by_loop = [event["data"]["by_loop"] for event in collector.unique() if event["name"] == "work.sent"]
    assert by_loop == [True] * (sender == "loop") or kind == "429"
    # That they add up is held by the fixture, after every test.
    (counts,) = accounts(children.spool).values()
    assert counts.spooled == 0
    assert (counts.rejected, counts.dropped) == (int(kind == "one is rejected"), int(kind == "one is refused"))
    assert (counts.sampled_out > 0) == (kind == "429" and bool(missing))
    if kind in ("one is rejected", "one is refused"):
        assert "sdk.flush.failures" not in collector.names()

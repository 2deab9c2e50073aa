"""Rows about the end of a process: how much longer it takes because events are delivered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from bench.endpoints import UNRESOLVABLE, Collector, make_certificate, running_collector
from bench.lab import Lab, alternate, median_difference, medians
from bench.rows import Measured
from bench.verdicts import Failed, NoResult, NotYet

PASS = ("-c", "pass")
DELIVERING = {"MONITOR_EXIT_TIMEOUT": "3"}
MILLISECONDS = 1000
BACK_OFF_SECONDS = 3.0
"""Others are measured only so long after a failure; not much later the next one tries again, and waits again."""


def answering(lab: Lab) -> Measured:
    """The usual case: a collector beside the program, plain HTTP."""
    with running_collector("answer") as collector:
        return added_by_delivery(lab, collector, {}, lab.times(61, 15), Failed)


def https(lab: Lab) -> Measured:
    """Over TLS and by a name, which costs a look-up, a handshake and whatever speaks them."""
    certificate = make_certificate(lab)
    with running_collector("answer", certificate) as collector:
        trust = {"SSL_CERT_FILE": str(certificate.chain)}
        return added_by_delivery(lab, collector, trust, lab.times(31, 9), NotYet)


def proxied(lab: Lab) -> Measured:
    """Through a proxy, which is asked for a name that nobody here can look up."""
    with running_collector("answer") as proxy:
        return added_by_delivery(lab, proxy, {**behind(proxy.url), "MONITOR_ENDPOINT": UNRESOLVABLE}, lab.times(31, 9))


def behind(url: str) -> dict[str, str]:
    """Return the settings of a program whose way out is a proxy."""
    return {"http_proxy": url.removesuffix("/v1/events"), "no_proxy": ""}


def added_by_delivery(
    lab: Lab, collector: Collector, settings: dict[str, str], times: int, silence: type[NoResult] = Failed
) -> Measured:
    """Compare whole processes that deliver to those that only spool; raise `silence` where nothing arrives."""
    settings = {"MONITOR_ENDPOINT": collector.url, **settings}
    spooling = lab.on(**settings)
    delivering = lab.on(**settings, **DELIVERING)
    spooling.run(*PASS)
    delivering.run(*PASS)
    if not collector.counts()["names"]:
        raise silence("nothing arrives: the events stay in the spool")
    pairs = alternate(lambda: spooling.seconds(*PASS), lambda: delivering.seconds(*PASS), times)
    arrived = collector.count("session.end")
    if arrived != times + 1:
        raise Failed(f"{arrived} of {times + 1} sessions have arrived with their end")
    return Measured((median_difference(pairs) * MILLISECONDS,), explain(pairs, "delivering"))


def make_away(mode: str) -> Callable[[Lab], Measured]:
    """Return the measurement of a collector that takes nothing: see `endpoint`."""

    def away(lab: Lab) -> Measured:
        with endpoint(mode) as settings:
            rounds = [away_once(lab, settings) for _ in range(lab.times(3, 1))]
        pairs = [pair for _, later in rounds for pair in later]
        first = max(seconds for seconds, _ in rounds)
        return Measured((first, median_difference(pairs) * MILLISECONDS), explain(pairs, "the others"))

    return away


def away_once(lab: Lab, settings: dict[str, str]) -> tuple[float, list[tuple[float, float]]]:
    """Return how long the first process took, and pairs of (spool only, another one) that came after it."""
    spooling = lab.on(**settings)
    trying = lab.on(**settings, **DELIVERING)
    spooling.run(*PASS)
    first = trying.seconds(*PASS)
    if not trying.files("*.away"):
        raise NotYet("nothing tries to deliver there: no process has noted that it failed")
    until = monotonic() + BACK_OFF_SECONDS
    later: list[tuple[float, float]] = []
    while monotonic() < until and len(later) < lab.times(20, 10):
        later += alternate(lambda: spooling.seconds(*PASS), lambda: trying.seconds(*PASS, keeps_spool=True), 1)
    if trying.count_lines('"name":"session.end"') != len(later) + 1:
        raise Failed("not every session is in the spool: what nobody took has to stay")
    return first, later


@contextmanager
def endpoint(mode: str) -> Iterator[dict[str, str]]:
    """Provide the settings of a program whose events nobody takes: `unresolvable` (a name that there is not),
    `handshake` (TLS is never answered), `proxy` (nor is the request to a proxy), or a mode of bench/collector.py.
    """
    if mode == "unresolvable":
        yield {"MONITOR_ENDPOINT": UNRESOLVABLE}
        return
    with running_collector("black-hole" if mode in ("handshake", "proxy") else mode) as collector:
        if mode == "proxy":
            yield {**behind(collector.url), "MONITOR_ENDPOINT": UNRESOLVABLE}
        else:
            yield {"MONITOR_ENDPOINT": collector.url.replace("http:", "https:" if mode == "handshake" else "http:")}


def explain(pairs: list[tuple[float, float]], who: str) -> str:
    spooling, other = medians(pairs)
    return f"{spooling * MILLISECONDS:.1f} ms spool only, {other * MILLISECONDS:.1f} ms {who}"

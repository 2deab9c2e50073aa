"""GET /metrics: the text that Prometheus reads (exposition format 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterator

from .store import Counters

Values = dict[str, float]
"""By label; "" where there is none."""


def exposition(totals: dict[str, int], uptime_seconds: float, counters: Counters, answers: dict[int, int]) -> str:
    """Return what the collector counts."""
    families: list[tuple[str, str, str, Values]] = [
        ("events", "gauge", "Events that are stored.", {"": totals["total_events"]}),
        ("storage_bytes", "gauge", "Bytes of the database that are in use.", {"": totals["storage_bytes"]}),
        ("uptime_seconds", "gauge", "Seconds since the start.", {"": uptime_seconds}),
        ("stored_events_total", "counter", "Events stored since the start.", {"": counters.stored}),
        ("repeated_events_total", "counter", "Events that were there already.", {"": counters.repeated}),
        ("pruned_events_total", "counter", "Events deleted for age or size.", {"": counters.pruned}),
        ("commits_total", "counter", "Transactions.", {"": counters.commits}),
        ("failures_total", "counter", "Transactions that failed.", {"": counters.failures}),
        ("answers_total", "counter", "Answers to POST /v1/events.", labelled(answers)),
    ]
    return "".join(line for family in families for line in lines_of(*family))


def lines_of(name: str, kind: str, purpose: str, values: Values) -> Iterator[str]:
    """Yield the lines of one metric."""
    full = f"monitor_auto_collector_{name}"
    yield f"# HELP {full} {purpose}\n"
    yield f"# TYPE {full} {kind}\n"
    for label, value in values.items():
        yield f"{full}{label} {value}\n"


def labelled(answers: dict[int, int]) -> Values:
    """Return counts by status with Prometheus labels."""
    return {f'{{status="{status}"}}': count for status, count in sorted(answers.items())}

"""A run as one HTML file that needs nothing else: no network, no script of anybody's. Light and dark.

Guarantees: every text of an event is escaped; a strict Content-Security-Policy in the file lets nothing run or load.
"""

from __future__ import annotations

import time
from html import escape
from importlib.resources import files

from .facts import counted, duration_text, joined
from .model import Call, Group, Process, Run, Test
from .text import MAX_ERRORS, VERDICTS, last_words, troubles

MAX_PROCESSES = 3_000
"""In one file; a browser is slow with more rows."""
MAX_ROWS = 200
"""Of tests and calls."""
SHORT = ("outcome", "time", "status", "how", "events")
"""The columns that are not to be broken."""


def document(run: Run) -> str:
    """Return the whole page."""
    root = run.roots[0] if run.roots else Process()
    sections = [timeline(run), errors(run), tests(run), gone(run), calls(run), losses(run)]
    style = files(__package__).joinpath("report.css").read_text(encoding="utf-8")
    return PAGE.format(
        title=escape(f"{root.label} {VERDICTS[run.outcome]}"),
        style=style,
        outcome=run.outcome,
        label=escape(root.label),
        verdict=VERDICTS[run.outcome],
        told=escape(told(run)),
        body="\n".join(section for section in sections if section),
        made=escape(time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(run.started_ms / 1000))),
        key=escape(run.key),
    )


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<header>
<h1><code>{label}</code> <span class="badge {outcome}">{verdict}</span></h1>
<p>{told}</p>
</header>
<main>
{body}
</main>
<footer><p>Started {made}. Run <code>{key}</code>, recorded by monitor_auto.</p></footer>
</body>
</html>
"""


def told(run: Run) -> str:
    """Return the summary in numbers."""
    root = run.roots[0] if run.roots else Process()
    return joined(
        [
            counted(len(run.processes), "process", "processes"),
            duration_text(root.duration_ms or run.ended_ms - run.started_ms),
            counted(run.event_count, "event"),
            troubles(run) or "nothing went wrong",
        ]
    )


def section(title: str, content: str) -> str:
    """Return a section with its heading."""
    anchor = title.lower().replace(" ", "-")
    return f'<section aria-labelledby="{anchor}">\n<h2 id="{anchor}">{title}</h2>\n{content}\n</section>'


def timeline(run: Run) -> str:
    """Return the processes as a table, each with a bar where it was in the time of the run."""
    rows = [(depth, process) for root in run.roots for depth, process in root.walk()]
    shown = "\n".join(timeline_row(run, depth, process) for depth, process in rows[:MAX_PROCESSES])
    rest = len(rows) - MAX_PROCESSES
    note = f"<p>… and {counted(rest, 'more process', 'more processes')}</p>" if rest > 0 else ""
    head = "<thead><tr><th>process</th><th>result</th><th class=number>time</th><th>when</th></tr></thead>"
    return section("Processes", f'<table class="timeline">{head}<tbody>\n{shown}\n</tbody></table>{note}')


def timeline_row(run: Run, depth: int, process: Process) -> str:
    """Return one process as a row."""
    total = max(1.0, run.ended_ms - run.started_ms)
    start = (process.started_ms if process.started_ms is not None else process.last_ms) - run.started_ms
    length = (process.ended_ms or process.last_ms or run.ended_ms) - run.started_ms - start
    left = min(99.5, max(0.0, start / total * 100))
    width = min(100 - left, max(0.5, length / total * 100))
    errors = f' <span class="badge failed">{counted(len(process.errors), "error")}</span>' if process.errors else ""
    waited = "" if process.waited else ' <span class="badge open">not waited for</span>'
    bar = f'<span class="bar {process.outcome}" style="left:{left:.2f}%;width:{width:.2f}%"></span>'
    return (
        f'<tr title="{escape(details(process))}"><td style="padding-left:{min(depth, 20) * 1.2 + 0.5:.1f}rem">'
        f"<code>{escape(process.label)}</code>{errors}{waited}</td>"
        f'<td class="{process.outcome}">{escape(process.result)}</td>'
        f"<td class=number>{duration_text(process.duration_ms)}</td><td class=lane>{bar}</td></tr>"
    )


def details(process: Process) -> str:
    """Return what is said of a process when the pointer is over it."""
    memory = f"{process.max_rss_bytes / (1 << 20):.0f} MiB at most" if process.max_rss_bytes else ""
    pid = f"pid {process.pid}" if process.pid is not None else ""
    return joined(
        [
            process.command or process.label,
            pid,
            process.app or "",
            process.method,
            memory,
            process.session or "no Python of ours",
        ]
    )


def errors(run: Run) -> str:
    """Return the errors, the first ones open."""
    if not run.errors:
        return ""
    return section(
        "Errors", "\n".join(error(group, place < 3) for place, group in enumerate(run.errors[: MAX_ERRORS * 10]))
    )


def error(group: Group, is_open: bool) -> str:
    """Return one group of errors."""
    last = group.last
    times = f' <span class="badge">{len(group.errors)} times</span>' if len(group.errors) > 1 else ""
    where = f"<code>{escape(last.location)}</code> in <code>{escape(last.process.label)}</code>"
    stack = f"<pre tabindex=0>{escape(last.stack)}</pre>" if last.stack else ""
    kind = "failed" if last.level == "fatal" else "open"
    title = f'<strong class="{kind}">{escape(last.name.removeprefix("error."))}</strong> {escape(last.message)}{times}'
    return f"<details{' open' if is_open else ''}><summary>{title}</summary><p>{where}</p>{stack}</details>"


def tests(run: Run) -> str:
    """Return the failed tests, and the slowest."""
    if not run.tests:
        return ""
    parts = [table(["test", "outcome", "time", "why"], [test_row(test, True) for test in run.failed_tests[:MAX_ROWS]])]
    slow = [test_row(test, False) for test in run.slow_tests[:20]]
    parts.append(f"<details><summary>The slowest</summary>{table(['test', 'outcome', 'time'], slow)}</details>")
    passed = sum(test.outcome == "passed" for test in run.tests)
    again = f"{len(run.flaky):,} only when run again" if run.flaky else ""
    counts = joined([f"{passed:,} passed", again, f"{len(run.failed_tests):,} failed", f"{len(run.tests):,} in all"])
    return section("Tests", f"<p>{counts}</p>" + "".join(parts))


def test_row(test: Test, has_message: bool) -> list[str]:
    """Return one test as cells."""
    kind = "ok" if test.outcome == "passed" else "failed"
    cells = [f"<code>{escape(test.name)}</code>", f'<span class="{kind}">{escape(test.outcome)}</span>']
    return [*cells, duration_text(test.duration_ms), *([escape(test.message[:500])] if has_message else [])]


def gone(run: Run) -> str:
    """Return what was killed or vanished."""
    rows = [
        [
            f"<code>{escape(p.label)}</code>",
            f'<span class="{p.outcome}">{escape(p.result)}</span>',
            escape(last_words(p)),
        ]
        for p in run.gone[:MAX_ROWS]
    ]
    return section("Killed or vanished", table(["process", "how", "what is known"], rows)) if rows else ""


def calls(run: Run) -> str:
    """Return the slowest calls."""
    rows = [call_row(call) for call in run.slow_calls[:20]]
    return section("Slowest calls", table(["call", "status", "time"], rows)) if rows else ""


def call_row(call: Call) -> list[str]:
    """Return one call as cells."""
    return [
        f"<code>{escape(call.name)}</code> {escape(call.what)}",
        escape(call.status),
        duration_text(call.duration_ms),
    ]


def losses(run: Run) -> str:
    """Return what the monitor itself had to leave out."""
    rows = [[escape(reason), f"{count:,}"] for reason, count in run.dropped.items()]
    return section("Not recorded", table(["why", "events"], rows)) if rows else ""


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Return a table; empty without rows. Cells are HTML already."""
    if not rows:
        return ""
    kinds = [" class=short" if name in SHORT else "" for name in heads]
    head = "".join(f"<th{kind}>{name}</th>" for kind, name in zip(kinds, heads, strict=True))
    lines = ("".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True)) for row in rows)
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"

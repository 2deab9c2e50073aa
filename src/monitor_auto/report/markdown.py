"""A run as Markdown, for the summary page of a CI job.

Guarantees: no text of an event makes Markdown or HTML of its own.
"""

from __future__ import annotations

import re
from html import escape

from .facts import counted, duration_text, joined
from .model import Group, Process, Run
from .text import MAX_CALLS, MAX_ERRORS, MAX_TESTS, SLOW_CALL_MS, VERDICTS, Paper, tree, troubles

ICONS = {"ok": "✅", "failed": "❌", "killed": "❌", "lost": "❓", "open": "⏳"}
WIDE = 120


def document(run: Run) -> str:
    """Return the whole summary, ending with a newline."""
    parts = [headline(run), tree_block(run), *errors(run), *tests(run), *calls(run)]
    return "\n\n".join(parts) + "\n"


def headline(run: Run) -> str:
    """Return the heading."""
    root = run.roots[0] if run.roots else Process()
    count = counted(len(run.processes), "process", "processes")
    length = duration_text(root.duration_ms or run.ended_ms - run.started_ms)
    told = joined([count, length, troubles(run) or "nothing went wrong"])
    return f"### {ICONS[run.outcome]} {code(root.label)} {VERDICTS[run.outcome]}\n\n{told}"


def tree_block(run: Run) -> str:
    """Return the tree of processes, folded away when all is well."""
    text = fenced("\n".join(tree(run, Paper(WIDE))))
    is_open = "" if run.outcome == "ok" and not troubles(run) else " open"
    return f"<details{is_open}><summary>Processes</summary>\n\n{text}\n\n</details>"


def errors(run: Run) -> list[str]:
    """Return the errors, each with its stack folded away."""
    shown = [error(group) for group in run.errors[:MAX_ERRORS]]
    rest = len(run.errors) - MAX_ERRORS
    return (["#### Errors"] if shown else []) + shown + ([f"… and {rest} more"] if rest > 0 else [])


def error(group: Group) -> str:
    """Return one group of errors."""
    last = group.last
    times = f" ({len(group.errors)} times)" if len(group.errors) > 1 else ""
    # GitHub reads no Markdown in a <summary>, only HTML.
    title = f"<code>{escape(last.name.removeprefix('error.'))}</code> {escape(last.message)}{times}"
    where = f"{code(last.location)} in {code(last.process.label)}" if last.location else code(last.process.label)
    stack = f"\n\n{fenced(last.stack)}" if last.stack else ""
    return f"<details><summary>{title}</summary>\n\n{where}{stack}\n\n</details>"


def tests(run: Run) -> list[str]:
    """Return the failed tests as a table."""
    if not run.failed_tests:
        return []
    rows = []
    for test in run.failed_tests[:MAX_TESTS]:
        columns = [cell(test.name), escaped(test.outcome), duration_text(test.duration_ms), cell(test.message[:300])]
        rows.append(f"| {' | '.join(columns)} |")
    return ["#### Failed tests", "\n".join(["| test | outcome | time | why |", "|---|---|--:|---|", *rows])]


def calls(run: Run) -> list[str]:
    """Return the slowest calls as a table."""
    slow = [call for call in run.slow_calls[:MAX_CALLS] if call.duration_ms >= SLOW_CALL_MS]
    if not slow:
        return []
    rows = [
        f"| {cell(f'{call.name} {call.what}')} | {cell(call.status)} | {duration_text(call.duration_ms)} |"
        for call in slow
    ]
    return ["#### Slowest", "\n".join(["| call | status | time |", "|---|---|--:|", *rows])]


def escaped(text: str) -> str:
    """Return a text in which nothing is Markdown or HTML."""
    return re.sub(r"([\\`*_{}\[\]()#+.!|~>@-])", r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;"))


def code(text: str) -> str:
    """Return a text as code on one line, whatever backticks are in it."""
    fence = "`" * (longest_run(text) + 1)
    pad = " " if "`" in text or not text else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def cell(text: str) -> str:
    """Return a text as code in a table: a bar would end the cell also within code."""
    return code(text.replace("|", "¦")) if text.strip() else ""


def fenced(text: str) -> str:
    """Return a block of code, whatever fences are in it."""
    fence = "`" * max(3, longest_run(text) + 1)
    return f"{fence}text\n{text}\n{fence}"


def longest_run(text: str) -> int:
    """Return the length of the longest run of backticks."""
    return max((len(found) for found in re.findall("`+", text)), default=0)

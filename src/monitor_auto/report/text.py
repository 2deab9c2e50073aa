"""A run for a terminal: the tree of processes with times and ends, then what went wrong, then what took long.

Guarantees: no line is wider than `columns`, and of the events' texts no control character is in it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from .facts import (
    clean,
    command_text,
    counted,
    duration_text,
    fitted,
    joined,
    milliseconds,
    number,
    signal_name,
    width,
)
from .model import Group, Process, Run

COLOURS = {"ok": "32", "failed": "31", "killed": "31", "lost": "35", "open": "33", "dim": "2", "bold": "1"}
MAX_PROCESSES = 60
"""In the tree; of more the middle is left out, and what went wrong is kept."""
MAX_ERRORS, MAX_TESTS, MAX_CALLS, MAX_STACK_LINES = 10, 20, 5, 12
SLOW_CALL_MS = 1.0
"""Calls below this are not worth a line."""
VERDICTS = {"ok": "succeeded", "failed": "failed", "killed": "was killed", "lost": "vanished", "open": "has no end yet"}
RESULT_COLUMNS, TIME_COLUMNS = 14, 11


@dataclass(frozen=True)
class Paper:
    """What is written on: how wide it is, and whether it has colours."""

    columns: int = 80
    has_colours: bool = False

    def ink(self, text: str, colour: str) -> str:
        """Return the text in a colour."""
        return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if self.has_colours and text else text

    def heading(self, text: str) -> str:
        """Return the heading of a section."""
        return self.ink(text, "bold")

    def fit(self, text: str, indent: int = 0) -> str:
        """Return the text with an indent, cut to the line."""
        return " " * indent + fitted(text, self.columns - indent)


def report(run: Run, paper: Paper, has_stacks: bool = True) -> str:
    """Return the whole report, ending with a newline."""
    sections = [
        [summary(run, paper)],
        tree(run, paper),
        errors(run, paper, has_stacks),
        tests(run, paper),
        gone(run, paper),
        calls(run, paper),
        losses(run, paper),
    ]
    return "\n\n".join("\n".join(section) for section in sections if section) + "\n"


def listing(runs: list[Run], paper: Paper) -> str:
    """Return one line for each run, the newest first."""
    lines = []
    for run in reversed(runs):
        label = run.roots[0].label if run.roots else ""
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.started_ms / 1000))
        told = joined([counted(len(run.processes), "process", "processes"), troubles(run)])
        begin = f"{run.key[:36]:36}  {at}  "
        result = run.roots[0].result if run.roots else ""
        lines.append(begin + paper.ink(f"{fitted(result, RESULT_COLUMNS):{RESULT_COLUMNS}}", run.outcome))
        lines.append(paper.fit(joined([label, told]), 2))
    return "\n".join(lines) + "\n"


def event_line(event: dict[str, Any], paper: Paper) -> str:
    """Return an event on one line: when, who, what."""
    data, source = (value if isinstance(value, dict) else {} for value in (event.get("data"), event.get("source")))
    name = clean(event.get("name"), 200)
    is_bad = event.get("type") == "error" or name == "session.lost" or data.get("signal") or data.get("exit_code")
    at = milliseconds(event.get("timestamp"))
    moment = time.strftime("%H:%M:%S", time.localtime(at / 1000)) + f".{int(at % 1000):03d}" if at else "--:--:--.---"
    who = fitted(clean(source.get("app"), 100) or "?", 20)
    told = f"{name:20}  {said(name, data)}".rstrip()
    begin = f"{moment}  {who:20}  "
    return paper.ink(begin, "dim") + paper.ink(fitted(told, paper.columns - width(begin)), "failed" if is_bad else "ok")


def said(name: str, data: dict[str, Any]) -> str:
    """Return what matters most of an event's data."""
    if name in ("session.start", "process.start"):
        return command_text(data.get("argv")) or clean(data.get("program"), 100)
    if "message" in data:
        return joined([clean(data["message"], 300), clean(data.get("location"), 400).rpartition("/")[2]])
    if name in ("session.end", "process.exit"):
        code = data.get("exit_code")
        how = signal_name(data.get("signal")) or (f"exit {clean(code)}" if code is not None else "")
        return joined([clean(data.get("reason"), 60), how, duration_text(number(data.get("duration_ms")))])
    return "  ".join(f"{clean(key, 60)}={clean(value, 100)}" for key, value in list(data.items())[:8])


def summary(run: Run, paper: Paper) -> str:
    """Return the line that says it all."""
    root = run.roots[0] if run.roots else Process()
    told = joined(
        [
            counted(len(run.processes), "process", "processes"),
            duration_text(root.duration_ms or run.ended_ms - run.started_ms),
            troubles(run) or "nothing went wrong",
        ]
    )
    verdict = VERDICTS[run.outcome]
    label = fitted(root.label, paper.columns - len(verdict) - 2)
    begin = f"{paper.heading(label)} {paper.ink(verdict, run.outcome)}: "
    if width(label) + len(verdict) + width(told) + 3 > paper.columns:
        return f"{begin.rstrip()}\n{paper.fit(told, 2)}"
    return begin + told


def troubles(run: Run) -> str:
    """Return what went wrong, counted."""
    lost = [process for process in run.gone if process.outcome == "lost"]
    killed = len(run.gone) - len(lost)
    failed = sum(process.outcome == "failed" for process in run.processes)
    return joined(
        [
            counted(failed, "failed", "failed") if failed else "",
            counted(killed, "killed", "killed") if killed else "",
            counted(len(lost), "vanished", "vanished") if lost else "",
            counted(sum(len(group.errors) for group in run.errors), "error") if run.errors else "",
            counted(len(run.failed_tests), "failed test") if run.failed_tests else "",
        ]
    )


def tree(run: Run, paper: Paper) -> list[str]:
    """Return the tree of processes: what each is, how it ended, how long it took."""
    rows = list(tree_rows(run))
    most = max((width(guide) + width(noted(process, 1000)) for guide, process in rows), default=0)
    room = min(most, paper.columns - RESULT_COLUMNS - TIME_COLUMNS - 4)
    shown = selected([process for _, process in rows])
    lines, left_out = [], 0
    for guide, process in rows:
        if id(process) in shown:
            lines += skipped(left_out, paper)
            lines.append(tree_line(guide, process, room, paper))
            left_out = 0
        else:
            left_out += 1
    return [*lines, *skipped(left_out, paper)]


def skipped(count: int, paper: Paper) -> list[str]:
    """Return the line in place of processes that are not shown."""
    return [paper.ink(f"  … {counted(count, 'more process', 'more processes')}", "dim")] if count else []


def selected(processes: list[Process]) -> set[int]:
    """Return which processes are shown (by id) when there are too many: what went wrong, then the first ones."""
    by_interest = sorted(range(len(processes)), key=lambda index: (processes[index].outcome == "ok", index))
    return {id(processes[index]) for index in by_interest[:MAX_PROCESSES]}


def tree_rows(run: Run) -> list[tuple[str, Process]]:
    """Return each process with the lines that lead to it."""
    rows: list[tuple[str, Process]] = []
    waiting = [("", "", root) for root in reversed(run.roots)]
    while waiting:
        guide, below, process = waiting.pop()
        rows.append((guide, process))
        last = len(process.children) - 1
        for index in range(last, -1, -1):
            joint, line = ("└─ ", "   ") if index == last else ("├─ ", "│  ")
            waiting.append((below + joint, below + line, process.children[index]))
    return rows


def tree_line(guide: str, process: Process, room: int, paper: Paper) -> str:
    """Return one line of the tree, whose first column is `room` wide."""
    guide = guide if len(guide) <= room - 12 or room < 20 else "… " + guide[-(room - 14) :]
    label = noted(process, room - len(guide))
    gap = " " * max(0, room - len(guide) - width(label))
    result = paper.ink(f"{fitted(process.result, RESULT_COLUMNS):{RESULT_COLUMNS}}", process.outcome)
    return f"  {paper.ink(guide, 'dim')}{label}{gap}  {result}{duration_text(process.duration_ms):>{TIME_COLUMNS - 1}}"


def noted(process: Process, columns: int) -> str:
    """Return a process's label with what is odd about it; of the label the end goes first."""
    errors = counted(len(process.errors), "error") if process.errors else ""
    notes = joined([errors, "" if process.waited else "not waited for"])
    note = f"  ({notes})" if notes else ""
    return fitted(fitted(process.label, max(columns - width(note), 8)) + note, columns)


def errors(run: Run, paper: Paper, has_stacks: bool) -> list[str]:
    """Return the errors, grouped, each with its place."""
    lines = [paper.heading("Errors")] if run.errors else []
    for group in run.errors[:MAX_ERRORS]:
        lines += error_lines(group, paper, has_stacks)
    return lines + more(len(run.errors) - MAX_ERRORS, "error", paper)


def error_lines(group: Group, paper: Paper, has_stacks: bool) -> list[str]:
    """Return one group of errors."""
    last = group.last
    times = f" ({len(group.errors)} times)" if len(group.errors) > 1 else ""
    title = f"{last.name.removeprefix('error.')}: {last.message}" if last.message else last.name.removeprefix("error.")
    lines = [paper.ink(paper.fit(title + times, 2), "failed" if last.level == "fatal" else "open")]
    place = joined([last.location, f"in {last.process.label}"])
    lines.append(paper.fit(place, 4))
    if has_stacks:
        stack = [line for line in last.stack.split("\n") if line.strip()][-MAX_STACK_LINES:]
        lines += [paper.ink(paper.fit(line.rstrip(), 4), "dim") for line in stack]
    return lines


def tests(run: Run, paper: Paper) -> list[str]:
    """Return the tests that failed."""
    if not run.tests:
        return []
    passed = sum(test.outcome == "passed" for test in run.tests)
    counts = joined(
        [
            counted(passed, "passed", "passed"),
            counted(len(run.failed_tests), "failed", "failed"),
            f"{len(run.flaky):,} only when run again" if run.flaky else "",
        ]
    )
    lines = [f"{paper.heading('Tests')}  {counts}"]
    for test in run.failed_tests[:MAX_TESTS]:
        lines.append(paper.ink(paper.fit(f"{test.outcome:8} {test.name}", 2), "failed"))
        if test.message:
            lines.append(paper.fit(test.message, 11))
    lines += more(len(run.failed_tests) - MAX_TESTS, "failed test", paper)
    lines += [
        paper.fit(f"again    {test.name} · passed at attempt {test.attempt}", 2) for test in run.flaky[:MAX_TESTS]
    ]
    lines += more(len(run.flaky) - MAX_TESTS, "flaky test", paper)
    slowest = [test for test in run.slow_tests[:3] if test.duration_ms >= 1000]
    return lines + [paper.fit(f"slow     {duration_text(test.duration_ms):>9}  {test.name}", 2) for test in slowest]


def gone(run: Run, paper: Paper) -> list[str]:
    """Return the processes that were killed or vanished, with what is known of their last moments."""
    lines = [paper.heading("Killed or vanished")] if run.gone else []
    for process in run.gone[:MAX_ERRORS]:
        lines.append(paper.ink(paper.fit(f"{process.result:14} {process.label}", 2), process.outcome))
        told = last_words(process)
        if told:
            lines.append(paper.fit(told, 17))
    return lines + more(len(run.gone) - MAX_ERRORS, "process", paper)


def last_words(process: Process) -> str:
    """Return what is known of how a process ended."""
    last = process.lost.get("last_event")
    name = last.get("name") if isinstance(last, dict) else last
    return joined(
        [
            f"pid {process.pid}" if process.pid is not None else "",
            f"after {duration_text(process.duration_ms)}" if process.duration_ms is not None else "",
            f"last event {clean(name, 100)}" if name else "",
        ]
    )


def calls(run: Run, paper: Paper) -> list[str]:
    """Return the calls that took longest."""
    slow = [call for call in run.slow_calls[:MAX_CALLS] if call.duration_ms >= SLOW_CALL_MS]
    lines = [paper.heading("Slowest")] if slow else []
    for call in slow:
        told = joined([f"{call.name} {call.what}".strip(), call.status])
        lines.append(paper.fit(f"{duration_text(call.duration_ms):>9}  {told}", 2))
    return lines


def losses(run: Run, paper: Paper) -> list[str]:
    """Return what the monitor itself had to leave out."""
    parts = [f"{counted(count, 'event')} dropped ({reason})" for reason, count in run.dropped.items()]
    return [paper.heading("Not recorded"), *(paper.fit(part, 2) for part in parts)] if parts else []


def more(count: int, noun: str, paper: Paper) -> list[str]:
    """Return the line that says how many are not shown."""
    plural = "processes" if noun == "process" else noun + "s"
    return [paper.ink(f"  … and {counted(count, f'more {noun}', f'more {plural}')}", "dim")] if count > 0 else []

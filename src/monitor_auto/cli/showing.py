"""Showing a run: on the terminal, in files, on the page of a CI job. What `run` and `report` share."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

from monitor_auto.report import html, lines, markdown, text, trace
from monitor_auto.report.model import Run
from monitor_auto.report.text import Paper

from .terminal import complain

FORMS = {
    "html": "one HTML file that needs nothing else",
    "trace": "for ui.perfetto.dev and chrome://tracing",
    "json": "the events, one JSON object a line",
}
PATIENCE_SECONDS, REDRAW_SECONDS = 1.0, 0.1
MAX_COLUMNS, PLAIN_COLUMNS = 160, 100
"""On a wide terminal, and where there is none."""


def add_arguments(parser: Any) -> None:
    """Add the options that name files."""
    for form, purpose in FORMS.items():
        parser.add_argument(f"--{form}", metavar="FILE", help=f"write the run to FILE, or - : {purpose}")


def counting(
    events: Iterable[dict[str, Any]], stream: IO[str] | None, after_seconds: float = PATIENCE_SECONDS
) -> Iterator[dict[str, Any]]:
    """Yield the events; where that takes a while, and somebody looks, say how many there were so far."""
    is_watched, is_drawn = has_watcher(stream), False
    due = time.monotonic() + after_seconds
    for count, event in enumerate(events, 1):
        yield event
        if is_watched and not count % 256 and time.monotonic() >= due:
            is_watched = is_drawn = draw(stream, f"reading … {count:,} events")
            due = time.monotonic() + REDRAW_SECONDS
    if is_drawn:
        draw(stream, "")


def has_watcher(stream: IO[str] | None) -> bool:
    """True for a terminal; not for what is closed."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def draw(stream: IO[str] | None, text: str) -> bool:
    """Put a text in the place of the last line. False when the terminal is gone."""
    try:
        if stream is not None:
            stream.write(f"\r\x1b[K{text}")
            stream.flush()
    except (OSError, ValueError):
        return False
    return True


def paper(stream: IO[str]) -> Paper:
    """Return what a stream is to be written for."""
    if not stream.isatty():
        return Paper(PLAIN_COLUMNS)
    has_colours = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return Paper(max(40, min(MAX_COLUMNS, shutil.get_terminal_size().columns)), has_colours)


def show(run: Run, stream: IO[str], on: Paper | None = None) -> None:
    """Write the report of a run for people."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
    stream.write(text.report(run, on or paper(stream)))
    stream.flush()


def write_files(run: Run, arguments: Any) -> bool:
    """Write the files that were asked for. False when one could not be written, which is told."""
    wanted = {form: getattr(arguments, form) for form in FORMS if getattr(arguments, form, None)}
    written = [write_file(run, form, path) for form, path in wanted.items()]
    return all(written)


def write_file(run: Run, form: str, path: str) -> bool:
    """Write one file. False, and told, when that fails."""
    content = content_of(run, form)
    try:
        if path == "-":
            sys.stdout.write(content)
            sys.stdout.flush()
        else:
            with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(content)
    except BrokenPipeError:
        raise
    except OSError as error:
        complain(f"{path} cannot be written: {error.strerror}")
        return False
    return True


def content_of(run: Run, form: str) -> str:
    """Return a run in one of the forms."""
    if form == "html":
        return html.document(run)
    if form == "trace":
        return json.dumps(trace.document(run)) + "\n"
    return "".join(line + "\n" for line in lines.lines(run))


def show_in_log(run: Run, environment: Mapping[str, str], stream: IO[str] | None) -> None:
    """Write the report below the command's own output; in GitLab as a section that can be folded.

    A stream that is closed, full or read by nobody is no reason for `run` to fail.
    """
    if stream is None:
        return
    try:
        if environment.get("GITLAB_CI") == "true":
            show_in_section(run, stream)
        else:
            stream.write("\n")
            show(run, stream)
    except (OSError, ValueError):
        quieten(stream)


def show_in_section(run: Run, stream: IO[str]) -> None:
    """Write a section of GitLab's log: folded when all is well, since then nobody looks."""
    # docs.gitlab.com, "Custom collapsible sections": \r and the clearing of the line hide the marks themselves.
    is_well = run.outcome == "ok" and not text.troubles(run)
    start = f"section_start:{int(time.time())}:monitor_auto{'[collapsed=true]' if is_well else ''}"
    stream.write(f"\x1b[0K{start}\r\x1b[0Kmonitor-auto: what was recorded\n")
    show(run, stream, Paper(PLAIN_COLUMNS, True))
    stream.write(f"\x1b[0Ksection_end:{int(time.time())}:monitor_auto\r\x1b[0K\n")
    stream.flush()


def quieten(stream: IO[str]) -> None:
    """Keep the interpreter's end from failing once more with what could not be written."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream.fileno())
    except (OSError, ValueError):  # it has no descriptor any more
        pass
    os.close(nowhere)


def append_github_summary(run: Run, environment: Mapping[str, str]) -> None:
    """Append the run to the job's summary, where GitHub Actions runs us."""
    if environment.get("GITHUB_ACTIONS") == "true" and environment.get("GITHUB_STEP_SUMMARY"):
        append_summary(run, environment["GITHUB_STEP_SUMMARY"])


def append_summary(run: Run, path: str) -> None:
    """Append Markdown to the file that GitHub shows as the job's summary (at most 1 MiB a step)."""
    content = markdown.document(run)
    if len(content.encode()) > 900_000:
        content = markdown.headline(run) + "\n"
    try:
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(content)
    except OSError as error:
        complain(f"GITHUB_STEP_SUMMARY cannot be written: {error.strerror}")

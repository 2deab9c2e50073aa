"""Where the events of a report are read: a spool, a file of JSON lines, or a collector of ours. Changes nothing there.

A spool is read while programs write to it and others deliver from it: what is gone in between is passed over.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from .lines import read


class Unreadable(Exception):
    """There is nothing to be read; the message says why and what to do."""


def of_spool(directory: Path, tree: str = "") -> Iterator[dict[str, Any]]:
    """Yield the events that lie in a spool; with `tree` those of one tree of sessions. Raises Unreadable."""
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise Unreadable(f"{directory} cannot be read: {error.strerror}.") from None
    for name in names:
        parts = name.split(".")
        if name.endswith(".jsonl") and len(parts) == 5 and (not tree or parts[1] == tree):
            yield from of_segment(directory / name)


def of_segment(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a segment; none when it is gone meanwhile, or no file."""
    file = opened(path)
    if file is not None:
        with file:
            yield from read(file)


def opened(path: Path | str) -> IO[bytes] | None:
    """Open a segment for reading; None for what is gone, a link, a folder or a pipe: none of them may hold us up."""
    flags = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return open(descriptor, "rb")


def of_file(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of an exported file. Raises Unreadable."""
    try:
        with path.open("rb") as file:
            yield from read(file)
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}.") from None


def of_collector(base: str, run: str | None, token: str | None) -> Iterator[dict[str, Any]]:
    """Yield the events of a collector of ours: of one run, by the id of any of its sessions, or of the latest runs.
    Raises Unreadable.
    """
    with collector(base, token) as client:
        keys = [run] if run and len(run) == 36 else keys_of(client, run)
        for key in keys:
            yield from asked(client, f"/v1/runs/{key}")["events"]


def collector(base: str, token: str | None) -> Any:
    """Return a client for a collector of ours, by the address of its page or of its endpoint."""
    import httpx

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=base.removesuffix("/v1/events").rstrip("/"), headers=headers, timeout=30)


def keys_of(client: Any, beginning: str | None) -> list[str]:
    """Return the keys of the latest runs, the newest first; those with a certain beginning."""
    runs = asked(client, "/v1/runs?limit=50")["runs"]
    return [str(run["root"]) for run in runs if not beginning or str(run["root"]).startswith(beginning)]


def asked(client: Any, path: str) -> Any:
    """Return what a collector answers. Raises Unreadable where that is no success."""
    import httpx

    try:
        answer = client.get(path)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        cause = str(error).partition("] ")[2] or error if str(error).startswith("[Errno") else error
        raise Unreadable(f"{client.base_url} cannot be reached: {cause}. Is `monitor-auto collect` running?") from None
    if answer.status_code == 401:
        raise Unreadable("The collector wants a token: set MONITOR_COLLECT_TOKEN.")
    if answer.status_code != 200 or "json" not in answer.headers.get("content-type", ""):
        raise Unreadable(f"{answer.url} answered {answer.status_code}: that is no collector of `monitor-auto collect`.")
    try:
        return answer.json()
    except ValueError:
        raise Unreadable(f"{answer.url} answered with what is no JSON.") from None

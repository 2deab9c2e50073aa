"""How the package lies in this environment: the start line, its hash in RECORD, copies, bytecode. Changes nothing."""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import sys
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path

import monitor_auto
from monitor_auto import boot

PTH = "monitor_auto.pth"


@dataclass
class StartLine:
    """One `monitor_auto.pth` that `site` reads. `state` is "as installed", "changed" or "not recorded"."""

    path: str
    state: str


def site_folders() -> list[str]:
    """Return the folders in which `site` looks for start lines here: each once, by its real path."""
    import site

    folders = site.getsitepackages()
    if site.ENABLE_USER_SITE:
        folders.append(site.getusersitepackages())
    return list(dict.fromkeys(os.path.realpath(folder) for folder in folders if os.path.isdir(folder)))


def start_lines(folders: list[str] | None = None) -> list[StartLine]:
    """Return the start lines of this environment."""
    found = []
    for folder in site_folders() if folders is None else folders:
        path = os.path.join(folder, PTH)
        if os.path.lexists(path):
            found.append(StartLine(path, _state(path)))
    return found


def _state(path: str) -> str:
    try:
        with open(path, "rb") as file:
            digest = hashlib.sha256(file.read()).digest()
    except OSError:
        return "changed"
    recorded = recorded_hashes(os.path.dirname(path))
    if not recorded:
        return "not recorded"
    return "as installed" if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() in recorded else "changed"


def recorded_hashes(folder: str) -> set[str]:
    """Return the hashes that the RECORD files of our package give for the start line."""
    hashes: set[str] = set()
    for name in metadata_folders(folder):
        try:
            with open(os.path.join(folder, name, "RECORD"), encoding="utf-8", newline="") as file:
                rows = [row for row in csv.reader(file) if row[:1] == [PTH]]
        except (OSError, UnicodeDecodeError, csv.Error):  # removed by hand, or damaged
            continue
        hashes.update(row[1].partition("sha256=")[2] for row in rows if len(row) > 1)
    return hashes


def metadata_folders(folder: str) -> list[str]:
    """Return the names of our `.dist-info` folders."""
    return [name for name in os.listdir(folder) if name.startswith("monitor_auto-") and name.endswith(".dist-info")]


def installed_versions(folders: list[str]) -> list[str]:
    """Return the versions that these folders' metadata name."""
    names = [name for folder in folders for name in metadata_folders(folder)]
    return sorted({name.removeprefix("monitor_auto-").removesuffix(".dist-info") for name in names})


def copies() -> list[str]:
    """Return every folder of the path that has a copy of the package, the one in use first."""
    own = os.path.dirname(os.path.realpath(monitor_auto.__file__))
    found = [os.path.realpath(os.path.join(entry or ".", "monitor_auto")) for entry in sys.path]
    return list(dict.fromkeys([own, *(path for path in found if os.path.exists(os.path.join(path, "__init__.py")))]))


def is_importable_without_pythonpath() -> bool:
    """Return whether the package is found by programs that do not have this process's PYTHONPATH and folder."""
    given = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    removed = {os.path.realpath(entry) for entry in given}
    path = [entry for entry in sys.path if entry and os.path.realpath(entry) not in removed]
    return PathFinder.find_spec("monitor_auto", path) is not None


def bytecode_faults() -> dict[str, str]:
    """Return name -> "missing" or "stale" for the boot modules that every start has to compile anew."""
    sources = {name: f"{boot.FOLDER}/{name}.py" for name in (*boot.HOT, *boot.COLD, *boot.COLDER)}
    sources |= {"boot": str(boot.__file__), "monitor_auto": str(monitor_auto.__file__)}
    faults = {name: fault_of_bytecode(source) for name, source in sources.items()}
    return {name: fault for name, fault in faults.items() if fault}


def fault_of_bytecode(source: str) -> str:
    """Return "missing" or "stale" where Python would not take the bytecode of a source, else ""."""
    try:
        data, facts = Path(cache_from_source(source)).read_bytes(), os.stat(source)
    except OSError:
        return "missing"
    size, made = facts.st_size & 0xFFFFFFFF, int(facts.st_mtime) & 0xFFFFFFFF
    is_current = data[4:16] == bytes(4) + made.to_bytes(4, "little") + size.to_bytes(4, "little")
    if data[:4] != MAGIC_NUMBER:
        return "missing"
    return "stale" if data[4:8] == bytes(4) and not is_current else ""

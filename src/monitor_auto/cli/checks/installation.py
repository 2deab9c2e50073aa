"""Checks of the installation: start line, copies, bytecode, versions of what we need."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import metadata

import monitor_auto

from .. import installation
from . import OK, WARNING, WRONG, Check

AGAIN = "python -m pip install --force-reinstall --no-deps monitor-auto"
COMPILE_COST = "every start compiles it anew, about ten times the cost"


def check() -> Iterator[Check]:
    """Yield all findings about the installation."""
    yield from start_line()
    yield from copies()
    yield from versions()
    yield bytecode()
    yield from requirements()


def start_line() -> Iterator[Check]:
    """Check that `site` finds one start line, unchanged, and the package that it starts."""
    lines = installation.start_lines()
    if sys.flags.no_site:
        yield Check("start line", WRONG, "python -S reads no start line", "Run programs without -S.")
    if not lines:
        folders = ", ".join(installation.site_folders()) or "no folder"
        what = f"no {installation.PTH} in {folders}: no program is monitored"
        yield Check("start line", WRONG, what, f"{AGAIN} (a copy by hand, --target or PYTHONPATH brings none).")
    if len(lines) > 1:
        paths = ", ".join(line.path for line in lines)
        yield Check("start line", WARNING, f"there is more than one: {paths}", "Uninstall all but one.")
    for line in lines:
        if line.state == "changed":
            what = f"{line.path} is not what was installed: stale, or changed by somebody"
            yield Check("start line", WRONG, what, f"Look at it, then: {AGAIN}.")
        elif line.state == "not recorded":
            what = f"{line.path} belongs to no installed version: pip will not remove it"
            yield Check("start line", WARNING, what, "Delete it if monitor-auto was removed, else install again.")
        elif len(lines) == 1:
            yield Check("start line", OK, line.path)
    if lines and not installation.is_importable_without_pythonpath():
        what = "the start line is there but the package is gone: every Python start prints an error"
        yield Check("package", WRONG, what, f"Delete {lines[0].path}, or install monitor-auto again.")


def copies() -> Iterator[Check]:
    """Check that there is one copy of the package."""
    found = installation.copies()
    if len(found) > 1:
        what = f"there is more than one copy, the first counts: {', '.join(found)}"
        yield Check("copies", WARNING, what, "Uninstall or delete the others.")


def versions() -> Iterator[Check]:
    """Check that package and metadata are of one version."""
    found = installation.installed_versions(installation.site_folders())
    if found and found != [monitor_auto.__version__]:
        what = f"the code is version {monitor_auto.__version__}, the metadata says {', '.join(found)}"
        yield Check("version", WARNING, what, AGAIN)
    else:
        yield Check("version", OK, monitor_auto.__version__)


def bytecode() -> Check:
    """Check that no start has to compile us."""
    faults = installation.bytecode_faults()
    if not faults:
        return Check("bytecode", OK, "compiled for this interpreter")
    kinds = " or ".join(sorted(set(faults.values())))
    reason = "PYTHONDONTWRITEBYTECODE is set" if sys.dont_write_bytecode else "the folder may be read-only"
    folder = str(monitor_auto.__file__).rpartition("/")[0]
    what = f"bytecode of {len(faults)} modules is {kinds} ({reason}): {COMPILE_COST}"
    return Check("bytecode", WARNING, what, f"{sys.executable} -m compileall -f -q {folder}")


def requirements() -> Iterator[Check]:
    """Check that what delivery and hooks need is there, in a version that we know."""
    try:
        required = metadata.requires("monitor-auto") or []
    except metadata.PackageNotFoundError:  # a copy by hand
        return
    wrong = []
    for line in required:
        if "extra ==" not in line:
            wrong += requirement(line)
    yield from wrong
    if not wrong:
        yield Check("libraries", OK, "wrapt, httpx and platformdirs are in range")


def requirement(line: str) -> list[Check]:
    """Return what is wrong with one requirement such as `httpx<1,>=0.24`."""
    name, bounds = re.findall(r"^([A-Za-z0-9._-]+)\s*(.*)$", line.partition(";")[0].strip())[0]
    bounds = bounds.strip("() ")
    remedy = f'python -m pip install "{name}{bounds.replace(" ", "")}"'
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        what = f"{name} is not installed: delivery by name or https, or the library hooks, cannot work"
        return [Check("libraries", WRONG, what, remedy)]
    if all(is_within(version, bound) for bound in bounds.split(",") if bound.strip()):
        return []
    return [Check("libraries", WARNING, f"{name} {version} is outside {bounds}, which is what was tested", remedy)]


def is_within(version: str, bound: str) -> bool:
    """Return whether a version keeps a bound `>=x` or `<x`; any other kind of bound counts as kept."""
    sign, limit = re.findall(r"^\s*([<>=!~]+)\s*(.*)$", bound)[0]
    have, want = numbers(version), numbers(limit)
    return have >= want if sign == ">=" else have < want if sign == "<" else True


def numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, without zeros at the end: 1.0 is 1."""
    found = [int(number) for number in re.findall(r"\d+", re.match(r"[\d.]*", version).group())]  # type: ignore[union-attr]
    while found and not found[-1]:
        found.pop()
    return tuple(found)

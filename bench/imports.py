"""Rows about what importing a library costs that is hooked: instructions, counted by callgrind."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace

from bench.calls import sides
from bench.lab import Lab
from bench.rows import Measured
from bench.sides import Side
from bench.starts import MILLION, PASS, count
from bench.verdicts import Failed, Skipped

WRAPT = "import wrapt"

_counted: dict[tuple[Lab, bool, str], float] = {}


def make_import(target: str, hook: str) -> Callable[[Lab], Measured]:
    """Return what measures an import: what it costs more than bare, less what `import wrapt` alone costs a bare
    interpreter. The details say what of that is ours, that is, more than the library and wrapt bare. The start of the
    monitor has rows of its own, and is left out.
    """

    def measure(lab: Lab) -> Measured:
        if not shutil.which("valgrind"):
            raise Skipped("install the Debian package valgrind")
        bare, on = sides(lab)
        on = replace(on, environment={**on.environment, "MONITOR_FLUSH_INTERVAL": "0"})  # as in starts.py
        source = f"import {target}"
        is_own = target.partition(".")[0] in sys.stdlib_module_names
        start = counted(lab, on, PASS[1]) - counted(lab, bare, PASS[1])
        wrapt = counted(lab, bare, WRAPT) - counted(lab, bare, PASS[1])
        library = counted(lab, bare, source)
        both = library if is_own else counted(lab, bare, f"{source}; {WRAPT}")
        monitored = counted(lab, on, source) - start
        on.run("-c", source)
        if not on.count_lines(f'"{hook}":0'):
            raise Failed(f"{target} was not hooked")
        text = f"{library:.1f} M bare, {both - library:.1f} M for wrapt after it, {monitored:.1f} M monitored"
        text = f"{monitored - both:.1f} M ours: {text}; wrapt alone {wrapt:.1f} M"
        return Measured((monitored - library - wrapt,), text)

    return measure


def counted(lab: Lab, side: Side, source: str) -> float:
    """Return the millions of instructions that a program takes on a side, counted once: they repeat to 0.1 %."""
    key = lab, side.spool is None, source
    if key not in _counted:
        side.run("-c", source)
        _counted[key] = count(side, ("-c", source)) / MILLION
    return _counted[key]

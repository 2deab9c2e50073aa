"""Rows about the start of a process: instructions, counted by callgrind, and what is there at the first user line."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from statistics import median
from typing import Any

from bench.lab import PROGRAMS, Lab
from bench.rows import Measured
from bench.sides import Side
from bench.verdicts import Failed, Skipped

PASS = ("-c", "pass")
JSON = ("-c", "import json")
EXIT = ("-c", "import sys; sys.exit(0)")
CHILD = ("-c", 'import subprocess; subprocess.run(["true"])')
PIP = ("-m", "pip", "--version")
CALLGRIND = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")
MILLION = 1e6
FIRST_LINE = PROGRAMS / "first_line.py"


def ratio_off(lab: Lab) -> Measured:
    """Installed and dormant: what every process on the machine pays."""
    bare, off = count_both(lab, lab.bare, lab.off, PASS)
    return Measured((off / bare,), explain(bare, off))


def make_ratio_on(words: tuple[str, ...]) -> Callable[[Lab], Measured]:
    """A monitored program relative to the same one bare."""

    def ratio_on(lab: Lab) -> Measured:
        bare, on = count_both(lab, lab.bare, monitored(lab), words)
        return Measured((on / bare,), explain(bare, on))

    return ratio_on


def difference_json(lab: Lab) -> Measured:
    """What the monitor adds to a program that imports one ordinary module."""
    bare, on = count_both(lab, lab.bare, monitored(lab), JSON)
    return Measured(((on - bare) / MILLION,), explain(bare, on))


def count_both(lab: Lab, one: Side, other: Side, words: tuple[str, ...]) -> tuple[float, float]:
    """Count the instructions of the same program on two sides: the median of a few runs of each."""
    if not shutil.which("valgrind"):
        raise Skipped("install the Debian package valgrind")
    one.run(*words)
    other.run(*words)
    times = lab.times(3, 1)
    return median(count(one, words) for _ in range(times)), median(count(other, words) for _ in range(times))


def monitored(lab: Lab) -> Side:
    """Monitored, and without a background thread: callgrind makes of these programs' hundredth of a second more than
    the one after which it would start.
    """
    return lab.on(MONITOR_FLUSH_INTERVAL="0")


def count(side: Side, words: tuple[str, ...]) -> int:
    """Count the user-space instructions of one process, not those of its children."""
    # With random hashes bare `pass` varies by 0.3 % (3.11), with fixed ones not at all.
    steady = Side(side.python, {**side.environment, "PYTHONHASHSEED": "0"}, side.folder, side.spool)
    found = re.findall(r"Collected : (\d+)", steady.run(*words, before=CALLGRIND).stderr)
    if not found:
        raise Failed("valgrind printed no count")
    return int(found[-1])


def explain(bare: float, monitored: float) -> str:
    return f"{bare / MILLION:.2f} M instructions bare, {monitored / MILLION:.2f} M with the monitor"


def foreign_modules(lab: Lab) -> Measured:
    """The monitor must not bring a module that the program might patch, shadow or watch."""
    bare, on = look(lab.bare), look(lab.on())
    added = set(on["modules"]) - set(bare["modules"])
    foreign = sorted(name for name in added if not name.startswith("monitor_auto") and name not in on["builtin"])
    own = sum(name.startswith("monitor_auto") for name in added)
    return Measured((len(foreign),), ", ".join(foreign) or f"{own} of ours, {len(added) - own} builtin")


def company(lab: Lab) -> Measured:
    """Threads, sockets and children that the monitor has started by then."""
    bare, on = look(lab.bare), look(lab.on())
    return Measured(tuple(on[what] - bare[what] for what in ("threads", "sockets", "children")))


def descriptors(lab: Lab) -> Measured:
    """How many more are open; and how many of them a program could stumble on: inherited by exec, or a low number."""
    bare, on = look(lab.bare), look(lab.on())
    added = {number: flag for number, flag in on["descriptors"].items() if number not in bare["descriptors"]}
    high = min(on["soft_limit"], 4096) // 2
    in_the_way = [number for number, is_inherited in added.items() if is_inherited or int(number) < high]
    count = len(on["descriptors"]) - len(bare["descriptors"])
    return Measured((count, len(in_the_way)), f"numbers {', '.join(added)}; the soft limit is {on['soft_limit']}")


def memory(lab: Lab) -> Measured:
    """The median of several: resident memory differs by some 10 KiB from run to run."""
    times = lab.times(15, 5)
    bare_side, on_side = lab.bare, lab.on()
    pairs = [(look(bare_side)["resident_kib"], look(on_side)["resident_kib"]) for _ in range(times)]
    bare, on = (median(column) / 1024 for column in zip(*pairs, strict=True))
    return Measured((on - bare,), f"{bare:.2f} MiB bare, {on:.2f} MiB on")


def look(side: Side) -> dict[str, Any]:
    """Run the program that says what it finds at its first line."""
    stdout = side.run(str(FIRST_LINE)).stdout
    if not stdout:
        raise Skipped("needs /proc")
    found: dict[str, Any] = json.loads(stdout)
    return found

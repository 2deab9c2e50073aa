"""Which modules of its own test suite an interpreter has, and stand-ins for those that its installation left out."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence

from sides import STAND_INS, Side, stand_in_for

PROBE = "import importlib.util as u, sys; print(*[m for m in sys.argv[1:] if u.find_spec('test.' + m)])"
# What the three folders amount to that `make install` of 3.11.7 and 3.12.1 forgets; the tests are all in that module.
STAND_IN = """from test._test_multiprocessing import install_tests_in_module_dict
install_tests_in_module_dict(globals(), {method!r})
"""
METHODS = {f"test_multiprocessing_{method}": method for method in ("fork", "spawn", "forkserver")}


def find_modules(side: Side, wanted: Sequence[str]) -> tuple[list[str], list[str]]:
    """Those of the wanted modules that can be run, and which of them only as a stand-in.

    Raises:
        SystemExit: the interpreter comes without a test suite.
    """
    command = [*side.python, "-c", PROBE, *wanted, "_test_multiprocessing", "libregrtest"]
    answer = subprocess.run(command, env=side.environment, capture_output=True, text=True, check=False)
    found = set(answer.stdout.split())
    if "libregrtest" not in found:
        raise SystemExit(f"{' '.join(side.python)} has no test suite of its own (test.libregrtest)\n{answer.stderr}")
    stand_ins = [name for name in METHODS if name not in found] if "_test_multiprocessing" in found else []
    return [name for name in wanted if name in found or name in stand_ins], stand_ins


def write_stand_ins(names: Iterable[str], *sides: Side) -> None:
    """Put the stand-ins where the sides look for modules before they ask the test suite."""
    for side in sides:
        folder = side.folder / STAND_INS
        folder.mkdir()
        for name in names:
            (folder / stand_in_for(name)).write_text(STAND_IN.format(method=METHODS[name]), encoding="utf-8")

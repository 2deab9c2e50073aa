"""Build hook: lay the start line beside the package, and put the modules that have to be at hand when all goes wrong
into one text (`boot/__init__.py: COLD`). Runs in `pip wheel` and `pip install -e`, never at run time.

With MONITOR_AUTO_START_FILE=1 the wheel also carries monitor_auto.start (PEP 829). It is off because every entry of
such a file makes Python 3.15 import pkgutil in every process of the environment, 8 to 10 ms each, also where the
monitor is off; the .pth line costs 0.3 ms and works until Python 3.17.
"""

import ast
import io
import os
import tempfile
import tokenize
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PTH = "monitor_auto.pth"
START = "monitor_auto.start"
START_ENTRY = "monitor_auto.boot:start\n"
BOOT = "src/monitor_auto/boot"
RESERVE = "monitor_auto/boot/reserve.txt"


class StartFiles(BuildHookInterface[Any]):
    """Puts the start files into the root of the wheel, which pip unpacks into site-packages."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        self._written: list[str] = []
        start_files = {str(Path(self.root, PTH)): PTH}
        if os.environ.get("MONITOR_AUTO_START_FILE") == "1":
            start_files[self._write(START_ENTRY)] = START
        build_data.setdefault("force_include", {})[self._write(self._reserve())] = RESERVE
        # An editable wheel ignores force_include: without the second key an editable install is silently not monitored.
        for key in ("force_include", "force_include_editable"):
            build_data.setdefault(key, {}).update(start_files)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        for path in self._written:
            os.unlink(path)

    def _reserve(self) -> str:
        """Return the texts of the modules in COLD, each behind a form feed and its name.

        Every start reads it, so it is without comments and documentation: a third of its pages.
        """
        folder = Path(self.root, BOOT)
        for node in ast.parse((folder / "__init__.py").read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "COLD":
                names = [str(name) for name in ast.literal_eval(node.value)]
                texts = [without_comments((folder / f"{name}.py").read_text(encoding="utf-8")) for name in names]
                return "".join(f"\f{name}\n{text}" for name, text in zip(names, texts, strict=True))
        raise LookupError("boot/__init__.py has no table COLD")

    def _write(self, text: str) -> str:
        descriptor, path = tempfile.mkstemp()
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o644)
        self._written.append(path)
        return path


def without_comments(source: str) -> str:
    """Return a module's text without comments and documentation. What is left keeps its place: an error's line in it is
    the line in the file that people read.
    """
    lines = source.split("\n")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            first, last = node.lineno, node.end_lineno or node.lineno
            lines[first - 1 : last] = [" " * node.col_offset + '""'] + [""] * (last - first)
    return "\n".join(lines)

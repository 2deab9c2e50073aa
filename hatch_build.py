"""Build hook: lay the start line beside the package. Runs in `pip wheel` and `pip install -e`, never at run time.

With MONITOR_AUTO_START_FILE=1 the wheel also carries monitor_auto.start (PEP 829). It is off because every entry of
such a file makes Python 3.15 import pkgutil in every process of the environment, 8 to 10 ms each, also where the
monitor is off; the .pth line costs 0.3 ms and works until Python 3.17.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PTH = "monitor_auto.pth"
START = "monitor_auto.start"
START_ENTRY = "monitor_auto.boot:start\n"


class StartFiles(BuildHookInterface[Any]):
    """Puts the start files into the root of the wheel, which pip unpacks into site-packages."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        start_files = {str(Path(self.root, PTH)): PTH}
        if os.environ.get("MONITOR_AUTO_START_FILE") == "1":
            start_files[self._write_start_file()] = START
        # An editable wheel ignores force_include: without the second key an editable install is silently not monitored.
        for key in ("force_include", "force_include_editable"):
            build_data.setdefault(key, {}).update(start_files)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if start_file := getattr(self, "_start_file", None):
            os.unlink(start_file)

    def _write_start_file(self) -> str:
        descriptor, self._start_file = tempfile.mkstemp(suffix=".start")
        with open(descriptor, "w", encoding="utf-8") as start_file:
            start_file.write(START_ENTRY)
        os.chmod(self._start_file, 0o644)
        return self._start_file

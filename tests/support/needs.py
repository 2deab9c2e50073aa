"""What a test needs from the machine. On a developer's machine its absence skips the test; under CI it is a failure."""

import os
import shutil

import pytest


def need_command(name: str, package: str) -> str:
    """Return the path of a program, or skip: the Debian package `package` is not installed."""
    path = shutil.which(name)
    if path is None:
        miss(f"no {name} on this machine: install the Debian package {package}")
    return str(path)


def miss(reason: str) -> None:
    """Skip the calling test for `reason`; under CI=true fail, so that nothing is silently untested there."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)

"""What is switched on in this environment, and why. Reads what a program started here would read, and explains it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import Any

from monitor_auto.boot import parsing
from monitor_auto.boot.settings import OFF, SITE_FILE, make, read_settings

KNOWN = frozenset((
    "MONITOR_ENDPOINT", "MONITOR_DISABLE", "MONITOR_APP", "MONITOR_APP_VERSION", "MONITOR_PLATFORM", "MONITOR_TOKEN",
    "MONITOR_SPOOL_DIR", "MONITOR_SPOOL_LIMIT", "MONITOR_SPOOL_AGE", "MONITOR_BATCH_SIZE", "MONITOR_EXIT_TIMEOUT",
    "MONITOR_PROPAGATE", "MONITOR_REDACT", "MONITOR_ARGV", "MONITOR_INSTRUMENT", "MONITOR_SKIP", "MONITOR_DEBUG",
    "MONITOR_PARENT", "MONITOR_TERM_TIMEOUT", "MONITOR_RATE_LIMIT", "MONITOR_SAMPLE",
    "MONITOR_INCLUDE", "MONITOR_EXCLUDE", "MONITOR_RELAY",
    "MONITOR_FLUSH_INTERVAL", "MONITOR_HEARTBEAT", "MONITOR_PROPAGATE_EXCLUDE",
))  # fmt: skip
"""Every name that this version reads; a test holds it against the source."""


@dataclass
class Configuration:
    """What programs that start here would do.

    `settings` are those that count, also while the monitor is switched off; without a usable endpoint they are those
    of `local:`, so that the spool can be looked at. `problem` says what is wrong with an endpoint.
    """

    is_on: bool
    why: str
    settings: Any
    has_endpoint: bool = False
    problem: str = ""
    site_file: str = ""
    has_site_file: bool = False
    site_values: dict[str, str] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        """The endpoint for people: without its query, which may hold a key."""
        return without_query(self.settings.endpoint) if self.has_endpoint else ""

    @property
    def origin(self) -> str:
        """Where the endpoint comes from."""
        if not self.has_endpoint:
            return ""
        return self.site_file if self.settings.is_from_site_file else "environment"

    @property
    def values(self) -> dict[str, str]:
        """The MONITOR_* names and values that count, those that nobody knows included."""
        given = from_environment()
        return given if given.get("MONITOR_ENDPOINT") else {**self.site_values, **given}


def programs_text(settings: Any) -> str:
    """Return which programs MONITOR_INCLUDE and MONITOR_EXCLUDE leave in; "" where they leave in all."""
    if settings.choice is None:
        return ""
    include, exclude = settings.choice
    parts = ["only " + ", ".join(include) + " (MONITOR_INCLUDE)"] if include else ["all"]
    return " but ".join(parts + ["not " * bool(include) + ", ".join(exclude) + " (MONITOR_EXCLUDE)"] * bool(exclude))


def is_elevated() -> bool:
    """Return whether this interpreter runs with another user's rights (setuid), so that no environment counts."""
    return hasattr(os, "geteuid") and (os.geteuid() != os.getuid() or os.getegid() != os.getgid())


def from_environment() -> dict[str, str]:
    """Return the MONITOR_* variables that count."""
    return {} if is_elevated() else {name: os.environ[name] for name in os.environ if name.startswith("MONITOR_")}


def without_query(endpoint: str) -> str:
    """Return an endpoint as it may be shown."""
    return endpoint.partition("?")[0]


def read_configuration() -> Configuration:
    """Read the environment and the site file of this interpreter."""
    path = f"{sys.prefix}/{SITE_FILE}"
    site_values = parsing.read_site_file(path)
    settings, problem = _settings({})
    undisabled, problem = (settings, "") if settings else _settings({"MONITOR_DISABLE": "0"})
    shown = undisabled
    if shown is None:
        shown = make({**site_values, **from_environment(), "MONITOR_ENDPOINT": "local:"})
    configuration = Configuration(settings is not None, "", shown, undisabled is not None, problem, path)
    configuration.has_site_file = os.path.lexists(path)
    configuration.site_values = site_values
    configuration.why = _why(configuration)
    return configuration


def _settings(changes: dict[str, str]) -> tuple[Any, str]:
    """Return (settings or None, what is wrong with the endpoint)."""
    try:
        return read_settings({**os.environ, **changes}, sys.prefix), ""
    except ValueError as error:
        return None, str(error)


def _why(configuration: Configuration) -> str:
    for origin, values in (
        ("the environment", from_environment()),
        (configuration.site_file, configuration.site_values),
    ):
        if values.get("MONITOR_DISABLE", "").strip().lower() not in OFF and not configuration.is_on:
            return f"MONITOR_DISABLE is set in {origin}"
    if configuration.problem:
        return f"the endpoint cannot be used: {configuration.problem}"
    if configuration.is_on:
        by = configuration.site_file if configuration.settings.is_from_site_file else "MONITOR_ENDPOINT"
        return f"{by} names the endpoint"
    if is_elevated():
        return f"with another user's rights only {configuration.site_file} counts, and it names no endpoint"
    if configuration.has_site_file:
        return f"MONITOR_ENDPOINT is not set, and {configuration.site_file} names no endpoint"
    return f"MONITOR_ENDPOINT is not set, and there is no {configuration.site_file}"

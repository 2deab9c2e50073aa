"""Checks of what was configured: endpoint, token, site file, values and names. No network."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Iterator

from monitor_auto.boot import arrivals, entries, targets

from ..configuration import KNOWN, Configuration, is_elevated, programs_text
from . import OK, WARNING, WRONG, Check

EXAMPLE = "export MONITOR_ENDPOINT=http://127.0.0.1:9090/v1/events, or monitor-auto enable --endpoint URL"


def check(configuration: Configuration) -> Iterator[Check]:
    """Yield all findings about the settings."""
    yield endpoint(configuration)
    yield from token(configuration)
    yield from site_file(configuration)
    yield from values(configuration)
    yield from names(configuration)
    yield from programs(configuration)
    yield from libraries(configuration)
    yield from elevated()


def endpoint(configuration: Configuration) -> Check:
    """Check that there is a usable endpoint and nobody has switched the monitor off."""
    if configuration.problem:
        return Check("endpoint", WRONG, configuration.why, f"Correct it, e.g. {EXAMPLE}.")
    if not configuration.has_endpoint:
        return Check("endpoint", WRONG, f"nothing is monitored: {configuration.why}", f"Name one: {EXAMPLE}.")
    if not configuration.is_on:
        return Check("endpoint", WARNING, f"nothing is monitored: {configuration.why}", "Unset MONITOR_DISABLE.")
    if configuration.settings.scheme == "local":
        return Check("endpoint", OK, "local: – events are kept in the spool and never sent")
    return Check("endpoint", OK, f"{configuration.endpoint} ({configuration.why})")


def token(configuration: Configuration) -> Iterator[Check]:
    """Check that a token does not cross a network in the clear."""
    settings = configuration.settings
    if not configuration.has_endpoint or not settings.token:
        return
    if settings.scheme == "http" and not is_loopback(settings.host):
        what = f"the token goes to {settings.host} over plain http, readable by everybody on the way"
        yield Check("token", WRONG, what, "Use an https endpoint.")
    else:
        yield Check("token", OK, "a token is sent with every request")


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine by its name alone."""
    return host.lower() in ("localhost", "::1", "[::1]") or host.startswith("127.")


def site_file(configuration: Configuration) -> Iterator[Check]:
    """Check that the site file can be read by whom it is for, and by nobody else if it holds a token."""
    path = configuration.site_file
    if not configuration.has_site_file:
        return
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.strip() for line in file]
        mode = os.stat(path).st_mode
    except OSError as error:
        yield Check("site file", WRONG, f"{path} cannot be read: {error.strerror}", "Run monitor-auto enable again.")
        return
    strange = [number for number, line in enumerate(lines, 1) if line and line[0] != "#" and not is_setting(line)]
    if strange:
        what = f"{path}: line {', '.join(map(str, strange))} is no MONITOR_NAME=value and counts for nothing"
        yield Check("site file", WARNING, what, "Correct the lines, or write the file with monitor-auto enable.")
    if "MONITOR_TOKEN" in configuration.site_values and stat.S_IMODE(mode) & 0o077:
        what = f"{path} holds a token, and others can read it (mode {stat.S_IMODE(mode):04o})"
        yield Check("site file", WARNING, what, f"chmod 600 {path}")
    elif not strange:
        yield Check("site file", OK, path)


def is_setting(line: str) -> bool:
    """Return whether a line of the site file sets something."""
    name, sign, _ = line.partition("=")
    return bool(sign) and name.strip().startswith("MONITOR_")


def values(configuration: Configuration) -> Iterator[Check]:
    """Check that every value could be read."""
    for problem in configuration.settings.problems:
        yield Check("value", WRONG, problem, f"Correct {problem.partition(' ')[0]}, or unset it.")
    directory = configuration.values.get("MONITOR_SPOOL_DIR", "")
    if directory and not os.path.isabs(directory) and directory[0] != "~":
        what = f"MONITOR_SPOOL_DIR is {directory}: below another folder for each program, so that none finds the rest"
        yield Check("value", WARNING, what, "Give the whole path.")


def names(configuration: Configuration) -> Iterator[Check]:
    """Check for names that mean nothing: most are misspelt."""
    for name in sorted(set(configuration.values) - KNOWN):
        if name.startswith("MONITOR_AUTO_"):  # those of our own build and tests
            continue
        near = difflib.get_close_matches(name, KNOWN, 1, 0.8)
        remedy = f"Did you mean {near[0]}?" if near else "Unset it."
        yield Check("name", WARNING, f"{name} means nothing to this version", remedy)


def programs(configuration: Configuration) -> Iterator[Check]:
    """Say that not all programs are monitored: who misses one has to find the reason here."""
    text = programs_text(configuration.settings)
    if text:
        yield Check("programs", OK, f"monitored are {text}")


def libraries(configuration: Configuration) -> Iterator[Check]:
    """Check that MONITOR_INSTRUMENT and MONITOR_SKIP name hooks that there are."""
    settings = configuration.settings
    known = known_libraries()
    for variable, given in (("MONITOR_INSTRUMENT", {*settings.instrument} - {"all"}), ("MONITOR_SKIP", settings.skip)):
        for name in sorted({*given} - known):
            near = difflib.get_close_matches(name, known, 1, 0.7)
            packages = sorted(other for other in known if "." not in other and other[0] != "_")
            remedy = f"Did you mean {near[0]}?" if near else f"There are {', '.join(packages)}."
            yield Check(
                "name", WARNING, f"{variable} names {name}, which no hook of this environment is called", remedy
            )


def known_libraries() -> set[str]:
    """Return every name of a hook, of ours and of the packages that are installed here."""
    modules = {*targets.LIBRARY, *targets.THIRD_PARTY, *targets.ASKED}
    found = entries.found()
    modules.update(name for name, _ in found)
    names = {name.lower() for name in modules} | {name.partition(".")[0].lower() for name in modules}
    names.update(hook.partition(":")[0].partition(".")[0].lower() for _, hook in found)
    return names.union(*arrivals.ALSO.values())


def elevated() -> Iterator[Check]:
    """Say that a setuid interpreter believes no environment."""
    if is_elevated():
        what = "the effective and the real user differ (setuid): only the site file counts, not the environment"
        yield Check("setuid", WARNING, what, "Use monitor-auto enable.")

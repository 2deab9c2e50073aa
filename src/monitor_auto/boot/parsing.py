"""Cold: the settings that most processes do not have, and endpoints of an unusual form. Builtin modules only."""

import os

from . import cold, guard
from .settings import IS_ELEVATED, OFF

BURST_SECONDS = 10
BLOCKS = 16
"""In so many blocks a burst is handed out (limits.py)."""
NO_LIMIT = 1 << 62

_BYTES = {"": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_BARE = {"": 1}
_SECONDS = {"": 1, "s": 1, "d": 86400}


def parse(settings, values):
    """Read the values with units, choices and lists into the settings."""
    problems = settings.problems
    settings.spool_limit_bytes = int(
        _quantity(values, "MONITOR_SPOOL_LIMIT", settings.spool_limit_bytes, _BYTES, problems)
    )
    settings.spool_age_seconds = _quantity(values, "MONITOR_SPOOL_AGE", settings.spool_age_seconds, _SECONDS, problems)
    settings.batch_size = max(1, int(_quantity(values, "MONITOR_BATCH_SIZE", settings.batch_size, _BYTES, problems)))
    default = settings.exit_timeout_seconds
    settings.exit_timeout_seconds = _quantity(values, "MONITOR_EXIT_TIMEOUT", default, _SECONDS, problems)
    settings.term_timeout_seconds = _quantity(values, "MONITOR_TERM_TIMEOUT", 0.0, _SECONDS, problems)
    settings.flush_interval_seconds = _quantity(values, "MONITOR_FLUSH_INTERVAL", 30.0, _SECONDS, problems)
    settings.heartbeat_seconds = _quantity(values, "MONITOR_HEARTBEAT", 300.0, _SECONDS, problems)
    settings.rate_limit = _quantity(values, "MONITOR_RATE_LIMIT", settings.rate_limit, _BARE, problems)
    settings.rate_block = rate_block(settings.rate_limit)
    if values.get("MONITOR_SAMPLE"):
        settings.sample = cold("sampling").rules_of(values["MONITOR_SAMPLE"], problems)
    settings.relay = values.get("MONITOR_RELAY", "").strip().lower() not in OFF
    settings.propagate = values.get("MONITOR_PROPAGATE", "1").strip().lower() not in ("0", "false")
    hosts = values.get("MONITOR_PROPAGATE_EXCLUDE", "").lower()
    settings.propagate_exclude = tuple(glob.strip() for glob in hosts.split(",") if glob.strip())
    include, exclude = values.get("MONITOR_INCLUDE", ""), values.get("MONITOR_EXCLUDE", "")
    if include or exclude:
        settings.choice = cold("choosing").make(include, exclude)
    settings.redact = [pattern for pattern in values.get("MONITOR_REDACT", "").split(",") if pattern.strip()]
    if settings.redact:
        cold("cleaning").add_rules(settings.redact)
    settings.argv = _choice(values, "MONITOR_ARGV", ("scrubbed", "full", "name"), problems)
    settings.instrument = _names(values.get("MONITOR_INSTRUMENT", ""))
    settings.skip = _names(values.get("MONITOR_SKIP", ""))


def rate_block(limit):
    """Return how many events a session records before it looks at the clock, for a limit in events a second."""
    return max(1, int(limit * BURST_SECONDS) // BLOCKS) if limit else NO_LIMIT


def report(settings):
    """Write down which values could not be read."""
    for problem in settings.problems:
        cold("notes").debug(problem)


def fallback_directories():
    """Return where the spool may be when its own place cannot be written, best first: services often have no home."""
    if IS_ELEVATED:
        return ["/var/tmp/monitor-" + str(os.geteuid())]
    bases = (os.environ.get("CACHE_DIRECTORY", "").partition(":")[0], os.environ.get("XDG_RUNTIME_DIR"))
    directories = [base + "/monitor/spool" for base in bases if base]
    if hasattr(os, "geteuid"):
        directories.append("/var/tmp/monitor-" + str(os.geteuid()))
    return directories


def read_site_file(path):
    """Return the `MONITOR_*` lines of the site file; an unreadable or absent file is an empty one."""
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except guard.ours(OSError):
        return {}
    try:
        text = os.read(fd, 65536).decode("utf-8", "replace").lstrip("\ufeff")
    except guard.ours(OSError):
        return {}
    finally:
        os.close(fd)
    values = {}
    for line in text.splitlines():
        name, sign, value = line.strip().partition("=")
        name = name.removeprefix("export ").strip()
        if sign and name.startswith("MONITOR_"):
            values[name] = value.strip().strip("\"'")
    return values


def parse_endpoint(text):
    """Return (scheme, host, port, path) of an endpoint; ("local", "", 0, "") for `local:`.

    Raises ValueError, with a sentence for the user, for anything else. Neither a name look-up nor any other network
    access happens here.
    """
    if text == "local:":
        return "local", "", 0, ""
    scheme, sign, rest = text.partition("://")
    scheme = scheme.lower()
    if scheme in ("otlp+http", "otlp+https"):
        raise ValueError("OpenTelemetry endpoints are not supported yet; use http(s)://host:port/v1/events")
    if not sign or scheme not in ("http", "https"):
        raise ValueError("MONITOR_ENDPOINT must be http(s)://host[:port]/v1/events or local:")
    if not text.isprintable() or " " in text:
        raise ValueError("MONITOR_ENDPOINT holds a space or a control character")
    authority = rest.partition("#")[0].partition("?")[0].partition("/")[0]
    if "@" in authority:
        raise ValueError("MONITOR_ENDPOINT must not hold a user or password; put a token into MONITOR_TOKEN")
    path = rest[len(authority) :].partition("#")[0]
    host, port = _host_and_port(authority, 443 if scheme == "https" else 80)
    if not path.startswith("/"):
        path = "/" + path
    return scheme, host, port, "/v1/events" + path[1:] if path[:2] in ("/", "/?") else path


def _host_and_port(authority, default_port):
    if authority.startswith("["):
        host, bracket, port = authority[1:].partition("]")
        is_host = bool(bracket) and host != "" and all(character in "0123456789abcdefABCDEF:.%" for character in host)
        port = port[1:] if port.startswith(":") else port and "x"
    else:
        host, _, port = authority.partition(":")
        is_host = host != "" and all(character.isalnum() or character in ".-_" for character in host)
    if not is_host:
        raise ValueError("MONITOR_ENDPOINT names no host")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError("MONITOR_ENDPOINT has a port that is no number from 1 to 65535")
    return host.lower(), int(port) if port else default_port


def _quantity(values, name, default, units, problems):
    text = values.get(name, "").strip().lower()
    if not text:
        return default
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    try:
        quantity = float(number) * units[text[len(number) :]]
    except guard.ours(ValueError, KeyError):
        quantity = -1.0
    if 0 <= quantity < 1e15:
        return quantity
    problems.append(name + " is no number that can be used: the default holds")
    return default


def _choice(values, name, choices, problems):
    value = values.get(name, "").strip().lower() or choices[0]
    if value in choices:
        return value
    problems.append(name + " must be one of " + ", ".join(choices) + ": " + choices[0] + " holds")
    return choices[0]


def _names(text):
    return frozenset(text.lower().replace(",", " ").split())

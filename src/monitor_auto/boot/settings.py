"""Hot: environment and `etc/monitor-auto.env` -> one Settings, read once at start. Builtin modules only.

A value that cannot be parsed falls back to its default and is named in `problems`; nothing here raises for what a user
wrote but `parse_endpoint`, whose ValueError says what to do.
"""

import os
import sys

SITE_FILE = "etc/monitor-auto.env"
OFF = ("", "0", "false")
_BYTES = {"": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_SECONDS = {"": 1, "s": 1, "d": 86400}
_PLATFORMS = {"darwin": "macos", "win32": "windows"}


class Settings:
    """What the operator decided. Sizes are bytes, times are seconds."""

    __slots__ = (
        "endpoint", "scheme", "host", "port", "path", "token", "app", "app_version", "platform", "spool_directories",
        "spool_limit_bytes", "spool_age_seconds", "batch_size", "exit_timeout_seconds", "propagate", "redact", "argv",
        "instrument", "skip", "debug", "problems", "is_from_site_file",
    )  # fmt: skip


def read_settings(environ, prefix):
    """Return the Settings, or None when there is nothing to do: no endpoint, or MONITOR_DISABLE."""
    is_elevated = hasattr(os, "geteuid") and (os.geteuid() != os.getuid() or os.getegid() != os.getgid())
    values = {} if is_elevated else {name: environ[name] for name in environ if name.startswith("MONITOR_")}
    # The file's token belongs to the file's endpoint: with an endpoint of its own the environment gets none of it.
    is_from_site_file = not values.get("MONITOR_ENDPOINT")
    if is_from_site_file:
        values.pop("MONITOR_ENDPOINT", None)
        values = {**read_site_file(prefix), **values}
    if values.get("MONITOR_DISABLE", "").strip().lower() not in OFF or not values.get("MONITOR_ENDPOINT"):
        return None
    settings = from_values(values)
    settings.is_from_site_file = is_from_site_file
    return settings


def read_site_file(prefix):
    """Return the `MONITOR_*` lines of the site file; an unreadable or absent file is an empty one."""
    try:
        fd = os.open(prefix + "/" + SITE_FILE, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return {}
    try:
        text = os.read(fd, 65536).decode("utf-8", "replace")
    except OSError:
        return {}
    finally:
        os.close(fd)
    values = {}
    for line in text.splitlines():
        name, sign, value = line.strip().partition("=")
        name = name.strip()
        if sign and name.startswith("MONITOR_"):
            values[name] = value.strip().strip("\"'")
    return values


def from_values(values):
    """Return the Settings for a mapping of `MONITOR_*` names. Raises ValueError for an endpoint that cannot be used."""
    settings = Settings()
    get = values.get
    settings.problems = problems = []
    settings.is_from_site_file = False
    settings.endpoint = endpoint = values["MONITOR_ENDPOINT"].strip()
    settings.scheme, settings.host, settings.port, settings.path = parse_endpoint(endpoint)
    settings.token = get("MONITOR_TOKEN") or None
    settings.app = get("MONITOR_APP") or None
    settings.app_version = get("MONITOR_APP_VERSION") or None
    settings.platform = get("MONITOR_PLATFORM") or _PLATFORMS.get(sys.platform, sys.platform)
    settings.spool_directories = spool_directories(get("MONITOR_SPOOL_DIR"))
    settings.spool_limit_bytes = int(_quantity(values, "MONITOR_SPOOL_LIMIT", 50 << 20, _BYTES, problems))
    settings.spool_age_seconds = _quantity(values, "MONITOR_SPOOL_AGE", 14 * 86400.0, _SECONDS, problems)
    settings.batch_size = max(1, int(_quantity(values, "MONITOR_BATCH_SIZE", 100, _BYTES, problems)))
    settings.exit_timeout_seconds = _quantity(values, "MONITOR_EXIT_TIMEOUT", 3.0, _SECONDS, problems)
    settings.propagate = get("MONITOR_PROPAGATE", "1").strip().lower() not in ("0", "false")
    settings.redact = [pattern for pattern in get("MONITOR_REDACT", "").split(",") if pattern.strip()]
    settings.argv = _choice(values, "MONITOR_ARGV", ("scrubbed", "full", "name"), problems)
    settings.instrument = _names(get("MONITOR_INSTRUMENT", ""))
    settings.skip = _names(get("MONITOR_SKIP", ""))
    settings.debug = get("MONITOR_DEBUG") or None
    return settings


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


def spool_directories(chosen):
    """Return where the spool may be, best first. The first is what `platformdirs.user_cache_dir("monitor")` says."""
    get = os.environ.get
    directories = [chosen] if chosen else [_cache_directory(get) + "/spool"]
    for base in (get("CACHE_DIRECTORY", "").partition(":")[0], get("XDG_RUNTIME_DIR")):
        if base:
            directories.append(base + "/monitor/spool")
    if hasattr(os, "geteuid"):
        directories.append("/var/tmp/monitor-" + str(os.geteuid()))
    return [directory for directory in directories if os.path.isabs(directory)]


def _cache_directory(get):
    if sys.platform == "darwin":
        return os.path.expanduser("~/Library/Caches/monitor")
    if sys.platform == "win32":  # pragma: no cover - platformdirs asks the registry; written for, not tested
        from platformdirs import user_cache_dir

        return user_cache_dir("monitor")
    return (get("XDG_CACHE_HOME", "").strip() and get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) + "/monitor"


def _quantity(values, name, default, units, problems):
    text = values.get(name, "").strip().lower()
    if not text:
        return default
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    try:
        quantity = float(number) * units[text[len(number) :]]
    except (ValueError, KeyError):
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
    return frozenset(name.strip() for name in text.replace(",", " ").split())

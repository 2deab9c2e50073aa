"""Hot: environment and `etc/monitor-auto.env` -> the settings, read once at start. Builtin modules only. What most
processes have set is read here, all else in `parsing.py`.

A value that cannot be parsed falls back to its default and is named in `problems`; only an endpoint that cannot be used
raises, a ValueError whose text says what to do.
"""

import sys

from . import cold, system

SITE_FILE = "etc/monitor-auto.env"
OFF = ("", "0", "false")
_PLATFORMS = {"darwin": "macos", "win32": "windows"}
_PLAIN = frozenset((
    "MONITOR_ENDPOINT", "MONITOR_DISABLE", "MONITOR_SPOOL_DIR", "MONITOR_EXIT_TIMEOUT", "MONITOR_TOKEN", "MONITOR_APP",
    "MONITOR_APP_VERSION", "MONITOR_PLATFORM", "MONITOR_DEBUG", "MONITOR_PARENT", "MONITOR_FLUSH_INTERVAL",
))  # fmt: skip


# Setuid or setgid: the environment is another user's, also HOME and XDG_CACHE_HOME.
IS_ELEVATED = hasattr(system, "geteuid") and (
    system.geteuid() != system.getuid() or system.getegid() != system.getgid()
)


def make(values):
    """Return what the operator decided as a namespace. Sizes are bytes, times are seconds.

    Raises ValueError for an endpoint that cannot be used.
    """
    get = values.get
    settings = type(sys.implementation)(
        problems=[], spool_limit_bytes=50 << 20, spool_age_seconds=14 * 86400.0, batch_size=100, propagate=True,
        propagate_exclude=(),
        redact=(), argv="scrubbed", instrument=(), skip=(), is_from_site_file=False, term_timeout_seconds=0,
        rate_limit=1000.0, rate_block=625, sample=(), choice=None, relay=False,
        flush_interval_seconds=30.0,
    )  # fmt: skip
    settings.endpoint = values["MONITOR_ENDPOINT"].strip()
    settings.scheme, settings.host, settings.port, settings.path = endpoint_parts(settings.endpoint)
    settings.token = get("MONITOR_TOKEN") or None
    settings.app = get("MONITOR_APP") or None
    settings.app_version = get("MONITOR_APP_VERSION") or None
    settings.platform = get("MONITOR_PLATFORM") or _PLATFORMS.get(sys.platform, sys.platform)
    settings.debug = get("MONITOR_DEBUG") or None
    settings.spool_directory = directory = get("MONITOR_SPOOL_DIR") or default_directory()
    if directory[:1] != "/":  # the program may change its folder
        directory = sys.modules["os"].path.expanduser(directory)
        settings.spool_directory = directory if directory[:1] == "~" else sys.modules["os"].path.abspath(directory)
    seconds = get("MONITOR_EXIT_TIMEOUT", "3")
    settings.exit_timeout_seconds = float(seconds) if seconds in ("0", "1", "2", "3", "5", "10") else 3.0
    interval = get("MONITOR_FLUSH_INTERVAL", "30")
    if interval == "0":
        settings.flush_interval_seconds = 0.0
        interval = "30"
    if not _PLAIN.issuperset(values) or seconds != str(int(settings.exit_timeout_seconds)) or interval != "30":
        cold("parsing").parse(settings, values)
    return settings


def read_settings(environ, prefix):
    """Return the settings, or None when there is nothing to do: no endpoint, or MONITOR_DISABLE."""
    values = {} if IS_ELEVATED else monitor_values(environ)
    # The file's token belongs to the file's endpoint: with an endpoint of its own the environment gets none of it.
    is_from_site_file = not values.get("MONITOR_ENDPOINT")
    if is_from_site_file:
        values.pop("MONITOR_ENDPOINT", None)
        values = {**cold("parsing").read_site_file(prefix + "/" + SITE_FILE), **values}
    if values.get("MONITOR_DISABLE", "").strip().lower() not in OFF or not values.get("MONITOR_ENDPOINT"):
        return None
    if IS_ELEVATED:
        values.setdefault("MONITOR_SPOOL_DIR", "/var/tmp/monitor-" + str(system.geteuid()))
    settings = make(values)
    settings.is_from_site_file = is_from_site_file
    return settings


def monitor_values(environ):
    """Return the `MONITOR_*` variables. The environment of a CI job is large, and `os.environ` decodes every name."""
    raw = getattr(environ, "_data", None) if system.__name__ == "posix" else None  # bytes, 3.10 to 3.15
    if raw is None:
        return {name: environ[name] for name in environ if name[:8] == "MONITOR_"}
    decode = environ.decodevalue
    return {decode(name): decode(value) for name, value in raw.items() if name[:8] == b"MONITOR_"}


def endpoint_parts(text):
    """Return (scheme, host, port, path); the usual form is taken apart here. Raises ValueError.

    The first `int` of a text asks libm for a logarithm, which brings 0.2 MiB of that into memory (longobject.c:
    PyLong_FromString, 3.10 to 3.15). `float` asks nobody.
    """
    scheme, _, rest = text.partition("://")
    authority, _, path = rest.partition("/")
    host, colon, port = authority.partition(":")
    number = float(port) if port.isdigit() and port.isascii() and len(port) < 6 else 0 if colon else 80
    is_usual = scheme in ("http", "https") and 0 < number < 65536 and path == "v1/events" and rest.isascii()
    if is_usual and host and host == host.lower() and host.replace(".", "").replace("-", "").isalnum():
        return scheme, host, int(number) if port or scheme == "http" else 443, "/v1/events"
    return cold("parsing").parse_endpoint(text)


def default_directory():
    """Return where the spool is if nobody says otherwise: what `platformdirs.user_cache_dir("monitor")` says, and
    spool.
    """
    if sys.platform == "win32":  # the registry knows; written for, not tested
        from platformdirs import user_cache_dir

        return user_cache_dir("monitor") + "/spool"
    if sys.platform == "darwin":
        return sys.modules["os"].path.expanduser("~/Library/Caches/monitor/spool")
    cache = sys.modules["os"].environ.get("XDG_CACHE_HOME", "")
    return (cache if cache[:1] == "/" else sys.modules["os"].path.expanduser("~/.cache")) + "/monitor/spool"

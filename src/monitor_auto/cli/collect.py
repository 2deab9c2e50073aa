"""`monitor-auto collect`: a collector on this machine, with a page that shows it all. Needs the extra `local`."""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .terminal import complain, print_json

if TYPE_CHECKING:
    from monitor_auto.collector.app import Options

DESCRIPTION = """\
Collect on this machine: take events at /v1/events, keep them in a database,
and show them on a page.

  monitor-auto collect                     then, in another terminal:
  export MONITOR_ENDPOINT=http://127.0.0.1:9090/v1/events
  python nightly.py                        and open http://127.0.0.1:9090

It answers on 127.0.0.1 alone, and only to its own page. To let other machines
send, name an address and a token:

  MONITOR_COLLECT_TOKEN=... monitor-auto collect --host 0.0.0.0

Events are kept for --keep, and the oldest go when there are more than --size.
Ctrl-C or SIGTERM ends it; what was answered is stored, also after a kill -9.

Exit codes: 0 ended, 1 the port or the database cannot be used, 2 wrong call.
"""
TOKEN_VARIABLE = "MONITOR_COLLECT_TOKEN"
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
SIZES = {"": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


def add_arguments(parser: Any) -> None:
    """Add the options."""
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (127.0.0.1)")
    parser.add_argument("--port", type=port, default=9090, help="0 for any that is free (9090)")
    parser.add_argument(
        "--database", type=Path, metavar="FILE", help="where events are kept (a file of your user's; told at the start)"
    )
    parser.add_argument(
        "--keep", type=seconds, default=14 * 86400.0, metavar="TIME", help="e.g. 12h, 30d, 0 for ever (14d)"
    )
    parser.add_argument("--size", type=size, default=2 << 30, metavar="BYTES", help="e.g. 500MiB, 0 unbounded (2GiB)")
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="answer to this name too, e.g. behind a proxy"
    )
    parser.add_argument("--without-token", action="store_true", help="listen beyond this machine without a token")
    parser.add_argument("--json", action="store_true", help="print where it listens as one JSON object")


def run(arguments: Any) -> int:
    """Run the command until it is told to end. Returns 0 ended, 1 port or database unusable, 2 wrong call."""
    try:
        from monitor_auto.collector import schema, serving
    except ImportError as error:
        complain(f"collect needs the extra `local` ({error}). Install it:")
        sys.stderr.write("  pip install 'monitor-auto[local]'\n")
        return 1
    token = os.environ.get(TOKEN_VARIABLE, "").strip() or None
    if not is_loopback(arguments.host) and not token and not arguments.without_token:
        complain(
            f"{arguments.host} can be reached from other machines: set {TOKEN_VARIABLE}, or say --without-token if"
            " everybody who reaches it may read and write."
        )
        return 2
    try:
        listening = serving.listen(arguments.host.strip("[]"), arguments.port)
    except (OSError, OverflowError) as error:
        complain(f"cannot listen on {arguments.host}:{arguments.port}: {error}. Name another with --port.")
        return 1
    address = listening.getsockname()
    options = options_of(arguments, token)
    try:
        serving.serve(listening, options, lambda: announce(address, options, arguments.json))
    except schema.Unusable as error:
        complain(str(error))
        return 1
    finally:
        listening.close()
    return 0


def options_of(arguments: Any, token: str | None) -> Options:
    """Return the options of the server."""
    from monitor_auto.collector.app import Options
    from monitor_auto.collector.pruning import Retention

    names = {*LOCAL_NAMES, arguments.host.lower(), *(name.lower() for name in arguments.allow_host)}
    is_any = arguments.host in ("0.0.0.0", "::")  # it has as many names as the machine
    return Options(
        database=arguments.database or default_database(),
        retention=Retention(arguments.keep, arguments.size),
        hosts=None if is_any and not arguments.allow_host else frozenset(names),
        token=token,
    )


def announce(address: Any, options: Options, as_json: bool) -> None:
    """Say where it listens, once it does."""
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    base = f"http://{host}:{address[1]}"
    if as_json:
        print_json({"endpoint": f"{base}/v1/events", "page": base, "database": str(options.database)})
    else:
        print(f"collecting at   {base}/v1/events\nthe page is at  {base}/\nkept in         {options.database}")
        print("Ctrl-C ends it.")
    sys.stdout.flush()


def default_database() -> Path:
    """Return where events are kept when nobody says."""
    import platformdirs

    return Path(platformdirs.user_data_dir("monitor-auto", False)) / "collector.sqlite3"


def is_loopback(host: str) -> bool:
    """True for an address that only this machine reaches."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def port(text: str) -> int:
    """Parse a port."""
    number = int(text)
    if not 0 <= number <= 65535:
        raise ValueError("no port")
    return number


def seconds(text: str) -> float:
    """Parse a time: a number, with s, m, h or d."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", text.strip().lower())
    if not found:
        raise ValueError("no time")
    return float(found[1]) * UNITS[found[2] or "s"]


def size(text: str) -> int:
    """Parse a size: a number, with KiB, MiB or GiB."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]ib|)", text.strip().lower())
    if not found:
        raise ValueError("no size")
    return int(float(found[1]) * SIZES[found[2]])

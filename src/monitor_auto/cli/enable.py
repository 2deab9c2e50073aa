"""`monitor-auto enable`: write etc/monitor-auto.env, so that every program of an environment is monitored.

Guarantees: the file appears whole or not at all; with a token, or a key in the endpoint's query, only its owner can
read it, from its first byte on; neither is ever printed, and the token is never on a command line.
"""

from __future__ import annotations

import difflib
import glob
import os
import sys
from typing import Any
from urllib import parse

from monitor_auto.boot import cleaning
from monitor_auto.boot.parsing import read_site_file
from monitor_auto.boot.settings import SITE_FILE, make

from .checks.settings import is_loopback
from .configuration import KNOWN
from .terminal import complain, print_json

DESCRIPTION = """\
Switch monitoring on for every program of this environment, also for those
whose environment variables nobody controls (cron, sudo, env -i): writes the
settings to etc/monitor-auto.env below the environment's folder. They are
defaults; a program whose own environment names MONITOR_ENDPOINT uses that
one, and nothing of the file.

  monitor-auto enable --endpoint http://127.0.0.1:9090/v1/events
  monitor-auto enable --endpoint https://collector.example/v1/events \\
      --token-file token.txt --app nightly
  monitor-auto enable --endpoint local: MONITOR_SPOOL_DIR=/var/lib/monitor

A token is read from a file or from $MONITOR_TOKEN: on a command line
everybody could see it.

Exit codes: 0 written, or already so; 1 the file cannot be written;
2 wrong call.
`monitor-auto disable` takes it back.
"""
NOT_HERE = {
    "MONITOR_ENDPOINT": "give it by --endpoint",
    "MONITOR_TOKEN": "on a command line everybody can see it; use --token-file or --with-token",
    "MONITOR_PARENT": "it is the monitor's own",
}
KEY_NAMES = ("key", "code", "sig", "signature", "auth")
"""What services call a key in a query, beside the words that redaction knows."""
LONG_VALUE = 20
HEADER = "# Written by `monitor-auto enable`. Defaults of every Python program of this environment.\n"


def add_arguments(parser: Any) -> None:
    """Add the options."""
    parser.usage = "monitor-auto enable --endpoint URL [options] [NAME=VALUE ...]"
    parser.add_argument("--endpoint", metavar="URL", required=True, help="http(s)://host[:port]/v1/events, or local:")
    token = parser.add_mutually_exclusive_group()
    token.add_argument("--token-file", metavar="FILE", help="a file whose first line is the token")
    token.add_argument("--with-token", action="store_true", help="write the token that $MONITOR_TOKEN holds now")
    parser.add_argument("--app", metavar="NAME", help="what source.app says (default: each program's name)")
    add_prefix(parser)
    parser.add_argument("--json", action="store_true", help="print the outcome as one JSON object")
    parser.add_argument("values", metavar="NAME=VALUE", nargs="*", default=[], help="further MONITOR_ settings")


def add_prefix(parser: Any) -> None:
    """Add the option that names another environment."""
    parser.add_argument(
        "--prefix", metavar="DIR", default=sys.prefix, help="another environment's folder (its sys.prefix)"
    )


def run(arguments: Any) -> int:
    """Run the command. Returns 0, 1 when the file cannot be written, 2 when there is something wrong to write."""
    try:
        settings = collect(arguments)
        path = site_file_of(arguments.prefix)
    except ValueError as error:
        complain(f"{error}. Nothing was written.")
        return 2
    try:
        is_new = write(path, settings)
    except OSError as error:
        complain(f"{path} cannot be written: {error.strerror}. Run this as the owner of {arguments.prefix}.")
        return 1
    report(path, settings, is_new, arguments)
    return 0


def collect(arguments: Any) -> dict[str, str]:
    """Return the settings to write. Raises ValueError for what no program could use."""
    settings = {"MONITOR_ENDPOINT": arguments.endpoint.strip()}
    if arguments.app:
        settings["MONITOR_APP"] = arguments.app
    for word in arguments.values:
        name, sign, value = word.partition("=")
        settings[checked_name(name if sign else word, bool(sign))] = value
    token = read_token(arguments)
    if token:
        settings["MONITOR_TOKEN"] = token
    for name, value in settings.items():
        if not value.isprintable() or value != value.strip().strip("\"'"):
            raise ValueError(f"{name} holds a line break, or begins or ends with a space or quote")
    directory = settings.get("MONITOR_SPOOL_DIR", "/")
    if not os.path.isabs(directory) and directory[:1] != "~":
        raise ValueError(f"MONITOR_SPOOL_DIR must be a whole path, not {directory}")
    problems = make(settings).problems
    if problems:
        raise ValueError("; ".join(problems))
    return settings


def checked_name(name: str, is_pair: bool) -> str:
    """Return the name of a setting. Raises ValueError when it is none that may be given so."""
    if not is_pair:
        raise ValueError(f"{name!r} is no NAME=VALUE")
    if name in NOT_HERE:
        raise ValueError(f"{name}: {NOT_HERE[name]}")
    if name not in KNOWN:
        near = difflib.get_close_matches(name, KNOWN, 1, 0.6)
        raise ValueError(f"{name} is no setting" + (f"; did you mean {near[0]}?" if near else ""))
    return name


def read_token(arguments: Any) -> str:
    """Return the token that was asked to be written, "" for none. Raises ValueError."""
    if arguments.with_token:
        token, where = os.environ.get("MONITOR_TOKEN", ""), "$MONITOR_TOKEN"
    elif arguments.token_file:
        where = arguments.token_file
        try:
            with open(where, encoding="ascii") as file:
                token = file.readline()
        except OSError as error:
            raise ValueError(f"no token can be read from {where}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"no token can be read from {where}: it holds more than ASCII") from error
    else:
        return ""
    token = token.strip()
    if not token or not token.isascii() or " " in token:
        raise ValueError(f"{where} holds no token")
    return token


def site_file_of(prefix: str) -> str:
    """Return the path of an environment's site file. Raises ValueError when there is no such environment."""
    if not os.path.isdir(prefix):
        raise ValueError(f"{prefix} is no folder; give the folder of an environment (its sys.prefix)")
    return os.path.join(os.path.abspath(prefix), SITE_FILE)


def write(path: str, settings: dict[str, str]) -> bool:
    """Write the file by rename; return False when it was there just so. Raises OSError."""
    mode = 0o600 if holds_secret(settings) else 0o644
    if read_site_file(path) == settings and not os.path.islink(path) and os.stat(path).st_mode & 0o777 == mode:
        return False
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        os.mkdir(folder)
        os.chmod(folder, 0o755)  # whatever the umask: the programs of other users read the file, too
    temporary = f"{path}.{os.getpid()}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(HEADER + "".join(f"{name}={value}\n" for name, value in settings.items()))
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return True


def holds_secret(settings: dict[str, str]) -> bool:
    """Return whether other users must not read these settings."""
    return "MONITOR_TOKEN" in settings or any(map(is_secret, settings["MONITOR_ENDPOINT"].partition("?")[2].split("&")))


def is_secret(pair: str) -> bool:
    """Return whether a part of a query looks as if it let somebody in: by its name, or since nobody would type it."""
    name, sign, value = pair.partition("=")
    name = parse.unquote(name).lower()
    is_key = cleaning.is_secret_key(name) or name in KEY_NAMES
    return bool(value) and is_key or len(value if sign else name) >= LONG_VALUE


def shown_settings(settings: dict[str, str]) -> dict[str, str]:
    """Return settings as they may be printed."""
    shown = {name: "[not shown]" if name == "MONITOR_TOKEN" else value for name, value in settings.items()}
    address, mark, _ = settings["MONITOR_ENDPOINT"].partition("?")
    return {**shown, "MONITOR_ENDPOINT": address + (mark and "?[not shown]")}


def report(path: str, settings: dict[str, str], is_new: bool, arguments: Any) -> None:
    """Say what stands in the file, and what may surprise."""
    shown = shown_settings(settings)
    hints = list(warnings(settings, arguments.prefix))
    if arguments.json:
        print_json({"path": path, "changed": is_new, "settings": shown, "warnings": hints})
        return
    print(f"{'Wrote' if is_new else 'Nothing to do: this is what is in'} {path}")
    for name, value in shown.items():
        print(f"  {name}={value}")
    for hint in hints:
        complain(hint)


def warnings(settings: dict[str, str], prefix: str) -> list[str]:
    """Return what an operator would want to know."""
    hints = []
    made = make(settings)
    if holds_secret(settings):
        hints.append("only you can read the file, so that only your programs are monitored by it, not other users'.")
    if made.token and made.scheme == "http" and not is_loopback(made.host):
        hints.append("the token goes over plain http to another machine, readable on the way: use https.")
    if not has_start_line(prefix):
        hints.append(f"monitor-auto is not installed in {prefix}: no program there reads the file.")
    if os.environ.get("MONITOR_ENDPOINT"):
        hints.append("MONITOR_ENDPOINT is set here and wins over the file for programs that inherit it.")
    return hints


def has_start_line(prefix: str) -> bool:
    """Return whether an environment has the start line, where pip or a distribution puts it."""
    if os.path.realpath(prefix) == os.path.realpath(sys.prefix):
        from .installation import start_lines

        return bool(start_lines())
    patterns = ("lib*/python3*/*-packages", "local/lib/python3*/*-packages", "lib/python3/*-packages", "Lib/*-packages")
    return any(glob.glob(f"{glob.escape(prefix)}/{pattern}/monitor_auto.pth") for pattern in patterns)

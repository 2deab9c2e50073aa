"""Check of the collector's port, only when somebody asks for it: one TCP connection, nothing is sent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

from ..configuration import Configuration
from . import OK, WRONG, Check

CONNECT_SECONDS = 3.0


def check(configuration: Configuration) -> Iterator[Check]:
    """Yield whether something listens at the endpoint."""
    settings = configuration.settings
    if not configuration.has_endpoint or settings.scheme == "local":
        return
    where = f"{settings.host} port {settings.port}"
    fault = connect(settings.host, settings.port)
    if fault:
        yield Check("connection", WRONG, f"no connection to {where}: {fault}", "Start the collector, or look between.")
    else:
        yield Check("connection", OK, f"something listens at {where}")


def connect(host: str, port: int) -> str:
    """Return why no connection can be made within CONNECT_SECONDS; "" when it can."""
    faults: list[str] = []

    def attempt() -> None:
        try:
            socket.create_connection((host, port), CONNECT_SECONDS).close()
            faults.append("")
        except OSError as error:
            faults.append(error.strerror or str(error))

    # A name look-up knows no timeout: it may hang in its thread while we go on.
    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    return faults[0] if faults else f"no answer within {CONNECT_SECONDS:.0f} s"

"""Sends bodies by the way that the endpoint asks for. Runs at exit, in flush and in the background.

Guarantees: for plain http to a literal address nothing is imported but builtins and `_socket`; no thread is started.
"""

from . import exchange

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from typing import Any

    from .courier import Courier


class Sender:
    """Sends bodies: over a bare socket where the endpoint is plain http to a literal address, else by a helper."""

    def __init__(self, settings: "Any", deadline: float, begun: "tuple[Any, bytes] | None" = None) -> None:
        self.settings, self.deadline, self.begun = settings, deadline, begun
        self.hosts = exchange.addresses(settings.host) if settings.scheme == "http" else ()
        self.courier: Courier | None = None

    def post(self, body: bytes) -> exchange.Answer:
        """Send one body and return the Answer. Raises NoAnswer."""
        settings = self.settings
        if self.begun is not None:
            (connection, received), self.begun = self.begun, None
            if connection is None:
                raise exchange.NoAnswer("timeout")
            return exchange.hear(connection, received, self.deadline)
        if self.hosts and (self.hosts[0].startswith("127.") or "::1" in self.hosts or not exchange.has_proxy("http")):
            data = exchange.request(settings.host, settings.port, settings.path, settings.token, body)
            return exchange.post(self.hosts, settings.port, data, self.deadline)
        if self.courier is None:
            from .courier import Courier

            self.courier = Courier(settings, self.deadline)
        return self.courier.post(body)

    def close(self) -> None:
        """End the helper, if there is one, and a connection that nobody has listened to."""
        if self.begun is not None and self.begun[0] is not None:
            self.begun[0].close()
        if self.courier is not None:
            self.courier.close()

"""An httpx transport whose connections another thread can cut at any moment, so that a fork or an exit need not wait
for the network. Runs in the background thread.

Guarantees:
- Whatever the thread waits for but a name look-up ends at once when `interrupt` is called: connecting, a TLS handshake,
  sending, the answer. Imports end after the step that is under way (slices.py), so a fork finds none of them half done.
- Nothing of it shows in the program's logs: httpx's and httpcore's loggers say nothing for this thread.
- A program that does not use trio does not get it, wherever it is installed: importing it starts `ldconfig`, a child
  that the program's own `os.wait()` would find (trio/_core/_thread_cache.py, 0.22 to 0.35).
"""

from __future__ import annotations

import os
import sys
from _thread import get_ident
from typing import Any

from monitor_auto.boot import background, guard, targets
from monitor_auto.boot.formats import monotonic

from . import hush, slices
from .exchange import NoAnswer


def open_transport(state: Any, settings: Any, seconds: float) -> Any:
    """Return a transport whose connections `state.interrupt()` cuts. Raises NoAnswer where there can be none."""
    cutter = Cutter(state)
    state.interrupt = cutter.cut
    try:
        cutter.while_importing()
        slices.load_httpx(state)
        from .native import Transport

        transport = Transport(settings, seconds)
        cutter.take_over(transport)
        hush.on_thread()
        guard.call("loggers", hush.loggers)
    except (ImportError, ValueError, OSError, RuntimeError) as error:
        raise NoAnswer(f"requests cannot be made here: {error}") from error
    finally:
        cutter.imported()
    return transport


class Cutter:
    """Knows the sockets of one client, and ends what they wait for."""

    def __init__(self, state: Any) -> None:
        self.state = state
        self.sockets: list[Any] = []
        self.find_spec: Any = None
        self.is_trio_promised = False
        self.register: tuple[Any, Any] = (None, None)

    def cut(self) -> None:
        """Wake the thread from whatever it waits for. Called in another thread."""
        for sock in list(self.sockets):
            try:
                sock.shutdown(2)
            except OSError:  # not connected any more
                continue

    def while_importing(self) -> None:
        """Let httpcore, which asks for trio without needing it, not find it: the finder that looks is our own, which
        every import asks anyhow. And let a fork come to us before it comes to logging, whose lock we need from now on.
        """
        real_find_spec: Any = targets.find_spec
        state = self.state

        def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
            if name == "trio" and get_ident() == state.ident:
                self.is_trio_promised = True
                raise ModuleNotFoundError("not for our sake", name=name)
            return real_find_spec(name, path, target)

        self.find_spec = real_find_spec
        targets.find_spec = find_spec
        background.hook_forks()
        self.wait_with_fork_hooks()

    def wait_with_fork_hooks(self) -> None:
        """Keep what modules register for forks while this thread imports them: a fork that waits for this thread has
        begun already, and would run the second half of such a pair without the first (logging releases a lock).
        """
        real_register = getattr(os, "register_at_fork", None)
        if real_register is None:
            return
        ident = self.state.ident

        def register_at_fork(**hooks: Any) -> None:
            if get_ident() == ident:
                background.late_hooks.append(hooks)
            else:
                real_register(**hooks)

        self.register = real_register, register_at_fork
        os.register_at_fork = register_at_fork

    def imported(self) -> None:
        """Put everything back, and register what was kept if no fork has begun; else the next thread's start does."""
        if self.find_spec is not None:
            targets.find_spec = self.find_spec
            if self.is_trio_promised:
                guard.call("trio", promise_trio)
        real_register, monitored = self.register
        if monitored is not None and os.register_at_fork is monitored:
            os.register_at_fork = real_register
        if not self.state.is_stopping:
            background.hook_forks()

    def take_over(self, owner: Any) -> None:
        """Have a transport's connections made here, where their sockets are known, and closed with it."""
        client, real_close = owner.client, owner.close

        def close() -> None:
            real_close()
            forget(self)

        owner.close = close
        pools = [client._transport, *client._mounts.values()]
        for transport in pools:
            pool = getattr(transport, "_pool", None)
            if pool is not None and hasattr(pool, "_network_backend"):
                pool._network_backend = make_backend(self)


class Later(type(sys)):  # type: ignore[misc]
    """Stands in httpcore for a trio that is not imported yet; a program that comes to run trio gets the real one."""

    def __getattr__(self, name: str) -> Any:
        trio = __import__("trio")  # the program's library, not one of ours
        sys.modules["httpcore._synchronization"].trio = trio  # type: ignore[attr-defined]
        return getattr(trio, name)


def promise_trio() -> None:
    """Put back what was kept from httpcore: the program may import the real one at any time, and use both."""
    httpcore = sys.modules.get("httpcore._synchronization")
    if httpcore is not None and getattr(httpcore, "trio", Later) is None:
        httpcore.trio = sys.modules.get("trio") or Later("trio")  # type: ignore[attr-defined]


def make_backend(cutter: Cutter) -> Any:
    """Return a network backend of httpcore that tells the cutter of every socket before it waits for anything."""
    import socket

    import httpcore

    stream_class = sys.modules["httpcore._backends.sync"].SyncStream

    class Backend(httpcore.SyncBackend):
        """httpcore's own, but for how a connection is made."""

        def connect_tcp(
            self,
            host: str,
            port: int,
            timeout: float | None = None,
            local_address: str | None = None,
            socket_options: Any = None,
        ) -> Any:
            try:
                sock = connect(cutter, socket, host, port, timeout or 30.0)
            except TimeoutError as error:
                raise httpcore.ConnectTimeout(str(error)) from error
            except OSError as error:
                raise httpcore.ConnectError(str(error)) from error
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return stream_class(sock)

    return Backend()


def connect(cutter: Cutter, socket: Any, host: str, port: int, seconds: float) -> Any:
    """Return a connected socket. Raises OSError. A second one, of the same connection, stays with the cutter: the first
    loses its descriptor to TLS, and a number that is used again must not be cut.
    """
    deadline = monotonic() + seconds
    last: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        known = sock.dup()
        forget(cutter)
        cutter.sockets.append(known)
        try:
            if cutter.state.is_stopping:
                raise OSError("stopped")
            sock.settimeout(max(0.001, deadline - monotonic()))
            sock.connect(address)
        except OSError as error:
            last = error
            sock.close()
        else:
            return sock
    forget(cutter)
    raise last


def forget(cutter: Cutter) -> None:
    """Close what is known of an earlier connection."""
    while cutter.sockets:
        cutter.sockets.pop().close()

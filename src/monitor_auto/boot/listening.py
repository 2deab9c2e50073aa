"""Cold: a socket of the program that listens, or gets an address, is a sign that the session lives on: it may be the
last that anybody hears of it. Builtin modules only; loaded after the program has imported `socket`.

A socket that only has an address is one for UDP, or the workers of this process will listen (uvicorn).
"""

from . import guard, patches


class Serve:
    """Stands in the class `socket.socket` for a method that it inherits, hands out just that one, and knows by this
    that a socket of the program is about to serve. What the program gets is what it gets without us.
    """

    __slots__ = ("real",)

    def __init__(self, real):
        self.real = real

    def __get__(self, instance, owner=None):
        """Return the method of `_socket.socket`, bound or not."""
        if instance is not None:
            guard.late("background", "on_listen")
        return self.real.__get__(instance, owner)


def install(module):
    """Watch for sockets that listen. Called after `import socket`; `undoing.py` undoes it."""
    kind = getattr(module, "socket", None)
    if isinstance(kind, type) and kind.__module__ == "socket":
        for name in ("listen", "bind"):
            if name not in vars(kind):
                patches.replace(kind, name, Serve(getattr(kind, name)))

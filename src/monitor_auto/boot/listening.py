"""Cold: a socket of the program that listens, or gets an address, is a sign that the session lives on: it may be the
last that anybody hears of it. Builtin modules only; loaded after the program has imported `socket`.

A socket that only has an address is one for UDP, or the workers of this process will listen (uvicorn).
"""

from . import guard, patches


class Noticed:
    """Stands in a class for a method, hands out just that, bound or not, and knows by this that it is about to be
    called: what the program gets is what it gets without us.
    """

    __slots__ = ("on_look", "real")

    def __init__(self, real, on_look):
        self.real = real
        self.on_look = on_look

    def __get__(self, instance, owner=None):
        if instance is not None and not isinstance(instance, type):  # inspect (3.13) asks for the class's own so
            guard.call("look", self.on_look, instance)
        return self.real.__get__(instance, owner)


def on_listen(instance):
    """A socket of the program is about to serve."""
    guard.late("background", "on_listen")


def install(module):
    """Watch for sockets that listen. Called after `import socket`; `undoing.py` undoes it."""
    kind = getattr(module, "socket", None)
    if isinstance(kind, type) and kind.__module__ == "socket":
        for name in ("listen", "bind"):
            if name not in vars(kind):
                patches.replace(kind, name, Noticed(getattr(kind, name), on_listen))

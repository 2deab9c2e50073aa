"""Watches Python programs without a line of code in them. The folder says when the code runs:

boot/ in every monitored process, builtin modules only; api.py for programs that want to say more; delivery/ from
spool to collector, at exit or by a command; hooks/ after the program itself imported a library; cli/ the commands.
Hot: every monitored process imports this file, and by it `boot`, so it imports builtin modules only.
"""

import marshal
import os
import sys

__version__ = "0.1.0"
__all__ = ["Monitor", "__version__"]

# Type checkers take this name for true; importing typing for it would cost every process 10 ms.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from . import boot as boot
    from .api import Monitor as Monitor

    system = os
else:
    # `posix`, not `os`: a module that somebody holds from outside its circle is cleared entry by entry at the end, and
    # `os` with all that it imports then takes 0.35 M instructions (pylifecycle.c: finalize_modules, 3.10 to 3.15). So
    # what is loaded at every start and exit keeps neither `os` nor anything that leads there.
    system = sys.modules[os.name]

    def __getattr__(name: str) -> object:
        """Import the API when somebody asks for it; most monitored programs never do. The start line asks for `boot`,
        which importlib would take 0.4 M instructions to find.
        """
        if name == "boot":
            return load_boot()
        if name != "Monitor":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from .api import Monitor

        return Monitor


def load_boot() -> object:
    """Return our package `boot`, without importlib's search if its bytecode is as it should be."""
    full_name = __name__ + ".boot"
    data = None if full_name in sys.modules else read_bytecode("__init__")
    if data:
        module = type(sys)(full_name)
        facts = module.__dict__
        facts["__file__"], facts["__path__"], facts["__package__"] = FOLDER + "/__init__.py", [FOLDER], full_name
        exec(marshal.loads(memoryview(data)[16:]), facts)
        sys.modules.setdefault(full_name, module)
    __import__(full_name)
    return sys.modules[full_name]


def read_bytecode(name: str) -> "bytes | None":
    """Return the bytes of a `.pyc` (PEP 3147) of a module of `boot`, made by this Python, or None: then importlib shall
    look.

    Where we were installed, by pip or a distribution, nobody edits the source. Elsewhere importlib compares the two
    (PEP 552), which costs as much as the reading.
    """
    data = read(_CACHE + name + _TAG, 65536)
    return data if data and data[:4] == _MAGIC and _IS_INSTALLED else None


def read(path: str, size: int) -> "bytes | None":
    """Return the content of a file of ours that is at most so long, or None where it cannot be had."""
    try:
        fd = system.open(path, _READ)
        try:
            return system.read(fd, size)
        finally:
            system.close(fd)
    except OSError as error:
        if error.__traceback__ and error.__traceback__.tb_next:  # a signal handler of the program's has raised it
            raise
        return None


FOLDER = (__file__.rpartition("/")[0] or __file__.rpartition("\\")[0]) + "/boot"
_CACHE = FOLDER + "/__pycache__/"
_IS_INSTALLED = FOLDER.endswith(("site-packages/monitor_auto/boot", "dist-packages/monitor_auto/boot"))
_MAGIC = sys.modules["_frozen_importlib_external"].MAGIC_NUMBER
_OPTIMIZE = sys.flags.optimize
_TAG = "." + (sys.implementation.cache_tag or "") + (".opt-%d.pyc" % _OPTIMIZE if _OPTIMIZE else ".pyc")
_READ = system.O_RDONLY | getattr(system, "O_CLOEXEC", 0) | getattr(system, "O_BINARY", 0)
del os

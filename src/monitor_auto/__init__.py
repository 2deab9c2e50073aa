"""Watches Python programs without a line of code in them. The folder says when the code runs:

boot/ in every monitored process, builtin modules only; api.py for programs that want to say more; delivery/ from
spool to collector, at exit or by a command; hooks/ after the program itself imported a library; cli/ the commands.
Hot: every monitored process imports this file before boot, so it holds no import that runs.
"""

__version__ = "0.1.0"
__all__ = ["Monitor", "__version__"]

# Type checkers take this name for true; importing typing for it would cost every process 10 ms.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from .api import Monitor as Monitor
else:

    def __getattr__(name):
        """Import the API when somebody asks for it; most monitored programs never do."""
        if name != "Monitor":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from .api import Monitor

        return Monitor

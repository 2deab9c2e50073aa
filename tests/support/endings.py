"""The ways in which a program ends, as data: each is run bare and monitored, as PID 1, and on every interpreter."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Ending:
    """One program and what has to be recorded of it.

    `reason` is that of its `session.end`, None where it must have none; `exit_code` None: nobody can know it.
    `errors` are name and level; `exits` the codes of its `session.exit`. As PID 1 a program survives what kills others.
    """

    source: str
    status: int
    reason: str | None
    exit_code: int | None = None
    errors: tuple[tuple[str, str], ...] = ()
    exits: tuple[int | None, ...] = ()
    signal: str | None = None
    outlives_it_as_pid_1: bool = False
    since: tuple[int, int] = (3, 10)
    until: tuple[int, int] = (3, 99)

    def is_for(self, python: tuple[int, ...]) -> bool:
        """Return whether it is the same ending on this version of Python."""
        return self.since <= python[:2] <= self.until


def by_exit(
    argument: str, status: int, since: tuple[int, int] = (3, 10), until: tuple[int, int] = (3, 99), known: bool = True
) -> Ending:
    """`sys.exit` with an argument."""
    code = status if known else None
    source = f"import sys; print('out'); sys.exit({argument})"
    return Ending(source, status, "exit", code, exits=(code,), since=since, until=until)


def by_raise(what: str, code: int) -> Ending:
    """SystemExit without `sys.exit`: no hook of Python is told the code."""
    return Ending(f"print('out'); raise {what}", code, "exit")


def by_error(source: str, name: str, since: tuple[int, int] = (3, 10)) -> Ending:
    """An exception that nothing catches."""
    return Ending(source, 1, "exception", 1, (("error." + name, "fatal"),), since=since)


def by_signal(source: str, name: str, number: int, outlives: bool = False) -> Ending:
    """A death that no Python code sees."""
    return Ending(source, -number, None, signal=name, outlives_it_as_pid_1=outlives)


def going_on(source: str, *errors: tuple[str, str], exits: tuple[int, ...] = ()) -> Ending:
    """A program that reaches its last line."""
    return Ending(source, 0, "return", 0, errors, exits)


ENDINGS = {
    "return": going_on("print('out')"),
    "nothing at all": going_on(""),
    "exit": by_exit("", 0),
    "exit None": by_exit("None", 0),
    "exit 0": by_exit("0", 0),
    "exit 3": by_exit("3", 3),
    "exit -1": by_exit("-1", 255),
    "exit 256": by_exit("256", 0),
    "exit 2**31": by_exit("2**31 + 5", 5),
    "exit 2**63": by_exit("2**63", 255),
    "exit -2**70": by_exit("-2**70", 255),
    "exit True": by_exit("True", 1),
    "exit False": by_exit("False", 0),
    "exit text": by_exit("'no disk'", 1),
    "exit empty text": by_exit("''", 1),
    "exit float": by_exit("2.5", 1),
    "exit tuple": by_exit("(1, 2)", 1),
    "exit tuple of one": by_exit("(7,)", 7, (3, 12)),
    "exit empty tuple": by_exit("()", 0, (3, 12)),
    "exit tuple of one, not looked at": by_exit("(7,)", 1, until=(3, 11), known=False),
    "exit empty tuple, not looked at": by_exit("()", 1, until=(3, 11), known=False),
    "exit an exception": by_exit("SystemExit(4)", 4),
    "exit with hostile text": Ending(
        """
        import sys
        class Hostile:
            def __str__(self):
                raise ValueError("no text")
            __repr__ = __str__
        sys.exit(Hostile())
        """,
        1,
        "exit",
        1,
        exits=(1,),
    ),
    "exit with a keyword": by_error("import sys; sys.exit(status=3)", "TypeError"),
    "exit with too much": by_error("import sys; sys.exit(1, 2)", "TypeError"),
    "exit caught": going_on(
        """
        import sys
        try:
            sys.exit(5)
        except SystemExit as stop:
            print("caught", stop.code)
        """,
        exits=(5,),
    ),
    "exit caught, then an error": Ending(
        """
        import sys
        try:
            sys.exit(5)
        except SystemExit:
            raise LookupError("instead")
        """,
        1,
        "exception",
        1,
        (("error.LookupError", "fatal"),),
        exits=(5,),
    ),
    "exit after exit": Ending(
        """
        import sys
        try:
            sys.exit(5)
        finally:
            sys.exit(6)
        """,
        6,
        "exit",
        6,
        exits=(5, 6),
    ),
    "exit in a thread": going_on(
        """
        import sys, threading
        thread = threading.Thread(target=sys.exit, args=(9,), name="worker")
        thread.start()
        thread.join()
        print("out")
        """,
        exits=(9,),
    ),
    "exit in an exit function": Ending(
        """
        import atexit, sys
        atexit.register(sys.exit, 4)
        print("out")
        """,
        0,
        "return",
        0,
        exits=(4,),
    ),
    "builtin exit": Ending("exit(3)", 3, "exit"),
    "raise SystemExit": by_raise("SystemExit", 0),
    "raise SystemExit()": by_raise("SystemExit()", 0),
    "raise SystemExit(None)": by_raise("SystemExit(None)", 0),
    "raise SystemExit(3)": by_raise("SystemExit(3)", 3),
    "raise SystemExit(2**65)": by_raise("SystemExit(2**65)", 255),
    "raise SystemExit(True)": by_raise("SystemExit(True)", 1),
    "raise SystemExit(text)": by_raise("SystemExit('no disk')", 1),
    "raise SystemExit(1, 2)": by_raise("SystemExit(1, 2)", 1),
    "raise SystemExit((7,))": by_raise("SystemExit((7,))", 1),
    "raise a subclass of SystemExit": by_raise("type('Stop', (SystemExit,), {})(3)", 3),
    "error": by_error("print('out'); 1 / 0", "ZeroDivisionError"),
    "error with a cause": by_error(
        """
        try:
            {}["x"]
        except KeyError as error:
            raise ValueError("bad") from error
        """,
        "ValueError",
    ),
    "error while handling one": by_error(
        """
        try:
            {}["x"]
        except KeyError:
            raise ValueError("bad")
        """,
        "ValueError",
    ),
    "error that hides its context": by_error(
        """
        try:
            {}["x"]
        except KeyError:
            raise ValueError("bad") from None
        """,
        "ValueError",
    ),
    "error with notes": by_error(
        """
        error = ValueError("bad")
        error.add_note("seen in lagos.csv")
        raise error
        """,
        "ValueError",
        (3, 11),
    ),
    "group of errors": by_error(
        """
        def fail(kind):
            try:
                raise kind("inner")
            except Exception as error:
                return error
        raise ExceptionGroup("several", [fail(KeyError), ExceptionGroup("more", [fail(OSError)])])
        """,
        "ExceptionGroup",
        (3, 11),
    ),
    "error with hostile text": by_error(
        """
        class Hostile(Exception):
            def __str__(self):
                raise ValueError("no text")
        raise Hostile
        """,
        "Hostile",
    ),
    "error in a deep recursion": by_error("def f(): f()\nf()", "RecursionError"),
    "syntax error": by_error("def f(:", "SyntaxError"),
    "module that is not there": by_error("import no_such_module", "ModuleNotFoundError"),
    "base exception": by_error("raise BaseException('base')", "BaseException"),
    "error shown by a hook of the program": by_error(
        """
        import sys
        sys.excepthook = lambda kind, error, trace: print("mine", kind.__name__, error)
        raise LookupError("lost")
        """,
        "LookupError",
    ),
    "error without a hook to show it": by_error("import sys; del sys.excepthook; 1 / 0", "ZeroDivisionError"),
    "error shown by a hook that fails": Ending(
        """
        import sys
        def hook(kind, error, trace):
            raise RuntimeError("hook")
        sys.excepthook = hook
        raise LookupError("lost")
        """,
        1,
        "exception",
        1,
        (("error.LookupError", "fatal"),),
    ),
    "error in an exit function": going_on(
        """
        import atexit
        atexit.register(lambda: 1 / 0)
        print("out")
        """,
        ("error.ZeroDivisionError", "error"),
    ),
    "error in a thread": going_on(
        """
        import threading
        thread = threading.Thread(target=lambda: 1 / 0, name="worker")
        thread.start()
        thread.join()
        print("out")
        """,
        ("error.ZeroDivisionError", "error"),
    ),
    "error in a bare thread": going_on(
        """
        import _thread, os
        out, into = os.pipe()
        def work():
            try:
                raise LookupError("lost")
            finally:
                os.close(into)
        _thread.start_new_thread(work, ())
        os.read(out, 1)
        import threading  # joins nothing; the interpreter waits for no bare thread
        while _thread._count():
            pass
        print("out")
        """,
        ("error.LookupError", "error"),
    ),
    "error in a thread with a hook of the program": going_on(
        """
        import threading
        def hook(facts):
            print("mine", facts.exc_type.__name__)
            threading.__excepthook__(facts)
        threading.excepthook = hook
        thread = threading.Thread(target=lambda: 1 / 0, name="worker")
        thread.start()
        thread.join()
        """,
        ("error.ZeroDivisionError", "error"),
    ),
    "error in __del__": going_on(
        """
        class Leaky:
            def __del__(self):
                raise ValueError("in del")
        Leaky()
        print("out")
        """,
        ("error.ValueError", "error"),
    ),
    "error in a callback of a weak reference": going_on(
        """
        import weakref
        class Thing: pass
        thing = Thing()
        reference = weakref.ref(thing, lambda _: 1 / 0)
        del thing
        print("out")
        """,
        ("error.ZeroDivisionError", "error"),
    ),
    "os._exit": Ending("import os; print('out', flush=True); os._exit(7)", 7, "os._exit", 7),
    "os._exit with a keyword": Ending("import os; os._exit(status=256 + 8)", 8, "os._exit", 8),
    "os._exit in a thread": Ending(
        "import os, threading; threading.Thread(target=os._exit, args=(9,)).start(); threading.Event().wait(60)",
        9,
        "os._exit",
        9,
    ),
    "os._exit that cannot": by_error("import os; os._exit('7')", "TypeError"),
    "os._exit in an exit function": Ending("import atexit, os; atexit.register(os._exit, 6)", 6, "os._exit", 6),
    "KeyboardInterrupt": Ending(
        "raise KeyboardInterrupt", -2, "signal", None, (("error.KeyboardInterrupt", "fatal"),), signal="SIGINT"
    ),
    "SIGINT": Ending(
        "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('never')",
        -2,
        "signal",
        None,
        (("error.KeyboardInterrupt", "fatal"),),
        signal="SIGINT",
    ),
    "SIGTERM": by_signal("import os; os.kill(os.getpid(), 15); print('alive')", "SIGTERM", 15, True),
    "SIGHUP": by_signal("import os; os.kill(os.getpid(), 1); print('alive')", "", 1, True),
    "SIGKILL": by_signal("import os; os.kill(os.getpid(), 9); print('alive')", "", 9, True),
    "SIGSEGV": by_signal("import faulthandler; faulthandler._sigsegv(); print('alive')", "SIGSEGV", 11, True),
    "SIGSEGV in C": by_signal("import ctypes; ctypes.string_at(0)", "SIGSEGV", 11),
    "SIGABRT": by_signal("import os; os.abort()", "SIGABRT", 6),
}

"""The interpreter is taken down beside our background thread, or after our modules: nothing hangs or shows."""

from collections.abc import Callable

import pytest

from support.children import Children
from support.sandbox import Sandbox, other_pythons

# The background thread imports what delivers, and the program's loader has it take the lock of imports again and again,
# as every search for a module does while it looks at files.
IMPORTING = """
import _imp, importlib.machinery, socket, sys, time

class Busy:
    taken = 0

    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name == "monitor_auto.delivery.flusher" else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        while True:
            _imp.acquire_lock()
            Busy.taken += 1
            time.sleep(0.02)
            _imp.release_lock()
            time.sleep(0.002)

sys.meta_path.insert(0, Busy())
listener = socket.create_server(("127.0.0.1", 0))
CALL
end = time.monotonic() + 60
while not Busy.taken and "monitor_auto.boot" in sys.modules and time.monotonic() < end:
    time.sleep(0.01)

class Last:
    def __del__(self, take=_imp.acquire_lock, give=_imp.release_lock):
        take()
        give()
        raise OverflowError("last words")

sys.argv.insert(0, Last())  # goes when the interpreter is taken down
print("end", flush=True)
"""
RECORD = 'from monitor_auto import Monitor; Monitor.event("work.done"); recorded = True'


@pytest.mark.parametrize(
    "settings",
    [{}, {"MONITOR_ENDPOINT": "http://127.0.0.1:1/v1/events", "MONITOR_EXIT_TIMEOUT": "0"}],
    ids=["local", "spool only"],
)
def test_thread_that_imports_at_the_end_hangs_nobody(children: Children, settings: dict[str, str]) -> None:
    """A thread that is halted with the lock of imports in its hands lets the traceback of a `__del__` wait for ever."""
    env = {"MONITOR_BATCH_SIZE": "1", **settings}
    done = children.run(IMPORTING.replace("CALL", RECORD), env=env)
    assert (done.status, done.stdout) == (0, b"end\n")
    assert b"last words" in done.stderr
    assert done.named("error.OverflowError") and done.named("work.done")


@pytest.mark.parametrize("version", other_pythons())
def test_thread_that_imports_at_the_end_hangs_no_other_python(
    version: str, children: Children, sandbox_for: Callable[..., Sandbox]
) -> None:
    """What happens to threads when the interpreter ends differs from version to version."""
    python = sandbox_for(other_pythons()[version])
    done = children.run(IMPORTING.replace("CALL", RECORD), env={"MONITOR_BATCH_SIZE": "1"}, python=python)
    assert (done.status, done.stdout) == (0, b"end\n")
    assert b"last words" in done.stderr
    assert done.named("error.OverflowError")


def test_main_module_that_outlives_ours_shows_nothing_of_us(children: Children) -> None:
    """Who holds `__main__` from outside has it cleared last, after our modules: our hook can only step aside then."""
    done = children.twin(
        """
        import sys

        class Last:
            def __del__(self):
                raise OverflowError("last words")

        kept = Last()
        sys.kept_by_us = sys.modules["__main__"]
        """
    )
    assert b"last words" in done.stderr
    assert done.names == ["session.start", "session.end"]

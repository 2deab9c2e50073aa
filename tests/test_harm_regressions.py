"""What CPython's own tests found, told as small programs: each shows the same with and without the monitor."""

import sys

import pytest

from support.children import Children, Run

needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX only")


def place_of(run: Run, name: str) -> str:
    """Where the one error of that name happened."""
    (event,) = run.named(name)
    return str(event["data"]["location"])


@needs_posix
def test_replaced_execve_is_still_listed_as_taking_descriptors(children: Children) -> None:
    """Programs look into os.supports_fd before they execute an open file."""
    done = children.twin(
        """
        import os, sys
        print(os.execve in os.supports_fd, len(os.supports_fd))
        sys.stdout.flush()
        os.execve(os.open("/bin/true", os.O_RDONLY) if os.execve in os.supports_fd else "/bin/false", ["true"], {})
        """
    )
    assert done.stdout.startswith(b"True ")
    assert done.status == 0
    assert [end["data"]["reason"] for end in done.named("session.end")] == ["exec"]


HOOKS_CALLED_WRONGLY = """
import sys, threading

class Rough:
    exc_type = exc_traceback = thread = err_msg = None
    exc_value = KeyError("rough")

for hook in (sys.excepthook, sys.unraisablehook, threading.excepthook):
    for args in ((), (1,), (Rough(),), (1, 1, 1), (None, ValueError("seen"), None), (1, 2, 3, 4)):
        try:
            hook(*args)
        except Exception as error:
            print(type(error).__name__, error)
"""


def test_hooks_called_by_the_program_refuse_what_they_refuse(children: Children) -> None:
    """A program that calls sys.excepthook itself gets Python's answer, and no error of ours is counted."""
    done = children.twin(HOOKS_CALLED_WRONGLY)
    assert b"TypeError" in done.stdout
    assert done.named("error.ValueError"), "what was shown properly is recorded"
    assert done.names[-1] == "session.end"


def test_program_without_import_is_recorded(children: Children) -> None:
    """`del __builtins__.__import__` breaks the program's imports, not ours."""
    done = children.twin(["python", "-c", "del __builtins__.__import__; import os"])
    assert done.status == 1
    assert b"ImportError" in done.stderr
    assert done.named("error.ImportError")
    assert done.names[-1] == "session.end"


REPLACED_BUILTINS = """
import builtins, os, sys
real_import = builtins.__import__

def seen(name, *args, **kwargs):
    sys.__stdout__.write("import %s\\n" % name)
    return real_import(name, *args, **kwargs)

def refuse(*args, **kwargs):
    sys.__stdout__.write("called %r\\n" % (args,))
    raise RuntimeError("not here")

builtins.__import__ = seen
for name in ("open", "eval", "compile", "print", "input", "id"):
    setattr(builtins, name, refuse)
import colorsys
if os.fork() == 0:
    os._exit(3)
sys.__stdout__.write("%d\\n" % os.waitstatus_to_exitcode(os.wait()[1]))
sys.exit(4)
"""


@needs_posix
def test_replaced_builtins_see_nothing_of_the_monitor(children: Children) -> None:
    """Tracers and sandboxes replace `__import__` and `open`: they are told of the program's calls, not of ours."""
    done = children.twin(REPLACED_BUILTINS)
    assert done.status == 4
    assert b"import colorsys\n" in done.stdout
    ends = [end["data"] for end in done.named("session.end")]
    assert sorted((end["reason"], end["exit_code"]) for end in ends) == [("exit", 4), ("os._exit", 3)]
    assert done.named("session.exit")


def test_replaced_import_sees_what_printing_a_traceback_imports(children: Children) -> None:
    """The interpreter asks the running function's builtins for `__import__`; no function of ours may answer."""
    done = children.twin(
        """
        import builtins, sys
        real_import = builtins.__import__

        def seen(name, *args, **kwargs):
            sys.__stdout__.write("import %s\\n" % name)
            return real_import(name, *args, **kwargs)

        builtins.__import__ = seen
        raise ArithmeticError("shown")
        """
    )
    assert b"import " in done.stdout
    assert done.named("error.ArithmeticError")


def test_first_event_of_an_interpreter_that_is_taken_down(children: Children) -> None:
    """What a `__del__` raises last of all is recorded even where nothing can be imported any more."""
    done = children.twin(
        """
        import sys

        class Words:
            def __repr__(self):
                return "words"

            def __call__(self):
                raise OverflowError("last words")

        class Last:
            __del__ = Words()

        sys.argv.insert(0, Last())  # goes when sys.path is None already
        """
    )
    assert b"Exception ignored in: words" in done.stderr
    assert done.named("error.OverflowError")


def test_import_path_of_odd_entries(children: Children) -> None:
    """Programs put what they like into sys.path; an error is recorded all the same."""
    done = children.twin(
        """
        import pathlib, sys
        sys.path[:0] = [pathlib.Path("/nowhere"), b"/nowhere", None, 7]
        raise LookupError("odd")
        """
    )
    assert done.status == 1
    assert place_of(done, "error.LookupError").startswith("script.py:4:") or done.named("error.LookupError")


def test_error_after_all_modules_are_gone(children: Children) -> None:
    """A global object's `__del__` runs when `sys.modules` is empty; what it raises is shown, so it is recorded, too."""
    done = children.twin(
        """
        class Words:
            def __repr__(self):
                return "words"

            def __call__(self):
                raise OverflowError("last words")

        class Last:
            __del__ = Words()

        kept_to_the_end = Last()
        """
    )
    assert b"Exception ignored in: words" in done.stderr
    errors = done.named("error.OverflowError")
    assert [error["data"]["message"] for error in errors] == ["last words"], (done.names, done.ledger)


FEW_DESCRIPTORS = """
import os, resource, sys
if len(sys.argv) == 1:
    resource.setrlimit(resource.RLIMIT_NOFILE, (29, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    os.execv(sys.executable, [sys.executable, __file__, "limited"])
opened = []
try:
    while True:
        opened.append(os.open("/dev/null", os.O_RDONLY))
except OSError as error:
    print(error, opened, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
os.close(opened.pop())
print([fd for fd in range(os.sysconf("SC_OPEN_MAX")) if os.path.exists("/proc/self/fd/%d" % fd)])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_program_with_few_descriptors_has_all_of_them(children: Children) -> None:
    """Under a limit of 29 two descriptors are a lot, and a program may count what it has."""
    done = children.twin(FEW_DESCRIPTORS)
    assert b"Too many open files" in done.stdout
    assert [start["data"]["argv"][-1] for start in done.named("session.start")][1:] == ["limited"]
    assert [end["data"]["reason"] for end in done.named("session.end")] == ["exec", "return"]

"""Hooks that other packages bring: found without importlib.metadata, run once, switched off when they raise."""

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.children import Children
from support.sandbox import ROOT, Sandbox, Sandboxes

LIBRARY = """
class Depot:
    def send(self, parcel):
        if parcel < 0:
            raise ValueError(parcel)
        return parcel
"""
PROGRAM = """
    from parcels.depot import Depot
    print(Depot().send(3))
    try:
        Depot().send(-1)
    except ValueError as error:
        print("refused", error)
"""


@pytest.fixture(scope="module")
def with_library(sandboxes: Sandboxes) -> Iterator[Sandbox]:
    """An environment of this file's own, with a library to watch."""
    sandbox = sandboxes.empty()
    sandbox.pip("install", "--quiet", str(sandboxes.wheel))
    write(sandbox.site_packages, {"parcels/__init__.py": "", "parcels/depot.py": LIBRARY})
    yield sandbox


def write(folder: Path, files: dict[str, str]) -> None:
    """Write files below a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def laid(with_library: Sandbox) -> Iterator[Sandbox]:
    """The same; what a test has laid into it goes again."""
    before = set(with_library.site_packages.iterdir())
    yield with_library
    for path in set(with_library.site_packages.iterdir()) - before:
        subprocess.run(["rm", "-rf", str(path)], check=True)


def lay(sandbox: Sandbox, name: str, code: str, points: str) -> None:
    """Lay down a distribution as an installer does: a module and its entry points."""
    text = f"[console_scripts]\nx = y:z\n\n[monitor_auto.hooks]\n{points}\n\n[other]\na = b\n"
    write(sandbox.site_packages, {f"{name}.py": code, f"{name}-1.0.dist-info/entry_points.txt": text})


SIMPLE = (
    "from monitor_auto import Monitor\ndef install(module): Monitor.event('{}.seen', {{'module': module.__name__}})\n"
)


def test_documented_example_works(children: Children, laid: Sandbox, tmp_path: Path) -> None:
    """Who copies the page gets a hook that records, off and on, in a real distribution."""
    page = (ROOT / "docs" / "writing-a-hook.md").read_text(encoding="utf-8")
    ((_, project), (_, code)) = re.findall(r"```(toml|python)\n(.*?)```", page, re.S)
    project = re.sub(r"dependencies = .*\n", "dependencies = []\n", project)
    write(tmp_path / "own", {"pyproject.toml": project, "parcels_monitor.py": code})
    words = [
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(tmp_path),
        str(tmp_path / "own"),
    ]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    laid.pip("install", "--quiet", "--no-deps", str(wheel))
    done = children.twin(PROGRAM, python=laid)
    assert done.stdout == b"3\nrefused -1\n"
    first, second = (event["data"] for event in done.named("parcel.send"))
    assert first["error"] is None and second["error"] == "ValueError"
    (end,) = done.named("session.end")
    assert end["data"]["hooks"]["parcels"] == "on"
    skipped = children.run(PROGRAM, python=laid, env={"MONITOR_SKIP": "parcels_monitor"})
    assert len(skipped.named("parcel.send")) == 2, "those of the first run"
    assert skipped.stdout == done.stdout
    laid.pip("uninstall", "--quiet", "--yes", "parcels-monitor")


def test_several_hooks_of_one_module_each_run_once(children: Children, laid: Sandbox) -> None:
    """Two packages may watch the same library, and one that we watch ourselves."""
    lay(laid, "first_hooks", SIMPLE.format("first"), "parcels.depot = first_hooks:install\nhttpx = first_hooks:install")
    lay(
        laid, "second_hooks", SIMPLE.format("second"), '"parcels.depot"=second_hooks : install [extra] # twice\n???\n=x'
    )
    lay(laid, "third_hooks", SIMPLE.format("third"), "parcels.depot = third_hooks:install")
    done = children.twin("import parcels.depot, parcels.depot, httpx; import importlib", python=laid)
    assert [event["data"]["module"] for event in done.named("first.seen")] == ["parcels.depot", "httpx"]
    assert [event["data"]["module"] for event in done.named("third.seen")] == ["parcels.depot"]
    (end,) = done.named("session.end")
    assert end["data"]["hooks"]["httpx"] == 0


def test_hook_that_raises_is_off_and_named_by_doctor(children: Children, laid: Sandbox) -> None:
    """The program must not notice, and somebody has to be told."""
    lay(
        laid,
        "bad_hooks",
        "def install(module): raise LookupError('no such thing')\n",
        "parcels.depot = bad_hooks:install",
    )
    lay(laid, "gone_hooks", "import no_such_module\n", "parcels.depot = gone_hooks:install")
    lay(laid, "good_hooks", SIMPLE.format("good"), "parcels.depot = good_hooks:install")
    done = children.twin(PROGRAM, python=laid)
    assert len(done.named("good.seen")) == 1
    reasons = [line["reason"] for line in done.ledger if line["what"] == "problem"]
    assert reasons == [
        "the hook bad_hooks:install of parcels.depot is off: LookupError: no such thing",
        "the hook gone_hooks:install of parcels.depot is off: ModuleNotFoundError: No module named 'no_such_module'",
    ]
    doctor = children.run(["python", "-m", "monitor_auto", "doctor"], python=laid)
    status = children.run(["python", "-m", "monitor_auto", "status"], python=laid)
    for hook in (b"bad_hooks:install", b"gone_hooks:install"):
        assert hook in doctor.stdout and hook in status.stdout
    assert b"good_hooks" not in doctor.stdout


BAD = {
    "exits": "import sys\ndef install(module): sys.exit(3)\n",
    "exits_when_imported": "import sys\nsys.exit(3)\n",
    "recurs": "def install(module): install(module)\n",
    "has_no_such_function": "installed = True\n",
    "is_no_python": "def install(module:\n",
}


@pytest.mark.parametrize("how", BAD)
def test_hook_that_goes_wrong_in_any_way_is_off(how: str, children: Children, laid: Sandbox) -> None:
    """A script named by mistake ends itself when it is imported: that must not be the end of every program."""
    lay(laid, "wrong_hooks", BAD[how], "parcels.depot = wrong_hooks:install")
    (laid.site_packages / "pipe-1.0.dist-info").mkdir()
    os.mkfifo(laid.site_packages / "pipe-1.0.dist-info" / "entry_points.txt")
    done = children.twin(PROGRAM, python=laid)
    assert done.stdout == b"3\nrefused -1\n"
    (reason,) = [line["reason"] for line in done.ledger if line["what"] == "problem"]
    assert reason.startswith("the hook wrong_hooks:install of parcels.depot is off: ")
    assert done.named("session.end")[0]["data"]["hooks"]["parcels"].startswith("off: ")


def test_ctrl_c_while_a_hook_is_installed_is_the_programs(children: Children, laid: Sandbox) -> None:
    """Who presses it wants the program to end, whatever it is at."""
    slow = "import os, signal\ndef install(module): os.kill(os.getpid(), signal.SIGINT)\n"
    lay(laid, "slow_hooks", slow, "parcels.depot = slow_hooks:install")
    source = """
        try:
            import parcels.depot
        except KeyboardInterrupt:
            print("interrupted")
    """
    done = children.run(source, python=laid)
    assert done.stdout == b"interrupted\n" and not done.ledger


@pytest.mark.parametrize("name", ["parcels.depot", "parcels", "own_hooks"])
def test_hook_is_skipped_by_each_of_its_names(name: str, children: Children, laid: Sandbox) -> None:
    """Who is in a hurry to switch one off takes the name at hand: of the module, the library, or the hook."""
    lay(laid, "own_hooks", SIMPLE.format("own"), "parcels.depot = own_hooks:install")
    done = children.twin(PROGRAM, python=laid, env={"MONITOR_SKIP": name})
    assert not done.named("own.seen") and done.named("session.end")


@pytest.mark.parametrize("name", ["parcels.depot", "parcels"])
def test_hook_can_be_the_only_one(name: str, children: Children, laid: Sandbox) -> None:
    """With one library to look at, the others are to cost nothing."""
    lay(laid, "own_hooks", SIMPLE.format("own"), "parcels.depot = own_hooks:install\nhttpx = own_hooks:install")
    done = children.twin("import httpx, parcels.depot", python=laid, env={"MONITOR_INSTRUMENT": name})
    assert [event["data"]["module"] for event in done.named("own.seen")] == ["parcels.depot"]


def test_hooks_in_zip_files_are_found(children: Children, laid: Sandbox, tmp_path: Path) -> None:
    """Eggs and zipped folders on sys.path have entry points, too."""
    packed = tmp_path / "packed.zip"
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("zipped_hooks.py", SIMPLE.format("zipped"))
        file.writestr("EGG-INFO/entry_points.txt", "[monitor_auto.hooks]\nparcels.depot = zipped_hooks:install\n")
    (laid.site_packages / "zipped.pth").write_text(f"{packed}\n")
    done = children.twin("import parcels.depot", python=laid)
    assert len(done.named("zipped.seen")) == 1


def test_program_that_imports_only_python_looks_for_none(children: Children, laid: Sandbox) -> None:
    """Every start would pay for the search: it begins with the first module that is not Python's own."""
    lay(laid, "some_hooks", SIMPLE.format("some"), "json = some_hooks:install\nparcels = some_hooks:install")
    source = "import json, sys; print('importlib.metadata' in sys.modules)"
    done = children.twin(source, python=laid)
    assert not done.named("some.seen")
    done = children.twin(source + "; import parcels; print('importlib.metadata' in sys.modules)", python=laid)
    assert [event["data"]["module"] for event in done.named("some.seen")] == ["json", "parcels"]
    assert done.stdout == b"False\nFalse\n"

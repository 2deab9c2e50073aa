"""The wheel: what it lays down, what it takes away again, and that it starts the monitor wherever it is installed."""

import ast
import email
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from monitor_auto import boot
from support.children import Children
from support.collector import Collector
from support.sandbox import ROOT, Sandbox, Sandboxes, build_wheel, call, other_pythons

REQUIREMENTS = {"wrapt": (">=1.14", "<3"), "httpx": (">=0.24", "<1"), "platformdirs": (">=3", "<5")}

FAILING = """
    import sys
    print("out")
    print("err", file=sys.stderr)
    raise LookupError("lost")
"""

CALLING = """
    import httpx
    transport = httpx.MockTransport(lambda request: httpx.Response(204))
    with httpx.Client(transport=transport) as client:
        print(client.get("http://example.test/path").status_code)
"""

TYPED_USER = """
from monitor_auto import Monitor, __version__

def work(step: str) -> None:
    event_id: str | None = Monitor.event("hook.run", {"hook": step})
    try:
        with Monitor.span("build.wheel", {"pkg": step}):
            Monitor.metric("connect.duration_ms", 320)
    except OSError as error:
        Monitor.error(error, {"step": step, "id": event_id})

Monitor.init(endpoint="local:", app="my-hook")
work(__version__)
done: bool = Monitor.flush(timeout=3)
Monitor.close()
"""

# What a running program can see of a start line that was off.
VISIBLE = """
    import builtins, os, site, sys
    print(*sys.modules)
    print(*vars(site))
    print(*vars(builtins))
    print(*os.environ)
"""
# On 3.13 site reads any .pth by way of this module.
FOR_ANY_PTH = "encodings.utf_8_sig"


@pytest.fixture
def scratch(sandboxes: Sandboxes) -> Sandbox:
    """An environment of its own with nothing but the wheel, for a test that changes it."""
    sandbox = sandboxes.empty()
    sandbox.pip("install", "--quiet", "--no-deps", "--no-index", str(sandboxes.wheel))
    return sandbox


def metadata(wheel: Path) -> "email.message.Message[str, str]":
    """Return the METADATA of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


def installed(sandbox: Sandbox) -> set[str]:
    """Return the files of an environment; those of pip itself change whenever pip runs."""
    files = {str(path.relative_to(sandbox.folder)) for path in sandbox.folder.rglob("*") if path.is_file()}
    return {name for name in files if "/site-packages/pip/" not in name and "/site-packages/setuptools/" not in name}


def copied_tree(folder: Path) -> Path:
    """Copy what a build needs, so that a test may change it."""
    for name in ("pyproject.toml", "hatch_build.py", "monitor_auto.pth", "README.md", "LICENSE"):
        folder.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_wheel_requires_exactly_three_distributions(sandboxes: Sandboxes) -> None:
    """Each further one would be in every environment of every user."""
    facts = metadata(sandboxes.wheel)
    required = [line.replace(" ", "") for line in facts.get_all("Requires-Dist", []) if "extra ==" not in line]
    expected = [{name + ",".join(order) for order in (bounds, bounds[::-1])} for name, bounds in REQUIREMENTS.items()]
    assert len(required) == len(expected)
    assert all(any(line in accepted for line in required) for accepted in expected)
    assert facts["Requires-Python"] == ">=3.10"


def test_start_line_lies_beside_the_package_and_is_recorded(sandbox: Sandbox) -> None:
    """What RECORD does not list stays behind after an uninstall and breaks every Python of the environment."""
    (record,) = sandbox.site_packages.glob("monitor_auto-*.dist-info/RECORD")
    names = [line.partition(",")[0] for line in record.read_text(encoding="utf-8").splitlines()]
    assert "monitor_auto.pth" in names
    assert "monitor_auto/py.typed" in names
    assert "monitor_auto.start" not in names
    assert (sandbox.site_packages / "monitor_auto.pth").read_bytes() == (ROOT / "monitor_auto.pth").read_bytes()


def test_what_is_in_reserve_is_what_lies_beside_it(sandbox: Sandbox) -> None:
    """Two texts of one module that differ would be two programs, one of which nobody ever sees run."""
    folder = sandbox.site_packages / "monitor_auto" / "boot"
    _, *parts = (folder / "reserve.txt").read_text(encoding="utf-8").split("\f")
    texts = dict(part.split("\n", 1) for part in parts)
    assert tuple(texts) == boot.COLD
    for name, text in texts.items():
        read = (folder / f"{name}.py").read_text(encoding="utf-8")
        # Without comments and documentation they are the same, to the line and column that a traceback would show.
        assert without_documentation(text) == without_documentation(read)
    assert (folder / "reserve.txt").stat().st_size < boot.RESERVE_BYTES


def without_documentation(source: str) -> str:
    """Return what a text says as a tree, with the places of its statements."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value, node.end_lineno, node.end_col_offset = ast.Constant(""), 0, 0
    return ast.dump(tree, include_attributes=True)


def test_start_line_can_be_read_by_whoever_audits_it() -> None:
    """Start lines became an attack vector; one that hides anything is removed by the first reader."""
    text = (ROOT / "monitor_auto.pth").read_text(encoding="ascii")
    assert text.startswith("import ")
    assert text.count("\n") == 1
    assert len(text) < 300
    assert not any(word in text for word in ("exec", "eval", "compile", "base64", "subprocess", "socket", "\\x"))


@pytest.mark.slow
def test_uninstall_leaves_nothing_behind(sandboxes: Sandboxes, children: Children) -> None:
    """A start line without its package makes site print a traceback into every program."""
    sandbox = sandboxes.empty()
    before = installed(sandbox)
    sandbox.pip("install", "--quiet", "--no-deps", "--no-index", str(sandboxes.wheel))
    assert "session.start" in children.run("print(1)", python=sandbox).names
    sandbox.pip("uninstall", "--quiet", "--yes", "monitor-auto")
    assert installed(sandbox) == before
    done = children.run("print(1)", python=sandbox, spool=children.folder)
    assert (done.status, done.stdout, done.stderr) == (0, b"1\n", b"")


@pytest.mark.slow
def test_editable_install_is_monitored_too(sandboxes: Sandboxes, children: Children, tmp_path: Path) -> None:
    """Editable installs that silently ship no start line are a complaint about other tools."""
    sandbox = sandboxes.empty()
    sandbox.pip("install", "--quiet", "--no-deps", "--editable", str(copied_tree(tmp_path / "tree")))
    assert (sandbox.site_packages / "monitor_auto.pth").exists()
    done = children.twin("import monitor_auto; print(monitor_auto.__version__)", python=sandbox)
    assert "session.end" in done.names
    sandbox.pip("uninstall", "--quiet", "--yes", "monitor-auto")
    assert not (sandbox.site_packages / "monitor_auto.pth").exists()


def test_wheel_from_the_source_distribution_is_the_same(sandboxes: Sandboxes, tmp_path: Path) -> None:
    """Distributions build from the archive, where a forgotten start line would go unnoticed."""
    call([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)], cwd=ROOT)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        assert any(name.endswith("/tests/conftest.py") for name in tar.getnames())
    wheels = [sandboxes.wheel, build_wheel(tmp_path / "wheel", archive)]
    names = [sorted(zipfile.ZipFile(wheel).namelist()) for wheel in wheels]
    assert names[0] == names[1]
    assert "monitor_auto.pth" in names[0]


@pytest.mark.parametrize("value", ["", "0", "false", "False"])
def test_kill_switch_that_is_off_changes_nothing(children: Children, value: str) -> None:
    """MONITOR_DISABLE=0 in a template must not switch the monitor off."""
    assert "session.start" in children.run("pass", env={"MONITOR_DISABLE": value}).names


@pytest.mark.parametrize("value", ["1", "true", "yes", "off", "00"])
def test_kill_switch_wins(children: Children, value: str) -> None:
    """Whoever pulls it in an emergency must not have to look up how it is spelled."""
    done = children.run("import sys; print([m for m in sys.modules if 'monitor' in m])", env={"MONITOR_DISABLE": value})
    assert (done.stdout, done.events) == (b"[]\n", [])


def test_site_file_switches_on_without_any_variable(scratch: Sandbox, children: Children, tmp_path: Path) -> None:
    """For processes whose environment nobody controls: cron, env -i, sudo."""
    spool = children.folder / "spool"
    assert children.run("pass", python=scratch, bare=True).events == []
    (scratch.folder / "etc").mkdir()
    site_file = scratch.folder / "etc" / "monitor-auto.env"
    site_file.write_text(f"MONITOR_ENDPOINT=local:\nMONITOR_SPOOL_DIR={spool}\n", encoding="utf-8")
    assert "session.end" in children.run("pass", python=scratch, bare=True).names


def test_dormant_start_line_leaves_no_trace(sandboxes: Sandboxes, children: Children) -> None:
    """Every Python of the environment executes it, monitored or not."""
    sandbox = sandboxes.empty()
    before = children.run(VISIBLE, python=sandbox, bare=True)
    sandbox.pip("install", "--quiet", "--no-deps", "--no-index", str(sandboxes.wheel))
    after = children.run(VISIBLE, python=sandbox, bare=True)
    seen = [[set(line.split()) - {FOR_ANY_PTH} for line in run.stdout.decode().splitlines()] for run in (before, after)]
    assert seen[0] == seen[1]
    assert "session.start" in children.run("pass", python=sandbox).names


@pytest.mark.slow
@pytest.mark.parametrize("bound", ["lowest", "highest"])
def test_dependencies_at_both_ends_of_their_range(
    sandboxes: Sandboxes, children: Children, collector: Collector, capsys: pytest.CaptureFixture[str], bound: str
) -> None:
    """A bound that nobody installs is a guess; here wrapt hooks httpx, and httpx delivers."""
    pins = [name + bounds[0].replace(">=", "==") for name, bounds in REQUIREMENTS.items()] if bound == "lowest" else []
    sandbox = sandboxes.get(sys.executable, *pins)
    with capsys.disabled():
        frozen = sandbox.pip("freeze").split()
        print(f"\n{bound}: {', '.join(line for line in frozen if line.partition('==')[0] in REQUIREMENTS)}")
    done = children.twin(CALLING, python=sandbox, endpoint=collector.url, env={"MONITOR_EXIT_TIMEOUT": "0"})
    assert "http.client.request" in done.names
    flushed = children.run(["python", "-m", "monitor_auto", "flush"], python=sandbox, endpoint=collector.url)
    assert flushed.status == 0, flushed.stderr
    assert "http.client.request" in collector.names()


@pytest.mark.parametrize("version", other_pythons())
def test_wheel_works_on_every_other_interpreter_of_this_machine(
    sandboxes: Sandboxes, children: Children, collector: Collector, version: str
) -> None:
    """The promise is Python 3.10 and later, not the one that happens to be first on the PATH."""
    sandbox = sandboxes.get(other_pythons()[version])
    assert children.twin(FAILING, python=sandbox).named("error.LookupError")
    children.twin(CALLING, python=sandbox, endpoint=collector.url)
    assert {"session.start", "http.client.request", "session.end"} <= set(collector.names())


def test_start_file_starts_the_monitor_where_python_reads_them(children: Children, tmp_path: Path) -> None:
    """Python 3.18 will ignore the import line of a .pth; the form that replaces it has to work before that day."""
    words = python_315()
    wheel = build_wheel(tmp_path / "wheel", MONITOR_AUTO_START_FILE="1")
    call([*words, "-m", "venv", str(tmp_path / "environment")])
    sandbox = Sandbox(tmp_path / "environment", words[:-1])
    sandbox.pip("install", "--quiet", "--no-deps", "--no-index", str(wheel))
    assert (sandbox.site_packages / "monitor_auto.start").read_text() == "monitor_auto.boot:start\n"
    (sandbox.site_packages / "monitor_auto.pth").unlink()
    assert children.twin(FAILING, python=sandbox).names.count("session.start") == 1


def python_315() -> tuple[str, ...]:
    """Return the command of a Python 3.15 that can make environments, or skip."""
    words = shlex.split(os.environ.get("MONITOR_AUTO_TEST_PYTHON315", "python3.15"))
    if shutil.which(words[0]) is None:
        pytest.skip("no Python 3.15: put python3.15 on the PATH or its command into MONITOR_AUTO_TEST_PYTHON315")
    return tuple(words)


def test_program_that_uses_the_api_passes_strict_type_checks(sandbox: Sandbox, tmp_path: Path) -> None:
    """A package that says py.typed and is not makes its users' checks fail."""
    program = tmp_path / "program.py"
    program.write_text(TYPED_USER, encoding="utf-8")
    words = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--python-executable={sandbox.python}"]
    assert "no issues found" in call([*words, str(program)], cwd=tmp_path)
    program.write_text(TYPED_USER + "Monitor.event(b'bytes')\n", encoding="utf-8")
    done = subprocess.run([*words, str(program)], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stdout + done.stderr

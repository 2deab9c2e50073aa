"""Fixtures of all tests: real environments with the built wheel, real children, an honest receiver."""

import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.account import assert_adds_up
from support.children import Children
from support.collector import Collector, running_collector
from support.sandbox import Sandbox, Sandboxes
from support.web import Web, running_web


def pytest_configure() -> None:
    """Let children hear their terminal also where a shell, or nohup, has started us with its signals ignored."""
    for number, usual in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGQUIT, signal.SIG_DFL),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, usual)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let each worker begin with its share of the long tests, after they were shuffled: at the end none works alone.

    With `--dist worksteal` a worker gets one stretch of the list, and takes from the others' when it is through.
    """
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    long = [item for item in items if item.get_closest_marker("slow")]
    short = [item for item in items if not item.get_closest_marker("slow")]
    stretches = [
        long[worker::workers] + short[len(short) * worker // workers : len(short) * (worker + 1) // workers]
        for worker in range(workers)
    ]
    items[:] = [item for stretch in stretches for item in stretch]


@pytest.fixture(scope="session")
def sandboxes(tmp_path_factory: pytest.TempPathFactory) -> Sandboxes:
    """Every environment of this test run; the wheel is built from the tree when the first one asks for it."""
    # With several workers each has a folder of its own below the one of the run.
    base = tmp_path_factory.getbasetemp()
    return Sandboxes((base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "sandboxes")


@pytest.fixture(scope="session")
def sandbox(sandboxes: Sandboxes) -> Sandbox:
    """The default environment: this interpreter, the wheel and its dependencies."""
    return sandboxes.get()


@pytest.fixture(scope="session")
def sandbox_for(sandboxes: Sandboxes) -> Callable[..., Sandbox]:
    """`sandbox_for(python, *requirements)`: an environment of another interpreter or with more in it."""
    return sandboxes.get


@pytest.fixture
def changeable(sandboxes: Sandboxes, tmp_path: Path) -> Iterator[Sandbox]:
    """An environment with nothing but the wheel whose package, start line and `etc/` a test may change.

    Other workers wait meanwhile: such tests are short, and making the environment is not.
    """
    sandbox = sandboxes.get(sys.executable, "--no-deps")
    with (sandbox.folder / "changing").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield from _restored(sandbox, tmp_path)


def _restored(sandbox: Sandbox, tmp_path: Path) -> Iterator[Sandbox]:
    shutil.copytree(sandbox.site_packages, tmp_path / "kept", ignore=_not_ours)
    yield sandbox
    for path in [*sandbox.site_packages.glob("monitor_auto*"), sandbox.folder / "etc"]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    shutil.copytree(tmp_path / "kept", sandbox.site_packages, dirs_exist_ok=True)


def _not_ours(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if folder.endswith("-packages") and not name.startswith("monitor_auto")]


@pytest.fixture
def children(sandbox: Sandbox, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Children]:
    """Starts programs: `children.run`, `children.twin`, `children.start`.

    After every test the account of each of its spools has to add up, unless the test is marked `tampers("why")`; it
    says in `children.untold` how many events killed sessions could not tell of.
    """
    all_children = Children(sandbox, tmp_path)
    yield all_children
    all_children.kill_all()
    if request.node.get_closest_marker("tampers") is None:
        for spool in all_children.spools:
            assert_adds_up(spool, all_children.untold)


@pytest.fixture
def run(children: Children) -> Callable[..., object]:
    """`run(script, **how)`: see Children.run and Children.start."""
    return children.run


@pytest.fixture
def twin(children: Children) -> Callable[..., object]:
    """`twin(script, **how)`: bare and monitored must be equal; see Children.twin."""
    return children.twin


@pytest.fixture
def start(children: Children) -> Callable[..., object]:
    """`start(script, **how)`: a running child; see Children.start."""
    return children.start


@pytest.fixture
def collector() -> Iterator[Collector]:
    """An honest receiver on a free port; a batch that breaks the contract fails the test that sent it."""
    with running_collector() as running:
        yield running
    assert not running.violations, running.violations


@pytest.fixture
def web() -> Iterator[Web]:
    """A web server that programs call, and that applications call for their requests."""
    with running_web() as running:
        yield running

"""Every kind of outage against every way to end: the program cannot tell, all events wait, and arrive once later."""

import json
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.account import assert_adds_up
from support.children import Child, Children, Run
from support.collector import DRIP, HALF, PAGE, STALL, UNAVAILABLE, Answer, Collector, running_collector
from support.needs import need_command
from support.network import make_certificate, running_proxy
from support.sandbox import Sandbox, Sandboxes, other_pythons
from support.silence import SILENT_RESOLVER

START, END = "session.start", "session.end"
CHILD = ("process.start", "process.exit")
FLUSH = ["python", "-m", "monitor_auto", "flush"]
ONE_SECOND: dict[str, str | None] = {"MONITOR_EXIT_TIMEOUT": "1"}
BACK_OFF_SECONDS = 600


@dataclass(frozen=True)
class Program:
    """A program, the names of what it leaves behind, and of what a later process finds out about it."""

    source: str
    names: list[str]
    later: tuple[str, ...] = ()
    tries: bool = True


PROGRAMS = {
    "return": Program("print('out')", [START, END]),
    "exception": Program("print('out'); raise LookupError('lost')", [START, "error.LookupError", END]),
    "exit": Program("import sys; print('out'); sys.exit(3)", [START, "session.exit", END]),
    "os._exit": Program("import os; print('out', flush=True); os._exit(7)", [START, END], tries=False),
    "SIGTERM": Program(
        "import os; os.kill(os.getpid(), 15); print('alive')", [START], ("error.SIGTERM", "session.lost"), False
    ),
    "kill -9": Program("import os; os.kill(os.getpid(), 9); print('alive')", [START], ("session.lost",), False),
    "child that stays": Program(
        """
        import os, subprocess, sys
        code = "import sys; sys.stdin.read(); print('child out'); sys.exit(5)"
        out, into = os.pipe()  # closed when we are gone
        subprocess.Popen([sys.executable, "-c", code], stdin=out)
        print("out")
        """,
        [START, *CHILD, END, START, "session.exit", END],
    ),
    "worker": Program(
        """
        import multiprocessing, sys
        def work():
            sys.exit(4)
        if __name__ == "__main__":
            process = multiprocessing.get_context("fork").Process(target=work)
            process.start()
            process.join()
            print(process.exitcode)
        """,
        [START, *CHILD, START, "session.exit", END, END],
    ),
}


@dataclass
class Outage:
    """A collector in trouble. `before` stands before a program's command; `requests` counts what has reached it."""

    endpoint: str
    collector: Collector
    come_back: Callable[[], None]
    env: dict[str, str | None]
    requests: Callable[[], int] | None = None
    before: tuple[str, ...] = ()


@contextmanager
def answering(answer: Answer, tmp_path: Path) -> Iterator[Outage]:
    """A collector that gives one answer to everything."""
    with running_collector(answer) as collector:

        def come_back() -> None:
            collector.answer = Answer()
            collector.requests.clear()  # what was answered by half a success does not count

        yield Outage(collector.url, collector, come_back, {}, lambda: len(collector.requests))


@contextmanager
def refusing(tmp_path: Path) -> Iterator[Outage]:
    """Nobody listens."""
    with running_collector() as collector:
        collector.go_away()
        yield Outage(collector.url, collector, collector.come_back, {})


@contextmanager
def hanging_in_the_handshake(tmp_path: Path) -> Iterator[Outage]:
    """The system takes connections and nobody shakes hands."""
    certificate, context = make_certificate(tmp_path)
    with running_collector(tls=context) as collector:
        collector.go_away(silently=True)
        yield Outage(collector.url, collector, collector.come_back, {"SSL_CERT_FILE": str(certificate)})


@contextmanager
def nameless(tmp_path: Path) -> Iterator[Outage]:
    """A resolver that never answers; later a proxy knows the name."""
    words = (need_command("unshare", "util-linux"), "--mount", "--net", sys.executable, "-S", "-c")
    before = (*words, textwrap.dedent(SILENT_RESOLVER), str(tmp_path))
    env: dict[str, str | None] = {}
    with running_collector() as collector, running_proxy(collector.port) as (proxy, _):
        yield Outage(
            "http://collector.test:9090/v1/events",
            collector,
            lambda: env.update({"HTTP_PROXY": proxy, "NO_PROXY": ""}),
            env,
            before=before,
        )


ANSWERS = {
    "never answers": STALL,
    "drips": DRIP,
    "half an answer": HALF,
    "503": UNAVAILABLE,
    "401": Answer(401),
    "a web page": PAGE,
}
OTHERS = {"refuses": refusing, "handshake that hangs": hanging_in_the_handshake, "no name": nameless}
ON_OTHER_PYTHONS = ["never answers", "503", "handshake that hangs"]
"""An answer that never ends, a plain no, and a helper: what differs from version to version is in one of them."""


@pytest.mark.parametrize("kind", [*ANSWERS, *OTHERS])
def test_outage_costs_no_event_and_no_program_notices(children: Children, tmp_path: Path, kind: str) -> None:
    """Collectors are away at night, when the jobs run that nobody watches."""
    check(Matrix(children, tmp_path, children.sandbox), kind)


@pytest.mark.parametrize("kind", ON_OTHER_PYTHONS)
@pytest.mark.parametrize("version", other_pythons())
def test_outage_is_the_same_on_other_interpreters(
    children: Children, tmp_path: Path, sandboxes: Sandboxes, version: str, kind: str
) -> None:
    """How an interpreter ends, forks and warns differs from version to version, and with it what we can do by then."""
    check(Matrix(children, tmp_path, sandboxes.get(other_pythons()[version])), kind)


def check(matrix: "Matrix", kind: str) -> None:
    """Have all programs meet one kind of outage, and hold what became of them and of their events."""
    with OTHERS[kind](matrix.folder) if kind in OTHERS else answering(ANSWERS[kind], matrix.folder) as outage:
        matrix.outage = outage
        matrix.run_twins()
        matrix.run_a_second_one()
        outage.come_back()
        matrix.flush()
        assert not outage.collector.violations


class Matrix:
    """All programs against one outage, each with a spool of its own."""

    outage: Outage

    def __init__(self, children: Children, folder: Path, python: Sandbox) -> None:
        self.children, self.folder, self.python = children, folder, python
        self.scripts = {name: folder / f"{name}.py" for name in PROGRAMS}
        self.spools = {name: folder / "spools" / name for name in PROGRAMS}
        for name, program in PROGRAMS.items():
            self.scripts[name].write_text(textwrap.dedent(program.source), encoding="utf-8")
            self.spools[name].mkdir(0o700, parents=True)

    def start(self, name: str, program: Path | list[str], **how: bool) -> Child:
        """Start something with one of the spools."""
        words = [str(word) for word in program] if isinstance(program, list) else ["python", str(program)]
        if self.outage.before and words[1] != "-m":
            words = [*self.outage.before, *self.python.command, *words[1:]]
        env = {**ONE_SECOND, **self.outage.env}
        place = {"endpoint": self.outage.endpoint, "spool": self.spools[name], "python": self.python}
        return self.children.start(words, env=env, **place, **how)

    def finish(self, started: dict[str, Child]) -> dict[str, Run]:
        """Wait for all."""
        return {name: child.finish(timeout=120) for name, child in started.items()}

    def run_twins(self) -> None:
        """Every program bare and monitored: the same to see, and all its events in the spool."""
        bare = self.finish({name: self.start(name, script, bare=True) for name, script in self.scripts.items()})
        done = self.finish({name: self.start(name, script) for name, script in self.scripts.items()})
        for name, program in PROGRAMS.items():
            assert seen(done[name]) == seen(bare[name]), f"{name} can tell that it is monitored"
            assert sorted(done[name].names) == sorted(program.names)
            assert len(list(self.spools[name].glob("*.away"))) == program.tries

    def run_a_second_one(self) -> None:
        """Another program with each spool: where somebody knows that the collector is away, it asks nobody."""
        for record in self.folder.glob("spools/*/*.away"):
            prolong(record)
        self.finish({name: self.start(name, self.scripts["return"]) for name in self.spools})
        for name, spool in self.spools.items():
            (record,) = spool.glob("*.away")
            assert json.loads(record.read_text())["failures"] == 1, f"{name}: more than one has asked"
        if self.outage.requests is not None:
            assert self.outage.requests() == len(self.spools)

    def flush(self) -> None:
        """Deliver everything: what was in the spools and what is found out now arrives, each event once."""
        waiting = {name: Run(0, b"", b"", spool).events for name, spool in self.spools.items()}
        done = self.finish({name: self.start(name, FLUSH) for name in self.spools})
        assert {name: run.status for name, run in done.items()} == dict.fromkeys(done, 0)
        ids = [event["event_id"] for event in self.outage.collector.events()]
        assert len(ids) == len(set(ids))
        assert {event["event_id"] for events in waiting.values() for event in events} <= set(ids)
        expected = [*(name for program in PROGRAMS.values() for name in (*program.names, *program.later, START, END))]
        assert sorted(self.outage.collector.names()) == sorted(expected)
        for spool in self.spools.values():
            assert [path for path in spool.glob("*") if path.suffix in (".live", ".jsonl", ".sent", ".away")] == []
            assert_adds_up(spool)


def seen(run: Run) -> tuple[int, bytes, bytes]:
    """Return what a program shows."""
    return run.status, run.stdout, run.stderr


def prolong(record: Path) -> None:
    """Have the back-off last while a slow machine goes on."""
    text = record.read_text()
    until = text.partition(":")[2].partition(",")[0]
    record.write_text(text.replace(until, f"{time.time() + BACK_OFF_SECONDS:.3f}"))

"""What a small team's collector holds after some days: nightly jobs, a web server, test runs, crashes. Made up, but in
the shape that the monitor sends, and the same at every call.
"""

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

Event = dict[str, Any]
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


@dataclass
class Team:
    """The events so far, and the chance that everything is drawn from."""

    now_ms: int
    chance: random.Random = field(default_factory=lambda: random.Random(7))
    events: list[Event] = field(default_factory=list)

    def session(self, program: str, at: float, parent: "Session | None" = None, **how: Any) -> "Session":
        """Start a session."""
        return Session(self, program, at, parent, **how)

    def between(self, least: float, most: float) -> float:
        """Return a number by chance."""
        return self.chance.uniform(least, most)

    def hex(self, digits: int) -> str:
        """Return an id."""
        return f"{self.chance.getrandbits(digits * 4):0{digits}x}"


class Session:
    """One process; writes its events into the team's list. All times are Unix ms."""

    def __init__(
        self, team: Team, program: str, at: float, parent: "Session | None" = None, host: str = "", method: str = "exec"
    ) -> None:
        self.team, self.program, self.started, self.parent = team, program, at, parent
        self.host: str = host or (parent.host if parent else "build-7")
        self.pid = team.chance.randint(2_000, 60_000)
        number = int(at) << 80 | 7 << 76 | team.chance.getrandbits(62) | 2 << 62
        self.id, self.number, self.children = str(uuid.UUID(int=number)), 0, 0
        self.trace: str = parent.trace if parent else team.hex(32)
        self.span = team.hex(16)
        self.argv = ["/opt/app/venv/bin/python", *program.split()]
        facts = {"pid": self.pid, "ppid": parent.pid if parent else 1, "program": name_of(program)}
        facts |= {"argv": self.argv, "cwd": "/opt/app", "executable": self.argv[0], "python": "3.12.4"}
        self.tell("session.start", at, "lifecycle", {**facts, "host": self.host, "start_method": method})

    def tell(self, name: str, at: float, kind: str = "event", data: dict[str, Any] | None = None) -> None:
        """Record one event."""
        session = {"id": self.id, "started": text_of(self.started), "trace_id": self.trace, "span_id": self.span}
        if self.parent:
            session["parent"] = self.parent.id
        source = {"sdk": "python", "app": name_of(self.program), "platform": "linux", "os": "6.8.0"}
        self.team.events.append(
            {"v": 1, "type": kind, "name": name, "timestamp": text_of(at), "event_id": f"{self.id}-{self.number}"}
            | {"source": source, "session": session, "data": data or {}}
        )
        self.number += 1

    def child(self, program: str, at: float, **how: Any) -> "Session":
        """Start a child that is monitored, too."""
        started = Session(self.team, program, at + self.team.between(18, 40), self, **how)
        self.children += 1
        started_facts = {"child": self.children, "pid": started.pid, "method": "subprocess", "argv": started.argv}
        self.tell("process.start", at, "lifecycle", started_facts)
        return started

    def command(self, argv: list[str], at: float, took: float, code: int = 0) -> float:
        """Start a child that is not Python, and wait for it; return when it ended."""
        self.children += 1
        facts = {"child": self.children, "pid": self.team.chance.randint(2_000, 60_000)}
        self.tell("process.start", at, "lifecycle", {**facts, "method": "subprocess", "argv": argv})
        self.tell("process.exit", at + took, "lifecycle", {**facts, "duration_ms": round(took, 3), "exit_code": code})
        return at + took

    def fail(
        self, error: str, message: str, at: float, frames: list[tuple[str, int, str]], level: str = "error"
    ) -> None:
        """Record an error."""
        lines = [f'  File "{path}", line {line}, in {function}' for path, line, function in frames]
        path, line, function = frames[-1]
        data = {"type": error, "message": message, "level": level, "source": "auto" if level == "fatal" else "manual"}
        data |= {"stack": "\n".join(["Traceback (most recent call last):", *lines, f"{error}: {message}"])}
        self.tell(f"error.{error}", at, "error", {**data, "location": f"{path}:{line}:{function}"})

    def end(self, at: float, code: int = 0, reason: str = "return") -> float:
        """End it; return when."""
        took = {"duration_ms": round(at - self.started, 3), "cpu_user_ms": round((at - self.started) * 0.4)}
        facts = {"reason": reason, "exit_code": code, **took, "cpu_system_ms": 20, "max_rss_bytes": 41_000_000}
        self.tell("session.end", at, "lifecycle", facts)
        self._told(at, {"exit_code": code})
        return at

    def vanish(self, at: float, signal: str, **known: Any) -> None:
        """Let it die without a word, as its parent and a later process tell it."""
        facts = {"pid": self.pid, "signal": signal, "last_event_at": text_of(at - 900)}
        self.tell("session.lost", at - 900, "lifecycle", {**facts, "last_event": "http.server.request", **known})
        self._told(at, {"signal": signal})

    def _told(self, at: float, facts: dict[str, Any]) -> None:
        if self.parent and self.parent.children:
            told = {"child": self.parent.children, "pid": self.pid, "duration_ms": round(at - self.started, 3)}
            self.parent.tell("process.exit", at, "lifecycle", told | facts)


def name_of(command: str) -> str:
    """Return what the monitor calls a program."""
    words = command.split()
    return words[1] if words[0] == "-m" else words[0].split("/")[-1]


def text_of(at: float) -> str:
    """Return Unix ms as the monitor writes times."""
    return datetime.fromtimestamp(round(at) / 1000, timezone.utc).isoformat(timespec="milliseconds")


def events_of_a_team(now_ms: int, days: int = 3) -> list[Event]:
    """Return all events, the oldest first."""
    team = Team(now_ms)
    for day in range(days):
        nightly(team, now_ms - (day + 1) * DAY + 4 * HOUR, is_broken=day != 1)
        for hour in (3, 9, 15):
            backup(team, now_ms - day * DAY - hour * HOUR)
        for hour in (2, 7, 11):
            test_run(team, now_ms - day * DAY - hour * HOUR - 20 * MINUTE)
    web_server(team, now_ms - 6 * HOUR, now_ms - MINUTE)
    crash(team, now_ms - 5 * HOUR)
    build(team, now_ms - 14 * MINUTE)
    running(team, now_ms - 40_000)
    return sorted(team.events, key=lambda event: str(event["timestamp"]))


def nightly(team: Team, at: float, is_broken: bool) -> None:
    """Report on a dozen files, one process each; one of them may be broken."""
    job = team.session("jobs/nightly.py", at, host="batch-1")
    now = job.command(["pg_dump", "--format=custom", "sales"], at + 300, team.between(3_000, 5_000))
    for place, city in enumerate(["berlin", "lagos", "quito", "osaka", "turin", "perth", "minsk", "accra", "lima"]):
        child = job.child(f"jobs/import_city.py {city}.csv", now)
        done = now + team.between(700, 2_600)
        child.tell("rows.imported", done - 90, "event", {"city": city, "rows": team.chance.randint(800, 90_000)})
        child.tell("import.rows_per_s", done - 60, "metric", {"value": round(team.between(9_000, 31_000))})
        if is_broken and city == "quito":
            frames = [("~/app/jobs/import_city.py", 88, "<module>"), ("~/app/jobs/import_city.py", 61, "main")]
            frames += [("~/app/sales/readers.py", 143, "read_row"), ("~/app/sales/readers.py", 27, "amount")]
            child.fail("ValueError", f"invalid literal for int() with base 10: '{place}eleven'", done, frames, "fatal")
            now = child.end(done + 4, 1, "exception")
        else:
            now = child.end(done)
    now = job.command(["gzip", "-9", "report.csv"], now, 800)
    now = job.command(
        ["rsync", "-a", "out/", "archive:/srv/reports/"], now, team.between(1_500, 3_000), 23 if is_broken else 0
    )
    if is_broken:
        job.fail("RuntimeError", "1 of 9 files left out", now + 20, [("~/app/jobs/nightly.py", 52, "main")])
    job.end(now + 60, 3 if is_broken else 0, "exit" if is_broken else "return")


def backup(team: Team, at: float) -> None:
    """Copy a database: a small run that is fine."""
    job = team.session("jobs/backup.py", at, host="db-2")
    now = job.command(["pg_basebackup", "-D", "/backup/base"], at + 80, team.between(20_000, 50_000))
    job.tell("backup.done", now, "event", {"bytes": team.chance.randint(10**9, 4 * 10**9), "files": 1211})
    job.end(now + 30)


def test_run(team: Team, at: float) -> None:
    """A test run with four workers, some slow tests and a few that fail."""
    run = team.session("-m pytest -n 4", at, host="ci-runner-3")
    workers = [Session(team, "-c pytest-worker", at + 400 + 30 * place, run) for place in range(4)]
    clocks = [worker.started + 500 for worker in workers]
    for number in range(80):
        place = clocks.index(min(clocks))
        area = ("orders", "billing", "search", "accounts")[number % 4]
        nodeid = (
            f"tests/test_{area}.py::test_{area}_{('create', 'cancel', 'refund', 'list', 'merge')[number % 5]}[{number}]"
        )
        took = team.between(2_000, 7_000) if number % 19 == 0 else team.between(4, 300)
        data: dict[str, Any] = {"nodeid": nodeid, "outcome": "passed", "duration_ms": round(took, 1)}
        if number % 27 == 5:
            stack = f'Traceback (most recent call last):\n  File "tests/test_{area}.py", line {40 + number}, in test\n'
            message = f"assert {number} == {number + 1}"
            error = {"type": "AssertionError", "message": message, "stack": f"{stack}AssertionError: {message}"}
            data |= {"outcome": "failed", "error": error}
        clocks[place] += took
        workers[place].tell("test.result", clocks[place], "event", data)
    for worker, clock in zip(workers, clocks, strict=True):
        worker.end(clock + 40)
    run.end(max(clocks) + 200, 1, "exit")


def web_server(team: Team, at: float, until: float) -> None:
    """A server with four workers that has run for hours; one of them was killed for its memory."""
    server = team.session("gunicorn shop.wsgi:app --workers 4", at, host="web-1")
    workers = [Session(team, "gunicorn shop.wsgi:app", at + 900 + 60 * n, server, method="fork") for n in range(4)]
    died = until - 95 * MINUTE
    for place, worker in enumerate(workers):
        last = died if place == 2 else until
        moment, memory = worker.started + MINUTE, 74.0
        while moment < last:
            memory += team.between(0.6, 2.4) if place == 2 else team.between(-0.8, 0.9)
            resources(worker, moment, memory * (1 << 20), team)
            for _ in range(2):
                request(worker, moment + team.between(500, 50_000), team)
            moment += MINUTE
    workers[2].vanish(died, "SIGKILL")
    frames = [("~/shop/views.py", 212, "checkout"), ("~/shop/payments.py", 77, "charge")]
    for _ in range(14):
        message = f"payment gateway did not answer within {team.chance.randint(5, 30)} s"
        team.chance.choice(workers[:2]).fail("TimeoutError", message, team.between(at + HOUR, until), frames)


def resources(worker: Session, moment: float, memory: float, team: Team) -> None:
    """Measure a worker."""
    uptime = moment - worker.started
    data: dict[str, Any] = {
        "uptime_ms": round(uptime),
        "cpu_user_ms": round(uptime * 0.21 + team.between(0, 9_000)),
        "rss_bytes": round(memory),
    }
    data |= {"threads": team.chance.choice((3, 3, 3, 4)), "gc_pause_ms": round(team.between(0.4, 6), 2)}
    worker.tell("process.resources", moment, "metric", data)


def request(worker: Session, moment: float, team: Team) -> None:
    """Answer a request."""
    route = team.chance.choice(("/", "/products/{id}", "/cart", "/checkout", "/search"))
    status = team.chance.choices((200, 302, 404, 500), (80, 10, 7, 1))[0]
    data = {"method": "GET", "route": route, "status": status, "duration_ms": round(team.between(3, 180), 2)}
    worker.tell("http.server.request", moment, "event", data)


def crash(team: Team, at: float) -> None:
    """A segmentation fault in an extension module."""
    job = team.session("jobs/thumbnails.py", at, host="batch-1")
    child = job.child("jobs/resize.py 0412.tif", at + 900)
    stack = "Fatal Python error: Segmentation fault\n\nCurrent thread 0x00007f (most recent call first):\n"
    stack += '  File "~/app/jobs/resize.py", line 31 in shrink\n  File "~/app/jobs/resize.py", line 58 in <module>'
    facts = {"type": "SIGSEGV", "message": "Segmentation fault", "level": "fatal", "source": "auto", "stack": stack}
    child.tell("error.SIGSEGV", at + 4_000, "error", {**facts, "location": "~/app/jobs/resize.py:31:shrink"})
    child.vanish(at + 4_100, "SIGSEGV", last_event="error.SIGSEGV")
    job.end(at + 4_600, 1, "exit")


def build(team: Team, at: float) -> None:
    """A build with dozens of processes, three levels deep, several at a time."""
    make = team.session("tools/build_all.py --jobs 6", at, host="ci-runner-3")
    lanes = [at + 250.0] * 6
    for number in range(24):
        lane = lanes.index(min(lanes))
        begin = lanes[lane]
        child = Session(team, f"tools/build_wheel.py package-{number:02}", begin, make)
        now = child.command(["git", "clone", "--depth=1", f"package-{number:02}"], begin + 90, team.between(300, 1_500))
        if number % 3 == 0:
            now = child.command(["gcc", "-O2", "-c", "speedups.c"], now, team.between(800, 4_000), int(number == 15))
        inner = child.child("-m build --wheel", now)
        done = now + team.between(900, 4_500)
        if number == 15:
            frames = [("~/tools/build_wheel.py", 90, "main"), ("~/tools/compile.py", 44, "run")]
            inner.fail(
                "CalledProcessError", "Command '['gcc', '-O2']' returned non-zero exit status 1.", done, frames, "fatal"
            )
        now = inner.end(done, int(number == 15), "exception" if number == 15 else "return")
        child.tell(
            "build.wheel", now, "event", {"package": f"package-{number:02}", "duration_ms": round(now - begin, 1)}
        )
        lanes[lane] = child.end(now + 60, int(number == 15), "exit")
    make.end(max(lanes) + 300, 1, "exit")


def running(team: Team, at: float) -> None:
    """A run that has not ended."""
    job = team.session("jobs/reindex.py --all", at, host="search-1")
    for place in range(3):
        Session(team, f"jobs/reindex_shard.py {place}", at + 2_000 + 300 * place, job).tell(
            "shard.progress", at + 30_000 + place * 700, "event", {"shard": place, "done": 0.4 + place / 10}
        )


def batches(events: list[Event], size: int = 1_000) -> Iterator[list[Event]]:
    """Yield the events in the portions of a request."""
    for start in range(0, len(events), size):
        yield events[start : start + size]

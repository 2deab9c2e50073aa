"""`monitor-auto run -- COMMAND …`: runs any command with the monitor on, and takes its events off its output.

The command's own session is this process: its `process.start` and `process.exit` are recorded here, and every Python
program below it is linked to it. `running/` does the work.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monitor_auto.boot import children, endings, guard, inherited, recorder, settings
from monitor_auto.boot.formats import uuid7

from .configuration import Configuration, read_configuration
from .running import guardian, signals
from .running.guardian import Channel, Plan
from .running.streams import GRACE_SECONDS, Streams
from .terminal import complain

DESCRIPTION = """\
Run any command with the monitor on: every Python program that it starts is
recorded, and what other programs say on a line of their own becomes an event:

  monitor-event: {"name": "backup.done", "data": {"files": 120}}

  monitor-auto run -- make test
  monitor-auto run -- sh nightly.sh
  monitor-auto run --html report.html --trace trace.json -- pytest -q
  monitor-auto run --endpoint http://127.0.0.1:9090/v1/events -- node job.js

All else is as without it. Every other byte of the output passes through, at
once; a terminal stays one, so that colours, editors, pagers and password
prompts work; Ctrl-C, Ctrl-Z and any other signal reach the command.

When it has ended, a report is printed on standard error: the processes as a
tree, with times and ends, errors, failed tests, slow calls, what was killed.
In GitHub Actions it goes to the job's summary too, in GitLab it can be folded.
`monitor-auto report` shows it again.

With an endpoint (--endpoint, MONITOR_ENDPOINT or `monitor-auto enable`) the
events are delivered there, too, when the command has ended (with --quiet or
MONITOR_FLUSH_INTERVAL also while it runs; the report then lacks what was).
Without one they stay on this machine, in a folder of this run's own below
runs/ of the spool.
MONITOR_DISABLE=1 runs the command alone.

Exit codes: 0 to 255 as the command's own. A command that a signal killed
kills us by the same signal (128 + number, for a shell). 127: there is no such
command; 126: it cannot be executed; 125: `run` itself failed; 2: wrong call.
"""
VALUED = ("--endpoint", "--html", "--trace", "--json")
"""The options that have a value behind them."""
WITNESS_SECONDS = 5.0
"""How long the guardian may take to answer on a machine that is busy."""
KEPT_RUNS = 50
FAILED = 125


def separate(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return our own words and the command's: what is behind `--`, or from the first word that is no option."""
    own = 1
    while own < len(words) and words[own].startswith("-") and words[own] != "--":
        own += 2 if words[own] in VALUED else 1
    rest = list(words[own:])
    return list(words[:own]), rest[1:] if rest[:1] == ["--"] else rest


def add_arguments(parser: Any) -> None:
    """Add the options. The command is taken off before: what it is given is not ours to understand."""
    parser.usage = "monitor-auto run [options] [--] COMMAND [ARGUMENT ...]"
    from . import showing

    parser.add_argument("--endpoint", metavar="URL", help="deliver to this collector")
    parser.add_argument("--quiet", action="store_true", help="do not print the report at the end")
    showing.add_arguments(parser)


def run(arguments: Any) -> int:
    """Run the command and return its exit status; does not return where a signal has killed it."""
    if not arguments.command:
        complain("name a command, e.g. monitor-auto run -- make test")
        return 2
    try:
        configuration = configure(arguments)
    except ValueError as error:
        complain(str(error))
        return 2
    if not configuration.is_on and not configuration.problem:
        return run_alone(arguments.command)
    return Running(arguments, configuration).work()


def configure(arguments: Any) -> Configuration:
    """Decide where the events go, and let the environment say so. Raises ValueError for an endpoint of no use."""
    if arguments.endpoint is not None:
        settings.endpoint_parts(arguments.endpoint.strip())
        os.environ["MONITOR_ENDPOINT"] = arguments.endpoint.strip()
    configuration = read_configuration()
    if configuration.endpoint not in ("", "local:") and wants_report(arguments):
        # What was delivered meanwhile could not be shown at the end. Who sets an interval wants it delivered meanwhile.
        if "MONITOR_FLUSH_INTERVAL" not in configuration.values:
            os.environ["MONITOR_FLUSH_INTERVAL"] = "0"
    if not configuration.has_endpoint and not configuration.problem:
        os.environ["MONITOR_ENDPOINT"] = "local:"
        configuration = read_configuration()
        if configuration.is_on:
            os.environ["MONITOR_SPOOL_DIR"] = private_spool(configuration.settings.spool_directory)
    return configuration


def wants_report(arguments: Any) -> bool:
    """True when what happened is to be shown at the end, or written."""
    return not arguments.quiet or any(getattr(arguments, form) for form in ("html", "trace", "json"))


def private_spool(directory: str) -> str:
    """Return a folder for this run alone, below `runs/` of the spool; of earlier ones the latest are kept."""
    runs = f"{directory}/runs"
    try:
        earlier = sorted(os.listdir(runs))
    except OSError:
        earlier = []
    for name in earlier[: -KEPT_RUNS + 1]:
        forget_run(f"{runs}/{name}")
    return f"{runs}/{uuid7()}"


def forget_run(folder: str) -> None:
    """Delete an earlier run's folder, but not while one of its programs lives."""
    from shutil import rmtree

    from monitor_auto.boot import handover

    try:
        names = os.listdir(folder)
    except OSError:
        return
    if not any(handover.is_locked(f"{folder}/{name}") for name in names if name.endswith(".live")):
        rmtree(folder, ignore_errors=True)


def run_alone(command: Sequence[str]) -> int:
    """Become the command: the monitor is switched off."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        guardian.execute(list(command), dict(os.environ))
    except (OSError, ValueError) as error:
        return tell_failure(command, error)


def tell_failure(command: Sequence[str], error: Exception) -> int:
    """Say why the command could not be started; return the status by which shells say it."""
    is_missing = isinstance(error, (FileNotFoundError, NotADirectoryError, ValueError))
    reason = "there is no such command" if is_missing else str(getattr(error, "strerror", error))
    complain(f"{command[0]}: {reason}")
    return 127 if is_missing else 126


def report(spool: str, tree: str, session: str, arguments: Any) -> None:
    """Show what happened. Called once the command has ended and its session with it, before anything is delivered.

    `spool` is the folder where the events of the run lie: `session` and those below it, which are of the same `tree`
    (the second part of a segment's name). The terminal is the user's again by now. What a collector has got meanwhile
    is not there any more.
    """
    from monitor_auto.report import sources
    from monitor_auto.report.tree import build, part

    from . import showing

    done = part(build(sources.of_spool(Path(spool), tree)), session)
    if done is None:
        return
    showing.write_files(done, arguments)
    showing.append_github_summary(done, os.environ)
    if not arguments.quiet:
        showing.show_in_log(done, os.environ, sys.stderr)


class Running:
    """One command, from its start to our own end."""

    def __init__(self, arguments: Any, configuration: Configuration) -> None:
        self.arguments = arguments
        self.command: list[str] = arguments.command
        self.configuration = configuration
        self.status: int | None = None
        self.failure = 0
        self.pid = 0
        self.number: int | None = None
        self.witnessed: list[int] = []
        self.asked = self.answered = 0
        self.is_lost = False

    def work(self) -> int:
        """Run it all; return the exit status."""
        mask = signals.block()
        self.streams = Streams()
        self.channel = self._start_guardian(mask)
        begin_session(self.command)
        self.caught = signals.catch(mask)
        self.started = time.monotonic()
        try:
            if self.streams.terminal is not None:  # before the command writes anything: both would turn \n into \r\n
                self.streams.terminal.enter()
            self.channel.tell(env=child_environment())
            self._follow()
            self._drain()
        finally:
            self._finish()
        return self._leave()

    def _start_guardian(self, mask: set[Any]) -> Channel:
        ours, theirs = socket.socketpair()
        streams, terminal = self.streams, self.streams.terminal
        pid = os.fork()
        if not pid:
            ours.close()
            plan = Plan(self.command, streams.slots, streams.closed, streams.slave)
            plan.not_ours = streams.not_the_guardians
            if terminal is not None:
                plan.user_terminal, plan.calm, plan.raw = terminal.descriptor, terminal.calm, terminal.raw
            guardian.serve(Channel(theirs), plan, mask)
        self.guardian = pid
        theirs.close()
        streams.let_go()
        return Channel(ours)

    def _follow(self) -> None:
        """Pass on signals and do what the guardian says, until the command has ended."""
        poll = select.poll()
        poll.register(self.channel, select.POLLIN)
        poll.register(self.caught, select.POLLIN)
        while self.status is None and not self.failure:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self.channel.fileno() in ready and not self._hear():
                self.is_lost = True
                return
            if self.caught in ready:
                self._on_signals()

    def _hear(self) -> bool:
        words = self.channel.hear()
        if words is None:
            return False
        for word in words:
            if "started" in word:
                self._on_start(word["started"])
            elif "failed" in word:
                self.failure = word["failed"]
            elif "exited" in word:
                self.status = word["exited"]
            elif "stopped" in word:
                self._on_stop(word["stopped"])
            elif "signal" in word:
                self.witnessed.append(word["signal"])
            elif "asked" in word:
                self.answered = word["asked"]
        return True

    def _on_start(self, pid: int) -> None:
        self.pid = pid
        self.number = guard.call("relay", children.started, pid, self.started, self.command, "run")
        self.streams.start(pid)

    def _on_signals(self) -> None:
        terminal = self.streams.terminal
        for number in signals.caught(self.caught):
            if number == signal.SIGCONT and terminal is not None:
                terminal.enter()
            if number == signal.SIGWINCH and terminal is not None:
                terminal.copy_size()
            elif not (terminal is not None and terminal.is_own(number)) and not self._was_for_all(number):
                self.channel.tell(kill=number)

    def _was_for_all(self, number: int) -> bool:
        """True when the guardian got the signal, too: then the command did, as it is in the same process group."""
        if self.streams.terminal is not None:  # the guardian is in a session of its own
            return False
        self.asked += 1  # whoever sent it to both did so in one system call: by now the guardian has it
        self.channel.tell(ask=self.asked)
        poll = select.poll()
        poll.register(self.channel, select.POLLIN)
        deadline = time.monotonic() + WITNESS_SECONDS
        while self.answered != self.asked and poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            if not self._hear():
                break
        if number not in self.witnessed:
            return False
        self.witnessed.remove(number)
        return True

    def _on_stop(self, number: int) -> None:
        """The command has stopped: stop, too, so that the shell gives its user a prompt."""
        terminal = self.streams.terminal
        if terminal is not None:
            terminal.leave()
        is_woken = stop_ourselves()
        if terminal is not None:
            terminal.enter()
            if not is_woken and number == signal.SIGTSTP:  # in a bare run the kernel would have ignored the Ctrl-Z
                self.channel.tell(kill=int(signal.SIGCONT))

    def _drain(self) -> None:
        """Pass on what the command has left in its pipes; what others still hold open is left to the guardian."""
        streams = self.streams
        poll = select.poll()
        poll.register(streams.ended, select.POLLIN)
        poll.register(self.caught, select.POLLIN)
        deadline = time.monotonic() + GRACE_SECONDS
        while not streams.are_over and not (time.monotonic() > deadline and streams.are_idle):
            poll.poll(GRACE_SECONDS * 1000 / 4)
            if signals.DEADLY.intersection(signals.caught(self.caught)):
                return  # nobody reads what we write, and somebody does not want to wait for that

    def _finish(self) -> None:
        """Give the terminal back; tell the guardian to go, or to carry on."""
        streams = self.streams
        is_stuck = not streams.are_over and not streams.are_idle
        left = [] if is_stuck else streams.stop()
        if streams.terminal is not None:
            streams.terminal.close(streams.initial, keep=self.status is not None and self.status >= 0)
        if left:
            self.channel.tell([source for source, _ in left], carry=[sink for _, sink in left])
        else:
            self.channel.tell(bye=True)
            os.waitpid(self.guardian, 0)
        self.channel.end.close()

    def _leave(self) -> int:
        """Record the end, report, deliver, and go as the command went."""
        for fault in self.streams.faults():
            complain(f"the output of the command cannot be written: {fault}")
        if self.failure:
            status = tell_failure(self.command, OSError(self.failure, os.strerror(self.failure)))
        elif self.status is None:
            complain("the process that looked after the command was killed")
            status = FAILED
        else:
            status = self.status
            self._record_exit(status)
        end_session(status, self.arguments)
        return status if status >= 0 else die_of(-status)

    def _record_exit(self, status: int) -> None:
        facts = {"signal": signal_name(-status)} if status < 0 else {"exit_code": status}
        if self.number is not None:
            guard.call("relay", children.exited, self.pid, facts)


def stop_ourselves() -> bool:
    """Stop as by Ctrl-Z; True once somebody has woken us, False where the kernel finds that nobody could."""
    woken: list[int] = []
    before = {
        signal.SIGTSTP: signal.signal(signal.SIGTSTP, signal.SIG_DFL),
        signal.SIGCONT: signal.signal(signal.SIGCONT, lambda number, frame: woken.append(number)),
    }
    os.kill(os.getpid(), signal.SIGTSTP)
    for number, handler in before.items():
        signal.signal(number, handler)
    return bool(woken)


def begin_session(command: Sequence[str]) -> None:
    """Become the command's session: our commands are none by themselves."""
    from monitor_auto import Monitor

    sys.orig_argv = [sys.executable, "monitor-auto run", os.path.basename(command[0])]
    Monitor.init()


def child_environment() -> dict[str, str]:
    """Return the environment of the command: ours, and whose child it is."""
    environment = dict(os.environ)
    own, rules = recorder.session, recorder.settings
    if own is not None and rules is not None:
        environment.update(inherited.handed_down(own))
        if rules.propagate:
            environment["TRACEPARENT"] = "00-" + "-".join(own.lineage[2:5])
    return environment


def end_session(status: int, arguments: Any) -> None:
    """End the session, report, and deliver."""
    from monitor_auto import Monitor

    own = recorder.session
    if own is None:
        return
    if status < 0:
        endings.end("signal", None, signal=signal_name(-status))
    else:
        endings.end("exit", status)
    guard.call("report", report, guard.directory or "", own.tree, own.id, arguments)
    Monitor.close()


def signal_name(number: int) -> str:
    """Return SIGTERM for 15."""
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"SIG{number}"


def die_of(number: int) -> int:
    """Die of a signal, without leaving a core of our own; return what a shell would say where we do not."""
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, limits[1]))
    signal.set_wakeup_fd(-1)
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    return 128 + number

"""Delivers everything that dead sessions have left for one endpoint: `monitor-auto flush`. Runs in its own process.

Guarantees: unpaced and past any back-off, since somebody asks; several drains and exiting processes at once share the
work by their claims; at a failure, a timeout or Ctrl-C all that was answered is noted and the rest stays.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from json import JSONDecoder
from typing import Any

from monitor_auto.boot import guard, handover, parsing
from monitor_auto.boot.formats import endpoint_key

from . import bounds, claims
from .batches import batches
from .exchange import Answer, NoAnswer
from .lines import OutOfTime, read_lines
from .native import Transport
from .segments import Line, Segment, Unreadable, open_own, read_header, sessions, split_name
from .sending import Sending

REQUEST_SECONDS = 30.0
ALARM_MARGIN_SECONDS = 0.2
"""How much later than httpx's own timeouts the alarm comes."""
AGAIN_SECONDS = 0.2
"""How soon after a Ctrl-C that broke nothing off another attempt is made."""
WITHHELD = "the programs that recorded them had a MONITOR_TOKEN, and here is none"
_REQUIRED: dict[str, Any] = {
    "v": (int, str),
    "type": str,
    "name": str,
    "timestamp": str,
    "event_id": str,
    "source": dict,
    "session": dict,
}


@dataclass
class Outcome:
    """What a drain did. `why` says why something is left ("" when nothing is); `running` counts sessions that live."""

    delivered: int = 0
    rejected: int = 0
    dropped: int = 0
    aside: int = 0
    left: int = 0
    running: int = 0
    seconds: float = 0.0
    why: str = ""
    directories: list[str] = field(default_factory=list)


class Drain:
    """One run over every spool that this endpoint's events may lie in.

    `timeout_seconds` bounds the whole run; `on_progress(bytes done, bytes in all)` is called after every batch.
    """

    def __init__(
        self,
        settings: Any,
        timeout_seconds: float = float("inf"),
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.settings, self.on_progress = settings, on_progress
        self.deadline = time.monotonic() + timeout_seconds
        self.key = endpoint_key(settings.endpoint)
        found = existing_spools(settings)
        self.outcome = Outcome(directories=[path for path in found if is_readable(path)])
        self.unreadable = [path for path in found if path not in self.outcome.directories]
        self.claims: list[claims.Claim] = []
        self.bytes_done = self.bytes_in_all = self.withheld = 0
        self.is_interrupted = False

    def run(self) -> Outcome:
        """Deliver what there is and return the Outcome. Raises nothing for what collectors and disks do."""
        begin = time.monotonic()
        real_handler = self.watch_interrupts()
        try:
            self.bytes_in_all = sum(segment_bytes(directory, self.key) for directory in self.outcome.directories)
            if self.outcome.directories:
                with self.connect() as transport:
                    for directory in filter(is_writable, self.outcome.directories):
                        while self.drain_directory(directory, transport):
                            pass
        except OutOfTime:
            self.outcome.why = "the time was up"
        except NoAnswer as error:
            self.outcome.why = str(error)
        except KeyboardInterrupt:
            self.outcome.why = "interrupted"
        except OSError as error:
            self.outcome.why = f"the spool cannot be used: {error}"
        finally:
            if real_handler is not None:
                signal.signal(signal.SIGINT, real_handler)
            self.release(everything=True)
        self.keep_bounds()
        self.count_the_rest()
        self.outcome.seconds = round(time.monotonic() - begin, 3)
        return self.outcome

    def watch_interrupts(self) -> Any:
        """Remember a Ctrl-C, whose KeyboardInterrupt is lost where it comes in a destructor. Return the handler before,
        None where there is nothing to watch: it is ignored, or this is not the main thread.
        """
        handler = signal.getsignal(signal.SIGINT)
        if handler is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
            return None
        return signal.signal(signal.SIGINT, self.on_interrupt)

    def on_interrupt(self, number: int, frame: Any) -> None:
        """Break off, and again in a moment if that was in vain."""
        self.is_interrupted = True
        if hasattr(signal, "setitimer") and signal.getsignal(signal.SIGALRM) == self.on_alarm:
            signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS, AGAIN_SECONDS)
        raise KeyboardInterrupt

    def on_alarm(self, number: int, frame: Any) -> None:
        """Break off a request whose time is up: what waits for the network raises this, and httpx knows it."""
        if self.is_interrupted:
            raise KeyboardInterrupt
        raise TimeoutError("timeout")

    def connect(self) -> Transport:
        """Return what sends. Raises NoAnswer where the environment, a proxy in it for example, does not let it."""
        try:
            return Transport(self.settings, REQUEST_SECONDS)
        except (ImportError, ValueError, OSError) as error:
            raise NoAnswer(f"requests cannot be made here: {error}") from error

    def drain_directory(self, directory: str, transport: Transport) -> bool:
        """Deliver one spool's dead sessions; return whether there may be more: some end while others are delivered."""
        guard.use_directory(directory)
        sending = Sending(self.settings, directory, lambda data: self.post(transport, data))
        try:
            for batch in batches(self.lines(directory), self.settings.batch_size):
                if not self.deliver(batch, sending):
                    return False
                self.release()
                if time.monotonic() > self.deadline:
                    raise OutOfTime
            self.release()
            return sending.delivered > 0
        finally:
            self.outcome.delivered += sending.delivered
            self.outcome.rejected += sending.rejected
            self.outcome.dropped += sending.dropped

    def post(self, transport: Transport, data: bytes) -> Answer:
        """Send one body and return the Answer. Raises NoAnswer.

        A server that drips passes every timeout of a single operation, so there is an alarm, where there can be one.
        """
        deadline = min(self.deadline, time.monotonic() + REQUEST_SECONDS)
        if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
            return transport.post(data, deadline)
        real_handler = signal.signal(signal.SIGALRM, self.on_alarm)
        signal.setitimer(signal.ITIMER_REAL, max(0.001, deadline - time.monotonic() + ALARM_MARGIN_SECONDS))
        try:
            if self.is_interrupted:
                raise KeyboardInterrupt
            return transport.post(data, deadline)
        except TimeoutError as error:  # the alarm, just when the answer was there
            raise NoAnswer("timeout") from error
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, real_handler)

    def lines(self, directory: str) -> Iterator[Line]:
        """Yield the lines of all sessions that this process gets a claim of."""
        for base, numbers in sessions(directory, self.key).items():
            claim = claims.claim(directory, base, not numbers)
            if claim is not None:
                self.claims.append(claim)
                yield from claim.lines(self.settings, numbers, self.deadline, is_event)

    def deliver(self, batch: list[Line], sending: Sending) -> bool:
        """Send one batch, and say how far we are; return whether to go on."""
        is_settled = sending.send(batch)
        self.outcome.why = "" if is_settled else why_left(self.settings, sending.why)
        if is_settled:
            self.outcome.aside += sum(bool(line.fault) for line in batch)
            self.bytes_done += sum(len(line.text) + 1 for line in batch)
            if self.on_progress is not None:
                self.on_progress(self.bytes_done, self.bytes_in_all)
        return is_settled

    def release(self, everything: bool = False) -> None:
        """Let go of the claims whose events all got through, or of all."""
        for claim in [claim for claim in self.claims if everything or claim.is_settled()]:
            self.claims.remove(claim)
            self.withheld += claim.withheld
            guard.call("release", claim.release)

    def keep_bounds(self) -> None:
        """Bring every spool back into its bounds: nobody waits here, so for as long as it takes."""
        for directory in filter(is_writable, self.outcome.directories):
            guard.use_directory(directory)
            guard.call("bounds", bounds.enforce, self.settings, directory, "", self.deadline - time.monotonic())

    def count_the_rest(self) -> None:
        """Count the events that stay in dead sessions, and the sessions that live or that others deliver just now."""
        for directory in self.outcome.directories:
            try:
                found = sessions(directory, self.key)
            except OSError:  # the run itself has said why
                continue
            if found and not is_writable(directory) and not self.outcome.why:
                self.outcome.why = f"{directory} cannot be written, so nobody can note what was delivered"
            for base, numbers in found.items():
                if numbers and is_free(directory, base):
                    self.outcome.left += sum(count_events(Segment(directory, base, number)) for number in numbers)
                else:
                    self.outcome.running += bool(numbers)
        if self.unreadable and not self.outcome.why:
            self.outcome.why = f"{self.unreadable[0]} cannot be read"
        if self.outcome.left and not self.outcome.why:
            self.outcome.why = WITHHELD if self.withheld else "not every segment could be read"


def why_left(settings: Any, why: str) -> str:
    """Return the reason with the address, where there was no answer to speak for itself."""
    return why if "answered" in why else f"no answer from {settings.endpoint.partition('?')[0]}: {why}"


def is_event(line: bytes) -> bool:
    """Return whether a line is an event: what `strict.is_event` tells, several times as fast by the C scanner."""
    try:
        event = _DECODER.decode(line.decode())
    except (ValueError, RecursionError):
        return False
    return isinstance(event, dict) and all(isinstance(event.get(name), kind) for name, kind in _REQUIRED.items())


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


_DECODER = JSONDecoder(parse_constant=_refuse, parse_int=str if hasattr(sys, "set_int_max_str_digits") else int)


def existing_spools(settings: Any) -> list[str]:
    """Return the folders in which this user's sessions may have spooled, the preferred one first."""
    candidates = [
        path
        for folder in [settings.spool_directory, *parsing.fallback_directories()]
        for path in (folder, folder + "/monitor-spool")
    ]
    return [path for path in candidates if is_private(path)]


def is_private(path: str) -> bool:
    """Return whether a path is a folder of this user that nobody else can read, and no link."""
    try:
        facts = os.lstat(path)
    except OSError:
        return False
    is_own = not hasattr(os, "geteuid") or facts.st_uid == os.geteuid() and not facts.st_mode & 0o077
    return stat.S_ISDIR(facts.st_mode) and is_own


def segment_bytes(directory: str, key: str) -> int:
    """Return how many bytes one endpoint's segments have, those of living sessions included."""
    total = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(key) and split_name(entry.name)[1] >= 0:
                total += _size(entry)
    return total


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except OSError:  # delivered by somebody else meanwhile
        return 0


def is_writable(directory: str) -> bool:
    """Return whether files can be made and deleted in a folder: by us, with the capabilities that a service may have
    and that access(2) leaves aside without this flag.
    """
    return os.access(directory, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def is_readable(directory: str) -> bool:
    """Return whether we can see which files a folder has, and open them; see is_writable."""
    return os.access(directory, os.R_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def is_free(directory: str, base: str) -> bool:
    """Return whether a session is dead and nobody delivers it."""
    if not is_writable(directory):
        return not handover.is_locked(f"{directory}/{base}.live")
    claim = claims.claim(directory, base)
    if claim is not None:
        claim.release()
    return claim is not None


def count_events(segment: Segment) -> int:
    """Return how many lines of a segment were not delivered yet; 0 when it cannot be read."""
    try:
        descriptor, facts = open_own(segment.path)
    except (OSError, Unreadable):
        return 0
    try:
        _, begin = read_header(descriptor)
        lines = read_lines(descriptor, max(begin, segment.position(facts.st_size)), float("inf"))
        return sum(bool(text) for text, _ in lines)
    except (OSError, Unreadable):
        return 0
    finally:
        os.close(descriptor)

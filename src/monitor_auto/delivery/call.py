"""One process's delivery: what it has itself, what its dead children have left, and a batch of orphans.

Runs at exit, in flush and in the background. Guarantees:
- Nothing is retried; what was not answered with success stays in the spool.
- The lock file of the own session is never opened, only deleted, and only when no segment of it is left.
"""

import os

from monitor_auto.boot import express, flushing, guard, notes, recorder

from .batches import batches
from .lines import OutOfTime
from .segments import Line, Segment, Unreadable, sessions, tree_of, type_at
from .sending import Sending

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from .claims import Claim
    from .exchange import Answer

MAX_ORPHAN_CLAIMS = 50
"""How many sessions an exiting process looks at for its one batch of orphans: most may be alive."""
MAX_READ_BYTES = 64 << 20
"""A segment larger than this is no normal one and takes longer than an exit may; `monitor-auto flush` reads it."""


class Call:
    """One process's delivery. `send` turns a body into an Answer or raises NoAnswer."""

    def __init__(
        self,
        settings: "Any",
        directory: "str | None",
        base: str,
        deadline: float,
        send: "Callable[[bytes], Answer]",
    ) -> None:
        self.settings, self.directory, self.base, self.deadline = settings, directory, base, deadline
        self.batch_size = settings.batch_size
        self.sending = Sending(settings, directory, send, deadline)
        self.key = self.sending.key
        self.others: dict[str, list[int]] = {}
        self.claims: list[Claim] = []
        self.is_unread = False

    def is_away(self) -> bool:
        """Return whether the endpoint failed so recently that this process must not wait for it."""
        directory = self.directory
        if directory is None:
            from . import breaker

            directory = breaker.place(None)
        if directory is None or not type_at(f"{directory}/{self.key}.away"):
            self.sending.is_known_away = False
            return False
        from . import breaker

        return breaker.is_away(directory, self.settings, self.settings.exit_timeout_seconds + 1)

    def deliver_begun(self) -> bool:
        """Settle what boot/express.py has sent: all lines of segment 0. Return whether all of them passed."""
        self.sending.is_known_away = False
        # Read whatever the time is: the answer has used it up, or what there is of one has to be told to the others.
        own = Segment(str(self.directory), self.base, 0)
        return self.deliver(self.own_lines([own], [], float("inf")), [])

    def deliver_and_release(self, sealed_through: int, memory_lines: list[bytes]) -> bool:
        """Deliver own and children's events while the session lives on."""
        try:
            return self.deliver_own(sealed_through, memory_lines, False)
        finally:
            self.release()

    def deliver_own(self, sealed_through: int, memory_lines: list[bytes], is_ending: bool) -> bool:
        """Send memory, own and children's events while they last; return whether all of them got through."""
        own: list[Segment] = []
        has_more = False
        if self.directory is not None:
            self.others = sessions(self.directory, self.key)
            numbers = self.others.pop(self.base, [])
            has_more = bool(numbers) and numbers[-1] > sealed_through
            # While daemon threads still write to a later segment, the one with session.end must outlive it.
            keep = sealed_through if is_ending and has_more else -1
            own = [Segment(self.directory, self.base, n, n == keep) for n in numbers if n <= sealed_through]
        is_complete = self.deliver(self.own_lines(own, memory_lines), memory_lines)
        if is_ending and self.directory is not None and not has_more and all(segment.is_finished for segment in own):
            express.remove_lock(recorder.segment, sealed_through + 1)
        return is_complete and not self.is_unread

    def own_lines(
        self, own: list[Segment], memory_lines: list[bytes], deadline: "float | None" = None
    ) -> "Iterator[Line]":
        """Yield memory's lines, own segments', and those of dead children."""
        for text in memory_lines:
            yield Line(text, None, 0, "")
        for segment in own:
            try:
                yield from segment.read(self.deadline if deadline is None else deadline)
            except guard.ours(FileNotFoundError):
                continue
            except guard.ours(Unreadable) as error:
                self.is_unread = True
                notes.ledger("problem", part="own segment", error=str(error))
        tree = tree_of(self.base)
        for base in [base for base in self.others if tree_of(base) == tree]:
            yield from self.claimed_lines(base)

    def claimed_lines(self, base: str) -> "Iterator[Line]":
        """Yield the lines of another session, if it is dead and nobody else has it."""
        guard.call("load", flushing.make_ready, flushing.FOR_OTHERS)
        from . import claims

        numbers = self.others.pop(base)
        claim = claims.claim(str(self.directory), base, not numbers)
        if claim is not None:
            self.claims.append(claim)
            if self.is_normal(claim, numbers) and not self.is_left_to_others(base, numbers):
                yield from claim.lines(self.settings, numbers, self.deadline)

    def is_left_to_others(self, base: str, numbers: list[int]) -> bool:
        """Return whether somebody else can say more of the death of a session."""
        from . import deaths

        return deaths.is_anothers([Segment(str(self.directory), base, number) for number in numbers], self.base)

    def is_normal(self, claim: "Claim", numbers: list[int]) -> bool:
        """Return whether segments have a size that an exit can afford to read."""
        try:
            return all(os.lstat(Segment(claim.directory, claim.base, n).path).st_size < MAX_READ_BYTES for n in numbers)
        except guard.ours(OSError):
            return False

    def deliver_orphans(self) -> None:
        """Send at most one batch of other trees' dead sessions."""
        bases = list(self.others)
        if len(bases) > MAX_ORPHAN_CLAIMS:  # not always the same: the oldest may be services that live for months
            start = int(self.base[-4:], 16) % len(bases)
            bases = (bases[start:] + bases[:start])[:MAX_ORPHAN_CLAIMS]
        self.deliver((line for base in bases for line in self.claimed_lines(base)), [], 1)

    def deliver(self, lines: "Iterable[Line]", memory_lines: list[bytes], most: int = 1 << 30) -> bool:
        """Send lines in batches until they, the time or the collector's patience end; return whether all passed."""
        try:
            for batch in batches(lines, self.batch_size):
                if not self.sending.send(batch):
                    return False
                del memory_lines[: sum(line.segment is None for line in batch)]
                most -= 1
                if not most:
                    break
        except guard.ours(OutOfTime):
            return False
        return True

    def release(self) -> None:
        """Let go of all claims; those whose events all got through are deleted."""
        while self.claims:
            self.claims.pop().release()

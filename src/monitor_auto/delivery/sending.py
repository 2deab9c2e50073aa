"""Sends one batch and does what the answer asks for: note it, halve the batch, drop an event, or tell the others.

Runs at exit, in flush and in commands. Guarantees:
- An answer is noted in the spool before anything else is sent.
- Only what will never be taken is dropped, one event at a time, and each drop is counted in the ledger with its reason.
- A failure is told to the other processes once, with the time for which the collector wants to be left alone; what is
  our own trouble alone is not.
"""

from monitor_auto import boot
from monitor_auto.boot import guard, notes, recorder
from monitor_auto.boot.formats import endpoint_key, monotonic

from . import answers
from .batches import body, settle
from .exchange import Answer, NoAnswer, Unable
from .segments import Tally, account_path, add_to_account

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .segments import Line


class Sending:
    """One process's sending to one endpoint, for the segments of one spool (None: what it sends is in memory only).

    `delivered`, `rejected` and `dropped` count events; `why` says why nothing more is sent ("" while all is well),
    `status` what the collector answered then (0: nothing).
    """

    def __init__(
        self,
        settings: "Any",
        directory: "str | None",
        post: "Callable[[bytes], Answer]",
        deadline: float = float("inf"),
    ) -> None:
        """`deadline` is on the clock of `time.monotonic()`: behind it no answer is our own fault."""
        self.settings, self.directory, self.post, self.deadline = settings, directory, post, deadline
        self.key = endpoint_key(settings.endpoint)
        self.delivered = self.rejected = self.dropped = 0
        self.why, self.status = "", 0
        self.is_misplaced, self.retry_after_seconds = False, 0.0
        self.is_known_away = True

    def send(self, batch: "list[Line]") -> bool:
        """Send a batch; return whether all of it is settled. Raises OSError when the spool cannot be written."""
        good = [line for line in batch if not line.fault]
        if not good:
            settle(batch)
            return True
        return self.judge(batch, good, *self.exchange(body(batch)))

    def judge(self, batch: "list[Line]", good: "list[Line]", verdict: str, answer: "Answer | None") -> bool:
        """Do what the answer to a batch asks for; return whether all of the batch is settled."""
        if verdict == answers.DELIVERED:
            self.on_delivered(batch, good, answer)
            return True
        if verdict != answers.REFUSED:
            return False
        if len(good) > 1:
            middle = batch.index(good[len(good) // 2])
            return self.send(batch[:middle]) and self.send(batch[middle:])
        self.drop(batch, good[0], answer)
        return True

    def exchange(self, data: bytes) -> "tuple[str, Answer | None]":
        """Send one body; return what the answer means and the answer."""
        try:
            answer = self.post(data)
        except guard.ours(NoAnswer) as error:
            self.why = str(error)
            if isinstance(error, Unable):
                notes.debug("nothing was sent: " + self.why)
            elif monotonic() < self.deadline or not self.delivered:  # else it answers, and only our time is up
                self.fail(0, self.why, False, 0.0)
            return answers.LATER, None
        verdict = answers.meaning(answer.status, answer.content_type, answer.body)
        if verdict in (answers.MISPLACED, answers.LATER):
            seconds = answers.retry_after(answer.retry_after, answer.body)
            self.fail(answer.status, answers.explain(verdict, answer.status), verdict == answers.MISPLACED, seconds)
        return verdict, answer

    def on_delivered(self, batch: "list[Line]", good: "list[Line]", answer: "Answer | None") -> None:
        """Note a success, and what a 207 says of single events."""
        refused = answers.rejected(answer.body) if answer is not None and answer.status == answers.PARTLY else []
        refused = [(index, text) for index, text in refused if index < len(good)]
        for index, text in refused:
            good[index].fate = "rejected"
            notes.debug(f"the collector rejected {name_of(good[index])}: {text}")
        if refused:
            notes.ledger("rejected", reason="the collector answered 207", count=len(refused))
        self.delivered += settle(batch) - len(refused)
        self.rejected += len(refused)
        self.report("sent", [line for line in good if line.fate == "sent"])
        self.report("rejected", [line for line in good if line.fate == "rejected"])
        self.note_memory(good)
        self.tell_success()

    def on_block_delivered(self, count: int) -> None:
        """Count own events that were taken, and are settled."""
        self.delivered += count
        guard.late("selfreport", "add", "sent", count)
        self.tell_success()

    def tell_success(self) -> None:
        """Let the other processes, and the sampling, know that this endpoint answers."""
        if "selfreport" in vars(boot):
            guard.late("selfreport", "on_success")
        if self.is_known_away:
            self.is_known_away = False
            from . import breaker

            directory = breaker.place(self.directory)
            if directory is not None:
                guard.call("breaker", breaker.note_success, directory, self.key)

    def report(self, fate: str, lines: "list[Line]") -> None:
        """Have a session that lives on count what became of its own events."""
        session, own = recorder.session, recorder.segment
        if session is not None and not session.is_ended and own is not None:
            count = sum(line.segment is None or line.segment.base == own.base for line in lines)
            guard.late("selfreport", "add", fate, count)

    def note_memory(self, lines: "list[Line]") -> None:
        """Put what never was in a file into the account."""
        tally, memory = Tally(), [line for line in lines if line.segment is None]
        for line in memory:
            tally.add(line)
        if memory and self.directory is not None:
            session = memory[0].text.partition(b'"event_id":"')[2][:36].decode("ascii", "replace")
            add_to_account(
                account_path(self.directory, self.key), tally.line(f"{session}.memory.{int(monotonic() * 1e9)}")
            )

    def drop(self, batch: "list[Line]", line: "Line", answer: "Answer | None") -> None:
        """Give up the one event that will never be taken."""
        line.fate = "dropped"
        settle(batch)
        self.note_memory([line])
        self.dropped += 1
        self.report("dropped", [line])
        status = answer.status if answer is not None else 0
        notes.ledger("dropped", reason=f"the collector answered {status} to this event alone", count=1)
        notes.debug(f"dropped {name_of(line)}: the collector answered {status} to it alone")

    def fail(self, status: int, error: str, is_misplaced: bool, retry_after_seconds: float) -> None:
        """Write down that this endpoint does not answer as a collector should."""
        self.why, self.status = error, status
        self.is_misplaced, self.retry_after_seconds = is_misplaced, retry_after_seconds
        if recorder.session is not None and not recorder.session.is_ended:
            guard.late("selfreport", "on_failure", status, error)
        notes.debug("delivery failed: " + error)
        from . import breaker

        seconds = retry_after_seconds
        guard.call("breaker", breaker.note_failure, self.directory, self.settings, status, error, is_misplaced, seconds)


def name_of(line: "Line") -> str:
    """Return the name and id of an event, for the debug log."""
    name = line.text.partition(b'"name":"')[2].partition(b'"')[0]
    event_id = line.text.partition(b'"event_id":"')[2].partition(b'"')[0]
    return f"{name.decode('utf-8', 'replace')} ({event_id.decode('utf-8', 'replace')})"

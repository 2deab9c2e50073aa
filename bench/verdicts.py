"""Why a row has no number.

NoResult
├── Skipped   the machine lacks something
├── NotYet    the monitor cannot do this so far
└── Failed    a program broke, or the monitor did nothing where it had to do something
"""


class NoResult(Exception):
    """A row could not be measured; the text says why."""

    verdict = ""


class Skipped(NoResult):
    verdict = "skipped"


class NotYet(NoResult):
    verdict = "not yet"


class Failed(NoResult):
    verdict = "FAILED"

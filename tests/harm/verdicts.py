"""Tell a real difference from an unsteady test: run what differs alone, several times on each side.

A verdict is `differs`, or `unsteady` when the test is not the same twice on the bare side, or never differs again.
"""

from __future__ import annotations

from collections.abc import Callable

from outcomes import ABSENT, Difference, Run
from sides import Side

RERUNS = 3
# For a test that comes and goes with the monitor. One that fails in every fifth bare run shows it in nine of ten cases.
MORE_RERUNS = 10
# So many differences are no matter of luck, and each rerun starts a test suite.
TOO_MANY_TO_RERUN = 25


def judge(module: str, found: list[Difference], bare: Side, monitored: Side, say: Callable[[str], None]) -> None:
    """Give every difference its verdict."""
    if len(found) > TOO_MANY_TO_RERUN:
        say(f"{module}: {len(found)} differences, too many to run each again: all count")
        return
    for difference in found:
        say(f"{module}: running {difference.test} alone")
        rerun_alone(module, difference, bare, monitored)
    settle_in_company(module, [one for one in found if is_undecided(one)], monitored, say)


def rerun_alone(module: str, difference: Difference, bare: Side, monitored: Side) -> None:
    for _ in range(RERUNS):
        for side, endings in ((bare, difference.bare_alone), (monitored, difference.monitored_alone)):
            endings.append(ending_of(difference.test, side.run(module, only_for(module, difference.test))))
    if len({difference.monitored.how, *difference.monitored_alone} - {ABSENT.how}) > 1:
        rerun_bare(module, difference, bare)
    if is_unsteady_bare(difference):
        difference.verdict = "unsteady"


def rerun_bare(module: str, difference: Difference, bare: Side) -> None:
    """What comes and goes with the monitor may do so without it: run it bare until it does, or often enough."""
    for _ in range(MORE_RERUNS):
        if is_unsteady_bare(difference):
            return
        difference.bare_alone.append(ending_of(difference.test, bare.run(module, only_for(module, difference.test))))


def only_for(module: str, test: str) -> list[str]:
    """The pattern that selects a test; what failed in a class's or module's preparation stands for all of its tests."""
    if test.startswith(("setUpClass", "tearDownClass", "setUpModule", "tearDownModule")):
        return [test.partition("(")[2].rstrip(")") + ".*"]
    return [] if is_whole(module, test) else [test]


def is_whole(module: str, test: str) -> bool:
    return test == f"{module} (as a whole)"


def ending_of(test: str, run: Run) -> str:
    """How the test ended in this run; a preparation that is not reported went well."""
    if test.endswith("(as a whole)"):
        return run.ending
    return run.outcomes.get(test, ABSENT).how


def is_unsteady_bare(difference: Difference) -> bool:
    """The bare side gave more than one answer, not counting tests that can only be reached in company (absent)."""
    return len({difference.bare.how, *difference.bare_alone} - {ABSENT.how}) > 1


def is_undecided(difference: Difference) -> bool:
    """Bare is steady and alone both sides agreed: it was luck, or it takes the other tests to bring it out."""
    return difference.verdict == "differs" and set(difference.bare_alone) == set(difference.monitored_alone)


def settle_in_company(module: str, undecided: list[Difference], monitored: Side, say: Callable[[str], None]) -> None:
    """Run the whole module once more with the monitor: what is not seen again is reported as unsteady."""
    if not undecided:
        return
    say(f"{module}: running it once more, {len(undecided)} difference(s) did not show alone")
    again = monitored.run(module)
    for difference in undecided:
        if ending_of(difference.test, again) != difference.monitored.how:
            difference.verdict = "unsteady"

"""docs/scaling.md says what the simulation says, and the simulation what the policy does."""

from pathlib import Path

import pytest

from bench import scaling

DOC = Path(__file__).parents[1] / "docs" / "scaling.md"
SIZES = (1, 1000)


def tables(text: str) -> dict[str, dict[str, list[str]]]:
    """Return title -> hosts -> cells of the tables in a page."""
    found: dict[str, dict[str, list[str]]] = {}
    title = ""
    for line in text.splitlines():
        if line.startswith("**") and line.endswith("**"):
            title = line.strip("*")
        elif line.startswith("| ") and title:
            first, *cells = [cell.strip() for cell in line.strip("|").split("|")]
            found.setdefault(title, {})[first] = cells
    return found


@pytest.fixture(scope="module")
def outcomes() -> list[scaling.Outcome]:
    """The small fleets; the large one takes minutes."""
    return [scaling.simulate(size) for size in SIZES]


def test_the_document_says_what_the_simulation_says(outcomes: list[scaling.Outcome]) -> None:
    """Somebody will size a collector by these numbers: a change of the policy must not leave them behind."""
    said, printed = tables(DOC.read_text(encoding="utf-8")), tables("\n".join(scaling.page(outcomes)))
    assert set(said) == set(printed)
    for title, rows in printed.items():
        for hosts, cells in rows.items():
            bytes_column = 3 if len(cells) == 5 else -1
            for column, cell in enumerate(cells):
                if column != bytes_column:  # zlib's versions differ a little
                    assert said[title][hosts][column] == cell, f"{title}, {hosts} hosts: python -m bench.scaling"
    assert all("100,000" in rows for rows in said.values())


def test_no_two_seconds_of_a_fleet_differ_much(outcomes: list[scaling.Outcome]) -> None:
    """A fleet that was deployed at once must not call at once, nor when an outage ends."""
    fleet = outcomes[1]
    assert fleet.steady.peak < 2 * fleet.steady.requests
    assert fleet.restart.peak < 2 * fleet.restart.requests
    assert fleet.away.peak < 2 * fleet.steady.peak
    assert fleet.back.peak < 5 * fleet.steady.requests


def test_an_hour_of_backlog_is_gone_in_minutes(outcomes: list[scaling.Outcome]) -> None:
    """Back-off and pace are for the collector; but what happened in the night has to be there in the morning."""
    for outcome in outcomes:
        assert 0 < outcome.drained_seconds[1] < 15 * 60
    # What the services had recorded meanwhile, and scripts have left, came in these five minutes or soon after.
    recorded = scaling.OUTAGE * (scaling.EVENTS_A_SECOND + scaling.SCRIPTS_A_MINUTE / 60 * scaling.SCRIPT_EVENTS)
    assert outcomes[1].back.events * 300 > 1000 * recorded * 0.8

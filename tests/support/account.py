"""Adds up what became of every event, as the product says it, and holds that against what the ledger knows."""

from pathlib import Path

from monitor_auto.delivery.account import Counts, counts
from support.spool import read_ledger

MEMORY = "no disk took them"


def accounts(spool: Path) -> dict[str, Counts]:
    """Return the counts of every endpoint in a spool, by the key that its files begin with."""
    names = [path.name for path in spool.iterdir()] if spool.is_dir() else []
    keys = {name.partition(".")[0] for name in names if name.endswith((".jsonl", ".account")) and name.count(".") > 1}
    keys |= {name.partition(".")[0] for name in names if name.endswith(".account")}
    return {key: counts(str(spool), key) for key in sorted(keys) if len(key) == 16}


def assert_adds_up(spool: Path, untold: int = 0) -> None:
    """Fail when an event is missing from the account, or is there twice.

    What was set aside may be an event of ours that was damaged, or a line that never was one. `untold`: so many at most
    were sampled out, or over a limit, in sessions that were killed before they could tell.
    """
    known = sum(line.get("count", 0) for line in read_ledger(spool) if line.get("reason") == MEMORY)
    found = accounts(spool).values()
    gaps, aside = sum(count.gaps for count in found), sum(count.aside for count in found)
    assert known - aside <= gaps <= known + untold, f"{known} were dropped from memory, but {list(found)}"

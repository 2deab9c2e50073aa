"""Merges small sessions of a crowded spool: which of them together, and how. Runs where its bounds are kept.

Guarantees: builtin modules only; only sessions of one endpoint, and of them those that had a token apart from the
others; under their claims, so that none of them lives.
"""

from monitor_auto.boot import guard, notes
from monitor_auto.boot.formats import monotonic

from . import claims, rewrite
from .segments import Unreadable, session_id, tree_of

TYPE_CHECKING = False  # see lines.py
if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from typing import Any

    Sessions = dict[str, dict[int, os.stat_result]]

MERGED_BYTES = 1 << 20
"""Sessions smaller than this are merged, up to this size."""
MERGED_SESSIONS = 32
"""As many are claimed at a time: each claim is a descriptor, of which the program may have few."""
UNIT_SECONDS = 5.0
"""What one segment, or one group of small ones, may take."""


def groups(found: "Sessions", own_base: str) -> "Iterator[list[str]]":
    """Yield sessions to merge: of one endpoint, those of a tree together, the oldest tree first."""
    sizes = {base: sum(facts.st_size for facts in numbers.values()) for base, numbers in found.items()}
    first: dict[str, str] = {}
    for base in sorted(sizes, key=session_id):
        first.setdefault(tree_of(base), session_id(base))
    group: list[str] = []
    size = 0
    for base in sorted(sizes, key=lambda base: (base[:16], first[tree_of(base)], session_id(base))):
        if sizes[base] > MERGED_BYTES or base == own_base:
            continue
        is_full = size + sizes[base] > MERGED_BYTES or len(group) == MERGED_SESSIONS
        if group and (is_full or base[:16] != group[0][:16]):
            yield group
            group, size = [], 0
        group.append(base)
        size += sizes[base]
    yield group


def merge(directory: str, sessions: "Sessions", group: list[str], settings: "Any") -> int:
    """Merge what of a group is dead; return how many segments are fewer."""
    found = [claim for base in group if (claim := claims.claim(directory, base)) is not None]
    numbers = {claim.base: claim.all_numbers(sorted(sessions[claim.base])) for claim in found}
    with_token = [claim for claim in found if rewrite.had_token(claim, numbers[claim.base])]
    fewer = 0
    try:
        for part in (with_token, [claim for claim in found if claim not in with_token]):
            if sum(len(numbers[claim.base]) for claim in part) > 1:
                fewer += rewrite.merge(part, numbers, settings, monotonic() + UNIT_SECONDS) - 1
    except guard.ours(OSError, Unreadable) as error:
        notes.debug(f"segments were not merged: {error}")
    finally:
        for claim in found:
            guard.call("release", claim.release)
    return fewer

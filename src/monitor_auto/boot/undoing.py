"""Cold: what of the ledger of patches is still in place, and how it is undone. Builtin modules only.

Guarantees: the original is put back only where our own object is still in place, so that nothing that somebody put on
top of us is undone.
"""

import os
import sys

from .patches import replaced


def restore():
    """Undo all replacements, last first; return the names of those that are no longer ours to undo."""
    kept = []
    while replaced:
        owner, name, real, monitored = replaced.pop()
        owner = sys.modules.get(owner) if type(owner) is str else owner
        if found(owner, name) is monitored:
            setattr(owner, name, real)
            home = sys.modules.get(os.name)
            if owner is os and getattr(home, name, None) is monitored:
                setattr(home, name, real)
            if monitored in os.supports_fd:
                os.supports_fd.remove(monitored)
                os.supports_fd.add(real)
        else:
            kept.append(name)
    return kept


def in_place():
    """Return (owner's name, attribute) of what is replaced in fact."""
    return [
        (owner if type(owner) is str else getattr(owner, "__name__", type(owner).__name__), name)
        for owner, name, _, monitored in replaced
        if found(sys.modules.get(owner) if type(owner) is str else owner, name) is monitored
    ]


def found(owner, name):
    """Return what is in place now: of a class the attribute itself, which may hand out something else."""
    return vars(owner).get(name) if isinstance(owner, type) else getattr(owner, name, None)

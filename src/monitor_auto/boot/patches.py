"""Hot: the ledger of every foreign attribute that we replaced. Builtin modules only.

Guarantees: `replace` keeps what was there; `restore` puts it back only where our own object is still in place, so that
nothing that somebody put on top of us is undone.
"""

_replaced = []


def replace(owner, name, monitored):
    """Put our object in the place of a foreign attribute and return what was there."""
    real = getattr(owner, name)
    setattr(owner, name, monitored)
    _replaced.append((owner, name, real, monitored))
    return real


def disguise(monitored, real):
    """Give our function the name, module, documentation and signature of the real one."""
    for attribute in ("__name__", "__qualname__", "__doc__", "__module__"):
        try:
            setattr(monitored, attribute, getattr(real, attribute))
        except (AttributeError, TypeError):
            continue
    monitored.__wrapped__ = real  # inspect.signature looks there
    return monitored


def restore():
    """Undo all replacements, last first; return the names of those that are no longer ours to undo."""
    kept = []
    while _replaced:
        owner, name, real, monitored = _replaced.pop()
        if getattr(owner, name, None) is monitored:
            setattr(owner, name, real)
        else:
            kept.append(name)
    return kept


def in_place():
    """Return (owner's name, attribute) of what is replaced in fact."""
    return [
        (getattr(owner, "__name__", type(owner).__name__), name)
        for owner, name, _, monitored in _replaced
        if getattr(owner, name, None) is monitored
    ]


def is_ours(owner, name):
    """True while our own object stands in the place of that attribute."""
    current = getattr(owner, name, None)
    return any(place is owner and monitored is current for place, _, _, monitored in _replaced)

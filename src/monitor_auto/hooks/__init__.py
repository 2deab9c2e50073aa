"""What is installed after the program itself has imported a library. Lazy: one file a library."""

from .. import boot


def __getattr__(name: str) -> object:
    """Serve `from . import x` among our own modules without importlib's search, where a monitor runs."""
    arrivals = vars(boot).get("arrivals")
    module: object = None if arrivals is None or name[:1] == "_" else arrivals.make(__name__ + "." + name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return module

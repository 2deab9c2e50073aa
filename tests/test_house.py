"""The layout, held: who may import whom, where errors may be swallowed, and what every module has to say first."""

import ast
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from monitor_auto import boot
from support.children import Children
from support.imports import SOURCE, called, modules, statements

OURS = "monitor_auto"
BUILTIN = {
    *("sys", "os", "posix", "nt", "time", "_thread", "atexit", "faulthandler", "itertools", "_signal", "errno"),
    *("builtins", "marshal", "_collections", "_frozen_importlib", "_frozen_importlib_external", "_imp", "io", "_io"),
    "_weakref",
}
ANY_STDLIB = set(sys.stdlib_module_names) | {"__future__"}
ANNOTATIONS = {"__future__", "collections.abc", "typing", "types"}
STARLETTE = {
    f"starlette.{name}"
    for name in (
        "applications",
        "concurrency",
        "datastructures",
        "requests",
        "responses",
        "routing",
        "staticfiles",
        "types",
    )
}
IMPORTLIB = {"importlib.machinery", "importlib.metadata", "importlib.util"}


@dataclass(frozen=True)
class Layer:
    """What the modules of one folder may import: of ours by prefix, of others by name."""

    ours: tuple[str, ...]
    others: frozenset[str]


def layer(*ours: str, others: set[str]) -> Layer:
    """Make a Layer; every module may import the package itself."""
    return Layer(tuple(f"{OURS}.{name}" for name in ours), frozenset(others))


HOOKS_SHARE = tuple(
    f"hooks.{name}"
    for name in (
        "wrapping",
        "passing",
        "coroutines",
        "methods",
        "beginnings",
        "outgoing",
        "serving",
        "asgi",
        "wsgi",
        "results",
        "logs",
    )
)
"""What several hooks need: hooks do not import each other."""

# Arrows go down. Nothing may import cli but the line that runs it.
LAYERS = {
    "__init__": layer("api", "boot", others={"marshal", "os", "sys"}),
    "__main__": layer("cli", others={"sys"}),
    "boot": layer("boot", others=BUILTIN),
    "api": layer("boot", "awaiting", others=BUILTIN | ANNOTATIONS),
    "awaiting": layer("boot", others=BUILTIN | ANNOTATIONS),
    "delivery": layer("boot", "delivery", others=BUILTIN | {"__future__"}),
    # Runs in `monitor-auto flush` only, never in a program of somebody else's.
    "delivery.drain": layer("boot", "delivery", others=ANY_STDLIB | ANNOTATIONS),
    # Runs in the helper interpreter.
    "delivery.backlog_main": layer("boot", "delivery", others=ANY_STDLIB | ANNOTATIONS),
    "delivery.courier_main": layer("delivery", others=ANY_STDLIB | ANNOTATIONS),
    "hooks": layer("boot", *HOOKS_SHARE, others=BUILTIN | ANNOTATIONS),
    # A server in a process of its own.
    "collector": layer("collector", "report", others=ANY_STDLIB | ANNOTATIONS | STARLETTE | {"concurrent.futures"}),
    "report": layer("report", others=ANY_STDLIB | ANNOTATIONS | {"importlib.resources"}),
    "cli": layer("boot", "api", "delivery", "collector", "report", "cli", others=ANY_STDLIB | ANNOTATIONS | IMPORTLIB),
}

# Each is used in one place, late, for the reason beside it.
MORE_IMPORTS = {
    ("monitor_auto.boot.settings", "platformdirs"): "the spool's place on a platform that is neither Linux nor macOS",
    ("monitor_auto.boot", "_xxsubinterpreters"): "who is the main interpreter, before Python 3.12",
    ("monitor_auto.boot.context", "_contextvars"): "what the current span is kept in, when the first one begins",
    ("monitor_auto.boot.children", "_posixsubprocess"): "what the program is about to import with subprocess",
    ("monitor_auto.boot.recording", "_json"): "the C encoder, when the first event is recorded",
    ("monitor_auto.boot.starting", "_functools"): "a hook around forks without a step of Python",
    ("monitor_auto.boot.relaying", "_json"): "reads a line of a child, once it is found to be JSON",
    ("monitor_auto.boot.relaying", "_posixsubprocess"): "what starts children, where MONITOR_RELAY asks for it",
    ("monitor_auto.boot.relaying", "json"): "the same without _json",
    ("monitor_auto.boot.relaying", "select"): "waits for what a child writes",
    ("monitor_auto.boot.repairs", "resource"): "lifts a soft limit that leaves the program few descriptors",
    ("monitor_auto.boot.express", "_socket"): "what socket wraps: 2 ms of an exit instead of 10",
    ("monitor_auto.delivery.cuttable", "trio"): "what we have kept from httpcore, when a program comes to run it",
    ("monitor_auto.delivery.exchange", "_socket"): "the same, where an exit is not the usual one",
    ("monitor_auto.delivery.exchange", "zlib"): "an answer that was compressed unasked",
    ("monitor_auto.delivery.courier", "_socket"): "the pair of sockets that leads to the helper",
    ("monitor_auto.delivery.strict", "_json"): "reads what was found to be JSON: a lost session, an answer",
    ("monitor_auto.delivery.strict", "json"): "the same without _json",
    ("monitor_auto.delivery.async_flusher", "asyncio"): "the program has loaded it: it runs a loop",
    ("monitor_auto.delivery.async_kept", "socket"): "asyncio has loaded it",
    ("monitor_auto.delivery.loop_sockets", "socket"): "the same",
    ("monitor_auto.delivery.async_native", "httpx"): "TLS, names and proxies, on a loop",
    ("monitor_auto.delivery.async_native", "typing"): "this file pays for httpx anyhow",
    ("monitor_auto.delivery.hush", "logging"): "httpx, or asyncio, has loaded it",
    ("monitor_auto.delivery.rehearsal", "httpcore"): "httpx has loaded it",
    ("monitor_auto.delivery.rehearsal", "typing"): "the same",
    ("monitor_auto.delivery.streams", "httpcore"): "the same",
    ("monitor_auto.delivery.streams", "socket"): "the same",
    ("monitor_auto.delivery.streams", "ssl"): "the same",
    ("monitor_auto.delivery.streams", "typing"): "the same",
    ("monitor_auto.delivery.tickets", "contextvars"): "asyncio has loaded it",
    ("monitor_auto.delivery.turns", "contextvars"): "the same",
    ("monitor_auto.boot.background", "gc"): "the same, no more",
    ("monitor_auto.delivery.resources", "gc"): "times collections",
    ("monitor_auto.delivery.cuttable", "httpcore"): "its connections are made where they can be cut",
    ("monitor_auto.delivery.cuttable", "socket"): "the same; httpcore has loaded it",
    ("monitor_auto.delivery.cuttable", "typing"): "this file pays for httpx anyhow",
    (
        "monitor_auto.delivery.async_flusher",
        "importlib.machinery",
    ): "asyncio's debug mode asks for the modules' loaders",
    ("monitor_auto.delivery.backlog", "_socket"): "the pair of sockets that leads to the helper",
    ("monitor_auto.delivery.kept", "_socket"): "the connection to the collector",
    ("monitor_auto.delivery.kept", "zlib"): "compresses a batch for another machine",
    ("monitor_auto.delivery.native", "httpx"): "TLS, names and proxies",
    ("monitor_auto.delivery.native", "typing"): "this file pays for httpx anyhow",
    ("monitor_auto.delivery.native", "zlib"): "compresses a batch",
    ("monitor_auto.hooks.wrapping", "wrapt"): "the only file that may",
    ("monitor_auto.hooks.aiohttp", "_contextvars"): "which call a request belongs to; aiohttp has loaded it",
    ("monitor_auto.collector.serving", "uvicorn"): "the server that runs the collector",
    ("monitor_auto.report.sources", "httpx"): "asks a collector",
    ("monitor_auto.cli.collect", "platformdirs"): "where the collector's database is kept",
}

# Where an exception may end, beside boot/guard.py: (module, function) -> why.
SWALLOWING = {
    (
        "monitor_auto.boot",
        "start",
    ): "nothing may leave the start line; of a damaged installation there is nobody to tell",
    ("monitor_auto.boot.children", "around"): "the program's own: C raises it again, behind our frame",
    ("monitor_auto.boot.starting", "after_fork"): "the same",
    ("monitor_auto.boot.starting", "on_fork"): "the same function: it holds the one above",
    ("monitor_auto.boot.endings", "on_atexit"): "a handler of a signal, when the program that it was meant for is over",
    (
        "monitor_auto.boot.environments",
        "for_mapping",
    ): "runs the program's own mapping; the real function says the same",
    (
        "monitor_auto.hooks.passing",
        "__new__",
    ): "the program's own, raised again by C; ours it tells guard itself, without the price of a call",
    ("monitor_auto.hooks.coroutines", "__new__"): "the same",
    ("monitor_auto.hooks.coroutines", "step"): "the same",
    ("monitor_auto.hooks.httpx", "__new__"): "the same",
    ("monitor_auto.hooks.asgi", "__new__"): "the same",
    ("monitor_auto.boot.recording", "record"): "recording never raises; it tells guard, without the price of a call",
    ("monitor_auto.boot.recording", "make_record"): "the same function: it holds the one above",
    ("monitor_auto.boot.encode", "safe_repr"): "runs the program's __repr__",
    ("monitor_auto.boot.encode", "_container"): "runs the program's own mapping or iterator",
    ("monitor_auto.boot.encode", "_cut_mark"): "runs the program's __len__",
    ("monitor_auto.boot.encode", "facts"): "runs the program's own mapping",
    ("monitor_auto.boot.encode", "is_mapping"): "asks a metaclass of the program",
    ("monitor_auto.boot.errors", "attribute"): "reads what may be a property of the program's class",
    ("monitor_auto.delivery.tickets", "fulfil"): "hands it to the task that wished for it",
    ("monitor_auto.delivery.tickets", "run"): "hands it to the thread that waits for it",
    ("monitor_auto.delivery.tickets", "__await__"): "throws it into the coroutine that it is meant for",
    ("monitor_auto.delivery.turns", "shielded"): "a handler's: the loop raises it again, behind our frame",
    ("monitor_auto.delivery.loopless", "cancel"): "the end of what its loop has left behind",
    ("monitor_auto.delivery.rehearsal", "quiet"): "a request to nobody may fail in any way",
    ("monitor_auto.api", "_seconds"): "runs the program's __float__",
    ("monitor_auto.boot.arrivals", "run_foreign"): "a hook that another package has brought",
    ("monitor_auto.hooks.passing", "monitored_new"): "the same",
    ("monitor_auto.hooks.passing", "replace_method"): "the same function: it holds the one above",
    ("monitor_auto.hooks.passing", "replace_call"): "the same",
    ("monitor_auto.hooks.passing", "replace_around"): "the same",
    ("monitor_auto.hooks.methods", "monitored_new"): "the program's own: C raises it again, behind our frame",
    ("monitor_auto.hooks.methods", "replace_around"): "the same function: it holds the one above",
    ("monitor_auto.hooks.logging", "message_of"): "runs the program's __str__; its handlers tell what it raises",
    ("monitor_auto.boot.errors", "message"): "runs the program's __str__",
}


def all_imports(name: str, path: Path) -> set[str]:
    """Return what a module imports. A string may name any module of ours: that is how boot reaches what comes later."""
    return statements(name, path) | {other for other in called(path) if not is_ours_by_string(other)}


def is_ours_by_string(name: str) -> bool:
    """True for `monitor_auto.…` and for the short name by which boot loads its own modules."""
    return name.startswith(f"{OURS}.") or f"{OURS}.boot.{name}" in modules()


@pytest.mark.parametrize("name", [name for name in modules() if name.startswith(f"{OURS}.boot.")])
def test_cold_modules_are_imported_from_the_package(name: str) -> None:
    """They are not in sys.modules: `from .encode import` would load a second one, with a state of its own."""
    tree = ast.parse(modules()[name].read_text(encoding="utf-8"))
    loaded = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 1}
    assert not loaded & {*boot.COLD, *boot.COLDER}


def layer_of(name: str) -> str:
    """Return the key of LAYERS for a module: its own name below the package, or its folder's."""
    own = name.partition(".")[2] or "__init__"
    return own if own in LAYERS else own.partition(".")[0]


@pytest.mark.parametrize("name", modules())
def test_module_imports_only_what_its_layer_may(name: str) -> None:
    """The folder says when code runs; one import upwards and every process pays for what few need."""
    allowed = LAYERS[layer_of(name)]
    extra = {imported for module, imported in MORE_IMPORTS if module == name}
    wrong = set()
    for imported in all_imports(name, modules()[name]) - extra - {OURS}:
        is_ours = any(imported == own or imported.startswith(own + ".") for own in allowed.ours)
        if not is_ours and imported not in allowed.others:
            wrong.add(imported)
    assert not wrong


def test_every_exception_to_the_layers_is_still_needed() -> None:
    """An exception that nobody uses any more is a hole that the next import slips through."""
    used = {(name, imported) for name, path in modules().items() for imported in all_imports(name, path)}
    assert set(MORE_IMPORTS) <= used


@pytest.mark.parametrize("name", modules())
def test_module_says_what_it_is_for(name: str) -> None:
    """A reader meets the opening lines first: purpose, when it runs, what it guarantees; boot also says how often."""
    docstring = ast.get_docstring(ast.parse(modules()[name].read_text(encoding="utf-8")))
    assert docstring
    assert docstring.startswith(("Hot:", "Cold:")) or layer_of(name) != "boot"


def test_errors_end_in_the_shield_or_in_a_named_place() -> None:
    """What is swallowed anywhere else is a bug that nobody will ever hear of."""
    found = {(name, function) for name, path in modules().items() for function in swallowing_functions(path)}
    found = {place for place in found if place[0] != "monitor_auto.boot.guard"}
    assert found == set(SWALLOWING)


# Code that runs at the start only, in the background thread, in a helper or in a command of ours, where no handler of a
# program's comes, and what asks for itself.
WITHOUT_HANDLERS = {
    *("monitor_auto.boot", "monitor_auto.boot.session"),
    *("monitor_auto.boot.guard", "monitor_auto.boot.notes", "monitor_auto.boot.settings", "monitor_auto.boot.choosing"),
    *("monitor_auto.boot.terminating", "monitor_auto.delivery.async_flusher", "monitor_auto.delivery.backlog"),
    *("monitor_auto.delivery.backlog_main", "monitor_auto.delivery.courier_main", "monitor_auto.delivery.cuttable"),
    *("monitor_auto.delivery.drain", "monitor_auto.delivery.flusher", "monitor_auto.delivery.kept"),
    *("monitor_auto.delivery.native", "monitor_auto.delivery.rehearsal", "monitor_auto.delivery.resources"),
    *("monitor_auto.delivery.streams", "monitor_auto.delivery.tickets"),
    *("monitor_auto.delivery.loopless", "monitor_auto.delivery.async_kept", "monitor_auto.delivery.async_native"),
    *("monitor_auto.delivery.connection", "monitor_auto.delivery.turns"),
}
START_ONLY = {"ImportError"}
FULL_STACK = {("monitor_auto.boot.recorder", "RecursionError")}
"""Where not even a call to ask whose it is has room (docs/design.md: RecursionError is taken for ours)."""


@pytest.mark.parametrize("name", [name for name in modules() if layer_of(name).startswith(("boot", "delivery"))])
def test_what_the_programs_signal_handlers_raise_is_never_caught(name: str) -> None:
    """A handler runs between any two steps of ours, and raises what it likes: a time-out that we took for an error of
    ours would let the program hang.
    """
    found = set()
    for node in ast.walk(ast.parse(modules()[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler) and node.type is not None and name not in WITHOUT_HANDLERS:
            is_asked = isinstance(node.type, ast.Call) and ast.unparse(node.type.func) == "guard.ours"
            kinds = {kind.id for kind in ast.walk(node.type) if isinstance(kind, ast.Name)}
            is_raised = any(isinstance(step, ast.Raise) for step in ast.walk(node))
            kinds -= {kind for module, kind in FULL_STACK if module == name}
            if not is_asked and not is_raised and "BaseException" not in kinds and kinds - START_ONLY:
                found.add(f"line {node.lineno}: {ast.unparse(node.type)}")
    assert not found, "write `except guard.ours(…)`"


def swallowing_functions(path: Path) -> set[str]:
    """Return the functions that catch Exception, BaseException or everything and do not raise it again."""
    found = set()
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            handlers = [node for node in ast.walk(function) if isinstance(node, ast.ExceptHandler)]
            found |= {function.name for handler in handlers if is_swallowing(handler)}
    return found


def is_swallowing(handler: ast.ExceptHandler) -> bool:
    """True for a wide handler that does not end with a bare `raise`."""
    kinds = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)} if handler.type else {"all"}
    last = handler.body[-1]
    return bool(kinds & {"Exception", "BaseException", "all"}) and not (isinstance(last, ast.Raise) and not last.exc)


def test_start_loads_nothing_but_ours_and_builtins(children: Children) -> None:
    """What the table above cannot see: an import behind an import, which every process of the machine would pay for."""
    source = "import sys; print(*sorted(sys.modules), sep='\\n')"
    bare = children.run(source, bare=True).stdout.decode().split()
    done = children.run(source)
    added = set(done.stdout.decode().split()) - set(bare)
    assert {name for name in added if not name.startswith(OURS)} <= set(sys.builtin_module_names)
    assert f"{OURS}.boot" in added
    assert not {name for name in added if name.startswith((f"{OURS}.api", f"{OURS}.delivery", f"{OURS}.hooks"))}
    assert "session.start" in done.names


@pytest.mark.parametrize("name", [name for name in modules() if layer_of(name) != "cli"])
def test_cold_module_is_imported_whole(name: str) -> None:
    """Cold modules are not in sys.modules: `from .encode import x` would make a second one, with rules of its own."""
    cold = {f"{OURS}.boot.{short}" for short in [*boot.COLD, *boot.COLDER]}
    path = modules()[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            assert base not in cold, f"line {node.lineno}: import the module, not names of it"


def test_table_covers_the_whole_house() -> None:
    """A new folder needs a line in the table before it needs code."""
    top = {path.stem for path in (SOURCE / OURS).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert top <= set(LAYERS)


def test_cold_modules_are_imported_by_name_from_the_package() -> None:
    """`from .encode import x` asks importlib, which finds nothing when the package is gone, and else a second copy."""
    hot = {*boot_names("HOT"), "__init__"}
    cold = {name.rpartition(".")[2] for name in modules() if name.startswith(f"{OURS}.boot.")} - hot
    wrong = []
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and layer_of(name) == "boot" and node.level and node.module in cold:
                wrong.append(f"{name}: from .{node.module} import …")
    assert not wrong


def boot_names(table: str) -> list[str]:
    """Return the names in one of boot's tables of modules."""
    tree = ast.parse(modules()[f"{OURS}.boot"].read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == table:
            return [str(name) for name in ast.literal_eval(node.value)]
    raise AssertionError(f"boot has no table {table}")

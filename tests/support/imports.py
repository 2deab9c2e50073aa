"""Reads what a module imports from its source text: statements at any depth, and calls that import a named module."""

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src"
# `load` is boot/stdlib.py's own way to an extension module.
IMPORTING_CALLS = ("__import__", "import_module", "load")


def modules() -> dict[str, Path]:
    """Return every module of the package: dotted name -> file."""
    return {_dotted(path): path for path in sorted(SOURCE.rglob("*.py"))}


def statements(name: str, path: Path) -> set[str]:
    """Return the modules that import statements name, in functions too, but not what only type checkers see."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    known = modules()
    return {found for node in _running(tree) for found in _imported(node, package, known)}


def called(path: Path) -> set[str]:
    """Return the modules that calls with a literal name import."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and _name(node.func) in IMPORTING_CALLS and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                found.add(first.value)
    return found


def _imported(node: ast.AST, package: str, known: dict[str, Path]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
        for alias in node.names:
            submodule = f"{base}.{alias.name}"
            yield submodule if submodule in known else base


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """Walk the nodes that can run: not the body of `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and _name(child.test) == "TYPE_CHECKING":
            for other in child.orelse:
                yield from (other, *_running(other))
        else:
            yield child
            yield from _running(child)


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _dotted(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

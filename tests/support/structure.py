"""Modules of the package, their floors and their imports, read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Lowest floor first. A package imports from lower floors, and from its own floor without a cycle.
FLOORS = (
    ("core", "memory"),
    ("fields", "cameras", "guidance"),
    ("mesh", "procedural"),
    ("priors", "rendering"),
    ("training", "evaluation"),
    ("pipelines",),
    ("doctor", "viewer", "local_auth", "batch", "cli"),
)
FLOOR = {name: i for i, names in enumerate(FLOORS, 1) for name in names}
MODULES = sorted([*(ROOT / "dreamfusion3d").rglob("*.py"), *(ROOT / "cli").rglob("*.py")])


def module_name(path: Path) -> str:
    """Dotted name below the package: "rendering.volume", "cli.batch", "" for dreamfusion3d itself."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "cli" else parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_name(path): path for path in MODULES}


def walk(tree: ast.AST, *, typing: bool) -> Iterator[ast.AST]:
    """All nodes; those under `if TYPE_CHECKING:` only with ``typing``."""
    for node in ast.iter_child_nodes(tree):
        if not typing and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from walk(node, typing=typing)


def imported(path: Path, *, typing: bool = True) -> set[str]:
    """Full names of all imports, function-level ones included; relative ones resolved."""
    package = list(path.relative_to(ROOT).parent.parts)
    if package[0] == "cli":
        package = ["dreamfusion3d", *package]
    names: set[str] = set()
    for node in walk(ast.parse(path.read_text(encoding="utf-8")), typing=typing):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{stem}.{alias.name}" for alias in node.names}
    return names


def dependencies(path: Path, *, typing: bool = True) -> set[str]:
    """Modules of this package that ``path`` imports."""
    found = set()
    for name in imported(path, typing=typing):
        if name.startswith("dreamfusion3d."):
            inner = name.removeprefix("dreamfusion3d.")
            found.add(inner if inner in NAMES else inner.rpartition(".")[0])
    return found - {"", module_name(path)}


def package_of(module: str) -> str:
    return module.partition(".")[0]


def package_graph() -> dict[str, set[str]]:
    """The packages that each package imports."""
    graph: dict[str, set[str]] = {}
    for name, path in NAMES.items():
        if name in ("", "__main__"):
            continue
        others = {package_of(other) for other in dependencies(path)} - {package_of(name)}
        graph.setdefault(package_of(name), set()).update(others)
    return graph

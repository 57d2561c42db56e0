"""The house stands: every part imports only from parts below it, or beside it without a cycle."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# From the top down; what is not named is a base module and may be used by all.
FLOORS = (
    ("cli",), ("view", "film", "framing"), ("batch",),
    (
        "doctor", "retexture", "fit", "pipeline", "finish", "job", "control", "live", "record", "reexport",
        "surface",
    ),
    ("reconstruct", "unseen"), ("evaluate",),
    ("optimize", "distill", "ways", "trials", "renders", "showing", "checkpoint", "lead", "paint"),
    ("prior",), ("guidance",), ("render",), ("field",), ("mesh",), ("procedural",), ("memory",),
)
BASE = {
    "cameras", "schedules", "config", "settings", "types", "errors", "files", "shading", "slug", "progress",
    "photos", "photo_files", "placing", "raster", "workspace", "stages", "adam", "backends", "plugins",
    "presets", "loopback", "previews", "later", "compiled",
    "camera_paths",
}
HEIGHT = {name: len(FLOORS) - i for i, names in enumerate(FLOORS) for name in names} | dict.fromkeys(BASE, 0)
MODULES = sorted([*(ROOT / "dreamfusion3d").rglob("*.py"), *(ROOT / "cli").rglob("*.py")])


def part_of(parts: tuple[str, ...]) -> str | None:
    """The floor of a module: 'render' for dreamfusion3d/render/volume.py, None for the package itself."""
    inner = parts if parts[0] == "cli" else parts[1:]
    return None if not inner or inner[0] == "__init__" else inner[0]


def imported(path: Path) -> set[str]:
    """Full names of all imports, late and type-checking ones included; relative ones resolved."""
    package = list(path.relative_to(ROOT).parent.parts)
    if package[0] == "cli":
        package = ["dreamfusion3d", *package]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{stem}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    here = part_of(path.relative_to(ROOT).with_suffix("").parts)
    if here is None:
        return
    assert here in HEIGHT, f"give {here!r} its floor in this test and in docs/architecture.md"
    for name in imported(path):
        pieces = tuple(name.split("."))
        there = part_of(pieces) if pieces[0] == "dreamfusion3d" else None
        if there in HEIGHT:
            assert HEIGHT[there] <= HEIGHT[here], f"{here} must not know {there}: {name}"


def test_no_floor_goes_in_circles() -> None:
    """Within a floor parts may know each other, but in one direction; raises graphlib.CycleError."""
    knows: dict[str, set[str]] = {}
    for path in MODULES:
        here = part_of(path.relative_to(ROOT).with_suffix("").parts)
        names = (tuple(name.split(".")) for name in imported(path))
        there = {part_of(pieces) for pieces in names if pieces[0] == "dreamfusion3d"}
        if here is not None:
            knows.setdefault(here, set()).update(name for name in there if name in HEIGHT and name != here)
    order = list(graphlib.TopologicalSorter(knows).static_order())
    assert order.index("config") < order.index("job") < order.index("finish") < order.index("pipeline")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_foreign_packages_stay_in_their_room(path: Path) -> None:
    here = part_of(path.relative_to(ROOT).with_suffix("").parts)
    roots = {name.split(".")[0] for name in imported(path)}
    if here != "prior":
        assert "diffusers" not in roots
    if here not in ("prior", "evaluate"):  # an evaluation may look through CLIP
        assert "transformers" not in roots
    assert "pickle" not in roots
    assert "click" not in roots, "Typer brings its own copy"
    if here == "mesh":
        assert not any(n.startswith("dreamfusion3d.field") for n in imported(path))


def test_every_package_is_installed() -> None:
    for folder in {path.parent for path in MODULES}:
        assert (folder / "__init__.py").exists(), f"{folder.name} would be left out of the wheel"


def test_modules_stay_readable() -> None:
    long = {p.name: n for p in MODULES if (n := len(p.read_text(encoding="utf-8").splitlines())) > 330}
    assert not long, "split where a second idea appears"


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    """Every call by its dotted name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_unpickles_and_yaml_is_safe(path: Path) -> None:
    """docs/security.md promises it. A writer of CSV would have to keep formulas from spreadsheets first."""
    forbidden = {
        "torch.load", "torch.hub.load", "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load",
        "eval", "exec", "os.system", "csv.writer", "csv.DictWriter",
    }
    for name, node in calls(path):
        assert name not in forbidden, f"{name} in line {node.lineno}"
        options = {k.arg: ast.unparse(k.value) for k in node.keywords}
        assert options.get("allow_pickle", "False") == "False" and options.get("shell", "False") == "False"
        assert options.get("trust_remote_code", "False") == "False"
        if name.rpartition(".")[2] == "from_pretrained" and name.startswith(("kind", "CLIP")):
            assert options.get("use_safetensors", "True") == "True"

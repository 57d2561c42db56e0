"""Structure of the package: floors, cycles, foreign imports, file sizes, words."""

from __future__ import annotations

import ast
import graphlib
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from dreamfusion3d.cli import main
from dreamfusion3d.core.config import setting_types
from tests.support.structure import (
    FLOOR,
    MODULES,
    NAMES,
    ROOT,
    dependencies,
    imported,
    module_name,
    package_graph,
    package_of,
)

MOST_PACKAGE_PAIRS = 60


@pytest.mark.parametrize("name", sorted(NAMES))
def test_imports_go_down(name: str) -> None:
    if not name or name == "__main__":
        return
    here = package_of(name)
    assert here in FLOOR, f"give {here!r} its floor in tests/support/structure.py and in docs/architecture.md"
    for other in dependencies(NAMES[name]):
        assert FLOOR[package_of(other)] <= FLOOR[here], f"{name} imports {other} from a higher floor"


def test_guidance_knows_no_3d() -> None:
    assert package_graph()["guidance"] == {"core"}


def test_packages_have_no_cycle() -> None:
    """Raises graphlib.CycleError."""
    assert list(graphlib.TopologicalSorter(package_graph()).static_order())


def test_packages_know_few_others() -> None:
    pairs = [(a, b) for a, others in package_graph().items() for b in others]
    assert len(pairs) <= MOST_PACKAGE_PAIRS, f"{len(pairs)} pairs of packages import one another"


def test_modules_have_no_cycle() -> None:
    """Also inside a package, and counting imports inside functions; raises graphlib.CycleError."""
    graph = {name: dependencies(path, typing=False) for name, path in NAMES.items() if name}
    assert list(graphlib.TopologicalSorter(graph).static_order())


def test_public_names_are_unique() -> None:
    """No public function or class of the package is defined twice."""
    places: dict[str, list[str]] = {}
    for name, path in NAMES.items():
        if package_of(name) == "cli" or name.startswith("procedural.shapes"):
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(name)
    twice = {name: where for name, where in places.items() if len(where) > 1 and name != "main"}
    assert not twice


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_foreign_packages_stay_in_their_place(path: Path) -> None:
    here = package_of(module_name(path))
    roots = {name.split(".")[0] for name in imported(path)}
    if here != "priors":
        assert not roots & {"diffusers", "transformers"}
    assert "pickle" not in roots
    assert "click" not in roots, "Typer brings its own copy"
    if here == "mesh":
        assert not any(n.startswith("dreamfusion3d.fields") for n in imported(path))


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
        "torch.load",
        "torch.hub.load",
        "yaml.load",
        "yaml.load_all",
        "yaml.unsafe_load",
        "yaml.full_load",
        "eval",
        "exec",
        "os.system",
        "csv.writer",
        "csv.DictWriter",
    }
    loaders = ("kind", "model_class", "tokenizer_class", "CLIP")
    for name, node in calls(path):
        assert name not in forbidden, f"{name} in line {node.lineno}"
        options = {k.arg: ast.unparse(k.value) for k in node.keywords}
        assert options.get("allow_pickle", "False") == "False" and options.get("shell", "False") == "False"
        assert options.get("trust_remote_code", "False") == "False"
        if name.rpartition(".")[2] == "from_pretrained" and name.startswith(loaders):
            assert options.get("use_safetensors", "True") == "True"


# Identifiers that may hold a retired word, and why.
WORD_EXCEPTIONS = {
    "lamp": "a category of procedural objects; its function is named after it",
    "eyes": "parts of the procedural duck and robot",
    "finish": "the verb",
    "_finish_item": "the verb",
    "_finish_step": "the verb",
    "later": "after `earlier`, in the frontier of checkpoint plans",
    "next_later": "after `earlier`, in the frontier of checkpoint plans",
    "behind": "the direction, in the parity vote of voxels",
}


def retired_words() -> dict[str, str]:
    """The last column of the glossary in CONTRIBUTING.md, each word with the term that replaces it."""
    rows = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("| Term | Meaning | Instead of |")[1]
    words: dict[str, str] = {}
    for line in itertools.takewhile(lambda line: line.startswith("|"), rows.splitlines()[2:]):
        term, _, retired = (cell.strip() for cell in line.strip("|").split("|"))
        words |= {word.strip(): term for word in retired.split(",") if word.strip()}
    return words


def segments(identifier: str) -> list[str]:
    """Words of a snake_case, CamelCase or kebab-case name, in lower case."""
    return [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", identifier)]


def defined_names(path: Path) -> Iterator[str]:
    """Names that a file itself gives: definitions, parameters, assigned names and attributes, import aliases."""
    yield path.stem
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname


def settings_and_options() -> set[str]:
    group = typer.main.get_command(main.app)
    commands = [(name, command) for name, command in group.commands.items()]  # type: ignore[attr-defined]
    commands += [pair for _, command in commands for pair in getattr(command, "commands", {}).items()]
    options = {option for _, command in commands for p in command.params for option in (*p.opts, *p.secondary_opts)}
    return {name for name, _ in commands} | options | set(setting_types())


def test_words() -> None:
    """No identifier, file, setting, command or option uses a word that the glossary retired."""
    retired = retired_words()
    assert len(retired) > 30, "the glossary's table was not found"
    sources = [*MODULES, *(ROOT / "examples").rglob("*.py")]
    names = {(str(path.relative_to(ROOT)), name) for path in sources for name in defined_names(path)}
    names |= {("settings and options", name) for name in settings_and_options()}
    left = {
        f"{where}: {name} ({word} -> {retired[word]})"
        for where, name in names
        for word in segments(name)
        if word in retired and name not in WORD_EXCEPTIONS
    }
    assert not left, "retired words:\n" + "\n".join(sorted(left))


def test_test_modules_are_imported_by_nothing() -> None:
    """What tests and benchmarks share lies in tests/support/."""
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for folder, foreign in (("tests", r"benchmarks|tests\.(\w+\.)*test_"), ("benchmarks", r"tests\.(\w+\.)*test_"))
        for path in (ROOT / folder).rglob("*.py")
        for name in imported(path)
        if re.match(foreign, name)
    }
    assert not found, "\n".join(sorted(found))

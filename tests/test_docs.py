"""The documentation is true where a program can tell: links, options, settings, names of modules."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import typer

from dreamfusion3d.cli import main
from dreamfusion3d.core.config import QUALITY_PRESETS, Config, config_to_dict, setting_types
from dreamfusion3d.priors.vocabulary import embedded_folder

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
FOREIGN = {  # options of other programs that a page may name
    "--version",
    "--check",
    "--cov",
    "--strict",
    "--head",
    "--port",
    "--address",
    "--python",
    "--orientation-method",
    "--center-method",
    "--auto-scale-poses",
}
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)


def options_of() -> dict[str, set[str]]:
    """The options of every command, as --help shows them."""
    group = typer.main.get_command(main.app)
    commands = {
        # a group's options are those of its commands
        name: {
            o
            for c in (command, *getattr(command, "commands", {}).values())
            for p in c.params
            for o in (*p.opts, *p.secondary_opts)
        }
        | {"--help"}
        for name, command in group.commands.items()  # type: ignore[attr-defined]
    }
    return {name: {o for o in options if o.startswith("--")} for name, options in commands.items()}


def benchmark_options(name: str) -> set[str]:
    source = (ROOT / "benchmarks" / f"{name.replace('.', '/')}.py").read_text(encoding="utf-8")
    return set(re.findall(r'add_argument\("(--[a-z-]+)"', source))


def lines_of(page: Path) -> list[str]:
    return page.read_text(encoding="utf-8").splitlines()


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them: lower case, punctuation away, spaces to hyphens."""
    headings = (line.lstrip("#").strip().lower() for line in lines_of(page) if line.startswith("#"))
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings}


def broken(page: Path, links: list[str]) -> list[str]:
    bad = []
    for link in links:
        name, _, fragment = link.partition("#")
        target = page if not name else page.parent / name
        if not target.exists() or (fragment and fragment not in anchors(target)):
            bad.append(link)
    return bad


@each_page
def test_links_resolve(page: Path) -> None:
    links = re.findall(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    assert not broken(page, [link for link in links if "://" not in link])


@each_page
def test_pictures_are_there(page: Path) -> None:
    assert not broken(page, re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", [p for p in PAGES if p.name != "CHANGELOG.md"], ids=lambda p: p.name)
def test_options_exist(page: Path) -> None:
    commands = options_of()
    everywhere = set().union(*commands.values()) | FOREIGN
    everywhere |= {
        o
        for path in (ROOT / "benchmarks").rglob("*.py")
        for o in benchmark_options(str(path.relative_to(ROOT / "benchmarks"))[:-3])
    }
    for line in lines_of(page):
        if page.name == "CHANGELOG.md" and line.startswith("|"):
            continue  # its tables map old names to new ones
        known = everywhere
        called = re.match(r"\s*(?:time )?(?:\.venv/bin/)?(text2mesh|dreamfusion3d ([a-z-]+)) ", line)
        if called:
            command = called[2] or "generate"
            assert command in commands, line
            known = commands[command]
            line = line.split("#")[0].split("|")[0]
        elif benchmark := re.match(r"\s*python -m benchmarks\.([\w.]+)", line):
            known = benchmark_options(benchmark[1])
            line = line.split("#")[0]
        assert set(OPTION.findall(line)) <= known, line


def test_every_option_has_its_row_and_its_example() -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    chapters = re.split(r"^## ", text, flags=re.MULTILINE)
    for command, options in options_of().items():
        chapter = next(c for c in chapters if f"dreamfusion3d {command}" in c.splitlines()[0])
        example = "text2mesh" if command == "generate" else f"dreamfusion3d {command}"
        for option in options - {"--help"}:
            assert re.search(rf"^\| `{option}[ `]", chapter, re.MULTILINE), f"{command} {option}: no row"
            pattern = rf"^{example} .*{option}\b"
            assert re.search(pattern, chapter, re.MULTILINE), f"{command} {option}: no example"


@pytest.mark.parametrize("page", [p for p in PAGES if p.name != "CHANGELOG.md"], ids=lambda p: p.name)
def test_settings_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"--set ([a-z_.]+)=", text)
    named += re.findall(rf"`((?:{'|'.join(config_to_dict(Config()))})\.(?!py`|safetensors`)[a-z_]+)`", text)
    assert set(named) <= set(setting_types())


def test_qualities_are_as_described() -> None:
    text = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z_.]+)` \| (.+) \|$", text, re.MULTILINE))
    assert set(rows) == {key for preset in QUALITY_PRESETS.values() for key in preset}
    for key, cells in rows.items():
        section, name = key.split(".")
        default = config_to_dict(Config())[section][name]
        assert cells.split(" | ") == [str(preset.get(key, default)) for preset in QUALITY_PRESETS.values()], key


@each_page
def test_named_files_exist(page: Path) -> None:
    for name in re.findall(r"`([a-z_0-9/]+/[a-z_0-9]+\.py)`", page.read_text(encoding="utf-8")):
        assert (ROOT / name).exists() or (ROOT / "dreamfusion3d" / name).exists(), name


def test_architecture_lists_every_module() -> None:
    """Each in the row of its package; a back end goes with its module."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| \d \| `([\w/]+)/` \| (.*)$", text, re.MULTILINE))
    absent = [p.name for p in (ROOT / "dreamfusion3d").glob("[a-z]*.py") if f"`{p.name}`" not in text]
    for path in [*(ROOT / "cli").glob("*.py"), *(ROOT / "dreamfusion3d").glob("*/**/*.py")]:
        package = str(path.parent.relative_to(ROOT)).removeprefix("dreamfusion3d/")
        name = re.sub("_(torch|numba|triton)$", "", path.stem)
        if name != "__init__" and not re.search(rf"\b{name}\b", rows.get(package, "")):
            absent.append(f"{package}: {name}")
    assert not absent


def test_architecture_lists_no_other_module() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for package, modules in re.findall(r"^\| \d \| `([\w/]+)/` \| [^|]* \| ([^|]*) \|$", text, re.MULTILINE):
        folder = ROOT / package if package == "cli" else ROOT / "dreamfusion3d" / package
        for name in re.findall(r"\w+(?=[,;]|$)", modules.strip()):
            assert (folder / name).is_dir() or (folder / f"{name}.py").exists(), f"{package}: {name}"


def test_shipped_weights_are_as_described() -> None:
    path = embedded_folder() / "training.json"
    if not path.exists():
        pytest.skip("no embedded weights in this checkout")
    training = json.loads(path.read_text())
    text = (ROOT / "docs" / "prior.md").read_text(encoding="utf-8")
    assert f"| training images | {training['pictures']:,} |" in text
    assert f"| steps of the last run | {training['steps']:,} |" in text

"""Pages of the site that are made while it is built: those of the repository's root, and the API reference."""

from __future__ import annotations

import ast
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dreamfusion3d"
ROOT_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "LICENSE": "license.md",
}


def public_names() -> dict[str, str]:
    """Public names of the package and the module of each, read from its `__init__` without importing it."""
    for node in ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_MODULES":
            return dict(ast.literal_eval(node.value))
    raise ValueError("dreamfusion3d/__init__.py has no _MODULES")


def package_page(folder: Path) -> str:
    """Reference of all modules of a package."""
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sorted(folder.rglob("*.py"))]
    modules = [name.removesuffix(".__init__") for name in modules if not name.endswith(("_worker", "in_blender"))]
    return "\n\n".join([f"# {folder.name}", *(f"::: {name}\n    options:\n      heading_level: 2" for name in modules)])


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    packages = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))
    section = [{"Public API": "api/index.md"}, *({folder.name: f"api/{folder.name}.md"} for folder in packages)]
    assert config.nav is not None
    config.nav = [{"API": section} if entry == {"API": "api"} else entry for entry in config.nav]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    def add(name: str, content: str) -> None:
        files.append(File.generated(config, name, content=content))

    for source, name in ROOT_PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        add(name, text if source.endswith(".md") else f"# {source}\n\n```\n{text}```\n")
    names = public_names()
    lines = ["# Public API", "All of these can be imported from `dreamfusion3d` itself."]
    lines += [f"::: dreamfusion3d.{name}\n    options:\n      heading_level: 2" for name in names]
    add("api/index.md", "\n\n".join(lines))
    for path in PACKAGE.glob("*/__init__.py"):
        add(f"api/{path.parent.name}.md", package_page(path.parent))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links between the root's pages and docs/ as they lie in the site; fences without the tests' marks."""
    markdown = markdown.replace("```python no-run", "```python")
    if page.file.src_path in ROOT_PAGES.values():
        markdown = markdown.replace("](docs/", "](")
    for source, name in ROOT_PAGES.items():
        markdown = markdown.replace(f"](../{source}", f"]({name}").replace(f"]({source}", f"]({name}")
    return markdown

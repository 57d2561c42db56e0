"""The names that `import dreamfusion3d` offers: they resolve, lazily, and their documentation runs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dreamfusion3d

INIT = Path(dreamfusion3d.__file__)
NAMES = [name for name in dreamfusion3d.__all__ if name != "__version__"]


@pytest.mark.parametrize("name", NAMES)
def test_name_resolves(name: str) -> None:
    value = getattr(dreamfusion3d, name)
    assert value.__name__ == name
    assert name in dir(dreamfusion3d)


def test_unknown_name_raises_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'text_to_mesh2'"):
        dreamfusion3d.text_to_mesh2  # noqa: B018


def test_type_checkers_see_the_same_names() -> None:
    """The imports under TYPE_CHECKING name the modules that `__getattr__` imports from."""
    statements = ast.walk(ast.parse(INIT.read_text(encoding="utf-8")))
    imports = {
        alias.name: (statement.module or "").removeprefix("dreamfusion3d.")
        for statement in statements
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("dreamfusion3d.")
        for alias in statement.names
    }
    assert imports == dreamfusion3d._MODULES


def test_import_is_fast_and_loads_no_torch() -> None:
    """Under 0.15 s by `-X importtime`, the best of three on a busy machine."""
    code = "import sys, dreamfusion3d; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    seconds = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True
        )
        row = next(line for line in done.stderr.splitlines() if line.endswith("| dreamfusion3d"))
        seconds.append(int(row.split("|")[1]) / 1e6)
    assert min(seconds) < 0.15, f"importing dreamfusion3d takes {min(seconds):.3f} s"


def test_package_ships_its_types() -> None:
    assert (INIT.parent / "py.typed").exists()


def test_module_runs_as_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dreamfusion3d", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"dreamfusion3d {dreamfusion3d.__version__}\n"

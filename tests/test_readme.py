"""The README's commands are the ones that CI runs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent


def commands() -> list[str]:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return [line for line in readme.splitlines() if line.startswith("python3 -m venv")]


def test_two_lines_do_everything() -> None:
    main, test = commands()
    assert main.endswith('text2mesh "a pitcher with one handle"')
    assert test.endswith("pytest")
    readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert readme.index(test) < 40, "both are on the first screen"


def test_ci_runs_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    pattern = re.search(r"grep -m 1 -E '([^']+)' README.md", script)
    assert pattern is not None
    found = subprocess.run(
        ["grep", "-E", pattern[1], "README.md"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert found == [commands()[1]]


def test_constraints_pin_what_pyproject_asks_for() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0] for line in lines if "==" in line}
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    asked = set(re.findall(r'"([a-z0-9-]+)>=', project)) - {"setuptools"}
    assert asked <= pinned

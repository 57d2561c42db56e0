"""Where the foreign programs are; a test skips, with the reason, where one is missing.

The JavaScript packages are installed once by
`npm install --prefix .clients gltf-validator @google/model-viewer`; another folder is named by
DREAMFUSION3D_CLIENTS.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

CLIENTS = Path(os.environ.get("DREAMFUSION3D_CLIENTS", Path(__file__).parents[2] / ".clients"))


def program(*names: str) -> str:
    """The first of these programs that is on PATH."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"{' or '.join(names)} is not on PATH")
    return found


def package(name: str) -> Path:
    """The folder of a JavaScript package."""
    folder = CLIENTS / "node_modules" / name
    if not folder.is_dir():
        pytest.skip(f"no {name} in {CLIENTS}: npm install --prefix {CLIENTS} {name}")
    return folder

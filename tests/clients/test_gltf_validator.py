"""Khronos' glTF validator has nothing to say.

Install it once with `npm install --prefix .clients gltf-validator`; another folder is named by
DREAMFUSION3D_CLIENTS.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.asset import clay_ball

pytestmark = pytest.mark.clients

HERE = Path(__file__).parent
CLIENTS = Path(os.environ.get("DREAMFUSION3D_CLIENTS", HERE.parents[1] / ".clients"))


def validate(path: Path) -> dict:
    """The validator's report on a GLB; skips where node or the validator is absent."""
    node = shutil.which("node")
    modules = CLIENTS / "node_modules"
    if node is None:
        pytest.skip("node is not installed")
    if not (modules / "gltf-validator").is_dir():
        pytest.skip(f"no gltf-validator in {modules}: npm install --prefix {CLIENTS} gltf-validator")
    result = subprocess.run(
        [node, str(HERE / "validate_gltf.cjs"), str(path)], env={**os.environ, "NODE_PATH": str(modules)},
        capture_output=True, text=True, timeout=120, check=True,
    )
    return json.loads(result.stdout)


def test_no_errors_no_warnings_no_hints(tmp_path):
    report = validate(clay_ball(tmp_path))
    issues = report["issues"]
    assert issues["messages"] == []
    assert [issues[kind] for kind in ("numErrors", "numWarnings", "numInfos", "numHints")] == [0] * 4
    info = report["info"]
    assert info["hasTextures"] and info["drawCallCount"] == 1 and info["materialCount"] == 1
    assert info["maxUVs"] == 1

"""Khronos' glTF validator has nothing to say."""

from __future__ import annotations

from pathlib import Path

import pytest

from dreamfusion3d.core.config import FormatName
from tests.support.client_asset import NAME, clay_ball
from tests.support.client_reports import gltf_validator_report

pytestmark = pytest.mark.clients


@pytest.mark.parametrize("kind", ["glb", "gltf"])
def test_no_errors_no_warnings_no_infos_no_hints(kind: FormatName, tmp_path: Path) -> None:
    report = gltf_validator_report(clay_ball(tmp_path, kind))
    issues = report["issues"]
    assert issues["messages"] == []
    assert [issues[name] for name in ("numErrors", "numWarnings", "numInfos", "numHints")] == [0] * 4
    info = report["info"]
    assert info["hasTextures"] and info["drawCallCount"] == 1 and info["materialCount"] == 1
    assert info["maxUVs"] == 1
    where = {r["pointer"]: (r["storage"], r.get("uri")) for r in info["resources"]}
    if kind == "gltf":
        files = {
            "/buffers/0": f"{NAME}.bin",
            "/images/0": f"{NAME}.png",
            "/images/1": f"{NAME}_normal.png",
            "/images/2": f"{NAME}_occlusion.png",
        }
        assert where == {pointer: ("external", file) for pointer, file in files.items()}
    else:
        assert {storage for storage, _ in where.values()} == {"glb", "buffer-view"}


def test_the_validator_is_listening(tmp_path: Path) -> None:
    """It does complain of a file that is not right."""
    path = clay_ball(tmp_path, "gltf")
    path.write_text(path.read_text().replace('"target": 34962', '"target": 34963'))
    (tmp_path / "clay_ball.png").unlink()
    assert gltf_validator_report(path)["issues"]["numErrors"] > 0

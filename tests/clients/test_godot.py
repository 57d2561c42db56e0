"""The GLB as Godot 3 imports it into a game: the node is kept, with its mesh, material and texture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dreamfusion3d.core.slug import slugify
from dreamfusion3d.mesh.io.gltf import write_glb
from tests.support.client_asset import EXTRAS, HEIGHT, NAME, SIZE, TEXTURE, ball, clay_ball
from tests.support.client_reports import godot_report

pytestmark = pytest.mark.clients


def test_the_node_is_kept_with_its_material(tmp_path: Path) -> None:
    clay_ball(tmp_path)
    meshes = [node for node in godot_report(tmp_path)["nodes"] if node["class"] == "MeshInstance"]
    assert [node["name"] for node in meshes] == [NAME]
    node = meshes[0]
    assert node["low"][1] == pytest.approx(0, abs=1e-4) and node["high"][1] == pytest.approx(HEIGHT, rel=1e-3)
    np.testing.assert_allclose(np.subtract(node["high"], node["low"]), SIZE, rtol=0.02)
    assert node["surfaces"] == 1 and node["has_uv"] and node["has_normals"]
    assert node["triangles"] == len(ball().faces)
    assert node["material"] == NAME and node["metallic"] == 0
    assert node["roughness"] == pytest.approx(0.8, abs=1e-3)
    assert node["albedo"] == pytest.approx([1, 1, 1]) and node["texture"] == [TEXTURE, TEXTURE]


@pytest.mark.parametrize("name, kept", [(slugify("traffic noimp"), True), ("traffic_noimp", False)])
def test_no_slug_makes_godot_drop_the_node(name: str, kept: bool, tmp_path: Path) -> None:
    """The second name is what the slug guards against: were it kept, the guard would be idle."""
    write_glb(ball(), tmp_path / f"{NAME}.glb", name, EXTRAS)
    meshes = [node["name"] for node in godot_report(tmp_path)["nodes"] if node["class"] == "MeshInstance"]
    assert meshes == ([name] if kept else [])

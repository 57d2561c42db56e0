"""The USDZ by Pixar's own library: its validators are silent, and its stage is what we meant."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from dreamfusion3d.mesh.io.axes import CoordinateFrame, to_frame
from dreamfusion3d.mesh.io.formats import asset_extras, write_asset
from tests.support.client_asset import EXTRAS, HEIGHT, NAME, ball, clay_ball

pytestmark = pytest.mark.clients

pytest.importorskip("pxr", reason="usd-core is not installed: pip install 'dreamfusion3d[usd]'")


@pytest.mark.parametrize("frame", [CoordinateFrame("y", "m"), CoordinateFrame("z", "cm")], ids=str)
def test_the_stage_is_what_was_meant(frame: CoordinateFrame, tmp_path: Path) -> None:
    from pxr import Usd, UsdGeom, UsdShade

    stage = Usd.Stage.Open(str(clay_ball(tmp_path, "usdz", frame)))
    assert UsdGeom.GetStageUpAxis(stage).lower() == frame.up
    assert UsdGeom.GetStageMetersPerUnit(stage) == pytest.approx(frame.meters_per_unit)
    root = stage.GetDefaultPrim()
    assert root.GetName() == NAME and Usd.ModelAPI(root).GetKind() == "component"
    meshes = [prim for prim in stage.Traverse() if prim.IsA(UsdGeom.Mesh)]
    assert [str(prim.GetPath()) for prim in meshes] == [f"/{NAME}/mesh"]
    mesh, wanted = UsdGeom.Mesh(meshes[0]), to_frame(ball(), frame)
    np.testing.assert_allclose(np.array(mesh.GetPointsAttr().Get()), wanted.vertices, rtol=1e-6)
    np.testing.assert_array_equal(np.array(mesh.GetFaceVertexIndicesAttr().Get()), wanted.faces.reshape(-1))
    np.testing.assert_allclose(np.array(mesh.GetNormalsAttr().Get()), wanted.normals, atol=1e-6)
    uv = UsdGeom.PrimvarsAPI(mesh).GetPrimvar("st").Get()
    np.testing.assert_allclose(np.array(uv), wanted.uv, atol=1e-6)
    box = UsdGeom.BBoxCache(Usd.TimeCode.Default(), ["default"]).ComputeWorldBound(root).ComputeAlignedRange()
    up = 1 if frame.up == "y" else 2
    assert box.GetMin()[up] == pytest.approx(0, abs=1e-6)
    assert box.GetMax()[up] * frame.meters_per_unit == pytest.approx(HEIGHT, rel=1e-5)
    material, _ = UsdShade.MaterialBindingAPI(meshes[0]).ComputeBoundMaterial()
    surface = material.ComputeSurfaceSource()[0]
    assert surface.GetIdAttr().Get() == "UsdPreviewSurface"
    texture = UsdShade.Shader(surface.GetInput("diffuseColor").GetConnectedSources()[0][0].source.GetPrim())
    assert texture.GetInput("sourceColorSpace").Get() == "sRGB"
    asset = texture.GetInput("file").Get()
    assert asset.resolvedPath.endswith(f"[{NAME}.png]"), "the texture is not found within the archive"
    data = stage.GetRootLayer().customLayerData
    assert {key: data[key] for key in EXTRAS} == {key: str(value) for key, value in EXTRAS.items()}


def test_no_validator_complains(tmp_path: Path) -> None:
    from pxr import Usd, UsdValidation

    path = clay_ball(tmp_path, "usdz")
    registry = UsdValidation.ValidationRegistry()
    validators = registry.GetOrLoadAllValidators()
    names = {v.GetMetadata().name for v in validators}
    assert len(names) > 20 and any("Usdz" in name for name in names)
    errors = UsdValidation.ValidationContext(validators).Validate(Usd.Stage.Open(str(path)))
    assert [(e.GetName(), e.GetMessage()) for e in errors] == []


def test_the_validators_are_listening(tmp_path: Path) -> None:
    """They do complain of a stage that says neither its axis nor its unit."""
    from pxr import Usd, UsdGeom, UsdValidation

    stage = Usd.Stage.CreateNew(str(tmp_path / "bare.usda"))
    UsdGeom.Mesh.Define(stage, "/thing")
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    assert UsdValidation.ValidationContext(validators).Validate(stage)


def test_same_bytes_and_odd_names(tmp_path: Path) -> None:
    from pxr import Usd

    extras = asset_extras('é "quoted" \\ prompt', 2**62, "embedded")
    paths = [write_asset("usdz", ball(), tmp_path / run / "x.usdz", "3_mugs", extras)[0] for run in ("a", "b")]
    assert len({hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}) == 1
    stage = Usd.Stage.Open(str(paths[0]))
    assert stage.GetDefaultPrim().GetName() == "_3_mugs"
    assert stage.GetDefaultPrim().GetDisplayName() == "3_mugs"
    assert stage.GetRootLayer().customLayerData["prompt"] == extras["prompt"]
    assert stage.GetRootLayer().customLayerData["seed"] == str(2**62)
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["x.usdz"]

"""Write USDZ with Pixar's library (the extra `usd`): an archive of one binary layer and its textures.

/<name>            Xform, the default prim, a component
/<name>/mesh       the triangles, with normals and the primvar st
/<name>/material   UsdPreviewSurface with an sRGB texture as its diffuse color, and a raw one or values as its
                   roughness and metallic
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from dreamfusion3d.core.errors import InputError, MissingExtraError
from dreamfusion3d.core.files import atomic_write, write_bytes
from dreamfusion3d.core.types import TexturedMesh
from dreamfusion3d.mesh.io.axes import CoordinateFrame, to_frame
from dreamfusion3d.mesh.io.gltf import GENERATOR, Extras, encode_orm, encode_png

ARCHIVE_MTIME = 315_619_200.0  # 1980-01-02, timestamp of every entry: the same mesh gives the same bytes


def require_usd() -> None:
    """Raise MissingExtraError if usd-core is not installed."""
    if importlib.util.find_spec("pxr") is None:
        raise MissingExtraError("usd-core", "usd", "the format usdz")


def write_usdz(textured: TexturedMesh, path: Path, name: str, extras: Extras, frame: CoordinateFrame) -> list[Path]:
    """Write one component called ``name`` with up axis and unit, and ``extras`` as custom layer data."""
    require_usd()
    from pxr import UsdUtils

    with tempfile.TemporaryDirectory() as folder:
        layer = Path(folder) / f"{name}.usdc"
        write_bytes(layer.with_suffix(".png"), encode_png(textured.texture))
        orm = encode_orm(textured)
        if orm is not None:
            write_bytes(layer.with_name(f"{name}_orm.png"), encode_png(orm))
        _write_layer(to_frame(textured, frame), layer, name, extras, frame)
        for part in Path(folder).iterdir():
            os.utime(part, (ARCHIVE_MTIME, ARCHIVE_MTIME))
        with atomic_write(path) as temporary:
            # with the order and alignment that AR Quick Look requires
            if not UsdUtils.CreateNewARKitUsdzPackage(str(layer), str(temporary), f"{name}.usdc"):
                raise InputError(f"usd-core could not write {path}; use another format")
    return [path]


def _write_layer(mesh: TexturedMesh, path: Path, name: str, extras: Extras, frame: CoordinateFrame) -> None:
    from pxr import Kind, Sdf, Usd, UsdGeom, UsdShade

    stage = Usd.Stage.CreateNew(str(path))
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y if frame.up == "y" else UsdGeom.Tokens.z)
    UsdGeom.SetStageMetersPerUnit(stage, frame.meters_per_unit)
    layer = stage.GetRootLayer()
    layer.comment = str(extras.get("license", ""))
    # as strings: a seed may exceed the 32 bits of an int in layer data
    layer.customLayerData = {"creator": GENERATOR, **{key: str(value) for key, value in extras.items()}}
    # identifiers in USD cannot begin with a digit
    root = Sdf.Path.absoluteRootPath.AppendChild(f"_{name}" if name[0].isdigit() else name)
    xform = UsdGeom.Xform.Define(stage, root)
    stage.SetDefaultPrim(xform.GetPrim())
    Usd.ModelAPI(xform).SetKind(Kind.Tokens.component)
    xform.GetPrim().SetDisplayName(name)
    geometry = _define_mesh(stage, root.AppendChild("mesh"), mesh)
    material = _define_material(stage, root.AppendChild("material"), path.stem, mesh.uniform_material)
    UsdShade.MaterialBindingAPI.Apply(geometry.GetPrim()).Bind(material)
    layer.Save()


def _define_mesh(stage: Any, path: Any, mesh: TexturedMesh) -> Any:
    from pxr import Sdf, UsdGeom, Vt

    def vectors(values: np.ndarray, array_type: Any) -> Any:
        return array_type.FromNumpy(np.ascontiguousarray(values, np.float32))

    geometry = UsdGeom.Mesh.Define(stage, path)
    points = vectors(mesh.vertices, Vt.Vec3fArray)
    geometry.CreatePointsAttr(points)
    geometry.CreateExtentAttr(UsdGeom.PointBased.ComputeExtent(points))
    geometry.CreateFaceVertexCountsAttr(Vt.IntArray(len(mesh.faces), 3))
    geometry.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(np.ascontiguousarray(mesh.faces.reshape(-1), np.int32)))
    geometry.CreateNormalsAttr(vectors(mesh.normals, Vt.Vec3fArray))
    geometry.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    geometry.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)  # the default would smooth the triangles
    geometry.CreateDoubleSidedAttr(False)
    st = UsdGeom.PrimvarsAPI(geometry).CreatePrimvar("st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.vertex)
    st.Set(vectors(mesh.uv, Vt.Vec2fArray))
    return geometry


def _define_material(stage: Any, path: Any, stem: str, factors: tuple[float, float] | None) -> Any:
    """Define a material with the image <stem>.png, and <stem>_orm.png unless roughness and metallic are given."""
    from pxr import Sdf, UsdShade

    types = Sdf.ValueTypeNames
    material = UsdShade.Material.Define(stage, path)
    reader = UsdShade.Shader.Define(stage, path.AppendChild("st"))
    reader.CreateIdAttr("UsdPrimvarReader_float2")
    reader.CreateInput("varname", types.String).Set("st")

    def define_texture(name: str, image_name: str, color_space: str) -> Any:
        texture = UsdShade.Shader.Define(stage, path.AppendChild(name))
        texture.CreateIdAttr("UsdUVTexture")
        texture.CreateInput("file", types.Asset).Set(Sdf.AssetPath(f"./{image_name}"))
        texture.CreateInput("sourceColorSpace", types.Token).Set(color_space)
        for axis in ("wrapS", "wrapT"):
            texture.CreateInput(axis, types.Token).Set("clamp")
        texture.CreateInput("st", types.Float2).ConnectToSource(reader.CreateOutput("result", types.Float2))
        return texture

    texture = define_texture("texture", f"{stem}.png", "sRGB")
    surface = UsdShade.Shader.Define(stage, path.AppendChild("surface"))
    surface.CreateIdAttr("UsdPreviewSurface")
    surface.CreateInput("diffuseColor", types.Color3f).ConnectToSource(texture.CreateOutput("rgb", types.Float3))
    metallic, roughness = (surface.CreateInput(name, types.Float) for name in ("metallic", "roughness"))
    if factors is None:
        orm = define_texture("orm", f"{stem}_orm.png", "raw")
        roughness.ConnectToSource(orm.CreateOutput("g", types.Float))
        metallic.ConnectToSource(orm.CreateOutput("b", types.Float))
    else:
        roughness.Set(factors[0])
        metallic.Set(factors[1])
    material.CreateSurfaceOutput().ConnectToSource(surface.CreateOutput("surface", types.Token))
    return material

"""Files that open elsewhere: GLB and OBJ, by trimesh, with what its defaults get wrong put right.

glTF's frame is this project's own (+Y up, front +Z, metres), so nothing is rotated.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import trimesh
from jaxtyping import Float
from PIL import Image
from trimesh.exchange.gltf import export_glb
from trimesh.exchange.obj import export_obj
from trimesh.visual.material import PBRMaterial, SimpleMaterial
from trimesh.visual.texture import TextureVisuals

from dreamfusion3d.errors import InputError
from dreamfusion3d.files import write_bytes
from dreamfusion3d.types import Mesh, TexturedMesh

ROUGHNESS = 0.8  # the pictures are lit diffusely; trimesh's default is a mirror
GENERATOR = "dreamfusion3d"
VERTEX_BUFFER, INDEX_BUFFER = 34962, 34963  # glTF 2.0, bufferView.target


Shape = TypeVar("Shape", Mesh, TexturedMesh)


def place(mesh: Shape, height: float = 1.0) -> Shape:
    """Scaled to ``height`` metres along +Y, with the origin at the centre of its base."""
    return place_like(mesh, mesh, height)


def place_like(mesh: Shape, model: Mesh | TexturedMesh, height: float = 1.0) -> Shape:
    """``mesh`` moved and scaled as `place` does ``model``: levels of detail must not jump."""
    low, high = model.vertices.min(0).astype(np.float64), model.vertices.max(0).astype(np.float64)
    if not height > 0 or not np.isfinite(height):
        raise InputError(f"the height must be a positive number of metres, not {height}")
    scale = height / max(high[1] - low[1], 1e-9)
    pivot = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
    return replace(mesh, vertices=((mesh.vertices - pivot) * scale).astype(np.float32))


def write_glb(
    textured: TexturedMesh, path: Path, name: str, extras: dict[str, Any] | None = None
) -> list[Path]:
    """One node, one mesh, one material, all called ``name``; ``extras`` (JSON values) on the node.

    Returns the files written.
    """
    scene = trimesh.Scene()
    mesh = as_trimesh(textured, pbr_material(textured, name), name)
    scene.add_geometry(mesh, node_name=name, geom_name=name)

    def settle(tree: dict[str, Any]) -> None:
        _settle(tree, name, extras or {})

    write_bytes(path, export_glb(scene, include_normals=True, tree_postprocessor=settle))
    return [path]


def pbr_material(textured: TexturedMesh, name: str) -> PBRMaterial:
    """The one material of a mesh; normal map and occlusion where the mesh has them."""
    normal, shade = textured.normal_map, textured.occlusion
    return PBRMaterial(
        name=name, baseColorTexture=Image.fromarray(textured.texture), metallicFactor=0.0,
        roughnessFactor=ROUGHNESS, baseColorFactor=np.full(4, 255, np.uint8), doubleSided=False,
        normalTexture=None if normal is None else Image.fromarray(normal),
        # glTF reads the red channel
        occlusionTexture=None if shade is None else Image.fromarray(shade).convert("RGB"),
    )


def write_obj(
    textured: TexturedMesh, path: Path, name: str, extras: dict[str, Any] | None = None
) -> list[Path]:
    """OBJ at ``path`` with ``<name>.mtl`` and ``<name>.png`` beside it; the OBJ comes last.

    The format has no place for ``extras``; they are taken so that every writer is called alike.
    Returns the files written, the OBJ first.
    """
    material = SimpleMaterial(
        image=Image.fromarray(textured.texture), name=name, ambient=[255, 255, 255, 255],
        diffuse=[255, 255, 255, 255], specular=[0, 0, 0, 255], glossiness=0.0,
    )
    text, companions = export_obj(
        as_trimesh(textured, material, name), include_normals=True, include_texture=True, return_texture=True,
        write_texture=False, mtl_name=f"{name}.mtl", header=GENERATOR,
    )
    for companion, data in companions.items():
        write_bytes(path.parent / companion, data + b"\n" if companion.endswith(".mtl") else data)
    write_bytes(path, (text.rstrip("\n") + "\n").encode())
    return [path, *(path.parent / companion for companion in sorted(companions))]


def as_trimesh(
    textured: TexturedMesh, material: PBRMaterial | SimpleMaterial, name: str
) -> trimesh.Trimesh:
    """The mesh as trimesh's writers take it; vertices and their order are kept."""
    mesh = trimesh.Trimesh(
        vertices=textured.vertices, faces=textured.faces, vertex_normals=_unit(textured.normals),
        visual=TextureVisuals(uv=textured.uv, material=material), process=False, validate=False,
    )
    mesh.metadata = {"name": name}
    if textured.tangents is not None:
        mesh.vertex_attributes["_TANGENT"] = textured.tangents.astype(np.float32)
    return mesh


def _unit(normals: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "v 3"]:
    wide = normals.astype(np.float64)
    return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)


def _settle(tree: dict[str, Any], name: str, extras: dict[str, Any]) -> None:
    """The glTF tree as an artist expects it: no empty parent, names, and buffer targets.

    trimesh hangs the mesh under an empty node "world", which Blender would show, and leaves the
    buffer views without a target, which the validator hints at.
    """
    tree["asset"] = {"version": "2.0", "generator": GENERATOR}
    tree["nodes"] = [{"name": name, "mesh": 0, **({"extras": extras} if extras else {})}]
    tree["scenes"] = [{"name": name, "nodes": [0]}]
    tree["scene"] = 0
    tree.pop("extras", None)
    for mesh in tree["meshes"]:
        mesh["name"] = name
    settle_parts(tree)
    if len(tree.get("materials", [])) != 1:
        raise AssertionError("one mesh, one material")


def settle_parts(tree: dict[str, Any]) -> None:
    """What is alike in every file: attributes, buffer targets, names of pictures, samplers."""
    for mesh in tree["meshes"]:
        mesh.pop("extras", None)
        for primitive in mesh["primitives"]:
            _target(tree, primitive["indices"], INDEX_BUFFER)
            # trimesh knows it as an attribute of the application's own
            if "_TANGENT" in primitive["attributes"]:
                primitive["attributes"]["TANGENT"] = primitive["attributes"].pop("_TANGENT")
            for accessor in primitive["attributes"].values():
                _target(tree, accessor, VERTEX_BUFFER)
    for material in tree.get("materials", []):
        _name_images(tree, material)
    for sampler in tree.get("samplers", []):
        sampler.setdefault("magFilter", 9729)  # linear
        sampler.setdefault("minFilter", 9987)  # linear, with mip levels


def _name_images(tree: dict[str, Any], material: dict[str, Any]) -> None:
    uses = {
        "": material.get("pbrMetallicRoughness", {}).get("baseColorTexture"),
        "_normal": material.get("normalTexture"),
        "_occlusion": material.get("occlusionTexture"),
    }
    for suffix, texture in uses.items():
        if texture is not None:
            source = tree["textures"][texture["index"]]["source"]
            tree["images"][source]["name"] = material["name"] + suffix


def _target(tree: dict[str, Any], accessor: int, target: int) -> None:
    tree["bufferViews"][tree["accessors"][accessor]["bufferView"]]["target"] = target

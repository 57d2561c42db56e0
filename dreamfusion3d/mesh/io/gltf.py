"""Read and write GLB and glTF with trimesh, correcting its defaults.

The frame of glTF (+Y up, front +Z, meters) is that of this project, so nothing is rotated.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import UInt8
from PIL import Image
from trimesh.exchange.gltf import export_glb
from trimesh.visual.material import PBRMaterial, SimpleMaterial
from trimesh.visual.texture import TextureVisuals

from dreamfusion3d.core.files import write_bytes, write_json
from dreamfusion3d.core.slug import append_hash, slugify
from dreamfusion3d.core.types import DEFAULT_MATERIAL, TexturedMesh
from dreamfusion3d.mesh.geometry import normalize_vectors
from dreamfusion3d.mesh.io.axes import CoordinateFrame
from dreamfusion3d.mesh.tangents import vertex_tangents

GENERATOR = "dreamfusion3d"
GLTF_FRAME = CoordinateFrame("y", "m")
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963  # glTF 2.0, bufferView.target

Extras = Mapping[str, str | int]  # metadata of a file: prompt, seed, generator, license


def write_glb(
    textured: TexturedMesh, path: Path, name: str, extras: Extras | None = None, frame: CoordinateFrame = GLTF_FRAME
) -> list[Path]:
    """Write a GLB with one node, mesh and material, all called ``name``, and ``extras`` on the node.

    ``frame`` must be `GLTF_FRAME`, the only one of glTF 2.0. Returns the files written.
    """
    write_bytes(path, _encode_glb(textured, name, extras or {}, frame))
    return [path]


def write_gltf(
    textured: TexturedMesh, path: Path, name: str, extras: Extras | None = None, frame: CoordinateFrame = GLTF_FRAME
) -> list[Path]:
    """Write the content of `write_glb` as JSON, with a ``.bin`` and PNG images beside it.

    Companions are named by `companion_stem`. The glTF is written last, so that it never exists without
    them. Returns the files written, the glTF first.
    """
    tree, blob = read_glb_chunks(_encode_glb(textured, name, extras or {}, frame))
    stem = companion_stem(path)
    for image in tree.get("images", []):
        image["uri"] = f"{stem}{image['name'].removeprefix(name)}.png"
    data, image_files = _split_images(tree, blob)
    tree["buffers"] = [{"uri": f"{stem}.bin", "byteLength": len(data)}]
    companions = {f"{stem}.bin": data, **image_files}
    for file, content in companions.items():
        write_bytes(path.parent / file, content)
    write_json(path, tree)
    return [path, *(path.parent / file for file in companions)]


def companion_stem(path: Path) -> str:
    """Return the stem of companion files, derived from ``path`` so that assets in one folder do not share them.

    It is a slug, because names in OBJ end at a space and names in glTF are URIs.
    """
    name = slugify(path.stem)
    return name if name == path.stem else append_hash(name, path.stem)


def read_glb(path: Path, *, maps: bool = True, normal_map: bool = True) -> TexturedMesh:
    """Read a mesh that `write_glb` wrote; without ``maps``, only its base color texture; or without normal map.

    Raises ValueError if the file does not hold exactly one mesh.
    """
    scene: Any = trimesh.load_scene(path, process=False)
    if len(scene.geometry) != 1 or len(scene.graph.nodes_geometry) != 1:
        raise ValueError(f"it holds {len(scene.geometry)} meshes, not one")
    # force="mesh" would compute new normals from the split vertices, and the seams would show
    transform, geometry = scene.graph[scene.graph.nodes_geometry[0]]
    mesh = scene.geometry[geometry].apply_transform(transform)
    material = mesh.visual.material
    vertices, normals, uv = (np.asarray(a, np.float64) for a in (mesh.vertices, mesh.vertex_normals, mesh.visual.uv))
    texture = np.asarray(material.baseColorTexture.convert("RGB"))
    textured = TexturedMesh(vertices, np.asarray(mesh.faces, np.int64), normals, uv, texture)
    if not maps:
        return textured
    textured = replace(textured, metallic_roughness=_read_metallic_roughness(material, texture.shape))
    if material.occlusionTexture is not None:
        textured = replace(textured, occlusion=np.asarray(material.occlusionTexture.convert("RGB"))[..., 0])
    if material.normalTexture is None or not normal_map:
        return textured
    # trimesh does not read TANGENT; computing tangents again gives the same result
    encoded = np.asarray(material.normalTexture.convert("RGB"))
    return replace(textured, normal_map=encoded, tangents=vertex_tangents(textured))


def _read_metallic_roughness(material: PBRMaterial, shape: tuple[int, ...]) -> UInt8[np.ndarray, "h w 2"] | None:
    """Return roughness and metallic of a material as a map; None if they are the default everywhere."""
    # glTF 2.0: a missing factor is 1
    factors = [1.0 if f is None else float(f) for f in (material.roughnessFactor, material.metallicFactor)]
    if material.metallicRoughnessTexture is not None:
        image = np.asarray(material.metallicRoughnessTexture.convert("RGB"))[..., 1:]
        return (image * factors + 0.5).astype(np.uint8)
    if factors == list(DEFAULT_MATERIAL):
        return None
    return np.full((*shape[:2], 2), np.round(np.array(factors) * 255), np.uint8)


def comment_lines(extras: Extras, frame: CoordinateFrame) -> list[str]:
    """Format metadata as lines of ASCII for formats that only have comments."""
    lines = [GENERATOR, f"frame: {frame}"]
    # JSON escapes line breaks and non-ASCII characters
    return lines + [f"{key}: {json.dumps(value)}" for key, value in extras.items() if key != "generator"]


def encode_png(texture: UInt8[np.ndarray, "h w *c"]) -> bytes:
    """Encode an image as PNG."""
    stream = io.BytesIO()
    Image.fromarray(texture).save(stream, "PNG")
    return stream.getvalue()


def read_glb_chunks(glb: bytes) -> tuple[dict[str, Any], bytes]:
    """Split a GLB into its JSON and its binary buffer (glTF 2.0, section 4.4)."""
    end = 20 + int.from_bytes(glb[12:16], "little")
    size = int.from_bytes(glb[end : end + 4], "little")
    return json.loads(glb[20:end]), glb[end + 8 : end + 8 + size]


def _encode_glb(textured: TexturedMesh, name: str, extras: Extras, frame: CoordinateFrame) -> bytes:
    if frame != GLTF_FRAME:
        raise ValueError(f"the frame of glTF is {GLTF_FRAME}, not {frame}")
    scene = trimesh.Scene()
    scene.add_geometry(as_trimesh(textured, pbr_material(textured, name), name), node_name=name, geom_name=name)
    finalize = partial(_finalize_tree, name=name, extras=extras, shared=[name] if has_orm_image(textured) else [])
    return export_glb(scene, include_normals=True, tree_postprocessor=finalize)


def _split_images(tree: dict[str, Any], blob: bytes) -> tuple[bytes, dict[str, bytes]]:
    """Return the buffer without images, and the images by their ``uri``; update ``tree`` accordingly."""
    views, image_files, buffer = tree["bufferViews"], {}, bytearray()
    starts = [view.get("byteOffset", 0) for view in views]
    contents = {i: blob[starts[i] : starts[i] + view["byteLength"]] for i, view in enumerate(views)}
    for image in tree.get("images", []):
        image.pop("mimeType", None)
        padded = contents.pop(image.pop("bufferView"))
        image_files[image["uri"]] = padded[: padded.rindex(b"IEND") + 8]  # a PNG's last chunk and its checksum
    new_index = {i: index for index, i in enumerate(contents)}
    for i, content in contents.items():
        views[i]["byteOffset"] = len(buffer)
        buffer += content + b"\0" * (-len(content) % 4)  # accessors are aligned to four bytes
    tree["bufferViews"] = [views[i] for i in contents]
    for accessor in tree["accessors"]:
        accessor["bufferView"] = new_index[accessor["bufferView"]]
    return bytes(buffer), image_files


def pbr_material(textured: TexturedMesh, name: str) -> PBRMaterial:
    """Build the material of a mesh, with its maps.

    Occlusion that shares the image of roughness and metallic (`has_orm_image`) is left to `finalize_meshes`.
    """
    normal, occlusion = textured.normal_map, None if has_orm_image(textured) else textured.occlusion
    orm = encode_orm(textured)
    roughness, metallic = textured.uniform_material or (1.0, 1.0)  # factors of the texture
    return PBRMaterial(
        name=name,
        baseColorTexture=Image.fromarray(textured.texture),
        metallicFactor=metallic,
        roughnessFactor=roughness,
        metallicRoughnessTexture=None if orm is None else Image.fromarray(orm),
        baseColorFactor=np.full(4, 255, np.uint8),
        doubleSided=False,
        normalTexture=None if normal is None else Image.fromarray(normal),
        # glTF reads the red channel
        occlusionTexture=None if occlusion is None else Image.fromarray(occlusion).convert("RGB"),
    )


def encode_orm(textured: TexturedMesh) -> UInt8[np.ndarray, "h w 3"] | None:
    """Return an image of occlusion (255 if there is none), roughness and metallic; None if factors suffice."""
    maps, occlusion = textured.metallic_roughness, textured.occlusion
    if maps is None or textured.uniform_material is not None:
        return None
    unoccluded = np.full(maps.shape[:2], 255, np.uint8)
    return np.dstack([unoccluded if occlusion is None else occlusion, maps])


def has_orm_image(textured: TexturedMesh) -> bool:
    """Return whether occlusion, roughness and metallic are the channels of one image."""
    return textured.occlusion is not None and textured.uniform_material is None


def as_trimesh(textured: TexturedMesh, material: PBRMaterial | SimpleMaterial, name: str) -> trimesh.Trimesh:
    """Convert to trimesh, keeping the vertices and their order."""
    mesh = trimesh.Trimesh(
        vertices=textured.vertices,
        faces=textured.faces,
        vertex_normals=normalize_vectors(textured.normals.astype(np.float64)),
        visual=TextureVisuals(uv=textured.uv, material=material),
        process=False,
        validate=False,
    )
    mesh.metadata = {"name": name}
    if textured.tangents is not None:
        mesh.vertex_attributes["_TANGENT"] = textured.tangents.astype(np.float32)
    return mesh


def _finalize_tree(tree: dict[str, Any], name: str, extras: Extras, shared: Collection[str]) -> None:
    """Rewrite the glTF tree of trimesh: no empty parent node, names, and buffer targets.

    trimesh adds an empty parent node "world", which Blender would show, and omits the targets of
    buffer views, which the validator reports.
    """
    tree["asset"] = {"version": "2.0", "generator": GENERATOR}
    if "license" in extras:
        tree["asset"]["copyright"] = extras["license"]  # shown by viewers
    tree["nodes"] = [{"name": name, "mesh": 0, **({"extras": dict(extras)} if extras else {})}]
    # no name: names are unique in Godot, which would rename the node to "<name> 2"
    tree["scenes"] = [{"nodes": [0]}]
    tree["scene"] = 0
    tree.pop("extras", None)
    for mesh in tree["meshes"]:
        mesh["name"] = name
    finalize_meshes(tree, shared)
    if len(tree.get("materials", [])) != 1:
        raise AssertionError("a mesh must have exactly one material")


def finalize_meshes(tree: dict[str, Any], shared: Collection[str] = ()) -> None:
    """Set attributes, buffer targets, image names and samplers of all meshes.

    ``shared`` names the materials that `has_orm_image`: trimesh would write the image twice.
    """
    for mesh in tree["meshes"]:
        mesh.pop("extras", None)
        for primitive in mesh["primitives"]:
            _set_buffer_target(tree, primitive["indices"], ELEMENT_ARRAY_BUFFER)
            # trimesh only supports it as an application-specific attribute
            if "_TANGENT" in primitive["attributes"]:
                primitive["attributes"]["TANGENT"] = primitive["attributes"].pop("_TANGENT")
            for accessor in primitive["attributes"].values():
                _set_buffer_target(tree, accessor, ARRAY_BUFFER)
    for material in tree.get("materials", []):
        if material["name"] in shared:
            material["occlusionTexture"] = dict(material["pbrMetallicRoughness"]["metallicRoughnessTexture"])
        _name_images(tree, material)
    for sampler in tree.get("samplers", []):
        sampler.setdefault("magFilter", 9729)  # linear
        sampler.setdefault("minFilter", 9987)  # linear, with mip levels


def _name_images(tree: dict[str, Any], material: dict[str, Any]) -> None:
    factors = material.get("pbrMetallicRoughness", {})
    uses = {
        "": factors.get("baseColorTexture"),
        "_normal": material.get("normalTexture"),
        "_occlusion": material.get("occlusionTexture"),
        "_orm": factors.get("metallicRoughnessTexture"),  # last: occlusion may be in the same image
    }
    for suffix, texture in uses.items():
        if texture is not None:
            source = tree["textures"][texture["index"]]["source"]
            tree["images"][source]["name"] = material["name"] + suffix


def _set_buffer_target(tree: dict[str, Any], accessor: int, target: int) -> None:
    tree["bufferViews"][tree["accessors"][accessor]["bufferView"]]["target"] = target

"""Write OBJ with its material library and texture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from trimesh.exchange.obj import export_obj
from trimesh.visual.material import SimpleMaterial

from dreamfusion3d.core.files import write_bytes
from dreamfusion3d.core.types import DEFAULT_MATERIAL, TexturedMesh
from dreamfusion3d.mesh.io.axes import CoordinateFrame, to_frame
from dreamfusion3d.mesh.io.gltf import GLTF_FRAME, Extras, as_trimesh, comment_lines, companion_stem, encode_png
from dreamfusion3d.mesh.quads import are_quad_halves


def _merge_quads(text: str) -> str:
    """Merge consecutive triangles that are halves of a quad, unless a UV seam separates them."""
    lines, out = text.split("\n"), []
    faces = [i for i, line in enumerate(lines) if line.startswith("f ")]
    first, corners = faces[0], np.array([lines[i].split()[1:] for i in faces])
    first_halves, second_halves = corners[0::2], corners[1::2]
    for a, b, is_quad in zip(first_halves, second_halves, are_quad_halves(first_halves, second_halves), strict=True):
        out += [f"f {' '.join([*a, b[2]])}"] if is_quad else [f"f {' '.join(a)}", f"f {' '.join(b)}"]
    return "\n".join([*lines[:first], *out, *lines[faces[-1] + 1 :]])


def write_obj(
    textured: TexturedMesh, path: Path, name: str, extras: Extras | None = None, frame: CoordinateFrame = GLTF_FRAME
) -> list[Path]:
    """Write an OBJ with its ``.mtl`` and ``.png``, named by `companion_stem`; the OBJ is written last.

    A normal map is written as ``_normal.png`` and referenced by ``norm``, because readers disagree on
    whether ``map_Bump`` holds heights or normals. Roughness and metallic are ``Pr`` and ``Pm`` of the PBR
    extension, with gray images if they vary, and absent if they are the default. ``extras`` and the
    frame are stored in comments: the format has neither axes nor units. Quads are kept, except where a
    UV seam runs along the diagonal.
    Returns the files written, the OBJ first.
    """
    white, black = [255, 255, 255, 255], [0, 0, 0, 255]
    colors = {"ambient": white, "diffuse": white, "specular": black}
    material = SimpleMaterial(image=Image.fromarray(textured.texture), name=name, glossiness=0.0, **colors)
    stem = companion_stem(path)
    text, companions = export_obj(
        as_trimesh(to_frame(textured, frame), material, name),
        include_normals=True,
        include_texture=True,
        return_texture=True,
        write_texture=False,
        mtl_name=f"{stem}.mtl",
        header="\n# ".join(comment_lines(extras or {}, frame)),
    )
    if textured.quads is not None and textured.quads:
        text = _merge_quads(text)
    # trimesh names the image after its material
    lines = companions[f"{stem}.mtl"].replace(f"map_Kd {name}.png".encode(), f"map_Kd {stem}.png".encode())
    # the same bytes as the image of the glTF, which has the same name
    files = {f"{stem}.png": encode_png(textured.texture)}
    if textured.normal_map is not None:
        files[f"{stem}_normal.png"] = encode_png(textured.normal_map)
        lines += f"\nnorm {stem}_normal.png".encode()
    material_lines, maps = _encode_material(textured, stem)
    lines += material_lines.encode()
    files |= maps
    files = {f"{stem}.mtl": lines + b"\n", **files}
    for file, data in files.items():
        write_bytes(path.parent / file, data)
    write_bytes(path, (text.rstrip("\n") + "\n").encode())
    return [path, *(path.parent / file for file in files)]


def _encode_material(textured: TexturedMesh, stem: str) -> tuple[str, dict[str, bytes]]:
    """Return lines of the material library for roughness and metallic, and their images."""
    factors, maps = textured.uniform_material, textured.metallic_roughness
    if factors == DEFAULT_MATERIAL:
        return "", {}
    roughness, metallic = factors or (1.0, 1.0)
    text = f"\nPr {roughness:.6g}\nPm {metallic:.6g}"
    if factors is not None or maps is None:
        return text, {}
    names = f"{stem}_roughness.png", f"{stem}_metallic.png"
    images = {name: encode_png(np.ascontiguousarray(maps[..., i])) for i, name in enumerate(names)}
    return text + f"\nmap_Pr {names[0]}\nmap_Pm {names[1]}", images

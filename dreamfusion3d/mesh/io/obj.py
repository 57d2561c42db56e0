"""Moved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from trimesh.exchange.obj import export_obj
from trimesh.visual.material import SimpleMaterial

from dreamfusion3d.core.files import write_bytes
from dreamfusion3d.core.types import TexturedMesh
from dreamfusion3d.mesh.io.axes import CoordinateFrame, to_frame
from dreamfusion3d.mesh.io.gltf import GLTF_FRAME, Extras, as_trimesh, comment_lines, companion_stem, encode_png
from dreamfusion3d.mesh.quads import are_quad_halves


def _merge_quads(text: str) -> str:
    """Two lines of faces in a row that are halves of a quad as one; those that a seam parts stay two."""
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
    """OBJ at ``path`` with an ``.mtl`` and a ``.png`` of its name (`companion`); the OBJ comes last.

    A normal map is ``_normal.png``, named by ``norm``: ``map_Bump`` is a height to some readers
    and normals to others, and a height read from normals is nonsense. ``extras`` and the frame
    stand in its comments: the format knows neither axes nor units. Quads are quads, except where
    a seam of the atlas runs along a quad's diagonal.
    Returns the files written, the OBJ first.
    """
    material = SimpleMaterial(
        image=Image.fromarray(textured.texture),
        name=name,
        ambient=[255, 255, 255, 255],
        diffuse=[255, 255, 255, 255],
        specular=[0, 0, 0, 255],
        glossiness=0.0,
    )
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
    # trimesh calls the picture by its material
    map_kd = [f"map_Kd {stem_or_name}.png".encode() for stem_or_name in (name, stem)]
    lines = companions[f"{stem}.mtl"].replace(*map_kd)
    # the same bytes as glTF's picture, with which it shares its name
    files = {f"{stem}.png": encode_png(textured.texture)}
    if textured.normal_map is not None:
        files[f"{stem}_normal.png"] = encode_png(textured.normal_map)
        lines += f"\nnorm {stem}_normal.png".encode()
    files = {f"{stem}.mtl": lines + b"\n", **files}
    for file, data in files.items():
        write_bytes(path.parent / file, data)
    write_bytes(path, (text.rstrip("\n") + "\n").encode())
    return [path, *(path.parent / file for file in files)]

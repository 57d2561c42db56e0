"""Write PLY and STL with trimesh, after welding the UV seams.

A UV atlas duplicates vertices along its seams, which a slicer would treat as holes.

PLY gets vertex colors instead of texture coordinates: names for those are not standardized (s t, u v and
texture_u texture_v are all in use), the texture would be named in a comment that most readers skip, and
point cloud tools show vertex colors directly. Color detail is limited to the size of the triangles; GLB
and OBJ keep the texture.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Float, Int, UInt8
from trimesh.exchange.ply import export_ply
from trimesh.exchange.stl import export_stl

from dreamfusion3d.core.files import write_bytes
from dreamfusion3d.core.types import TexturedMesh
from dreamfusion3d.mesh.geometry import normalize_vectors, weld_vertices
from dreamfusion3d.mesh.io.axes import CoordinateFrame, to_frame
from dreamfusion3d.mesh.io.gltf import GENERATOR, Extras, comment_lines

STL_HEADER = 80  # bytes


def sample_vertex_colors(textured: TexturedMesh) -> UInt8[np.ndarray, "v 3"]:
    """Sample the texture bilinearly at every vertex, in sRGB."""
    height, width = textured.texture.shape[:2]
    # texel centers lie at +0.5; v = 1 is the top row
    x = np.clip(textured.uv[:, 0] * width - 0.5, 0, width - 1)
    y = np.clip((1 - textured.uv[:, 1]) * height - 0.5, 0, height - 1)
    j, i = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    fx, fy = (x - j)[:, None], (y - i)[:, None]
    texels = textured.texture.astype(np.float64)
    top = texels[i, j] * (1 - fx) + texels[i, j + 1] * fx
    low = texels[i + 1, j] * (1 - fx) + texels[i + 1, j + 1] * fx
    return np.round(top * (1 - fy) + low * fy).astype(np.uint8)


def _average_copies(
    values: Float[np.ndarray, "v 3"], position_index: Int[np.ndarray, " v"], count: int
) -> Float[np.ndarray, "w 3"]:
    """Average values over the copies of each vertex."""
    total = np.zeros((count, 3))
    np.add.at(total, position_index, values)
    return total / np.bincount(position_index, minlength=count)[:, None]


def _welded_trimesh(textured: TexturedMesh, frame: CoordinateFrame) -> trimesh.Trimesh:
    first, position_index = weld_vertices(textured.vertices)
    converted = to_frame(textured, frame)
    colors = _average_copies(sample_vertex_colors(textured).astype(np.float64), position_index, len(first))
    return trimesh.Trimesh(
        vertices=converted.vertices[first],
        faces=position_index[textured.faces],
        vertex_normals=normalize_vectors(converted.normals[first].astype(np.float64)),
        vertex_colors=np.round(colors).astype(np.uint8),
        process=False,
        validate=False,
    )


def write_ply(textured: TexturedMesh, path: Path, name: str, extras: Extras, frame: CoordinateFrame) -> list[Path]:
    """Write binary PLY: closed mesh with normals and sRGB vertex colors; ``extras`` as comments."""
    data = export_ply(_welded_trimesh(textured, frame), vertex_normal=True)
    head, end, body = data.partition(b"end_header\n")
    lines = [line for line in head.decode("ascii").splitlines() if not line.startswith("comment")]
    comment_block = [f"comment {line}" for line in (name, *comment_lines(extras, frame))]
    # "ply" and "format" must come first
    write_bytes(path, "\n".join([*lines[:2], *comment_block, *lines[2:], ""]).encode("ascii") + end + body)
    return [path]


def write_stl(textured: TexturedMesh, path: Path, name: str, extras: Extras, frame: CoordinateFrame) -> list[Path]:
    """Write binary STL, with name and frame in the header.

    The format has no colors, no units and no room for ``extras``.
    """
    # must not begin with "solid", by which readers recognize ASCII files
    header = f"{GENERATOR} {name[:40]}, {frame}".encode("ascii").ljust(STL_HEADER)
    write_bytes(path, header + export_stl(_welded_trimesh(textured, frame))[STL_HEADER:])
    return [path]

"""Small 3D previews for the contact sheet: vertex-colored meshes of some hundred triangles.

A page opened from a file may not read the GLB next to it (browsers treat every file as its own origin), so its
3D previews must be embedded. A preview is a GLB with quantized positions (KHR_mesh_quantization), so that the
page needs only one reader; deflated, it is about as large as the thumbnail.
"""

from __future__ import annotations

import base64
import contextlib
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from dreamfusion3d.core import files

MAX_PREVIEW_FACES = 1600
QUANTIZATION_STEPS = 2**14  # along the longest side
PREVIEW_FOLDER = "previews"  # cache, keyed by the sha256 of the asset


def load_or_make_preview(glb: Path, sha256: str, cache: Path) -> str | None:
    """Return the preview of a GLB as a base64-encoded, deflated GLB; None if the file cannot be read.

    Previews are cached in the folder ``cache``, because sheets are written more often than assets.
    """
    path = cache / f"{sha256}.bin"
    with contextlib.suppress(OSError):
        return base64.b64encode(path.read_bytes()).decode()
    if (data := _make_preview(glb)) is None:
        return None
    if len(sha256) == 64 and set(sha256) <= set("0123456789abcdef"):
        with contextlib.suppress(OSError):  # made again next time
            files.write_bytes(path, data)
    return base64.b64encode(data).decode()


def _make_preview(glb: Path) -> bytes | None:
    from dreamfusion3d.mesh.geometry import weld_vertices
    from dreamfusion3d.mesh.io.gltf import read_glb
    from dreamfusion3d.mesh.io.ply_stl import sample_vertex_colors

    try:
        textured = read_glb(glb, maps=False)
        first, vertex_index = weld_vertices(textured.vertices)
        colors = sample_vertex_colors(textured)[first]
        vertices = textured.vertices[first]
        if not np.isfinite(vertices).all():
            return None
        mesh = decimate_colored_mesh(vertices, vertex_index[textured.faces], colors)
        return zlib.compress(encode_colored_glb(*mesh), 9)
    except Exception:  # the file may be anything, and trimesh raises many types
        return None


def decimate_colored_mesh(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    colors: UInt8[np.ndarray, "v 3"],
    max_faces: int = MAX_PREVIEW_FACES,
) -> tuple[Float[np.ndarray, "w 3"], Int[np.ndarray, "g 3"], UInt8[np.ndarray, "w 3"]]:
    """Decimate to about ``max_faces`` triangles by quadric edge collapse, with colors of the nearest vertices.

    Unlike `dreamfusion3d.mesh.simplify`, this does not preserve topology.
    """
    import fast_simplification
    from scipy.spatial import cKDTree

    if len(faces) <= max_faces:
        return vertices, faces, colors
    v, f = fast_simplification.simplify(vertices.astype(np.float32), faces.astype(np.int32), target_count=max_faces)
    _, nearest = cKDTree(vertices).query(v)
    return np.asarray(v, np.float64), np.asarray(f, np.int64), colors[nearest]


def encode_colored_glb(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], colors: UInt8[np.ndarray, "v 3"]
) -> bytes:
    """Encode colored triangles as a GLB (glTF 2.0) with int16 positions; the node scales them to meters."""
    used, flat = np.unique(faces, return_inverse=True)
    vertices, colors, faces = vertices[used], colors[used], flat.reshape(-1, 3)
    low, high = vertices.min(0), vertices.max(0)
    step = max(float((high - low).max()) / QUANTIZATION_STEPS, 1e-12)
    center = (low + high) / 2
    points = np.zeros((len(vertices), 4), "<i2")  # rows of eight bytes: glTF requires multiples of four
    points[:, :3] = np.round((vertices - center) / step)
    rgba = np.full((len(vertices), 4), 255, np.uint8)
    rgba[:, :3] = colors
    needs_uint32 = len(vertices) > 2**16 - 1
    corners = faces.astype("<u4" if needs_uint32 else "<u2").reshape(-1)
    gltf = _gltf_json(points, len(corners), needs_uint32, step, center.tolist())
    return _pack_glb(gltf, points.tobytes() + rgba.tobytes() + corners.tobytes())


def _gltf_json(
    points: np.ndarray, corners: int, needs_uint32: bool, step: float, center: list[float]
) -> dict[str, Any]:
    count = len(points)
    corner_bytes = corners * (4 if needs_uint32 else 2)
    box = {"min": points[:, :3].min(0).tolist(), "max": points[:, :3].max(0).tolist()}
    views = [
        {"buffer": 0, "byteOffset": 0, "byteLength": 8 * count, "byteStride": 8},
        {"buffer": 0, "byteOffset": 8 * count, "byteLength": 4 * count, "byteStride": 4},
        {"buffer": 0, "byteOffset": 12 * count, "byteLength": corner_bytes},
    ]
    return {
        "asset": {"version": "2.0"},
        "extensionsUsed": ["KHR_mesh_quantization"],
        "extensionsRequired": ["KHR_mesh_quantization"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "scale": [step] * 3, "translation": center}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "COLOR_0": 1}, "indices": 2}]}],
        "accessors": [
            {"bufferView": 0, "componentType": 5122, "count": count, "type": "VEC3", **box},
            {"bufferView": 1, "componentType": 5121, "normalized": True, "count": count, "type": "VEC4"},
            {"bufferView": 2, "componentType": 5125 if needs_uint32 else 5123, "count": corners, "type": "SCALAR"},
        ],
        "bufferViews": views,
        "buffers": [{"byteLength": 12 * count + corner_bytes}],
    }


def _pack_glb(gltf: dict[str, Any], blob: bytes) -> bytes:
    """Pack JSON and buffer into the binary container (glTF 2.0, section 4.4)."""
    text = json.dumps(gltf, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    blob += b"\0" * (-len(blob) % 4)
    head = struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(blob))
    parts = ((b"JSON", text), (b"BIN\0", blob))
    return head + b"".join(struct.pack("<I4s", len(part), chunk_type) + part for chunk_type, part in parts)

"""Finished assets as a pipeline receives them: their checks, the bake, a coarse level, other programs.

    python -m benchmarks.assets out/development --out out/assets [--clients]

FOLDER holds the folders of finished assets with their work/. Prints JSON; ``levels.png`` shows each
asset shaded in full, at 5,000 faces with its normal map, and at 5,000 faces without. ``--clients``
opens each GLB in the glTF validator, Blender and Godot, where they are installed as for the tests.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from benchmarks.mesh import bake_psnr, field_of, field_pictures
from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.config import Config
from dreamfusion3d.core.shading import lambert_shading, light_direction
from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.mesh.lods import unwrap_and_bake
from dreamfusion3d.mesh.normal_map import build_high_poly
from dreamfusion3d.mesh.simplify import simplify, taubin_smooth
from dreamfusion3d.mesh.tangents import vertex_normals
from dreamfusion3d.pipelines.stages import load_arrays
from dreamfusion3d.pipelines.surface_extraction import ExtractedSurface, as_numpy_function, silhouette_cameras
from dreamfusion3d.rendering.deferred import rasterize_gbuffer, sample_texture
from dreamfusion3d.rendering.mesh_renderer import render_mesh
from tests.support.client_reports import blender_report, gltf_validator_report, godot_report

COARSE = 5000  # faces
SIZE = 256  # pixels of the views
FRONT = 1  # of the silhouettes' cameras: 15 degrees right of the front, 15 above
FIGURES = ("silhouette_iou", "chamfer", "uv_overlap", "self_intersections", "texel_evenness")


def lit(textured: TexturedMesh, cameras: OrbitCameras, *, mapped: bool) -> torch.Tensor:
    """Light on a white surface at every pixel, (b h w); what is not covered is 1. ``mapped``: by the
    normal map, as a renderer that follows glTF puts normal, tangent and bitangent together."""
    hits = rasterize_gbuffer(Mesh(textured.vertices, textured.faces), textured.normals, cameras)
    faces = torch.from_numpy(textured.faces.astype(np.int64))
    normal = hits.normals
    if mapped:
        assert textured.normal_map is not None and textured.tangents is not None
        uv = hits.interpolate(torch.from_numpy(textured.uv).float(), faces)
        local = 2 * sample_texture(torch.from_numpy(textured.normal_map).float() / 255, uv) - 1
        tangent = hits.interpolate(torch.from_numpy(textured.tangents).float(), faces)
        along = F.normalize(tangent[:, :3], dim=1)
        across = tangent[:, 3:].sign() * torch.linalg.cross(normal, along)
        normal = F.normalize(local[:, :1] * along + local[:, 1:2] * across + local[:, 2:] * normal, dim=1)
    b, h, w, _ = hits.shape
    light = light_direction(cameras.camera_to_world)[hits.subpixel // (h * w)]
    picture = torch.ones(b * h * w)
    picture[hits.subpixel] = lambert_shading(normal, light)
    return picture.view(b, h, w)


def psnr(one: torch.Tensor, two: torch.Tensor) -> float:
    """Of pictures in [0, 1], in dB, over what either covers."""
    covered = (one < 1) | (two < 1)
    return float(-10 * torch.log10((one - two)[covered].square().mean().clamp(min=1e-10)))


def levels(folder: Path, field: NerfField, cameras: OrbitCameras) -> tuple[dict[str, float], np.ndarray]:
    """How near 5,000 faces come to the unsimplified surface's light, with and without the normal map."""
    found = load_arrays(folder / "work" / "surface.npz", ExtractedSurface)
    assert found is not None, f"{folder} has no work/surface.npz"
    rough = taubin_smooth(Mesh(found.vertices, found.faces), Config().mesh.smooth_iterations)
    albedo = as_numpy_function(field.albedo, torch.device("cpu"))
    coarse = unwrap_and_bake(simplify(rough, COARSE), albedo, build_high_poly(rough), 1024)
    bare = TexturedMesh(
        rough.vertices,
        rough.faces,
        vertex_normals(rough),
        np.zeros((len(rough.vertices), 2)),
        np.zeros((4, 4, 3), np.uint8),
    )
    full = lit(bare, cameras, mapped=False)
    shown = {name: lit(coarse, cameras, mapped=name == "mapped") for name in ("mapped", "plain")}
    figures = {
        f"lod_{name}_db": round(statistics.median(psnr(a, b) for a, b in zip(full, picture, strict=True)), 2)
        for name, picture in shown.items()
    }
    strip = torch.cat([full[FRONT], shown["mapped"][FRONT], shown["plain"][FRONT]], 1)
    return figures, (strip.numpy() * 255).round().astype(np.uint8)


def opened(glb: Path, record: dict[str, Any]) -> dict[str, Any]:
    """What other programs say of the file: only what is wrong is a sentence, the rest are figures."""
    found: dict[str, Any] = {}

    def ask(name: str, of: Callable[[], Any]) -> None:
        try:
            found[name] = of()
        except pytest.skip.Exception as missing:
            found[name] = f"not run: {missing}"

    def validator() -> dict[str, int]:
        issues = gltf_validator_report(glb)["issues"]
        return {key: issues[key] for key in ("numErrors", "numWarnings", "numInfos", "numHints")}

    def blender() -> list[str]:
        report = blender_report(glb)
        return faults(
            {
                "one mesh": [o[1] for o in report["objects"]] == ["MESH"],
                "stands on the floor": abs(report["low"][2]) < 1e-3,
                "its height": abs(report["high"][2] - record["height"]["meters"]) < 1e-3,
                "its faces": report["faces"] == record["mesh"]["faces"],
                "one UV layer": len(report["uv_layers"]) == 1,
                "packed images": all(image[2] for image in report["images"]) and len(report["images"]) == 2,
                "colour linked": report["material"]["base_colour_image"] is not None,
                "prompt and seed": report["properties"].get("prompt") == record["prompt"],
                "a frame with the asset in it": (report["picture"][..., 3] > 128).mean() > 0.02,
            }
        )

    def godot() -> list[str]:
        with tempfile.TemporaryDirectory() as project:
            shutil.copy(glb, Path(project, "clay_ball.glb"))
            nodes = [n for n in godot_report(Path(project))["nodes"] if n["class"] == "MeshInstance"]
        return faults(
            {
                "one mesh": len(nodes) == 1,
                "its faces": nodes[0]["triangles"] == record["mesh"]["faces"],
                "stands on the floor": abs(nodes[0]["low"][1]) < 1e-3,
                "UV and normals": nodes[0]["has_uv"] and nodes[0]["has_normals"],
                "texture": nodes[0]["texture"] == [record["config"]["mesh"]["texture_size"]] * 2,
            }
        )

    ask("validator", validator)
    ask("blender_faults", blender)
    ask("godot_faults", godot)
    return found


def faults(expected: dict[str, bool]) -> list[str]:
    return [name for name, held in expected.items() if not held]


def row_of(folder: Path, cameras: OrbitCameras, clients: bool) -> tuple[dict[str, Any], np.ndarray]:
    record = json.loads((folder / "asset.json").read_text())
    field, mesh = field_of(folder), record["mesh"]
    textured = load_arrays(folder / "work" / "textured.npz", TexturedMesh)
    assert textured is not None, f"{folder} has no work/textured.npz"
    shown = render_mesh(textured, cameras, shading=False)
    figures, strip = levels(folder, field, cameras)
    return {
        "prompt": record["prompt"],
        "failed_checks": [name for name, check in record["checks"].items() if not check["passed"]],
        "watertight": mesh["watertight"],
        "manifold": mesh["manifold"],
        "degenerate_faces": mesh["degenerate_faces"],
        **{name: round(mesh[name], 6) for name in FIGURES},
        "bake_psnr_db": round(bake_psnr(shown, field_pictures(field, cameras, 0)), 2),
        **figures,
        **(opened(folder / f"{record['slug']}.glb", record) if clients else {}),
    }, strip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("out/assets"))
    parser.add_argument("--clients", action="store_true", help="open every GLB in other programs")
    arguments = parser.parse_args()
    cameras = silhouette_cameras().resized(SIZE, SIZE)
    arguments.out.mkdir(parents=True, exist_ok=True)
    reports = sorted(arguments.folder.glob("*/asset.json"))
    if not reports:
        parser.error(f"there is no finished asset in {arguments.folder}")
    rows, strips = [], []
    for report in reports:
        row, strip = row_of(report.parent, cameras, arguments.clients)
        rows.append(row)
        strips.append(strip)
        Image.fromarray(np.concatenate(strips)).save(arguments.out / "levels.png")
    numbers = [n for n, v in rows[0].items() if isinstance(v, (int, float)) and not isinstance(v, bool)]
    summary = {
        name: {"least": min(v), "median": statistics.median(v), "most": max(v)}
        for name in numbers
        for v in [[row[name] for row in rows]]
    }
    report_of_all = {"benchmark": "assets", "assets": len(rows), "summary": summary, "rows": rows}
    (arguments.out / "assets.json").write_text(json.dumps(report_of_all, indent=2) + "\n")
    print(json.dumps(report_of_all, indent=2))


if __name__ == "__main__":
    main()

"""A prior trained by `train-prior --assets-from`: does an asset look like a mesh of its caption?

    python -m benchmarks.asset_library --library library --prior out/studio --out out/library_bench

Makes assets of captions with two or more meshes and of captions with one, and prints JSON. Each asset is compared with
the mesh that its seed drew, by the measures of `evaluate`; and with all meshes of the library, of which the nearest
should have its caption. "distance" is the symmetric Chamfer distance of points with (position, COLOR_WEIGHT x color).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from dreamfusion3d.core.config import resolve_config
from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.evaluation.color import sample_surface_colors, texel_values
from dreamfusion3d.mesh.bake import interpolate_barycentric
from dreamfusion3d.mesh.bvh import build_bvh, closest_points
from dreamfusion3d.mesh.checks import sample_faces
from dreamfusion3d.mesh.geometry import normalize_vectors
from dreamfusion3d.mesh.io.colors import sample_materials
from dreamfusion3d.mesh.io.gltf import read_glb
from dreamfusion3d.mesh.io.load import read_mesh
from dreamfusion3d.mesh.user_mesh import mesh_normalization
from dreamfusion3d.pipelines.text_to_mesh import text_to_mesh
from dreamfusion3d.priors.assets.metadata import read_asset_metadata
from dreamfusion3d.priors.assets.surface import read_asset_surface
from dreamfusion3d.priors.loading import load_prior

COLOR_WEIGHT = 0.25
NEAREST_POINTS = 4000  # per mesh, to find the nearest one
SURFACE_POINTS = 40_000
CLOSE_COLOR = 0.1  # in every channel


def colored_points(path: Path) -> np.ndarray:
    """Points of a mesh of the library with weighted colors, in the scene: (n, 6)."""
    mesh = read_mesh(path)
    points, _, materials = sample_materials(path, NEAREST_POINTS)
    scene = mesh_normalization(mesh.vertices[np.unique(mesh.faces)]).to_scene(points)
    return np.concatenate([scene, COLOR_WEIGHT * materials[:, :3]], 1)


def chamfer(a: np.ndarray, b: np.ndarray) -> float:
    return float(cKDTree(a).query(b)[0].mean() + cKDTree(b).query(a)[0].mean()) / 2


def compare(mesh: TexturedMesh, path: Path) -> dict[str, float]:
    """The measures of `evaluate` against the visible surface of the mesh that was drawn."""
    true = read_asset_surface(path, SURFACE_POINTS)
    face, weights = sample_faces(mesh_of(mesh), SURFACE_POINTS // 2)
    points = interpolate_barycentric(mesh.vertices, mesh.faces[face], weights)
    to_true, nearest = cKDTree(true.points).query(points)
    to_asset = closest_points(build_bvh(mesh_of(mesh)), true.points)
    own = interpolate_barycentric(mesh.normals, mesh.faces[face], weights)
    back = interpolate_barycentric(mesh.normals, mesh.faces[to_asset.face], to_asset.weights)
    cosine = (
        normalize_vectors(np.concatenate([own, back])) * np.concatenate([true.normals[nearest], true.normals])
    ).sum(1)
    sheet = np.concatenate([true.sheet[nearest], true.sheet])
    angles = np.degrees(np.arccos(np.clip(np.where(sheet, np.abs(cosine), cosine), -1, 1)))
    diagonal = float(np.linalg.norm(np.ptp(true.points, axis=0)))
    color = texel_values(mesh, mesh.texture, face, weights)
    return {
        "normal_angle_mean_deg": round(float(angles.mean()), 2),
        "normals_within_10_deg": round(float((angles < 10).mean()), 4),
        "chamfer": round(float(to_true.mean() + to_asset.distance.mean()) / 2 / diagonal, 5),
        "right_color": round(float((np.abs(color - true.materials[nearest, :3]).max(1) < CLOSE_COLOR).mean()), 4),
        "roughness_error": round(
            float(np.abs(roughness_of(mesh, face, weights) - true.materials[nearest, 3]).mean()), 4
        ),
    }


def mesh_of(mesh: TexturedMesh) -> Mesh:
    return Mesh(mesh.vertices, mesh.faces)


def roughness_of(mesh: TexturedMesh, face: np.ndarray, weights: np.ndarray) -> np.ndarray:
    if mesh.metallic_roughness is None:
        return np.full(len(face), 0.8)
    return texel_values(mesh, mesh.metallic_roughness, face, weights)[:, 0]


def read_scene_mesh(path: Path) -> TexturedMesh:
    mesh = read_glb(path, normal_map=False)
    return dataclasses.replace(mesh, vertices=mesh_normalization(mesh.vertices).to_scene(mesh.vertices))


def asset_points(mesh: TexturedMesh) -> np.ndarray:
    points, colors = sample_surface_colors(mesh, NEAREST_POINTS)
    return np.concatenate([points, COLOR_WEIGHT * colors], 1)


def choose_captions(captions: list[str], several: int, single: int) -> list[str]:
    """Evenly spread captions: ``several`` of those with two or more meshes, ``single`` of the others."""
    distinct = list(dict.fromkeys(captions))
    groups = [[c for c in distinct if captions.count(c) > 1], [c for c in distinct if captions.count(c) == 1]]
    chosen = []
    for group, count in zip(groups, (several, single), strict=True):
        count = min(count, len(group))
        chosen += [group[i * len(group) // count] for i in range(count)]
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--library", type=Path, required=True)
    parser.add_argument("--prior", required=True)
    parser.add_argument("--out", type=Path, default=Path("out/asset_library"))
    parser.add_argument("--several", type=int, default=40, help="captions with two or more meshes")
    parser.add_argument("--single", type=int, default=20, help="captions with one mesh")
    parser.add_argument("--quality", default="standard")
    options = parser.parse_args()

    records = read_asset_metadata(options.library)
    captions = [record.text for record in records]
    files = {record.file_name: options.library / record.file_name for record in records}
    library = [colored_points(path) for path in files.values()]
    config = resolve_config(options.quality, sets=[f"prior.name={options.prior}", "mesh.turntable=false"])
    prior = load_prior(config.prior)
    rows = []
    for caption in choose_captions(captions, options.several, options.single):
        asset = text_to_mesh(caption, out=options.out, config=config, prior=prior)
        mesh, drawn = read_scene_mesh(asset.main_file), (asset.record.instance or {})["file_name"]
        points = asset_points(mesh)
        shape = [chamfer(points[:, :3], other[:, :3]) for other in library]
        both = [chamfer(points, other) for other in library]
        rows.append(
            {
                "caption": caption,
                "drawn": drawn,
                "models": captions.count(caption),
                **compare(mesh, files[drawn]),
                "nearest": captions[int(np.argmin(both))],
                "nearest_shape": captions[int(np.argmin(shape))],
                **{key: asset.record.mesh[key] for key in ("watertight", "components")},
                "checks_failed": [name for name, check in asset.record.checks.items() if not check["passed"]],
            }
        )
    measures = ("normal_angle_mean_deg", "normals_within_10_deg", "chamfer", "right_color", "roughness_error")
    summary = {"assets": len(rows), **{m: round(statistics.mean(row[m] for row in rows), 5) for m in measures}}
    summary["normal_angle_median_of_means_deg"] = statistics.median(row["normal_angle_mean_deg"] for row in rows)
    for key in ("nearest", "nearest_shape"):
        several = [row[key] == row["caption"] for row in rows if row["models"] > 1]
        summary[f"own_caption_{key}_of_several"] = sum(several) / max(len(several), 1)
        single = [row[key] == row["caption"] for row in rows if row["models"] == 1]
        summary[f"own_caption_{key}_of_single"] = sum(single) / max(len(single), 1)
    summary["watertight_one_component"] = sum(row["watertight"] and row["components"] == 1 for row in rows) / len(rows)
    print(json.dumps({"summary": summary, "assets": rows}, indent=1))


if __name__ == "__main__":
    main()

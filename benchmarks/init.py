"""Runs that start from a mesh: how much of it they keep, and what the prompt made of it.

    python -m benchmarks.init --out out/init
    python -m benchmarks.init --mesh "a red mushroom with a white stem=mushroom.glb"

A true prop without colours is given with a prompt for another colour; ``--mesh PROMPT=FILE`` (repeated)
replaces the list. Prints JSON; ``init.png`` shows what was given above what was made, from the front,
the right, behind and above.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from PIL import Image

from dreamfusion3d.cameras.orbit import OrbitCameras, orbit_cameras
from dreamfusion3d.core.config import Config, resolve_config
from dreamfusion3d.core.progress import default_progress
from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.evaluation.ground_truth import ground_truth_mesh
from dreamfusion3d.mesh.io.load import read_mesh
from dreamfusion3d.mesh.quality import mesh_quality
from dreamfusion3d.mesh.tangents import vertex_normals
from dreamfusion3d.mesh.user_mesh import mesh_normalization
from dreamfusion3d.pipelines.stages import load_arrays
from dreamfusion3d.pipelines.surface_extraction import silhouette_cameras
from dreamfusion3d.pipelines.text_to_mesh import text_to_mesh
from dreamfusion3d.procedural.objects import sample_objects
from dreamfusion3d.rendering.mesh_renderer import render_mesh, render_silhouettes

PROPS = {
    "a blue pitcher with one handle": ("pitcher", 1),
    "a red chair": ("chair", 0),
    "a green vase with two handles": ("vase", 2),
    "a yellow duck": ("duck", 0),
}
SIZE = 200  # pixels of a picture


def true_prop(kind: str, count: int, path: Path) -> Path:
    """A grey GLB of one instance."""
    props = sample_objects(kind, count, "normal", 1, generator=torch.Generator().manual_seed(0))
    body = ground_truth_mesh(props, 0, 128)
    trimesh.Trimesh(body.vertices, body.faces, process=False).export(path)
    return path


def shown(mesh: TexturedMesh, cameras: OrbitCameras) -> np.ndarray:
    """The pictures side by side over light grey, as bytes."""
    picture = render_mesh(mesh, cameras, supersample=2)
    rgb = picture.over(torch.full((1, 3), 0.85)).clamp(0, 1).numpy()
    return (np.concatenate(list(rgb), 1) * 255).round().astype(np.uint8)


def bare(mesh: Mesh) -> TexturedMesh:
    """The mesh in grey."""
    uv, grey = np.zeros((len(mesh.vertices), 2)), np.full((4, 4, 3), 150, np.uint8)
    return TexturedMesh(mesh.vertices, mesh.faces, vertex_normals(mesh), uv, grey)


def row_of(prompt: str, path: Path, out: Path, config: Config) -> tuple[dict[str, Any], np.ndarray]:
    """One run: its figures, and its pictures under those of what was given."""
    given = read_mesh(path)
    place = mesh_normalization(given.vertices[np.unique(given.faces)])
    before = Mesh(place.to_scene(given.vertices), given.faces)
    asset = text_to_mesh(prompt, out=out, init=path, config=config, progress=default_progress(quiet=False))
    textured = load_arrays(asset.folder / "work" / "textured.npz", TexturedMesh)
    assert textured is not None, f"{asset.folder} has no work/textured.npz"
    after = Mesh(textured.vertices, textured.faces)
    drawn = [render_silhouettes(mesh, silhouette_cameras()) for mesh in (before, after)]
    shared, union = (drawn[0] & drawn[1]).sum((1, 2)), (drawn[0] | drawn[1]).sum((1, 2))
    welded = trimesh.Trimesh(given.vertices, given.faces)  # seams of its atlas are no edges of the solid
    row = {
        "prompt": prompt,
        "silhouette_iou_with_the_given": round(float((shared / union).mean()), 4),
        "silhouette_iou_with_the_field": asset.record.mesh["silhouette_iou"],
        "genus_given": mesh_quality(Mesh(welded.vertices, welded.faces)).genus,
        "genus_made": asset.record.mesh["genus"],
        "checks_failed": [name for name, check in asset.record.checks.items() if not check["passed"]],
    }
    heights = torch.tensor([15.0, 15.0, 15.0, 70.0])
    cameras = orbit_cameras([20.0, 110.0, 200.0, 20.0], heights, height=SIZE, width=SIZE)
    return row, np.concatenate([shown(bare(before), cameras), shown(textured, cameras)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mesh", action="append", default=[], metavar="PROMPT=FILE")
    parser.add_argument("--quality", default="standard")
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--out", type=Path, default=Path("out/init"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    cases = {prompt: Path(path) for prompt, _, path in (pair.rpartition("=") for pair in arguments.mesh)}
    if not cases:
        cases = {
            prompt: true_prop(kind, count, arguments.out / f"{kind}.glb") for prompt, (kind, count) in PROPS.items()
        }
    config = resolve_config(arguments.quality, None, arguments.sets)
    found = [row_of(prompt, path, arguments.out, config) for prompt, path in cases.items()]
    Image.fromarray(np.concatenate([picture for _, picture in found])).save(arguments.out / "init.png")
    print(json.dumps({"benchmark": "init", "assets": [row for row, _ in found]}, indent=2))


if __name__ == "__main__":
    main()

"""Distillation with a perfect prior: what SDS loses when the network loses nothing.

    python -m benchmarks.ideal --case pitcher:1 --case donut:0 --out out/ideal

The ideal denoiser over K instances of a kind teaches a field; the mesh made of it is compared
with every instance. ``iou`` compares what cameras can see (both solids filled where no camera
looks); ``iou_raw`` is the plain overlap, where the walls of an open vessel are thin and its
inside counts fully against a mesh that is filled.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch

from dreamfusion3d.cameras.orbit import orbit_cameras
from dreamfusion3d.core.config import Config, resolve_config
from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.evaluation.ground_truth import GROUND_TRUTH_BOUND, ground_truth_grid
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.mesh.clean import clean_grid
from dreamfusion3d.mesh.isosurface import log_ratio, sample_grid
from dreamfusion3d.mesh.quality import mesh_quality
from dreamfusion3d.mesh.space_carving import solidify
from dreamfusion3d.mesh.tangents import vertex_normals
from dreamfusion3d.pipelines.surface_extraction import as_numpy_function, extract_surface
from dreamfusion3d.procedural.objects import ObjectBatch, ObjectSpec, sample_objects
from dreamfusion3d.rendering.mesh_renderer import render_mesh
from dreamfusion3d.training.distillation import distill_field
from tests.support.oracle import OraclePrior

RESOLUTION = 96  # of the overlaps
CASES = ("pitcher:1", "vase:2", "chair:0", "donut:0")


def run(kind: str, handles: int, count: int, config: Config, seed: int) -> tuple[dict, Mesh, NerfField]:
    generator = torch.Generator().manual_seed(seed)
    props = sample_objects(kind, handles, "normal", count, generator=generator)
    prior = OraclePrior(props, ObjectSpec(kind, count=handles), num_camera_sets=8, generator=generator)
    field = NerfField(config.field, generator=generator)
    begun = time.perf_counter()
    text = prior.encode_text(["", ""])
    for _ in distill_field(field, prior, text, config, generator=generator, sample_cameras=prior.sample_cameras):
        pass
    seconds = time.perf_counter() - begun

    surface = extract_surface(field, config.mesh.grid_resolution, generator)
    mesh = Mesh(surface.vertices, surface.faces)
    facts = mesh_quality(mesh)
    grid = sample_grid(as_numpy_function(field.density, generator.device), RESOLUTION, GROUND_TRUTH_BOUND)
    level_grid = log_ratio(grid, float(surface.level))
    cleaned = clean_grid(solidify(level_grid, 0.0, GROUND_TRUTH_BOUND), 0.0)
    seen, raw = overlaps(cleaned > 0, level_grid > 0, props)
    report = {
        "kind": kind,
        "handles": handles,
        "instances": count,
        "steps": config.optim.steps,
        "seconds": round(seconds, 1),
        "iou": round(seen, 3),
        "iou_raw": round(raw, 3),
        "silhouette_iou": round(float(surface.silhouette_iou), 3),
        "genus": facts.genus,
        "genus_asked": props.category.expected_genus(handles),
        "components": facts.components,
        "watertight": facts.watertight,
    }
    return report, mesh, field


def overlaps(seen: np.ndarray, raw: np.ndarray, props: ObjectBatch) -> tuple[float, float]:
    """Best IoU over the instances: of the solids that cameras see, and of the fields as they are."""

    def iou(a: np.ndarray, b: np.ndarray) -> float:
        return float((a & b).sum() / (a | b).sum())

    best_seen = best_raw = 0.0
    for i in range(len(props)):
        truth = ground_truth_grid(props, i, RESOLUTION)
        best_raw = max(best_raw, iou(raw, truth > 0))
        best_seen = max(best_seen, iou(seen, solidify(truth, 0.0, GROUND_TRUTH_BOUND) > 0))
    return best_seen, best_raw


def picture(mesh: Mesh) -> np.ndarray:
    """Clay views from the front, above, the right and behind."""
    clay = TexturedMesh(
        mesh.vertices,
        mesh.faces,
        vertex_normals(mesh),
        np.zeros((len(mesh.vertices), 2)),
        np.full((4, 4, 3), 205, np.uint8),
    )
    shown = render_mesh(clay, orbit_cameras([0, 35, 90, 200], [10.0, 50, 15, 15], height=224, width=224))
    return np.concatenate(list(shown.over(torch.full((1, 3), 0.93)).clamp(0, 1).numpy()), axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", action="append", help="kind:handles; may be repeated")
    parser.add_argument("--instances", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--out", type=Path, default=Path("out/ideal"))
    arguments = parser.parse_args()
    config = resolve_config("standard", None, ["guidance.scale=1", *arguments.sets])
    arguments.out.mkdir(parents=True, exist_ok=True)
    reports, rows = [], []
    for case in arguments.case or CASES:
        kind, _, handles = case.partition(":")
        report, mesh, _ = run(kind, int(handles or 0), arguments.instances, config, arguments.seed)
        reports.append(report)
        rows.append(picture(mesh))
        iio.imwrite(arguments.out / "ideal.png", (np.concatenate(rows) * 255).round().astype(np.uint8))
    print(json.dumps({"benchmark": "ideal", "cases": reports}, indent=2))


if __name__ == "__main__":
    main()

"""From a trained field to all default files: what each stage costs and what it keeps, by resolution.

    python -m benchmarks.mesh --field out/a_barrel --field out/a_small_donut --out out/mesh
    python -m benchmarks.mesh --prop pitcher:1 --resolution 64 --size 64 --faces 2000 --texture-size 256

``--field`` names the folder of a finished run, whose work/field.safetensors is read; ``--prop`` makes
the field of a true procedural prop instead. Kernels are compiled before the clock starts.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.config import Config, config_from_dict
from dreamfusion3d.core.types import Field, Mesh, Render, TexturedMesh
from dreamfusion3d.fields.initialization import FieldInit
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.mesh.checks import mesh_report
from dreamfusion3d.mesh.io.axes import scale_to_height
from dreamfusion3d.mesh.io.gltf import write_glb
from dreamfusion3d.mesh.lods import unwrap_and_bake
from dreamfusion3d.mesh.normal_map import build_high_poly
from dreamfusion3d.mesh.quality import mesh_quality
from dreamfusion3d.mesh.simplify import simplify, taubin_smooth
from dreamfusion3d.mesh.voxelize import VoxelizedMesh
from dreamfusion3d.pipelines.context import INITIAL_VOLUME_RESOLUTION
from dreamfusion3d.pipelines.stages import load_arrays
from dreamfusion3d.pipelines.surface_extraction import (
    as_numpy_function,
    extract_surface,
    mesh_silhouette_iou,
    silhouette_cameras,
)
from dreamfusion3d.priors.loading import load_prior
from dreamfusion3d.priors.protocol import predicts_initial_volume
from dreamfusion3d.procedural.objects import ObjectBatch, sample_objects
from dreamfusion3d.rendering.mesh_renderer import render_mesh
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid
from dreamfusion3d.rendering.turntable import write_thumbnail, write_turntable
from dreamfusion3d.rendering.volume import RenderSettings, render_field

RESOLUTIONS = (128, 256, 384, 512)
SOLID = 0.99  # opacity from which a pixel's colour is the surface's alone
SHARPNESS = 0.01  # scene units over which a prop's density grows by e


class PropField:
    """A true prop as a field: a density that is exponential in the distance, a smooth colour."""

    def __init__(self, props: ObjectBatch) -> None:
        self.props = props

    def density(self, x: torch.Tensor) -> torch.Tensor:
        distance = self.props.distance(x, torch.zeros(len(x), dtype=torch.int64))
        inside = (x.abs() <= 1).all(-1)
        return torch.clamp(20 * torch.exp(-distance / SHARPNESS), max=2000) * inside

    def albedo(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 + 0.3 * torch.sin(6 * x + x.new_tensor([0.0, 2.0, 4.0]))


def field_of(run: Path) -> NerfField:
    """The trained field of a finished run. What it started from is no part of its file, and is made again."""
    record = json.loads((run / "asset.json").read_text())
    config, device, start = config_from_dict(record["config"]), torch.device("cpu"), None
    prior = load_prior(config.prior, device=device)
    if solid := load_arrays(run / "work" / "start.npz", VoxelizedMesh):
        start = FieldInit.from_solid(torch.from_numpy(solid.depth), torch.from_numpy(solid.color), device)
    elif config.field.init == "prior" and predicts_initial_volume(prior):
        fog = prior.initial_volume(prior.encode_text([record["prompt"]]), INITIAL_VOLUME_RESOLUTION)
        start = FieldInit.from_initial_volume(fog, device)
    field = NerfField(config.field, generator=torch.Generator().manual_seed(0), init=start)
    field.load_state_dict(load_file(run / "work" / "field.safetensors"))
    return field


def fields_of(arguments: argparse.Namespace) -> dict[str, Field]:
    found: dict[str, Field] = {}
    for path in arguments.field:
        found[path.name] = field_of(path)
    for case in arguments.prop:
        kind, _, count = case.partition(":")
        generator = torch.Generator().manual_seed(arguments.seed)
        found[case] = PropField(sample_objects(kind, int(count or 0), "normal", 1, generator=generator))
    return found


def files_of(
    field: Field, resolution: int, faces: int, texture_size: int, seed: int
) -> tuple[dict[str, Any], TexturedMesh]:
    """Seconds by stage and the figures of what comes out."""
    generator = torch.Generator().manual_seed(seed)
    config, seconds, begun = Config().mesh, {}, time.perf_counter()

    def stage(name: str) -> None:
        nonlocal begun
        seconds[name] = round(time.perf_counter() - begun, 3)
        begun = time.perf_counter()

    found = extract_surface(field, resolution, generator)
    whole = Mesh(found.vertices, found.faces)
    stage("extract")
    rough = taubin_smooth(whole, config.smooth_iterations)
    mesh = simplify(rough, faces)
    stage("simplify")
    albedo = as_numpy_function(field.albedo, generator.device)
    textured = unwrap_and_bake(mesh, albedo, build_high_poly(rough), texture_size, config.texture_supersample)
    stage("texture")
    with tempfile.TemporaryDirectory() as folder:
        write_glb(scale_to_height(textured), Path(folder, "asset.glb"), "asset")
        stage("export")
        write_thumbnail(textured, Path(folder, "thumbnail.png"))
        write_turntable(textured, Path(folder, "turntable.mp4"))
        stage("pictures")
    finish = mesh_report(mesh, textured, whole, mesh_silhouette_iou(mesh, found.opacity))
    facts = mesh_quality(mesh)
    return {
        "resolution": resolution,
        "seconds": seconds,
        "total_seconds": round(sum(seconds.values()), 3),
        "surface_faces": len(whole.faces),
        "faces": facts.faces,
        "genus": facts.genus,
        "watertight": facts.watertight,
        "manifold": facts.manifold,
        **{name: round(value, 6) for name, value in dataclasses.asdict(finish).items()},
    }, textured


def field_pictures(field: Field, cameras: OrbitCameras, seed: int) -> Render:
    """The field's bare colour from every camera."""
    generator = torch.Generator().manual_seed(seed)
    occupancy = OccupancyGrid(device=generator.device)
    with torch.no_grad():
        for sweep in range(4):
            occupancy.update(field.density, generator=generator, step=sweep)
        views = [
            render_field(
                field,
                cameras.select(torch.tensor([view])),
                occupancy=occupancy,
                generator=generator,
                settings=RenderSettings(shading="albedo"),
            )
            for view in range(len(cameras))
        ]
    return Render(*(torch.cat([getattr(v, name) for v in views]) for name in ("rgb", "opacity", "depth")))


def bake_psnr(shown: Render, wanted: Render) -> float:
    """Median over the views of the PSNR where both pictures are solid, in dB: the bake without the edges."""
    values = []
    for a, b, one, two in zip(shown.rgb, wanted.rgb, shown.opacity, wanted.opacity, strict=True):
        both = (one > SOLID) & (two > SOLID)
        if both.any():
            error = float(((a / one[..., None] - b / two[..., None])[both] ** 2).mean())
            values.append(-10 * np.log10(max(error, 1e-10)))
    return statistics.median(values) if values else 0.0


def plot(rows: list[dict[str, Any]], out: Path) -> None:
    """Seconds over resolution, a line a field, as one PNG."""
    width, height, left, bottom = 720, 420, 70, 50
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    most, widest = max(r["total_seconds"] for r in rows), max(r["resolution"] for r in rows)

    def at(row: dict[str, Any]) -> tuple[float, float]:
        return (
            left + (width - left - 30) * row["resolution"] / widest,
            height - bottom - (height - bottom - 40) * row["total_seconds"] / most,
        )

    for k in range(5):
        y = height - bottom - (height - bottom - 40) * k / 4
        draw.line([(left, y), (width - 30, y)], fill=(225, 225, 225))
        draw.text((10, y - 6), f"{most * k / 4:.1f} s", fill="black")
    for resolution in sorted({r["resolution"] for r in rows}):
        x = left + (width - left - 30) * resolution / widest
        draw.text((x - 10, height - 40), str(resolution), fill="black")
    draw.text((width // 2 - 100, height - 20), "samples along an edge of the grid", fill="black")
    colours = ((31, 119, 180), (214, 93, 14), (44, 140, 70), (140, 60, 150), (90, 90, 90))
    for k, name in enumerate(dict.fromkeys(r["field"] for r in rows)):
        line, colour = [at(r) for r in rows if r["field"] == name], colours[k % len(colours)]
        draw.line(line, fill=colour, width=2)
        for x, y in line:
            draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=colour)
        draw.text((left + 10, 8 + 14 * k), name, fill=colour)
    image.save(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--field", action="append", type=Path, default=[], help="a run's folder")
    parser.add_argument("--prop", action="append", default=[], help="kind:count; may be repeated")
    parser.add_argument("--resolution", action="append", type=int, help="may be repeated")
    parser.add_argument("--faces", type=int, default=Config().mesh.max_faces)
    parser.add_argument("--texture-size", type=int, default=Config().mesh.texture_size)
    parser.add_argument("--size", type=int, default=256, help="pixels of the views of the bake")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/mesh"))
    arguments = parser.parse_args()
    if not arguments.field and not arguments.prop:
        arguments.prop = ["pitcher:1"]
    arguments.out.mkdir(parents=True, exist_ok=True)
    fields = fields_of(arguments)
    files_of(next(iter(fields.values())), 32, 300, 64, arguments.seed)  # compiles the kernels
    cameras = silhouette_cameras()
    cameras = cameras.resized(arguments.size, arguments.size)
    rows = []
    for name, field in fields.items():
        wanted = field_pictures(field, cameras, arguments.seed)
        for resolution in sorted(arguments.resolution or RESOLUTIONS):
            row, textured = files_of(field, resolution, arguments.faces, arguments.texture_size, arguments.seed)
            shown = render_mesh(textured, cameras, shading=False)
            row |= {
                "field": name,
                "bake_psnr_db": round(bake_psnr(shown, wanted), 2),
                "peak_resident_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            }
            rows.append(row)
            plot(rows, arguments.out / "mesh.png")
    curve = {
        str(r): round(statistics.median(row["total_seconds"] for row in rows if row["resolution"] == r), 3)
        for r in sorted({row["resolution"] for row in rows})
    }
    report = {"benchmark": "mesh", "median_total_seconds": curve, "rows": rows}
    (arguments.out / "mesh.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()

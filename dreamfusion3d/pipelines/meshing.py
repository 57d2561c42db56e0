"""From a trained field to the files of an asset: mesh, textures, formats, pictures."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from dreamfusion3d.core.config import Config, MeshConfig
from dreamfusion3d.core.types import Field, Mesh, TexturedMesh
from dreamfusion3d.mesh.quality import in_metres
from dreamfusion3d.pipelines.asset_record import Made
from dreamfusion3d.pipelines.context import Job, trained
from dreamfusion3d.pipelines.stages import kept

if TYPE_CHECKING:
    import numpy as np
    import torch

    from dreamfusion3d.core.progress import Progress
    from dreamfusion3d.priors.protocol import Prompts
    from dreamfusion3d.training.loop import Step

Colours: TypeAlias = "Callable[[torch.Tensor], torch.Tensor]"  # of points on a surface


def mesh_of(field: Field, job: Job) -> Made:
    """Extract, simplify, (refine,) texture, export, pictures; each from its file when it is there."""
    from dreamfusion3d.mesh.checks import finish_report
    from dreamfusion3d.mesh.io.axes import place
    from dreamfusion3d.mesh.lods import lod_meshes
    from dreamfusion3d.mesh.quality import quality
    from dreamfusion3d.mesh.simplify import smooth
    from dreamfusion3d.mesh.tangents import vertex_normals
    from dreamfusion3d.pipelines.surface_extraction import Surface, mesh_silhouette_iou, surface_of

    settings, progress, work, stages = job.config.mesh, job.progress, job.space.work, job.stages
    with stages("extract"):
        def extract() -> Surface:
            return surface_of(field, settings.resolution, job.generator("extract"))

        found = kept(work / "surface.npz", Surface, extract, progress)
    with stages("simplify"):
        found_mesh = Mesh(found.vertices, found.faces)
        rough = smooth(found_mesh, settings.smoothing)
        mesh = kept(work / "mesh.npz", Mesh, lambda: _reduced(rough, settings, progress), progress)
        chain = lod_meshes(mesh, settings.lods)
        if len(chain) < settings.lods:
            progress.say(f"warning: the shape allows {len(chain)} levels of detail, not {settings.lods}")
    colours: Colours = field.albedo
    if settings.refine_steps:
        from dreamfusion3d.training.texture import from_colours

        with stages("refine"):
            colours = painted(
                mesh, vertex_normals(mesh), field.albedo, from_colours(job.config), settings.refine_steps, job
            )
    with stages("texture"):
        levels = _dressed(chain, rough, colours, job)
    with stages("export"):
        placed = place(levels[0], settings.height)
        written = export_files(placed, job) + _engine_files(levels, mesh, job)
    with stages("pictures"):
        written += draw_pictures(levels[0], job)
    finish = finish_report(mesh, placed, found_mesh, mesh_silhouette_iou(mesh, found.opacity))
    return Made(written, in_metres(quality(mesh), placed), float(found.silhouette_iou), finish)


def _reduced(rough: Mesh, settings: MeshConfig, progress: Progress) -> Mesh:
    """At most so many faces; of quads where they are asked for and can be had."""
    from dreamfusion3d.mesh.quads import quad_mesh
    from dreamfusion3d.mesh.simplify import simplify

    if settings.quads:
        found = quad_mesh(rough, settings.faces)
        if isinstance(found, Mesh):
            return found
        progress.say(f"warning: {found}; the mesh is of triangles")
    return simplify(rough, settings.faces)


def _dressed(chain: list[Mesh], rough: Mesh, colours: Colours, job: Job) -> list[TexturedMesh]:
    """Every level of detail with an atlas, the colours, and the detail of the ``rough`` surface."""
    import numpy as np

    from dreamfusion3d.mesh.lods import dress, lod_texture_size
    from dreamfusion3d.mesh.normal_map import fine_surface
    from dreamfusion3d.mesh.quads import is_of_quads
    from dreamfusion3d.pipelines.surface_extraction import numpy_of

    settings, work = job.config.mesh, job.space.work
    albedo, fine = numpy_of(colours, job.device), fine_surface(rough)

    def dressed(level: int) -> TexturedMesh:
        size = lod_texture_size(settings.texture_size, level)
        textured = dress(
            chain[level], albedo, fine, size, settings.texture_samples,
            normal_map=settings.normal_map, occlusion=settings.occlusion,
        )
        if settings.quads and is_of_quads(chain[level].faces):
            return dataclasses.replace(textured, quads=np.array(True))
        return textured

    paths = [work / ("textured.npz" if i == 0 else f"textured_{i}.npz") for i in range(len(chain))]
    return [
        kept(path, TexturedMesh, functools.partial(dressed, i), job.progress) for i, path in enumerate(paths)
    ]


def painted(
    mesh: Mesh, normals: np.ndarray, first: Colours, config: Config, steps: int, job: Job
) -> Colours:
    """Colours on the surface of ``mesh`` (scene units) that the prior's SDS led to from ``first``."""
    from dreamfusion3d.fields.texture_field import PaintField
    from dreamfusion3d.training.texture import paint

    work = job.space.work
    field = PaintField(config.paint, first, generator=job.generator("paint field"))

    def begin(text: Prompts, checkpoint: Path) -> Iterator[Step]:
        return paint(
            field, mesh, normals, job.prior, text, config, steps, generator=job.generator("paint"),
            checkpoint=checkpoint, preview=work / "paint_preview.png",
            budget=job.budget, tell=job.told("paint"),
        )

    checkpoint = work / "paint_checkpoint.safetensors"
    trained(field, work / "paint.safetensors", begin, "paint", checkpoint, job)
    return field.albedo


def export_files(placed: TexturedMesh, job: Job) -> list[Path]:
    """The asset in every format that was asked for."""
    from dreamfusion3d.mesh.io.formats import extras_of, write
    from dreamfusion3d.priors.pixel.prior import is_shipped

    extras = extras_of(
        job.identity.prompt, job.identity.seed, job.prior.name, shipped=is_shipped(job.prior.sha256)
    )
    written: list[Path] = []
    for kind in job.config.mesh.formats:
        written += write(kind, placed, job.space.asset(kind), job.name, extras)
    return written


def _engine_files(levels: list[TexturedMesh], mesh: Mesh, job: Job) -> list[Path]:
    """<slug>_lods.glb and <slug>_collision.glb, where they were asked for."""
    from dreamfusion3d.mesh.collision import convex_hull, convex_parts
    from dreamfusion3d.mesh.io.axes import place_like
    from dreamfusion3d.mesh.io.engine import write_collision, write_lods

    space, settings, name = job.space, job.config.mesh, job.name
    written: list[Path] = []
    placed = [place_like(level, levels[0], settings.height) for level in levels]
    if settings.lods > 1:
        written += write_lods(placed, space.folder / f"{space.slug}_lods.glb", name)
    if settings.collision != "none":
        bodies = [convex_hull(mesh)] if settings.collision == "hull" else convex_parts(mesh)
        bodies = [place_like(body, levels[0], settings.height) for body in bodies]
        path = space.folder / f"{space.slug}_collision.glb"
        written += write_collision(placed[0], bodies, path, name, settings.collision_names)
    return written


def draw_pictures(textured: TexturedMesh, job: Job) -> list[Path]:
    """The thumbnail and the turntable."""
    from dreamfusion3d.rendering.turntable import write_thumbnail, write_turntable

    pictures = [job.space.folder / "thumbnail.png", job.space.folder / "turntable.mp4"]
    write_thumbnail(textured, pictures[0])
    write_turntable(textured, pictures[1])
    return pictures

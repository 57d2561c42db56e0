"""A trained field to the files of an asset: extract, simplify, texture, export, render."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from dreamfusion3d.core.config import Config, MeshConfig
from dreamfusion3d.core.types import Field, Mesh, SolidField, TexturedMesh
from dreamfusion3d.mesh.quality import quality_in_meters
from dreamfusion3d.pipelines.asset_record import MeshOutputs
from dreamfusion3d.pipelines.context import RunContext
from dreamfusion3d.pipelines.stages import load_or_compute
from dreamfusion3d.pipelines.training_stage import train_or_load

if TYPE_CHECKING:
    import numpy as np
    import torch

    from dreamfusion3d.core.progress import Progress
    from dreamfusion3d.priors.protocol import Prompts
    from dreamfusion3d.training.loop import Step

MIN_WHOLE_IOU = 0.99  # silhouettes of a whole object and its mesh; less if a part was left out

SurfaceFunction: TypeAlias = "Callable[[torch.Tensor], torch.Tensor]"  # of points on a surface


def field_to_asset(field: Field, run: RunContext) -> MeshOutputs:
    """Extract, simplify, (refine,) texture, export and render; every result is kept in work/."""
    from dreamfusion3d.mesh.checks import mesh_report
    from dreamfusion3d.mesh.io.axes import scale_to_height
    from dreamfusion3d.mesh.lods import lod_meshes
    from dreamfusion3d.mesh.quality import mesh_quality
    from dreamfusion3d.mesh.simplify import taubin_smooth
    from dreamfusion3d.mesh.tangents import vertex_normals
    from dreamfusion3d.pipelines.surface_extraction import (
        ExtractedSurface,
        extract_solid_surface,
        extract_surface,
        mesh_silhouette_iou,
    )

    settings, progress, work, stages = (run.config.mesh, run.progress, run.work, run.stages)
    with stages("extract"):

        def extract() -> ExtractedSurface:
            if isinstance(field, SolidField):
                return extract_solid_surface(field, settings.grid_resolution, run.device)
            return extract_surface(field, settings.grid_resolution, run.generator("extract"))

        surface = load_or_compute(work / "surface.npz", ExtractedSurface, extract, progress)
        if isinstance(field, SolidField) and surface.silhouette_iou < MIN_WHOLE_IOU:
            progress.warn(
                "parts of the object that touch no other part are left out: an asset is one body, and its silhouettes "
                f"agree with the whole object by {float(surface.silhouette_iou):.0%}"
            )
    with stages("simplify"):
        surface_mesh = Mesh(surface.vertices, surface.faces)
        # a distance has no noise, and its edges are to stay
        iterations = 0 if isinstance(field, SolidField) else settings.smooth_iterations
        smoothed = taubin_smooth(surface_mesh, iterations)
        mesh = load_or_compute(work / "mesh.npz", Mesh, lambda: _reduce_faces(smoothed, settings, progress), progress)
        lods = lod_meshes(mesh, settings.num_lods)
        if len(lods) < settings.num_lods:
            progress.warn(f"the shape allows {len(lods)} levels of detail, not {settings.num_lods}")
    color_function: SurfaceFunction = field.albedo
    if settings.refine_steps:
        from dreamfusion3d.training.texture import with_refine_t_range

        with stages("refine"):
            color_function = train_or_load_texture(
                mesh, vertex_normals(mesh), field.albedo, with_refine_t_range(run.config), settings.refine_steps, run
            )
    with stages("texture"):
        appearance, has_material = _surface_appearance(field, color_function, run)
        sharp = isinstance(field, SolidField)  # the surface of a density has no edges
        textured_lods = _texture_lods(lods, smoothed, appearance, run, has_material=has_material, sharp_edges=sharp)
    with stages("export"):
        height = run.asset_height(field.height if isinstance(field, SolidField) else None)
        progress.log(f"height {height.meters:g} m ({height.source})")
        placed = scale_to_height(textured_lods[0], height.meters)
        written = export_files(placed, run) + _export_engine_files(textured_lods, mesh, height.meters, run)
    with stages("render"):
        written += render_thumbnail_and_turntable(textured_lods[0], run)
    report = mesh_report(mesh, placed, surface_mesh, mesh_silhouette_iou(mesh, surface.opacity))
    quality = quality_in_meters(mesh_quality(mesh), placed)
    return MeshOutputs(written, quality, float(surface.silhouette_iou), report, height)


def _reduce_faces(mesh: Mesh, settings: MeshConfig, progress: Progress) -> Mesh:
    """Reduce to ``max_faces``, as quads if they are requested and possible."""
    from dreamfusion3d.mesh.quads import remesh_to_quads
    from dreamfusion3d.mesh.simplify import simplify

    if settings.quads:
        quads = remesh_to_quads(mesh, settings.max_faces)
        if isinstance(quads, Mesh):
            return quads
        progress.warn(f"{quads}; the mesh has triangles")
    return simplify(mesh, settings.max_faces)


def _surface_appearance(field: Field, color_function: SurfaceFunction, run: RunContext) -> tuple[SurfaceFunction, bool]:
    """Return colors as a function of position, beside roughness and metallic if the field knows them (then True)."""
    import torch

    if isinstance(field, SolidField) and color_function == field.albedo:
        return field.appearance, True
    material: SurfaceFunction | None = getattr(field, "material", None)
    if material is None or material(torch.zeros(1, 3, device=run.device)) is None:
        return color_function, False
    return lambda x: torch.cat([color_function(x), material(x)], 1), True


def _texture_lods(
    lods: list[Mesh],
    smoothed: Mesh,
    appearance: SurfaceFunction,
    run: RunContext,
    *,
    has_material: bool,
    sharp_edges: bool,
) -> list[TexturedMesh]:
    """Unwrap and bake every level of detail; normals come from the unsimplified surface."""
    import numpy as np

    from dreamfusion3d.mesh.lods import lod_texture_size, unwrap_and_bake
    from dreamfusion3d.mesh.normal_map import build_high_poly
    from dreamfusion3d.mesh.quads import is_quad_mesh
    from dreamfusion3d.pipelines.surface_extraction import as_numpy_function

    settings, work = run.config.mesh, run.work
    baked = as_numpy_function(appearance, run.device)
    fine = build_high_poly(smoothed, sharp_edges=sharp_edges)

    def texture_level(level: int) -> TexturedMesh:
        size = lod_texture_size(settings.texture_size, level)
        textured = unwrap_and_bake(
            lods[level],
            baked,
            fine,
            size,
            settings.texture_supersample,
            normal_map=settings.normal_map,
            occlusion=settings.occlusion,
            has_material=has_material,
            sharp_edges=sharp_edges,
        )
        if settings.quads and is_quad_mesh(lods[level].faces):
            return dataclasses.replace(textured, quads=np.array(True))
        return textured

    paths = [work / ("textured.npz" if i == 0 else f"textured_{i}.npz") for i in range(len(lods))]
    return [
        load_or_compute(path, TexturedMesh, functools.partial(texture_level, i), run.progress)
        for i, path in enumerate(paths)
    ]


def train_or_load_texture(
    mesh: Mesh, normals: np.ndarray, initial_colors: SurfaceFunction, config: Config, steps: int, run: RunContext
) -> SurfaceFunction:
    """Distill colors on the surface of ``mesh`` (scene units), starting from ``initial_colors``."""
    from dreamfusion3d.fields.texture_field import TextureField
    from dreamfusion3d.training.texture import distill_texture

    field = TextureField(config.texture, initial_colors, generator=run.generator("paint field"))

    def start_steps(prompts: Prompts, checkpoint: Path) -> Iterator[Step]:
        return distill_texture(
            field,
            mesh,
            normals,
            run.prior,
            prompts,
            config,
            steps,
            generator=run.generator("paint"),
            checkpoint=checkpoint,
            preview=run.work / "paint_preview.png",
            memory_budget=run.memory_budget,
            on_plan=functools.partial(run.record_plan, "paint"),
        )

    # while a texture is trained the preview is enough to look at
    train_or_load(field, start_steps, "paint", run, name="paint", checkpoint="paint_checkpoint", publish=False)
    return field.albedo


def export_files(placed: TexturedMesh, run: RunContext) -> list[Path]:
    """Write the asset in every requested format."""
    from dreamfusion3d.mesh.io.formats import asset_extras, write_asset
    from dreamfusion3d.priors.pixel.prior import is_embedded_prior

    extras = asset_extras(
        run.identity.prompt, run.identity.seed, run.prior.name, shipped=is_embedded_prior(run.prior.sha256)
    )
    written: list[Path] = []
    for format_name in run.config.mesh.formats:
        written += write_asset(format_name, placed, run.workspace.asset_path(format_name), run.name, extras)
    return written


def _export_engine_files(textured_lods: list[TexturedMesh], mesh: Mesh, height_m: float, run: RunContext) -> list[Path]:
    """Write <slug>_lods.glb and <slug>_collision.glb if requested."""
    from dreamfusion3d.mesh.collision import convex_decomposition, convex_hull
    from dreamfusion3d.mesh.io.axes import scale_like
    from dreamfusion3d.mesh.io.engine import write_collision, write_lods

    workspace, settings, name = run.workspace, run.config.mesh, run.name
    written: list[Path] = []
    placed = [scale_like(level, textured_lods[0], height_m) for level in textured_lods]
    if settings.num_lods > 1:
        written += write_lods(placed, workspace.folder / f"{workspace.slug}_lods.glb", name)
    if settings.collision != "none":
        bodies = [convex_hull(mesh)] if settings.collision == "hull" else convex_decomposition(mesh)
        bodies = [scale_like(body, textured_lods[0], height_m) for body in bodies]
        path = workspace.folder / f"{workspace.slug}_collision.glb"
        written += write_collision(placed[0], bodies, path, name, settings.collision_names)
    return written


def render_thumbnail_and_turntable(textured: TexturedMesh, run: RunContext) -> list[Path]:
    """Write thumbnail.png and, if requested, turntable.mp4."""
    from dreamfusion3d.rendering.turntable import write_thumbnail, write_turntable

    paths = [run.workspace.folder / "thumbnail.png", run.workspace.folder / "turntable.mp4"]
    write_thumbnail(textured, paths[0])
    if not run.config.mesh.turntable:
        return paths[:1]
    write_turntable(textured, paths[1])
    return paths

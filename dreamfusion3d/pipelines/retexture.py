"""A user's mesh and a sentence to a finished folder: the shape stays as it is, the prior paints it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dreamfusion3d.core import progress as progresses
from dreamfusion3d.core.config import Config
from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.pipelines.asset_record import MeshOutputs
from dreamfusion3d.pipelines.context import RunContext
from dreamfusion3d.pipelines.meshing import export_files, render_thumbnail_and_turntable, train_or_load_texture
from dreamfusion3d.pipelines.stages import load_or_compute
from dreamfusion3d.pipelines.text_to_mesh import Asset, run_pipeline
from dreamfusion3d.pipelines.workspace import Source

if TYPE_CHECKING:
    from dreamfusion3d.mesh.user_mesh import UserMesh

RETEXTURE_STAGES = ("prior", "unwrap", "paint", "texture", "export", "pictures")


def retexture_mesh(
    prompt: str,
    mesh: Path | str,
    *,
    out: Path | str = "out",
    seed: int = 0,
    config: Config | None = None,
    device: str = "auto",
    fresh: bool = False,
    progress: progresses.Progress | None = None,
    memory_budget: int | None = None,
) -> Asset:
    """OUT/<slug>/ with the mesh of a GLB, OBJ, PLY or STL file painted as ``prompt`` says.

    Vertices and faces stay the file's, in its own coordinates; so do its UVs when they can hold a
    picture (see `mesh.user_mesh.uv_problem`). Otherwise as `text_to_mesh`.
    """
    from dreamfusion3d.mesh.io.load import read_mesh

    user_mesh = read_mesh(Path(mesh))

    def build(job: RunContext) -> MeshOutputs:
        return _retexture_user_mesh(user_mesh, job)

    return run_pipeline(
        prompt,
        RETEXTURE_STAGES,
        build,
        source=Source.from_file("retexture", mesh),
        out=out,
        seed=seed,
        config=config or Config(),
        device=device,
        fresh=fresh,
        progress=progress,
        memory_budget=memory_budget,
    )


def _retexture_user_mesh(user_mesh: UserMesh, context: RunContext) -> MeshOutputs:
    """Unwrap, paint, texture, export, pictures; each from its file when it is there."""
    from dreamfusion3d.fields.texture_field import constant_color
    from dreamfusion3d.mesh.bake import bake_albedo
    from dreamfusion3d.mesh.quality import mesh_quality
    from dreamfusion3d.mesh.unwrap import UVAtlas
    from dreamfusion3d.mesh.user_mesh import UVMesh, ensure_uvs, mesh_normalization
    from dreamfusion3d.pipelines.surface_extraction import as_numpy_function
    from dreamfusion3d.training.texture import with_retexture_t_range

    stages, work, size, progress = (
        context.stages,
        context.workspace.work,
        context.config.mesh.texture_size,
        context.progress,
    )
    with stages("unwrap"):
        atlas = load_or_compute(work / "atlas.npz", UVMesh, lambda: ensure_uvs(user_mesh, size), progress)
        placement = mesh_normalization(user_mesh.vertices[np.unique(user_mesh.faces)])
        scene_mesh = Mesh(placement.to_scene(atlas.vertices), atlas.faces)
    with stages("paint"):
        color_function = train_or_load_texture(
            scene_mesh,
            atlas.normals,
            constant_color(),
            with_retexture_t_range(context.config),
            context.config.mesh.retexture_steps,
            context,
        )
    with stages("texture"):
        charts = UVAtlas(np.arange(len(atlas.vertices)), atlas.faces, atlas.uv, "xatlas", "")
        albedo = as_numpy_function(color_function, context.device)

        def texture() -> TexturedMesh:
            baked = bake_albedo(scene_mesh, albedo, size, uv_atlas=charts)
            return TexturedMesh(atlas.vertices, atlas.faces, atlas.normals, atlas.uv, baked.texture)

        textured = load_or_compute(work / "textured.npz", TexturedMesh, texture, progress)
    with stages("export"):
        written = export_files(textured, context)
        corners = _corners_kept(user_mesh, textured, context)
    with stages("pictures"):
        written += render_thumbnail_and_turntable(textured, context)
    quality = dataclasses.replace(mesh_quality(weld_user_mesh(user_mesh)), vertices=len(user_mesh.vertices))
    return MeshOutputs(written, quality, corners_kept=corners)


def weld_user_mesh(mesh: UserMesh) -> Mesh:
    """One vertex a place: topology is not asked of a mesh that is split along seams and creases."""
    vertices, flat = np.unique(mesh.vertices, axis=0, return_inverse=True)
    return Mesh(vertices, flat.reshape(-1)[mesh.faces])


def _corners_kept(user_mesh: UserMesh, textured: TexturedMesh, context: RunContext) -> bool:
    """Whether every face still has its corners; asked of the written GLB where there is one."""
    from dreamfusion3d.mesh.io.load import read_mesh

    result = read_mesh(context.workspace.asset_path("glb")) if "glb" in context.config.mesh.formats else textured
    return np.array_equal(result.vertices[result.faces], user_mesh.vertices[user_mesh.faces])

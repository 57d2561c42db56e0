"""A user's mesh and a prompt to a finished folder: the prior paints the mesh, whose shape stays as it is."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dreamfusion3d.core.config import Config
from dreamfusion3d.core.progress import Progress
from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.pipelines.asset_record import Asset, MeshOutputs
from dreamfusion3d.pipelines.context import RunContext, open_run
from dreamfusion3d.pipelines.meshing import export_files, render_thumbnail_and_turntable, train_or_load_texture
from dreamfusion3d.pipelines.stages import load_or_compute
from dreamfusion3d.pipelines.workspace import Source

if TYPE_CHECKING:
    from dreamfusion3d.mesh.user_mesh import UserMesh

RETEXTURE_STAGES = ("prior", "unwrap", "paint", "texture", "export", "render")


def retexture_mesh(
    prompt: str,
    mesh: Path | str,
    *,
    out: Path | str = "out",
    seed: int = 0,
    config: Config | None = None,
    device: str = "auto",
    resume: bool = True,
    progress: Progress | None = None,
    memory_budget: int | None = None,
) -> Asset:
    """Paint a mesh file as ``prompt`` says, in OUT/<slug>/.

    Vertices and faces stay the file's, in its own coordinates; so do its UVs if they can hold a texture (see
    ``uv_problem`` in `mesh.io.load`).

    Args:
        prompt: the object and its colors, e.g. "a red chair".
        mesh: a GLB, glTF, OBJ, PLY or STL file.
        out, seed, config, device, resume, progress, memory_budget: as for `text_to_mesh`.

    Returns:
        The finished asset.

    Raises:
        InputError: something the user can fix, in one line.

    Example:
        >>> asset = retexture_mesh("a blue mug", "out/a_red_mug/a_red_mug.glb", config=resolve_config("draft"))
        >>> asset.folder.name
        'a_blue_mug'
    """
    from dreamfusion3d.mesh.io.load import read_mesh

    user_mesh = read_mesh(Path(mesh))
    with open_run(
        prompt,
        RETEXTURE_STAGES,
        source=Source.from_file("retexture", mesh),
        out=out,
        seed=seed,
        config=config or Config(),
        device=device,
        resume=resume,
        progress=progress,
        memory_budget=memory_budget,
    ) as run:
        if run.asset is None:
            run.finish(_retexture_user_mesh(user_mesh, run))
    assert run.asset is not None
    return run.asset


def _retexture_user_mesh(user_mesh: UserMesh, run: RunContext) -> MeshOutputs:
    """Unwrap, paint, texture, export and render; every result is kept in work/."""
    from dreamfusion3d.fields.texture_field import constant_color
    from dreamfusion3d.mesh.bake import bake_albedo
    from dreamfusion3d.mesh.quality import mesh_quality
    from dreamfusion3d.mesh.unwrap import UVAtlas
    from dreamfusion3d.mesh.user_mesh import UVMesh, ensure_uvs, mesh_normalization
    from dreamfusion3d.pipelines.surface_extraction import as_numpy_function
    from dreamfusion3d.priors.protocol import STATED_IN_PROMPT, prior_object_height
    from dreamfusion3d.training.texture import with_retexture_t_range

    stages, work, size, progress = (run.stages, run.work, run.config.mesh.texture_size, run.progress)
    height = prior_object_height(run.prior, run.identity.prompt)
    if height and height.source == STATED_IN_PROMPT:
        progress.warn("--retexture keeps the size of the mesh: the height in the prompt has no effect")
    with stages("unwrap"):
        atlas = load_or_compute(work / "atlas.npz", UVMesh, lambda: ensure_uvs(user_mesh, size), progress)
        placement = mesh_normalization(user_mesh.vertices[np.unique(user_mesh.faces)])
        scene_mesh = Mesh(placement.to_scene(atlas.vertices), atlas.faces)
    with stages("paint"):
        color_function = train_or_load_texture(
            scene_mesh,
            atlas.normals,
            constant_color(),
            with_retexture_t_range(run.config),
            run.config.mesh.retexture_steps,
            run,
        )
    with stages("texture"):
        charts = UVAtlas(np.arange(len(atlas.vertices)), atlas.faces, atlas.uv, "xatlas", "")
        albedo = as_numpy_function(color_function, run.device)

        def texture() -> TexturedMesh:
            baked = bake_albedo(scene_mesh, albedo, size, uv_atlas=charts)
            return TexturedMesh(atlas.vertices, atlas.faces, atlas.normals, atlas.uv, baked.texture)

        textured = load_or_compute(work / "textured.npz", TexturedMesh, texture, progress)
    with stages("export"):
        written = export_files(textured, run)
        corners = _corners_kept(user_mesh, textured, run)
    with stages("render"):
        written += render_thumbnail_and_turntable(textured, run)
    quality = dataclasses.replace(mesh_quality(weld_user_mesh(user_mesh)), vertices=len(user_mesh.vertices))
    return MeshOutputs(written, quality, corners_kept=corners)


def weld_user_mesh(mesh: UserMesh) -> Mesh:
    """Merge vertices at the same place: topology is not measured on a mesh that is split along seams and creases."""
    vertices, flat = np.unique(mesh.vertices, axis=0, return_inverse=True)
    return Mesh(vertices, flat.reshape(-1)[mesh.faces])


def _corners_kept(user_mesh: UserMesh, textured: TexturedMesh, run: RunContext) -> bool:
    """Return whether every face kept its corners, in the written GLB if there is one."""
    from dreamfusion3d.mesh.io.load import read_mesh

    result = read_mesh(run.workspace.asset_path("glb")) if "glb" in run.config.mesh.formats else textured
    return np.array_equal(result.vertices[result.faces], user_mesh.vertices[user_mesh.faces])

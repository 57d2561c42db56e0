"""A user's mesh and a sentence to a finished folder: the shape stays as it is, the prior paints it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dreamfusion3d.core import progress as progresses
from dreamfusion3d.core.config import Config
from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.pipelines.asset_record import Made
from dreamfusion3d.pipelines.context import Job
from dreamfusion3d.pipelines.meshing import draw_pictures, export_files, painted
from dreamfusion3d.pipelines.stages import kept
from dreamfusion3d.pipelines.text_to_mesh import Asset, in_folder
from dreamfusion3d.pipelines.workspace import Source

if TYPE_CHECKING:
    from dreamfusion3d.mesh.io.load import UserMesh

STAGES = ("prior", "unwrap", "paint", "texture", "export", "pictures")


def retexture(
    prompt: str,
    mesh: Path | str,
    *,
    out: Path | str = "out",
    seed: int = 0,
    config: Config | None = None,
    device: str = "auto",
    fresh: bool = False,
    progress: progresses.Progress | None = None,
    budget: int | None = None,
) -> Asset:
    """OUT/<slug>/ with the mesh of a GLB, OBJ, PLY or STL file painted as ``prompt`` says.

    Vertices and faces stay the file's, in its own coordinates; so do its UVs when they can hold a
    picture (see `mesh.load.uv_problem`). Otherwise as `text_to_mesh`.
    """
    from dreamfusion3d.mesh.io.load import read_mesh

    given = read_mesh(Path(mesh))

    def make(job: Job) -> Made:
        return _painted_mesh(given, job)

    return in_folder(
        prompt, STAGES, make, source=Source.of("retexture", mesh), out=out, seed=seed,
        config=config or Config(), device=device, fresh=fresh, progress=progress, budget=budget,
    )


def _painted_mesh(given: UserMesh, job: Job) -> Made:
    """Unwrap, paint, texture, export, pictures; each from its file when it is there."""
    from dreamfusion3d.fields.texture_field import plain
    from dreamfusion3d.mesh.bake import bake
    from dreamfusion3d.mesh.io.load import Atlas, atlas_of, place_in_scene
    from dreamfusion3d.mesh.quality import quality
    from dreamfusion3d.mesh.unwrap import Unwrap
    from dreamfusion3d.pipelines.surface_extraction import numpy_of
    from dreamfusion3d.training.texture import from_grey

    stages, work, size, progress = job.stages, job.space.work, job.config.mesh.texture_size, job.progress
    with stages("unwrap"):
        atlas = kept(work / "atlas.npz", Atlas, lambda: atlas_of(given, size), progress)
        place = place_in_scene(given.vertices[np.unique(given.faces)])
        shown = Mesh(place.into_scene(atlas.vertices), atlas.faces)
    with stages("paint"):
        colours = painted(
            shown, atlas.normals, plain(), from_grey(job.config), job.config.mesh.retexture_steps, job
        )
    with stages("texture"):
        charts = Unwrap(np.arange(len(atlas.vertices)), atlas.faces, atlas.uv, "xatlas", "")
        albedo = numpy_of(colours, job.device)

        def texture() -> TexturedMesh:
            baked = bake(shown, albedo, size, unwrapped=charts)
            return TexturedMesh(atlas.vertices, atlas.faces, atlas.normals, atlas.uv, baked.texture)

        textured = kept(work / "textured.npz", TexturedMesh, texture, progress)
    with stages("export"):
        written = export_files(textured, job)
        corners = _corners_kept(given, textured, job)
    with stages("pictures"):
        written += draw_pictures(textured, job)
    facts = dataclasses.replace(quality(welded(given)), vertices=len(given.vertices))
    return Made(written, facts, corners_kept=corners)


def welded(given: UserMesh) -> Mesh:
    """One vertex a place: topology is not asked of a mesh that is split along seams and creases."""
    places, flat = np.unique(given.vertices, axis=0, return_inverse=True)
    return Mesh(places, flat.reshape(-1)[given.faces])


def _corners_kept(given: UserMesh, textured: TexturedMesh, job: Job) -> bool:
    """Whether every face still has its corners; asked of the written GLB where there is one."""
    from dreamfusion3d.mesh.io.load import read_mesh

    result = read_mesh(job.space.asset("glb")) if "glb" in job.config.mesh.formats else textured
    return np.array_equal(result.vertices[result.faces], given.vertices[given.faces])

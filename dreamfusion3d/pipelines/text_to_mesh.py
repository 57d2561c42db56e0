"""Text to a finished folder: distill the prior into a radiance field, mesh it, texture it, export it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dreamfusion3d.core.config import Config
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.progress import Progress
from dreamfusion3d.pipelines.asset_record import Asset
from dreamfusion3d.pipelines.context import (
    RunContext,
    open_run,
    predict_field_init,
    seeded_generator,
    write_run_settings,
)
from dreamfusion3d.pipelines.meshing import field_to_asset
from dreamfusion3d.pipelines.stages import load_or_compute
from dreamfusion3d.pipelines.training_stage import train_or_load
from dreamfusion3d.pipelines.workspace import Source

if TYPE_CHECKING:
    from dreamfusion3d.core.types import SolidField
    from dreamfusion3d.fields.initialization import FieldInit
    from dreamfusion3d.fields.nerf import NerfField
    from dreamfusion3d.mesh.user_mesh import UserMesh
    from dreamfusion3d.priors.protocol import Prior, Prompts
    from dreamfusion3d.training.loop import Step

INIT_MESH_RESOLUTIONS = (128, 64)  # samples per axis of the signed depth and of the colors of a user's mesh


def text_to_mesh(
    prompt: str,
    *,
    out: Path | str = "out",
    seed: int = 0,
    config: Config | None = None,
    init: Path | str | None = None,
    device: str = "auto",
    resume: bool = True,
    progress: Progress | None = None,
    prior: Prior | None = None,
    folder: str | None = None,
    asset_name: str | None = None,
    memory_budget: int | None = None,
) -> Asset:
    """Make a textured mesh of ``prompt`` in OUT/<slug>/, with renders and asset.json.

    The same prompt, seed, config and ``init`` give the same bytes on the same machine.

    Args:
        prompt: the object, e.g. "a red mug with one handle".
        out: folder that receives one folder per asset.
        seed: in [0, 2^63).
        config: settings; see `resolve_config`.
        init: mesh or scan whose shape and colors the field starts from.
        device: "auto", "cpu" or "cuda".
        resume: continue an interrupted run and return a finished one; False starts over.
        progress: receives stages and steps; silent by default.
        prior: the prior of ``config`` if it is loaded already.
        folder: slug of the asset's folder; the prompt's by default.
        asset_name: slug inside the files; the prompt's by default.
        memory_budget: bytes to plan the steps for; the asset is equal up to rounding.

    Returns:
        The finished asset.

    Raises:
        InputError: something the user can fix, in one line.

    Example:
        >>> asset = text_to_mesh("a red mug", config=resolve_config("draft"))
        >>> asset.main_file.name
        'a_red_mug.glb'
    """
    config = config or Config()
    from dreamfusion3d.priors.view_prompts import prompt_warnings, samples_solid, text_to_mesh_warnings

    if init and config.optim.steps == 0:
        raise InputError("--init needs an optimization: use --quality draft, or raise optim.steps above 0")
    init_mesh = _read_init_mesh(init)
    optimize = ["optimize"] if config.optim.steps else []
    stage_names = ["prior", *(["init"] if init else []), *optimize, "extract", "simplify"]
    stage_names += [*(["refine"] if config.mesh.refine_steps else []), "texture", "export", "render"]
    with open_run(
        prompt,
        stage_names,
        source=Source.from_file("init", init) if init else None,
        out=out,
        seed=seed,
        config=config,
        device=device,
        resume=resume,
        progress=progress,
        prior=prior,
        folder=folder,
        asset_name=asset_name,
        memory_budget=memory_budget,
        check_prior=prompt_warnings if init else text_to_mesh_warnings,
    ) as run:
        if run.asset is None:
            field_init = None
            if init and init_mesh:
                with run.stages("init"):
                    field_init = _init_from_mesh(Path(init), init_mesh, run)
            if init is None and samples_solid(run.prior, run.identity.prompt, config):
                if optimize:
                    with run.stages("optimize"):
                        run.progress.log("the prior knows this shape, which distillation would not improve: no steps")
                solid = _sample_solid(run)
                run.finish(field_to_asset(solid, run), instance=solid.instance)
            else:
                with run.stages("optimize"):
                    field = _optimize_field(run, field_init)
                run.finish(field_to_asset(field, run))
    assert run.asset is not None
    return run.asset


def _read_init_mesh(path: Path | str | None) -> UserMesh | None:
    """Read and check the user's mesh before anything is loaded or written."""
    if path is None:
        return None
    from dreamfusion3d.mesh.io.load import read_mesh

    return read_mesh(Path(path))


def _init_from_mesh(path: Path, mesh: UserMesh, run: RunContext) -> FieldInit:
    """Voxelize the user's mesh, or load work/start.npz."""
    import numpy as np
    import torch

    from dreamfusion3d.fields.initialization import FieldInit
    from dreamfusion3d.mesh.io.colors import sample_colored_points
    from dreamfusion3d.mesh.user_mesh import mesh_normalization
    from dreamfusion3d.mesh.voxelize import VoxelizedMesh, voxelize_mesh

    def voxelize() -> VoxelizedMesh:
        normalization = mesh_normalization(mesh.vertices[np.unique(mesh.faces)])
        return voxelize_mesh(mesh, normalization, sample_colored_points(path), *INIT_MESH_RESOLUTIONS)

    solid = load_or_compute(run.work / "start.npz", VoxelizedMesh, voxelize, run.progress)
    return FieldInit.from_solid(torch.from_numpy(solid.depth), torch.from_numpy(solid.color), run.device)


def _sample_solid(run: RunContext) -> SolidField:
    """Draw the object of the run's prompt and seed, the same on every device."""
    import torch

    from dreamfusion3d.priors.protocol import SolidPrior

    assert isinstance(run.prior, SolidPrior)  # `open_run` has checked the prompt
    generator = seeded_generator(run.identity.seed, "instance", torch.device("cpu"))
    return run.prior.sample_solid(run.identity.prompt, generator=generator)


def _optimize_field(run: RunContext, field_init: FieldInit | None) -> NerfField:
    """Distill the prior into a field that starts from a mesh, the prior's initial volume, or a blob."""
    from dreamfusion3d.fields.nerf import NerfField
    from dreamfusion3d.training.distillation import distill_field

    init_type = "solid" if field_init else "volume"
    if field_init is None and run.config.field.init != "blob":
        field_init = predict_field_init(run.prior, run.identity.prompt, run.device)
    write_run_settings(run, init_type if field_init else "blob")
    field = NerfField(run.config.field, generator=run.generator("field"), init=field_init)

    def start_steps(prompts: Prompts, checkpoint: Path) -> Iterator[Step]:
        return distill_field(
            field,
            run.prior,
            prompts,
            run.config,
            generator=run.generator("optimize"),
            checkpoint=checkpoint,
            preview=run.work / "preview.png",
            memory_budget=run.memory_budget,
            on_plan=functools.partial(run.record_plan, "optimize"),
        )

    train_or_load(field, start_steps, "optimize", run)
    return field

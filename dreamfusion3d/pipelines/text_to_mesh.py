"""A sentence to a finished folder: the prior teaches a field, the field becomes a mesh."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamfusion3d.core import config as configs
from dreamfusion3d.core import files
from dreamfusion3d.core import progress as progresses
from dreamfusion3d.core.backends import choose_device
from dreamfusion3d.core.config import Config
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.slug import check_prompt
from dreamfusion3d.mesh.io.formats import check_mesh_requirements
from dreamfusion3d.pipelines.asset_record import MeshOutputs, build_asset_record
from dreamfusion3d.pipelines.context import RunContext, predict_field_init, train_or_load, write_run_settings
from dreamfusion3d.pipelines.live_control import read_edits
from dreamfusion3d.pipelines.meshing import field_to_asset
from dreamfusion3d.pipelines.stages import StageTracker, load_or_compute
from dreamfusion3d.pipelines.workspace import (
    RunIdentity,
    Source,
    check_free_space,
    claim_workspace,
    translate_folder_errors,
)

if TYPE_CHECKING:
    from dreamfusion3d.fields.initialization import FieldInit
    from dreamfusion3d.fields.nerf import NerfField
    from dreamfusion3d.mesh.user_mesh import UserMesh
    from dreamfusion3d.priors.protocol import Prior, Prompts
    from dreamfusion3d.training.loop import Step

TEXT_TO_MESH_STAGES = ("prior", "optimise", "extract", "simplify", "texture", "export", "pictures")
INIT_MESH_RESOLUTIONS = (128, 64)  # along an edge of the scene: of the solid that a run starts from, of its colours


@dataclass(frozen=True)
class Asset:
    """A finished folder. ``record`` is the content of its asset.json."""

    folder: Path
    record: dict[str, Any]

    @property
    def main_file(self) -> Path:
        """The GLB, or the first of the formats when no GLB was asked for."""
        formats = self.record["config"]["mesh"]["formats"]
        return self.folder / f"{self.folder.name}.{'glb' if 'glb' in formats else formats[0]}"

    @property
    def passed(self) -> bool:
        return all(check["passed"] for check in self.record["checks"].values())


def text_to_mesh(
    prompt: str,
    *,
    out: Path | str = "out",
    seed: int = 0,
    config: Config | None = None,
    init: Path | str | None = None,
    device: str = "auto",
    fresh: bool = False,
    progress: progresses.Progress | None = None,
    prior: Prior | None = None,
    folder: str | None = None,
    asset_name: str | None = None,
    memory_budget: int | None = None,
) -> Asset:
    """OUT/<slug>/ with a textured mesh of ``prompt``, its pictures and its asset.json.

    A finished asset is returned as it is; an interrupted one goes on where it stopped;
    ``fresh`` starts over. The same prompt, seed, config and ``init`` give the same bytes.
    ``init`` is a mesh file that the field starts from: its solid, and its colours if it has any.
    ``prior`` is the one that ``config`` names when the caller has loaded it already; ``folder`` (a
    slug) takes the place of the prompt's, ``called`` (another) that in the files: node, material, textures.
    ``budget``: bytes of memory to plan the steps for; the asset is the same within rounding, and
    found again with any other.
    """
    config = config or Config()
    init_stage, refine_stage = ["start"] if init else [], ["refine"] if config.mesh.refine_steps else []
    stage_names = [
        *TEXT_TO_MESH_STAGES[:1],
        *init_stage,
        *TEXT_TO_MESH_STAGES[1:4],
        *refine_stage,
        *TEXT_TO_MESH_STAGES[4:],
    ]
    init_mesh = read_init_mesh(init)

    def build(job: RunContext) -> MeshOutputs:
        field_init = None
        if init and init_mesh:
            with job.stages("start"):
                field_init = _init_from_mesh(Path(init), init_mesh, job)
        with job.stages("optimise"):
            field = _optimize_field(job, field_init)
        return field_to_asset(field, job)

    source = Source.from_file("init", init) if init else None
    return run_pipeline(
        prompt,
        stage_names,
        build,
        source=source,
        out=out,
        seed=seed,
        config=config,
        device=device,
        fresh=fresh,
        progress=progress,
        prior=prior,
        folder=folder,
        asset_name=asset_name,
        memory_budget=memory_budget,
    )


def run_pipeline(
    prompt: str,
    stage_names: Sequence[str],
    build: Callable[[RunContext], MeshOutputs],
    *,
    source: Source | None,
    out: Path | str,
    seed: int,
    config: Config,
    device: str,
    fresh: bool,
    progress: progresses.Progress | None,
    prior: Prior | None = None,
    folder: str | None = None,
    asset_name: str | None = None,
    memory_budget: int | None = None,
    extra_record: Callable[[], dict[str, Any]] = dict,
) -> Asset:
    """The finished folder of a prompt: loads the prior, claims OUT/<slug>, lets ``make`` fill it.

    ``more`` is asked in the end what else asset.json is to say.
    """
    prompt, out = check_prompt(prompt), Path(out)
    configs.check_config(config)
    check_mesh_requirements(config.mesh)
    if not 0 <= seed < 2**63:
        raise InputError(f"the seed {seed} is not between 0 and 2^63 - 1")
    progress = progress or progresses.QuietProgress()
    stages = StageTracker(stage_names, progress)
    with contextlib.closing(progress), translate_folder_errors(out):
        check_free_space(out)
        torch_device = choose_device(device)
        with stages(stage_names[0]):
            from dreamfusion3d.priors.loading import load_prior
            from dreamfusion3d.priors.view_prompts import prompt_warnings

            prior = prior or load_prior(config.prior, device=torch_device)
            for warning in prompt_warnings(prior, prompt, config):
                progress.log(f"warning: {warning}")
        identity = RunIdentity(prompt, seed, config, prior.sha256, source)
        with claim_workspace(out, identity, folder) as workspace:
            if not fresh and (record := workspace.finished_record(identity)):
                progress.log(f"{workspace.folder} is already finished; --no-resume starts it over")
                return Asset(workspace.folder, record)
            workspace.begin(identity, fresh)
            stages.persist_to(workspace.work / "seconds.json")
            context = RunContext(prior, identity, workspace, torch_device, stages, memory_budget, asset_name)
            outputs = build(context)
            identity = dataclasses.replace(identity, edits=tuple(read_edits(workspace.work)))
            record = build_asset_record(identity, prior.name, workspace, str(torch_device), stages.seconds, outputs)
            record |= extra_record()
            if asset_name is not None:
                record["name"] = context.name
            if plans := context.load_memory_plans():
                record["memory"] = plans
            if failed := [name for name, check in record["checks"].items() if not check["passed"]]:
                progress.log(f"warning: of the asset's checks failed: {', '.join(failed)}")
            files.write_json(workspace.record_path, record)
    return Asset(workspace.folder, record)


def read_init_mesh(path: Path | str | None) -> UserMesh | None:
    """The user's mesh, looked over before anything is loaded or written; None without one."""
    if path is None:
        return None
    from dreamfusion3d.mesh.io.load import read_mesh

    return read_mesh(Path(path))


def _init_from_mesh(path: Path, mesh: UserMesh, context: RunContext) -> FieldInit:
    """The solid of the user's mesh and its colours, from work/start.npz when they are there."""
    import numpy as np
    import torch

    from dreamfusion3d.fields.initialization import FieldInit
    from dreamfusion3d.mesh.io.colors import sample_colored_points
    from dreamfusion3d.mesh.user_mesh import mesh_normalization
    from dreamfusion3d.mesh.voxelize import VoxelizedMesh, voxelize_mesh

    def voxelize() -> VoxelizedMesh:
        normalization = mesh_normalization(mesh.vertices[np.unique(mesh.faces)])
        return voxelize_mesh(mesh, normalization, sample_colored_points(path), *INIT_MESH_RESOLUTIONS)

    solid_grid = load_or_compute(context.workspace.work / "start.npz", VoxelizedMesh, voxelize, context.progress)
    return FieldInit.from_solid(torch.from_numpy(solid_grid.depth), torch.from_numpy(solid_grid.color), context.device)


def _optimize_field(context: RunContext, field_init: FieldInit | None) -> NerfField:
    """The trained field, from work/field.safetensors when an earlier process came so far."""
    from dreamfusion3d.fields.nerf import NerfField
    from dreamfusion3d.training.distillation import distill_field

    work = context.workspace.work
    init_type = "solid" if field_init else "fog"
    field_init = field_init or _init_from_prior(context)
    write_run_settings(context, init_type if field_init else "blob")
    field = NerfField(context.config.field, generator=context.generator("field"), init=field_init)

    def make_steps(text: Prompts, checkpoint: Path) -> Iterator[Step]:
        return distill_field(
            field,
            context.prior,
            text,
            context.config,
            generator=context.generator("optimise"),
            checkpoint=checkpoint,
            preview=work / "preview.png",
            memory_budget=context.memory_budget,
            on_plan=context.plan_callback("optimise"),
        )

    train_or_load(field, work / "field.safetensors", make_steps, "optimise", work / "checkpoint.safetensors", context)
    return field


def _init_from_prior(context: RunContext) -> FieldInit | None:
    """What the prior takes the scene for before any picture is made, where it can say so."""
    if context.config.field.init != "prior":
        return None
    return predict_field_init(context.prior, context.identity.prompt, context.device)

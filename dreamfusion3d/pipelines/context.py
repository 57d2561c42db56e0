"""A run: its parts, its random streams, and the folder that it fills, up to asset.json.

How a run is resumed: `open_run` returns a finished asset as it is, and keeps work/ if it belongs to the same run
(`Workspace.begin`). Each stage then loads what it finished before (`load_or_compute`, `train_or_load`), and an
optimization continues from its checkpoint (`OptimizationLoop.steps`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamfusion3d.core import config as configs, files
from dreamfusion3d.core.backends import choose_device
from dreamfusion3d.core.config import Config, config_to_dict
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.folders import check_free_space, translate_folder_errors
from dreamfusion3d.core.progress import Progress, QuietProgress
from dreamfusion3d.core.slug import check_prompt, hash_text, slugify
from dreamfusion3d.mesh.io.formats import check_mesh_requirements
from dreamfusion3d.pipelines.asset_record import Asset, MeshOutputs, build_asset_record
from dreamfusion3d.pipelines.prompt_history import read_edits
from dreamfusion3d.pipelines.stages import StageTracker
from dreamfusion3d.pipelines.step_log import TRAINING_STAGES
from dreamfusion3d.pipelines.workspace import RunIdentity, Source, Workspace, claim_workspace

if TYPE_CHECKING:
    import torch

    from dreamfusion3d.core.types import ObjectHeight
    from dreamfusion3d.fields.initialization import FieldInit
    from dreamfusion3d.memory.oom_fallback import CostedPlan
    from dreamfusion3d.memory.step_plan import StepPlan
    from dreamfusion3d.priors.protocol import Prior

INITIAL_VOLUME_RESOLUTION = 64  # samples per axis, twice as fine as the embedded prior's own volume
DEFAULT_HEIGHT_M = 1.0  # if neither the settings nor the prompt say
# Names of the random streams by stage. They seed the generators: a new name gives another asset.
STREAMS = {"optimize": "optimise", "evaluate": "judge"}


@dataclass
class RunContext:
    """What every stage of a run works with."""

    prior: Prior
    identity: RunIdentity
    workspace: Workspace
    device: torch.device
    stages: StageTracker
    memory_budget: int | None = None  # bytes
    asset_name: str | None = None  # a slug, instead of the prompt's
    asset: Asset | None = None  # once it is finished

    @property
    def config(self) -> Config:
        return self.identity.config

    @property
    def work(self) -> Path:
        """Folder of stage results and checkpoints."""
        return self.workspace.work

    @property
    def name(self) -> str:
        """Name inside the files, of nodes, materials and textures.

        It is not the folder's name, which depends on what else is in OUT and would change the bytes of the GLB.
        """
        return self.asset_name or slugify(self.identity.prompt)

    @property
    def progress(self) -> Progress:
        return self.stages.progress

    def generator(self, stage: str) -> torch.Generator:
        """Return the generator of a stage; each has its own stream, so that resuming one does not shift the next."""
        return seeded_generator(self.identity.seed, STREAMS.get(stage, stage), self.device)

    def asset_height(self, own: ObjectHeight | None = None) -> ObjectHeight:
        """Return the height of the asset: by the setting, else by the current prompt, or the object's ``own``.

        A height that the prompt states precedes the object's own.
        """
        from dreamfusion3d.core.types import ObjectHeight
        from dreamfusion3d.priors.protocol import STATED_IN_PROMPT, prior_object_height

        if self.config.mesh.height_m is not None:
            return ObjectHeight(self.config.mesh.height_m, "--height")
        edits = read_edits(self.work)
        prompt = edits[-1].prompt if edits else self.identity.prompt
        usual = prior_object_height(self.prior, prompt)
        if own and (usual is None or usual.source != STATED_IN_PROMPT):
            return own
        return usual or ObjectHeight(DEFAULT_HEIGHT_M, "default")

    def record_plan(self, stage: str, plan: CostedPlan[StepPlan]) -> None:
        """Log the step plan of a stage and keep it for asset.json."""
        self.progress.log(f"memory, {stage}: {plan}")
        files.write_json(self._plan_path(stage), {"budget_bytes": self.memory_budget, **plan.as_dict()})

    def finish(self, outputs: MeshOutputs, **optional: Any) -> None:
        """Write asset.json, last of all files; ``optional`` adds fields of `AssetRecord`."""
        identity = dataclasses.replace(self.identity, edits=tuple(read_edits(self.work)))
        record = build_asset_record(
            identity,
            self.prior.name,
            self.workspace.slug,
            str(self.device),
            self.stages.seconds,
            outputs,
            name=self.name if self.asset_name is not None else None,
            memory=self._memory_plans() or None,
            **optional,
        )
        if record.failed_checks:
            self.progress.warn(f"the asset failed these checks: {', '.join(record.failed_checks)}")
        record.write(self.workspace.record_path)
        self.asset = Asset(self.workspace.folder, record)

    def _plan_path(self, stage: str) -> Path:
        return self.work / f"memory_{stage}.json"

    def _memory_plans(self) -> dict[str, Any]:
        """Plans of all stages, also from earlier processes."""
        plans = {}
        for stage in TRAINING_STAGES:
            with contextlib.suppress(OSError, ValueError):
                plans[stage] = json.loads(self._plan_path(stage).read_text(encoding="utf-8"))
        return plans


@contextlib.contextmanager
def open_run(
    prompt: str,
    stage_names: Sequence[str],
    *,
    source: Source | None,
    out: Path | str,
    seed: int,
    config: Config,
    device: str,
    resume: bool,
    progress: Progress | None,
    prior: Prior | None = None,
    folder: str | None = None,
    asset_name: str | None = None,
    memory_budget: int | None = None,
    check_prior: Callable[[Prior, str, Config], list[str]] | None = None,
) -> Iterator[RunContext]:
    """Load the prior, lock OUT/<slug> and yield the run; its ``asset`` is set if it is finished already.

    Args:
        stage_names: in order; the first one loads the prior.
        source: the user's mesh or photos, part of the run's identity.
        resume: continue an interrupted run and return a finished one; False starts over.
        folder: a slug that replaces the prompt's.
        check_prior: returns warnings about the prompt, or raises InputError; `prompt_warnings` by default.

    Raises:
        InputError: something the user can fix: prompt, settings, device, a full disk.
    """
    prompt, out = check_prompt(prompt), Path(out)
    configs.check_config(config)
    check_mesh_requirements(config.mesh)
    if not 0 <= seed < 2**63:
        raise InputError(f"the seed {seed} is not between 0 and 2^63 - 1")
    stages = StageTracker(stage_names, progress or QuietProgress())
    with contextlib.closing(stages.progress), translate_folder_errors(out):
        check_free_space(out)
        torch_device = choose_device(device)
        with stages(stage_names[0]):
            from dreamfusion3d.priors.loading import load_prior
            from dreamfusion3d.priors.view_prompts import prompt_warnings

            prior = prior or load_prior(config.prior, device=torch_device)
            for warning in (check_prior or prompt_warnings)(prior, prompt, config):
                stages.progress.warn(warning)
        identity = RunIdentity(prompt, seed, config, prior.sha256, source)
        with claim_workspace(out, identity, folder) as workspace:
            run = RunContext(prior, identity, workspace, torch_device, stages, memory_budget, asset_name)
            if resume and (record := workspace.finished_record(identity)):
                stages.progress.log(f"{workspace.folder} is finished already; --no-resume makes it again")
                run.asset = Asset(workspace.folder, record)
            else:
                workspace.begin(identity, resume)
                stages.persist_to(workspace.work / "seconds.json")
            yield run


def seeded_generator(seed: int, stream: str, device: torch.device) -> torch.Generator:
    """Return the generator of a named random stream."""
    import torch

    return torch.Generator(device=device).manual_seed(int(hash_text(f"{seed} {stream}", length=15), 16))


def write_run_settings(run: RunContext, init_type: str) -> None:
    """Write work/settings.json: what another process needs to rebuild the field of a checkpoint.

    Args:
        init_type: "solid" (work/start.npz), "volume" (the prior's initial volume) or "blob".
    """
    identity = run.identity
    settings = {
        "prompt": identity.prompt,
        "seed": identity.seed,
        "config": config_to_dict(identity.config),
        "prior": {"name": run.prior.name, "sha256": identity.prior_sha256},
        "init": init_type,
    }
    files.write_json(run.work / "settings.json", settings)


def predict_field_init(prior: Prior, prompt: str, device: torch.device) -> FieldInit | None:
    """Return the initial volume that the prior predicts for ``prompt``, or None if it predicts none."""
    from dreamfusion3d.fields.initialization import FieldInit
    from dreamfusion3d.priors.protocol import predicts_initial_volume

    encode = prior.encode_text  # before the type guard, which narrows to the initial volume alone
    if not predicts_initial_volume(prior):
        return None
    return FieldInit.from_initial_volume(prior.initial_volume(encode([prompt]), INITIAL_VOLUME_RESOLUTION), device)

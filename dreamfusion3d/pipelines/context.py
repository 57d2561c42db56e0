"""What the stages of one asset share: the parts they work with, their random numbers, their results kept."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamfusion3d.core import files
from dreamfusion3d.core.config import Config
from dreamfusion3d.pipelines.stages import StageTracker
from dreamfusion3d.pipelines.workspace import RunIdentity

if TYPE_CHECKING:
    import torch

    from dreamfusion3d.fields.initialization import FieldInit
    from dreamfusion3d.priors.protocol import Prior, Prompts
    from dreamfusion3d.training.loop import Step

import json
from typing import TYPE_CHECKING

from dreamfusion3d.core.config import config_to_dict
from dreamfusion3d.core.progress import Progress
from dreamfusion3d.core.slug import hash_text, slugify
from dreamfusion3d.pipelines.live_control import LiveControl
from dreamfusion3d.pipelines.live_field import FieldPublisher
from dreamfusion3d.pipelines.workspace import Workspace

if TYPE_CHECKING:
    import torch

    from dreamfusion3d.memory.oom_fallback import CostedPlan
    from dreamfusion3d.memory.step_plan import StepPlan
    from dreamfusion3d.priors.protocol import Prior, Prompts
    from dreamfusion3d.training.loop import Step


@dataclass(frozen=True)
class RunContext:
    """What every stage of one asset works with."""

    prior: Prior
    identity: RunIdentity
    workspace: Workspace
    device: torch.device
    stages: StageTracker
    memory_budget: int | None = None  # bytes of memory to plan the steps for
    asset_name: str | None = None  # a slug, in place of the prompt's

    @property
    def config(self) -> Config:
        return self.identity.config

    @property
    def name(self) -> str:
        """Of what is inside the files: node, mesh, material, textures. Not the folder's, whose hash or seed
        depends on what else is in OUT: the GLB's bytes shall not."""
        return self.asset_name or slugify(self.identity.prompt)

    @property
    def progress(self) -> Progress:
        return self.stages.progress

    def plan_callback(self, stage: str) -> Callable[[CostedPlan[StepPlan]], None]:
        """What hears the plan of a stage's steps: it is said, and kept for asset.json."""

        def on_plan(plan: CostedPlan[StepPlan]) -> None:
            self.progress.log(f"memory, {stage}: {plan}")
            files.write_json(self.memory_plan_path(stage), {"budget_bytes": self.memory_budget, **plan.as_dict()})

        return on_plan

    def memory_plan_path(self, stage: str) -> Path:
        return self.workspace.work / f"memory_{stage}.json"

    def load_memory_plans(self) -> dict[str, Any]:
        """Of all stages that had one, also in an earlier process."""
        plans = {}
        for stage in ("optimise", "paint"):
            with contextlib.suppress(OSError, ValueError):
                plans[stage] = json.loads(self.memory_plan_path(stage).read_text(encoding="utf-8"))
        return plans

    def generator(self, stage: str) -> torch.Generator:
        return seeded_generator(self.identity.seed, stage, self.device)


def seeded_generator(seed: int, stage: str, device: torch.device) -> torch.Generator:
    """An own stream of random numbers a stage, so that resuming at one does not shift the next."""
    import torch

    return torch.Generator(device=device).manual_seed(int(hash_text(f"{seed} {stage}", length=15), 16))


def write_run_settings(context: RunContext, init_type: str) -> None:
    """work/settings.json: what another process needs to make the field of a checkpoint again.

    ``start`` is "solid" (work/start.npz), "fog" (the prior's) or "blob".
    """
    identity = context.identity
    files.write_json(
        context.workspace.work / "settings.json",
        {
            "prompt": identity.prompt,
            "seed": identity.seed,
            "config": config_to_dict(identity.config),
            "prior": {"name": context.prior.name, "sha256": identity.prior_sha256},
            "start": init_type,
        },
    )


def train_or_load(
    field: torch.nn.Module,
    path: Path,
    make_steps: Callable[[Prompts, Path], Iterator[Step]],
    stage: str,
    checkpoint: Path,
    context: RunContext,
) -> None:
    """Takes the steps of ``begin``, or what they led to from ``path`` when it is there.

    ``begin`` is told what the cameras are asked, which `Control` may change between steps, and its
    ``checkpoint``. ``stage`` is one of control.STAGES.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load, save

    progress = context.progress
    if path.exists():
        try:
            state = load(path.read_bytes())
            if _all_finite(state):
                field.load_state_dict(state)
                return
            progress.log(f"warning: {path.name} holds numbers that are not finite; optimising again")
        except (SafetensorError, RuntimeError):
            progress.log(f"warning: {path.name} is damaged; optimising again")
    control = LiveControl(
        context.workspace.work, stage, context.prior, context.identity.prompt, context.config, progress
    )
    publisher = FieldPublisher(field, context.workspace.work)
    publish = publisher.step if stage == "optimise" else lambda: None  # of --refine's colours the preview is enough
    for step in control.steps(lambda text: make_steps(text, checkpoint), checkpoint, while_paused=publish):
        progress.step(step.index, step.total, step.metric or f"gradient {step.gradient_norm:.2g}")
        if step.warning:
            progress.log(f"warning: {step.warning}")
        publish()
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in field.state_dict().items()}
    if not _all_finite(state):  # kept, it would spoil every later try
        raise FloatingPointError("the trained field holds numbers that are not finite; try again")
    files.write_bytes(path, save(state))
    publisher.close()


def _all_finite(state: dict[str, torch.Tensor]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in state.values() if tensor.is_floating_point())


INITIAL_VOLUME_RESOLUTION = 64  # along an edge of the scene: twice as fine as the embedded prior's own volume


def predict_field_init(prior: Prior, prompt: str, device: torch.device) -> FieldInit | None:
    """What the prior takes the mean of all scenes of ``prompt`` for; None where it cannot say."""
    from dreamfusion3d.fields.initialization import FieldInit
    from dreamfusion3d.priors.protocol import predicts_initial_volume

    encode = prior.encode_text  # the checker knows only of fog below
    if not predicts_initial_volume(prior):
        return None
    return FieldInit.from_initial_volume(*prior.initial_volume(encode([prompt]), INITIAL_VOLUME_RESOLUTION), device)

"""What the stages of one asset share: the parts they work with, their random numbers, their results kept."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamfusion3d.core import files
from dreamfusion3d.core.config import Config
from dreamfusion3d.pipelines.stages import Stages
from dreamfusion3d.pipelines.workspace import Identity

if TYPE_CHECKING:
    import torch

    from dreamfusion3d.fields.initialization import Start
    from dreamfusion3d.priors.protocol import Prior, Prompts
    from dreamfusion3d.training.loop import Step

import json
from typing import TYPE_CHECKING

from dreamfusion3d.core.config import as_dict
from dreamfusion3d.core.progress import Progress
from dreamfusion3d.core.slug import hashed, slug
from dreamfusion3d.pipelines.live_control import Control
from dreamfusion3d.pipelines.live_field import Live
from dreamfusion3d.pipelines.workspace import Workspace

if TYPE_CHECKING:
    import torch

    from dreamfusion3d.memory.oom_fallback import Plan
    from dreamfusion3d.priors.protocol import Prior, Prompts
    from dreamfusion3d.training.guidance_loss import Way
    from dreamfusion3d.training.loop import Step


@dataclass(frozen=True)
class Job:
    """What every stage of one asset works with."""

    prior: Prior
    identity: Identity
    space: Workspace
    device: torch.device
    stages: Stages
    budget: int | None = None  # bytes of memory to plan the steps for
    called: str | None = None  # a slug, in place of the prompt's

    @property
    def config(self) -> Config:
        return self.identity.config

    @property
    def name(self) -> str:
        """Of what is inside the files: node, mesh, material, textures. Not the folder's, whose hash or seed
        depends on what else is in OUT: the GLB's bytes shall not."""
        return self.called or slug(self.identity.prompt)

    @property
    def progress(self) -> Progress:
        return self.stages.progress

    def told(self, stage: str) -> Callable[[Plan[Way]], None]:
        """What hears the plan of a stage's steps: it is said, and kept for asset.json."""
        def hear(plan: Plan[Way]) -> None:
            self.progress.say(f"memory, {stage}: {plan}")
            files.write_json(self.plan_file(stage), {"budget_bytes": self.budget, **plan.as_dict()})

        return hear

    def plan_file(self, stage: str) -> Path:
        return self.space.work / f"memory_{stage}.json"

    def plans(self) -> dict[str, Any]:
        """Of all stages that had one, also in an earlier process."""
        found = {}
        for stage in ("optimise", "paint"):
            with contextlib.suppress(OSError, ValueError):
                found[stage] = json.loads(self.plan_file(stage).read_text(encoding="utf-8"))
        return found

    def generator(self, stage: str) -> torch.Generator:
        return generator_for(self.identity.seed, stage, self.device)


def generator_for(seed: int, stage: str, device: torch.device) -> torch.Generator:
    """An own stream of random numbers a stage, so that resuming at one does not shift the next."""
    import torch

    return torch.Generator(device=device).manual_seed(int(hashed(f"{seed} {stage}", length=15), 16))


def describe(job: Job, start: str) -> None:
    """work/settings.json: what another process needs to make the field of a checkpoint again.

    ``start`` is "solid" (work/start.npz), "fog" (the prior's) or "blob".
    """
    identity = job.identity
    files.write_json(job.space.work / "settings.json", {
        "prompt": identity.prompt, "seed": identity.seed, "config": as_dict(identity.config),
        "prior": {"name": job.prior.name, "sha256": identity.prior_sha256}, "start": start,
    })


def trained(
    field: torch.nn.Module, path: Path, begin: Callable[[Prompts, Path], Iterator[Step]], stage: str,
    checkpoint: Path, job: Job,
) -> None:
    """Takes the steps of ``begin``, or what they led to from ``path`` when it is there.

    ``begin`` is told what the cameras are asked, which `Control` may change between steps, and its
    ``checkpoint``. ``stage`` is one of control.STAGES.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load, save

    progress = job.progress
    if path.exists():
        try:
            state = load(path.read_bytes())
            if _finite(state):
                field.load_state_dict(state)
                return
            progress.say(f"warning: {path.name} holds numbers that are not finite; optimising again")
        except (SafetensorError, RuntimeError):
            progress.say(f"warning: {path.name} is damaged; optimising again")
    control = Control(job.space.work, stage, job.prior, job.identity.prompt, job.config, progress)
    live = Live(field, job.space.work)
    look = live.step if stage == "optimise" else lambda: None  # of --refine's colours the preview is enough
    for step in control.steps(lambda text: begin(text, checkpoint), checkpoint, meanwhile=look):
        progress.step(step.index, step.total, step.figure or f"gradient {step.gradient_norm:.2g}")
        if step.note:
            progress.say(f"warning: {step.note}")
        look()
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in field.state_dict().items()}
    if not _finite(state):  # kept, it would spoil every later try
        raise FloatingPointError("the trained field holds numbers that are not finite; try again")
    files.write_bytes(path, save(state))
    live.close()


def _finite(state: dict[str, torch.Tensor]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in state.values() if tensor.is_floating_point())
FOG_SAMPLES = 64  # along an edge of the scene: twice as fine as the embedded prior's own volume


def fog_of(prior: Prior, prompt: str, device: torch.device) -> Start | None:
    """What the prior takes the mean of all scenes of ``prompt`` for; None where it cannot say."""
    from dreamfusion3d.fields.initialization import Start
    from dreamfusion3d.priors.protocol import foresees

    encode = prior.encode_text  # the checker knows only of fog below
    if not foresees(prior):
        return None
    return Start.of_fog(*prior.fog(encode([prompt]), FOG_SAMPLES), device)

"""A stage that trains a field, resumable and steerable while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dreamfusion3d.core import files
from dreamfusion3d.pipelines.context import RunContext
from dreamfusion3d.pipelines.live_control import LiveControl
from dreamfusion3d.pipelines.live_field import FieldPublisher

if TYPE_CHECKING:
    import torch

    from dreamfusion3d.priors.protocol import Prompts
    from dreamfusion3d.training.loop import Step


def train_or_load(
    field: torch.nn.Module,
    start_steps: Callable[[Prompts, Path], Iterator[Step]],
    stage: str,
    run: RunContext,
    *,
    name: str = "field",
    checkpoint: str = "checkpoint",
    publish: bool = True,
) -> None:
    """Train ``field``, or load what an earlier process trained from work/<name>.safetensors.

    Args:
        start_steps: receives prompts, which `LiveControl` may switch between steps, and the checkpoint's path.
        stage: one of ``TRAINING_STAGES``.
        publish: keep the field in work/ while somebody watches the run.

    Raises:
        FloatingPointError: the trained field is not finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load, save

    progress, path = run.progress, run.work / f"{name}.safetensors"
    checkpoint_path = run.work / f"{checkpoint}.safetensors"
    if path.exists():
        try:
            state = load(path.read_bytes())
            if _all_finite(state):
                field.load_state_dict(state)
                return
            progress.warn(f"{path.name} holds non-finite numbers; training again")
        except (SafetensorError, RuntimeError):
            progress.warn(f"{path.name} is damaged; training again")
    control = LiveControl(run.work, stage, run.prior, run.identity.prompt, run.config, progress)
    publisher = FieldPublisher(field, run.work)
    publish_field = publisher.step if publish else lambda: None
    for step in control.steps(lambda prompts: start_steps(prompts, checkpoint_path), checkpoint_path, publish_field):
        progress.step(step.index, step.total, step.metric or f"gradient {step.gradient_norm:.2g}")
        if step.warning:
            progress.warn(step.warning)
        publish_field()
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in field.state_dict().items()}
    if not _all_finite(state):  # kept, it would spoil every later attempt
        raise FloatingPointError("the trained field holds non-finite numbers; try again")
    files.write_bytes(path, save(state))
    publisher.close()


def _all_finite(state: dict[str, torch.Tensor]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in state.values() if tensor.is_floating_point())

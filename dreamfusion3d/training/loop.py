"""Moved."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.async_scalar import AsyncScalar, DelayedScalar
from dreamfusion3d.core.config import Config
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.types import Render
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.training.checkpoint import OptimizationState
from dreamfusion3d.training.previews import PREVIEW_INTERVAL, PreviewWriter

CameraSampler = Callable[..., OrbitCameras]  # (count, *, generator) -> Cameras
CHECKPOINT_EVERY = 50  # steps between checkpoints, and between states that a bad step falls back to
MAX_ROLLBACKS = 5  # after so many the run ends with an error


@dataclass(frozen=True)
class Step:
    """One optimisation step. The SDS loss is no objective (its target moves), so it is not here."""

    index: int  # 1-based
    total: int
    gradient_norm: float  # on a GPU mostly the step before's: nothing waits for this one's
    seconds: float
    warning: str | None = None  # something that the user should know
    metric: str | None = None  # how far the run is, where something says it better than the gradient


def run_steps(
    state: OptimizationState,
    total: int,
    step: Callable[[], tuple[AsyncScalar, Render | None]],
    *,
    checkpoint: Path | None,
    preview: Path | None,
    load_warnings: Sequence[str],
    lr_setting: str,
    take_warnings: Callable[[], str | None] = lambda: None,
) -> Iterator[Step]:
    """The steps that are left of ``total``; ``step`` takes one and gives its gradient's norm and pictures.

    A step whose gradient is not finite is taken back to the last good state; of a fused optimiser that is
    seen a step late, for which that one is not taken. ``problems`` are told
    with the first step, what ``told`` says with the step it was said at; ``rate`` is the setting that a user
    might lower.
    """
    load_error = state.load(checkpoint) if checkpoint else None
    warning = "; ".join([*load_warnings, *([load_error] if load_error else [])]) or None
    rollbacks, last_good = 0, state.state_dict()
    norms = DelayedScalar(delayed=state.optimizer.param_groups[0]["fused"])
    with PreviewWriter(preview) as previews:
        while state.index < total:
            start = time.perf_counter()
            async_norm, rendered = step()
            at_checkpoint = (state.index + 1) % CHECKPOINT_EVERY == 0 or state.index + 1 == total
            norm = norms.update(async_norm, sync=at_checkpoint)
            warnings = [warning, take_warnings()]
            if math.isfinite(norm):
                state.index += 1
                if state.index % CHECKPOINT_EVERY == 0:
                    last_good = state.state_dict()
                    if checkpoint and state.index < total:
                        state.save(checkpoint)
                if rendered is not None and (state.index % PREVIEW_INTERVAL == 0 or state.index == 1):
                    previews.submit(rendered)
            else:
                rollbacks += 1
                warnings.append(_rollback(state, state.index + 1 - norms.age, last_good, rollbacks, lr_setting))
                norms.reset()
            warning = "; ".join(filter(None, warnings)) or None
            yield Step(state.index, total, norm, time.perf_counter() - start, warning)
            warning = None


def _rollback(
    state: OptimizationState, bad_step: int, last_good: dict[str, Tensor], rollbacks: int, lr_setting: str
) -> str:
    """Takes the run back to ``safe`` after step ``bad``; a note for the user. Raises InputError when it was
    too often."""
    if rollbacks > MAX_ROLLBACKS:
        raise InputError(
            f"the optimisation met {rollbacks} gradients that are not finite and gave up; "
            f"try --seed with another number, or lower {lr_setting} and guidance.scale"
        )
    state.load_state_dict(last_good, keep_generator=True)  # other noise the second time
    return f"step {bad_step} gave a gradient that is not finite; went back to step {state.index}"


def make_field_optimizer(field: NerfField, config: Config) -> torch.optim.Adam:
    """Adam with instant-ngp's betas and epsilon (its appendix A); the table apart from the MLP."""
    mlp_parameters = [p for name, p in field.named_parameters() if name != "table"]
    return torch.optim.Adam(
        [
            {"params": [field.table], "lr": config.optim.lr_hashgrid},
            {"params": mlp_parameters, "lr": config.optim.lr_mlp},
        ],
        betas=(0.9, 0.99),
        eps=1e-15,
        fused=field.table.device.type == "cuda",
    )

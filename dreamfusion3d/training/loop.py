"""Moved."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dreamfusion3d.cameras.orbit import Cameras
from dreamfusion3d.core.async_scalar import Later, Trailing
from dreamfusion3d.core.config import Config
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.types import Render
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.training.checkpoint import Run
from dreamfusion3d.training.previews import EVERY, Previews

SampleCameras = Callable[..., Cameras]  # (count, *, generator) -> Cameras
KEEP_EVERY = 50  # steps between checkpoints, and between states that a bad step falls back to
SETBACKS = 5  # after so many the run ends with an error


@dataclass(frozen=True)
class Step:
    """One optimisation step. The SDS loss is no objective (its target moves), so it is not here."""

    index: int  # 1-based
    total: int
    gradient_norm: float  # on a GPU mostly the step before's: nothing waits for this one's
    seconds: float
    note: str | None = None  # something that the user should know
    figure: str | None = None  # how far the run is, where something says it better than the gradient


def take_steps(
    run: Run, total: int, step: Callable[[], tuple[Later, Render | None]], *, checkpoint: Path | None,
    preview: Path | None, problems: Sequence[str], rate: str, told: Callable[[], str | None] = lambda: None,
) -> Iterator[Step]:
    """The steps that are left of ``total``; ``step`` takes one and gives its gradient's norm and pictures.

    A step whose gradient is not finite is taken back to the last good state; of a fused optimiser that is
    seen a step late, for which that one is not taken. ``problems`` are told
    with the first step, what ``told`` says with the step it was said at; ``rate`` is the setting that a user
    might lower.
    """
    damage = run.load(checkpoint) if checkpoint else None
    note = "; ".join([*problems, *([damage] if damage else [])]) or None
    setbacks, safe = 0, run.tensors()
    norms = Trailing(late=run.optimiser.param_groups[0]["fused"])
    with Previews(preview) as previews:
        while run.index < total:
            began = time.perf_counter()
            later, picture = step()
            kept = (run.index + 1) % KEEP_EVERY == 0 or run.index + 1 == total
            norm = norms.told(later, settle=kept)
            notes = [note, told()]
            if math.isfinite(norm):
                run.index += 1
                if run.index % KEEP_EVERY == 0:
                    safe = run.tensors()
                    if checkpoint and run.index < total:
                        run.save(checkpoint)
                if picture is not None and (run.index % EVERY == 0 or run.index == 1):
                    previews.show(picture)
            else:
                setbacks += 1
                notes.append(_set_back(run, run.index + 1 - norms.age, safe, setbacks, rate))
                norms.forget()
            note = "; ".join(filter(None, notes)) or None
            yield Step(run.index, total, norm, time.perf_counter() - began, note)
            note = None


def _set_back(run: Run, bad: int, safe: dict[str, Tensor], setbacks: int, rate: str) -> str:
    """Takes the run back to ``safe`` after step ``bad``; a note for the user. Raises InputError when it was
    too often."""
    if setbacks > SETBACKS:
        raise InputError(
            f"the optimisation met {setbacks} gradients that are not finite and gave up; "
            f"try --seed with another number, or lower {rate} and guidance.scale"
        )
    run.restore(safe, keep_generator=True)  # other noise the second time
    return f"step {bad} gave a gradient that is not finite; went back to step {run.index}"


def adam_for(field: NerfField, config: Config) -> torch.optim.Adam:
    """Adam with instant-ngp's betas and epsilon (its appendix A); the table apart from the MLP."""
    rest = [p for name, p in field.named_parameters() if name != "table"]
    return torch.optim.Adam(
        [
            {"params": [field.table], "lr": config.optim.table_rate},
            {"params": rest, "lr": config.optim.mlp_rate},
        ],
        betas=(0.9, 0.99), eps=1e-15, fused=field.table.device.type == "cuda",
    )

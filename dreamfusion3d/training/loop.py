"""Optimization loop shared by distillation, texture and photometric reconstruction."""

from __future__ import annotations

import functools
import math
import operator
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Concatenate, ParamSpec

import torch
from torch import Tensor, nn

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.async_scalar import AsyncScalar, AsyncTensor, DelayedScalar
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.optimizers import step_if_finite
from dreamfusion3d.core.types import Render
from dreamfusion3d.memory.oom_fallback import CostedPlan, FallbackChain
from dreamfusion3d.memory.step_plan import StepPlan
from dreamfusion3d.training.checkpoint import OptimizationState
from dreamfusion3d.training.previews import PREVIEW_INTERVAL, PreviewWriter

CameraSampler = Callable[..., OrbitCameras]  # (count, *, generator) -> OrbitCameras
CHECKPOINT_EVERY = 50  # steps between checkpoints, and between the states that a rollback returns to
MAX_ROLLBACKS = 5  # a run with more non-finite gradients ends with an error
P = ParamSpec("P")


@dataclass(frozen=True)
class Step:
    """Result of one optimization step.

    On CUDA ``gradient_norm`` and ``losses`` are those of the step before, so that the host need not wait.
    The guidance loss is no objective: its target moves.
    """

    index: int  # 1-based
    total: int
    gradient_norm: float
    seconds: float
    losses: dict[str, float] = field(default_factory=dict)  # by name, weighted
    warning: str | None = None
    metric: str | None = None  # progress in the user's terms, where it says more than the gradient norm


@dataclass
class StepLosses:
    """Weighted losses of one step by name."""

    losses: dict[str, Tensor]
    preview: Callable[[], Render] | None = None  # called only for steps that are previewed
    backward: Callable[[], None] = lambda: None  # passes the images' gradients on to the field, if they are detached


class OptimizationLoop:
    """Adam with checkpoints, rollback of non-finite gradients, fallback to leaner plans, and previews.

        for progress in loop.steps():
            yield loop.update(compute_losses)

    Args:
        state: what is optimized; resumed from ``checkpoint`` if there is one.
        total: steps of the whole run.
        lr_schedule: factor of the learning rates as a function of the progress in [0, 1].
        lr_setting: name of the setting that the user may lower, for the error message.
        fallback: plans of a step, from the fastest to the leanest; None: a single plan.
        warnings: reported with the first step.
    """

    def __init__(
        self,
        state: OptimizationState,
        total: int,
        *,
        lr_schedule: Callable[[float], float],
        lr_setting: str,
        fallback: FallbackChain[StepPlan] | None = None,
        checkpoint: Path | None = None,
        preview: Path | None = None,
        warnings: Sequence[str] = (),
        checkpoint_every: int | None = None,
    ) -> None:
        self.state, self.total, self.lr_schedule, self.lr_setting = state, total, lr_schedule, lr_setting
        device = state.generator.device
        self.fallback = fallback or FallbackChain([CostedPlan(StepPlan(), "everything at once")], device)
        self.checkpoint, self.checkpoint_every = checkpoint, checkpoint_every or CHECKPOINT_EVERY
        self.base_lrs = [group["lr"] for group in state.optimizer.param_groups]
        self.previews = PreviewWriter(preview)
        self.rollbacks, self.delayed = 0, bool(state.optimizer.param_groups[0]["fused"])
        self._norms = DelayedScalar(delayed=self.delayed)
        self._last_losses: AsyncTensor | None = None
        self._warnings = list(warnings)

    @property
    def progress(self) -> float:
        """Fraction of the steps that are done, 0 for the first step and 1 for the last."""
        return self.state.index / max(self.total - 1, 1)

    def steps(self) -> Iterator[float]:
        """Yield the progress before each remaining step; the caller answers with ``update``."""
        if self.checkpoint and (problem := self.state.load(self.checkpoint)):
            self._warnings.append(problem)
        self._last_good = self.state.state_dict()
        with self.previews:
            while self.state.index < self.total:
                self._start = time.perf_counter()
                yield self.progress

    def update(
        self, compute_losses: Callable[Concatenate[StepPlan, P], StepLosses], *args: P.args, **kwargs: P.kwargs
    ) -> Step:
        """Differentiate the losses, take an Adam step if the gradient is finite, and report the step.

        Args:
            compute_losses: called with a plan and ``args``; again with a leaner plan when memory runs out.

        Raises:
            InputError: memory runs out in the leanest plan, or too many gradients were not finite.
        """
        state = self.state
        factor = self.lr_schedule(self.progress)
        for group, lr in zip(state.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = lr * factor
        state.optimizer.zero_grad(set_to_none=True)
        names, values, preview = self.fallback.run(
            lambda plan: differentiate(compute_losses(plan, *args, **kwargs)), state.snapshot()
        )
        norm = step_if_finite(state.optimizer)
        losses = dict(zip(names, self._read_losses(values), strict=True))
        return self._finish_step(norm, losses, preview)

    def _finish_step(
        self, async_norm: AsyncScalar, losses: dict[str, float], preview: Callable[[], Render] | None
    ) -> Step:
        state, index = self.state, self.state.index + 1
        norm = self._norms.update(async_norm, sync=index % self.checkpoint_every == 0 or index == self.total)
        if fallback_warning := self.fallback.take_warnings():
            self._warnings.append(fallback_warning)
        if math.isfinite(norm):
            state.index = index
            if index % self.checkpoint_every == 0:
                self._last_good = state.state_dict()
                if self.checkpoint and index < self.total:
                    state.save(self.checkpoint)
            if preview is not None and self.previews.path and (index % PREVIEW_INTERVAL == 0 or index == 1):
                self.previews.submit(preview())
        else:
            self._warnings.append(self._rollback(index - self._norms.age))
        warning, self._warnings = "; ".join(self._warnings) or None, []
        return Step(state.index, self.total, norm, time.perf_counter() - self._start, losses, warning)

    def _rollback(self, bad_step: int) -> str:
        """Return to the last good state after a non-finite gradient; return a warning."""
        self.rollbacks += 1
        if self.rollbacks > MAX_ROLLBACKS:
            raise InputError(
                f"gave up after {self.rollbacks} non-finite gradients; "
                f"try another --seed, or lower {self.lr_setting} and guidance.scale"
            )
        self.state.load_state_dict(self._last_good, keep_generator=True)  # draws other noise the second time
        self._norms.reset()
        self._last_losses = None
        return f"non-finite gradient in step {bad_step}; went back to step {self.state.index}"

    def _read_losses(self, current: AsyncTensor) -> list[float]:
        """Return this step's values; where the host runs ahead, those of the step before."""
        previous, self._last_losses = self._last_losses, current if self.delayed else None
        values: list[float] = (previous or current).tolist()
        return values


def differentiate(step: StepLosses) -> tuple[list[str], AsyncTensor, Callable[[], Render] | None]:
    """Differentiate the sum of the losses; return their names, their values and the preview."""
    functools.reduce(operator.add, step.losses.values()).backward()
    names, values = list(step.losses), torch.stack([loss.detach() for loss in step.losses.values()])
    step.losses.clear()  # frees the graph before tiles are rendered again
    step.backward()
    return names, AsyncTensor(values), step.preview


def make_field_optimizer(
    field: nn.Module, lr_hashgrid: float, lr_mlp: float, *, fused: bool | None = None
) -> torch.optim.Adam:
    """Return Adam with instant-ngp's betas and epsilon (arXiv 2201.05989, appendix A).

    Args:
        field: a module whose parameter ``table`` is the hash table; all others are the MLP's.
        lr_hashgrid: learning rate of the table.
        lr_mlp: learning rate of the MLP.
        fused: skip non-finite gradients on the device and report them one step late; the default on CUDA.
    """
    parameters = dict(field.named_parameters())
    table = parameters.pop("table")
    return torch.optim.Adam(
        [{"params": [table], "lr": lr_hashgrid}, {"params": list(parameters.values()), "lr": lr_mlp}],
        betas=(0.9, 0.99),
        eps=1e-15,
        fused=table.device.type == "cuda" if fused is None else fused,
    )


def remaining_steps(steps: int, skipped: float) -> int:
    """Return the number of steps of a run that skips the first ``skipped`` (a fraction) of them."""
    return max(1, round(steps * (1 - skipped)))

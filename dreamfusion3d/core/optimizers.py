"""Adam steps that skip non-finite gradients, and Adam's state as named tensors for files without pickle."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dreamfusion3d.core.async_scalar import AsyncScalar


def step_if_finite(optimizer: torch.optim.Adam) -> AsyncScalar:
    """Take a step unless the gradient is not finite, and return the gradient's norm.

    A fused optimizer skips on its device, through the flag of torch.amp.GradScaler, so the host does not wait.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    async_norm = AsyncScalar(norm)
    if optimizer.param_groups[0]["fused"]:
        optimizer.found_inf = (~norm.isfinite()).float()  # type: ignore[attr-defined]
        optimizer.step()
    elif math.isfinite(async_norm.read()):
        optimizer.step()
    return async_norm


def adam_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return moments and step counts by "<parameter index>.<name>"; empty before the first step."""
    return {f"{i}.{k}": v for i, slots in optimizer.state_dict()["state"].items() for k, v in slots.items()}


def restore_adam(optimizer: torch.optim.Optimizer, state: dict[str, Tensor]) -> None:
    """Load the result of `adam_tensors`, keeping learning rates and betas.

    Raises ValueError or RuntimeError if it does not fit.
    """
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        index, name = key.split(".")
        slots.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})

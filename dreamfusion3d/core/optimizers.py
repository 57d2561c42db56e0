"""Steps of an Adam optimiser that leave out gradients that are not finite; its state as named tensors, for
files without pickle."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dreamfusion3d.core.async_scalar import AsyncScalar


def step_if_finite(optimizer: torch.optim.Adam) -> AsyncScalar:
    """Takes a step unless the gradient is not finite; the gradient's norm.

    A fused optimiser decides it on its device (what torch.amp.GradScaler tells one); the host need not wait.
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


def adam_tensors(optimizer: torch.optim.Adam) -> dict[str, Tensor]:
    """Moments and step counts as "<parameter's number>.<name>"; nothing before the first step."""
    return {f"{i}.{k}": v for i, slots in optimizer.state_dict()["state"].items() for k, v in slots.items()}


def restore_adam(optimizer: torch.optim.Adam, state: dict[str, Tensor]) -> None:
    """The inverse; rates and betas stay. Raises ValueError or RuntimeError when it does not fit."""
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        index, name = key.split(".")
        slots.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})

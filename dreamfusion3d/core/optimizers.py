"""Steps of an Adam optimiser that leave out gradients that are not finite; its state as named tensors, for
files without pickle."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dreamfusion3d.core.async_scalar import Later


def step_if_finite(adam: torch.optim.Adam) -> Later:
    """Takes a step unless the gradient is not finite; the gradient's norm.

    A fused optimiser decides it on its device (what torch.amp.GradScaler tells one); the host need not wait.
    """
    parameters = [p for group in adam.param_groups for p in group["params"]]
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    told = Later(norm)
    if adam.param_groups[0]["fused"]:
        adam.found_inf = (~norm.isfinite()).float()  # type: ignore[attr-defined]
        adam.step()
    elif math.isfinite(told.read()):
        adam.step()
    return told


def adam_tensors(adam: torch.optim.Adam) -> dict[str, Tensor]:
    """Moments and step counts as "<parameter's number>.<name>"; nothing before the first step."""
    return {f"{i}.{k}": v for i, slots in adam.state_dict()["state"].items() for k, v in slots.items()}


def restore_adam(adam: torch.optim.Adam, state: dict[str, Tensor]) -> None:
    """The inverse; rates and betas stay. Raises ValueError or RuntimeError when it does not fit."""
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        number, name = key.split(".")
        slots.setdefault(int(number), {})[name] = value
    adam.load_state_dict({"state": slots, "param_groups": adam.state_dict()["param_groups"]})

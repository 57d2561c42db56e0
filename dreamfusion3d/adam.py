"""The state of an Adam optimiser as named tensors, for files without pickle."""

from __future__ import annotations

import torch
from torch import Tensor


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

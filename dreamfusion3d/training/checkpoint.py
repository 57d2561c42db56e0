"""All that an interrupted optimisation needs to take the same steps again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from dreamfusion3d.core import files
from dreamfusion3d.core.optimizers import adam_tensors, restore_adam
from dreamfusion3d.guidance import Guidance
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid
from dreamfusion3d.training.prefetch import Prefetcher

ModelT = TypeVar("ModelT", bound=nn.Module)
OccupancyT = TypeVar("OccupancyT", OccupancyGrid, None)  # a surface that is given needs none


@dataclass
class OptimizationState(Generic[ModelT, OccupancyT]):
    """The state of an optimisation: ``index`` steps are done."""

    field: ModelT
    optimizer: torch.optim.Adam
    occupancy: OccupancyT
    generator: torch.Generator
    guidance: Guidance
    index: int = 0
    prefetcher: Prefetcher | None = None  # on a GPU

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of everything, on the CPU."""
        state: dict[str, Tensor] = {f"field.{k}": v for k, v in self.field.state_dict().items()}
        if self.occupancy is not None:
            state |= {f"occupancy.{k}": v for k, v in self.occupancy.state_dict().items()}
        state |= {f"optimizer.{k}": v for k, v in adam_tensors(self.optimizer).items()}
        state |= {f"guidance.{k}": v for k, v in self.guidance.state_dict().items()}
        if self.prefetcher is not None:
            state |= {f"prefetcher.{k}": v for k, v in self.prefetcher.state_dict().items()}
        state["generator"] = self.generator.get_state()
        state["index"] = torch.tensor(self.index)
        return {k: v.detach().cpu().clone().contiguous() for k, v in state.items()}

    def load_state_dict(self, state: dict[str, Tensor], *, keep_generator: bool = False) -> None:
        """Become ``state``; raises KeyError, ValueError or RuntimeError when it does not fit."""
        self.field.load_state_dict(_with_prefix(state, "field."))
        if self.occupancy is not None:
            self.occupancy.load_state_dict(_with_prefix(state, "occupancy."))
        restore_adam(self.optimizer, _with_prefix(state, "optimizer."))
        self.guidance.load_state_dict(_with_prefix(state, "guidance."))
        if self.prefetcher is not None:
            self.prefetcher.load_state_dict(_with_prefix(state, "prefetcher."), keep_generator=keep_generator)
        if not keep_generator:
            self.generator.set_state(state["generator"])
        self.index = int(state["index"])

    def save(self, path: Path) -> None:
        files.write_bytes(path, save(self.state_dict()))

    def load(self, path: Path) -> str | None:
        """Take up the checkpoint at ``path`` if there is one; a note when it cannot be read."""
        if not path.exists():
            return None
        initial_state = self.state_dict()
        try:
            self.load_state_dict(load(path.read_bytes()))
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError):
            self.load_state_dict(initial_state)
            return f"the checkpoint {path.name} is damaged or of another run; starting over"
        return None


def _with_prefix(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}

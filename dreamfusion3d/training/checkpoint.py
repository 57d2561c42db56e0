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
from dreamfusion3d.rendering.occupancy_grid import Occupancy
from dreamfusion3d.training.prefetch import Lead

Model = TypeVar("Model", bound=nn.Module)
Grid = TypeVar("Grid", Occupancy, None)  # a surface that is given needs none


@dataclass
class Run(Generic[Model, Grid]):
    """The state of an optimisation: ``index`` steps are done."""

    field: Model
    optimiser: torch.optim.Adam
    occupancy: Grid
    generator: torch.Generator
    guidance: Guidance
    index: int = 0
    lead: Lead | None = None  # on a GPU

    def tensors(self) -> dict[str, Tensor]:
        """A copy of everything, on the CPU."""
        state: dict[str, Tensor] = {f"field.{k}": v for k, v in self.field.state_dict().items()}
        if self.occupancy is not None:
            state |= {f"occupancy.{k}": v for k, v in self.occupancy.state_dict().items()}
        state |= {f"optimiser.{k}": v for k, v in adam_tensors(self.optimiser).items()}
        state |= {f"guidance.{k}": v for k, v in self.guidance.tensors().items()}
        if self.lead is not None:
            state |= {f"lead.{k}": v for k, v in self.lead.tensors().items()}
        state["generator"] = self.generator.get_state()
        state["index"] = torch.tensor(self.index)
        return {k: v.detach().cpu().clone().contiguous() for k, v in state.items()}

    def restore(self, state: dict[str, Tensor], *, keep_generator: bool = False) -> None:
        """Become ``state``; raises KeyError, ValueError or RuntimeError when it does not fit."""
        self.field.load_state_dict(_under(state, "field."))
        if self.occupancy is not None:
            self.occupancy.load_state_dict(_under(state, "occupancy."))
        restore_adam(self.optimiser, _under(state, "optimiser."))
        self.guidance.restore(_under(state, "guidance."))
        if self.lead is not None:
            self.lead.restore(_under(state, "lead."), keep_generator=keep_generator)
        if not keep_generator:
            self.generator.set_state(state["generator"])
        self.index = int(state["index"])

    def save(self, path: Path) -> None:
        files.write_bytes(path, save(self.tensors()))

    def load(self, path: Path) -> str | None:
        """Take up the checkpoint at ``path`` if there is one; a note when it cannot be read."""
        if not path.exists():
            return None
        fresh = self.tensors()
        try:
            self.restore(load(path.read_bytes()))
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError):
            self.restore(fresh)
            return f"the checkpoint {path.name} is damaged or of another run; starting over"
        return None


def _under(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}

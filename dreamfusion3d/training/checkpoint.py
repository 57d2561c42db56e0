"""State of an interrupted optimization: everything that it needs to take the same steps again.

Which file resumes which part of a run is described in `pipelines/context.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar, runtime_checkable

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from dreamfusion3d.core import files
from dreamfusion3d.core.optimizers import adam_tensors, restore_adam
from dreamfusion3d.guidance import Guidance
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid
from dreamfusion3d.rendering.shading_budget import ShadedFraction

ModelT = TypeVar("ModelT", bound=nn.Module)
OccupancyT = TypeVar("OccupancyT", OccupancyGrid, None)  # textures need none


@runtime_checkable
class BatchSource(Protocol):
    """State of a ``Prefetcher``, as a checkpoint sees it."""

    shaded_fraction: ShadedFraction | None

    def copy_shaded_fraction(self) -> ShadedFraction | None: ...

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state: dict[str, Tensor], *, keep_generator: bool = False) -> None: ...


@dataclass
class OptimizationState(Generic[ModelT, OccupancyT]):
    """State of an optimization after ``index`` steps."""

    field: ModelT
    optimizer: torch.optim.Adam
    occupancy: OccupancyT
    generator: torch.Generator
    guidance: Guidance | None = None
    index: int = 0
    prefetcher: BatchSource | None = None

    def state_dict(self) -> dict[str, Tensor]:
        """Copy everything to the CPU."""
        state: dict[str, Tensor] = {f"field.{k}": v for k, v in self.field.state_dict().items()}
        state |= {f"optimizer.{k}": v for k, v in adam_tensors(self.optimizer).items()}
        for name, part in self._parts():
            state |= {f"{name}.{k}": v for k, v in part.state_dict().items()}
        state["generator"] = self.generator.get_state()
        state["index"] = torch.tensor(self.index)
        return {k: v.detach().cpu().clone().contiguous() for k, v in state.items()}

    def load_state_dict(self, state: dict[str, Tensor], *, keep_generator: bool = False) -> None:
        """Restore ``state_dict``; raises KeyError, ValueError or RuntimeError if it does not fit."""
        self.field.load_state_dict(_with_prefix(state, "field."))
        if self.occupancy is not None:
            self.occupancy.load_state_dict(_with_prefix(state, "occupancy."))
        restore_adam(self.optimizer, _with_prefix(state, "optimizer."))
        if self.guidance is not None:
            self.guidance.load_state_dict(_with_prefix(state, "guidance."))
        if self.prefetcher is not None:
            self.prefetcher.load_state_dict(_with_prefix(state, "prefetcher."), keep_generator=keep_generator)
        if not keep_generator:
            self.generator.set_state(state["generator"])
        self.index = int(state["index"])

    def snapshot(self) -> Callable[[], None]:
        """Return a function that undoes a step that ran out of memory: same random draws, same guidance."""
        generator_state = self.generator.get_state()
        guidance_state = self.guidance.state_dict() if self.guidance else {}
        guidance_state = {name: value.clone() for name, value in guidance_state.items()}
        shaded_fraction = self.prefetcher.copy_shaded_fraction() if self.prefetcher else None

        def undo() -> None:
            self.optimizer.zero_grad(set_to_none=True)
            self.generator.set_state(generator_state)
            if self.guidance:  # copies: an optimizer keeps what it is given, and a second undo needs it as it was
                self.guidance.load_state_dict({name: value.clone() for name, value in guidance_state.items()})
            if self.prefetcher and shaded_fraction:
                self.prefetcher.shaded_fraction = dataclasses.replace(shaded_fraction)

        return undo

    def save(self, path: Path) -> None:
        """Write the state as safetensors."""
        files.write_bytes(path, save(self.state_dict()))

    def load(self, path: Path) -> str | None:
        """Resume from ``path`` if it exists; return a warning if it cannot be read."""
        if not path.exists():
            return None
        initial_state = self.state_dict()
        try:
            self.load_state_dict(load(path.read_bytes()))
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError):
            self.load_state_dict(initial_state)
            return f"the checkpoint {path.name} is damaged or from another run; starting over"
        return None

    def _parts(self) -> list[tuple[str, OccupancyGrid | Guidance | BatchSource]]:
        parts = (("occupancy", self.occupancy), ("guidance", self.guidance), ("prefetcher", self.prefetcher))
        return [(name, part) for name, part in parts if part is not None]


def _with_prefix(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}

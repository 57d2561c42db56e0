"""What a run on a GPU knows a step early, so that its host need not wait for the step being computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.rendering.shading_budget import ShadedFraction
from dreamfusion3d.rendering.volume import PendingSamples


@dataclass(frozen=True)
class RayBatch:
    """Where a step looks from, and its rays where they have been sent already."""

    cameras: OrbitCameras
    pending: PendingSamples | None = None


@dataclass
class Prefetcher:
    """Cameras and rays of the step after this one, from random numbers of their own; and what share of the
    samples was lit."""

    camera_generator: torch.Generator
    shaded_fraction: ShadedFraction = field(default_factory=ShadedFraction)
    prefetched: tuple[RayBatch, Tensor] | None = None  # and the generator's state before it was drawn

    @staticmethod
    def for_generator(generator: torch.Generator) -> Prefetcher | None:
        """For a run that draws from ``generator``; on a CPU, where nothing is gained, none."""
        if generator.device.type != "cuda":
            return None
        return Prefetcher(torch.Generator(generator.device).manual_seed(generator.initial_seed() + 1))

    def take(self, draw: Callable[[torch.Generator], RayBatch]) -> RayBatch:
        """This step's view: what was drawn a step ago, else it is drawn now."""
        if self.prefetched is None:
            return draw(self.camera_generator)
        (batch, _), self.prefetched = self.prefetched, None
        return batch

    def prefetch(self, draw: Callable[[torch.Generator], RayBatch]) -> None:
        """Draws the next step's view."""
        generator_state = self.camera_generator.get_state()
        self.prefetched = draw(self.camera_generator), generator_state

    def copy_shaded_fraction(self) -> ShadedFraction:
        """A copy of the share, for a step that may have to be taken again."""
        return replace(self.shaded_fraction)

    def state_dict(self) -> dict[str, Tensor]:
        """What another process needs to go on: the coming view is drawn again."""
        generator_state = self.camera_generator.get_state() if self.prefetched is None else self.prefetched[1]
        fraction = self.shaded_fraction.latest()
        return {
            "eyes": generator_state,
            "share": torch.tensor(-1.0 if fraction is None else fraction, dtype=torch.float64),
        }

    def load_state_dict(self, state: dict[str, Tensor], *, keep_generator: bool) -> None:
        """The inverse of ``tensors``; raises KeyError or RuntimeError when it does not fit."""
        fraction = float(state["share"])
        self.shaded_fraction, self.prefetched = ShadedFraction(None if fraction < 0 else fraction), None
        if not keep_generator:
            self.camera_generator.set_state(state["eyes"])

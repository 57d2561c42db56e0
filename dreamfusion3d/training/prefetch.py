"""What a run on a GPU knows a step early, so that its host need not wait for the step being computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from dreamfusion3d.cameras.orbit import Cameras
from dreamfusion3d.rendering.shading_budget import LitShare
from dreamfusion3d.rendering.volume import Marched


@dataclass(frozen=True)
class View:
    """Where a step looks from, and its rays where they have been sent already."""

    cameras: Cameras
    marched: Marched | None = None


@dataclass
class Lead:
    """Cameras and rays of the step after this one, from random numbers of their own; and what share of the
    samples was lit."""

    eyes: torch.Generator
    share: LitShare = field(default_factory=LitShare)
    coming: tuple[View, Tensor] | None = None  # and the generator's state before it was drawn

    @staticmethod
    def of(generator: torch.Generator) -> Lead | None:
        """For a run that draws from ``generator``; on a CPU, where nothing is gained, none."""
        if generator.device.type != "cuda":
            return None
        return Lead(torch.Generator(generator.device).manual_seed(generator.initial_seed() + 1))

    def take(self, draw: Callable[[torch.Generator], View]) -> View:
        """This step's view: what was drawn a step ago, else it is drawn now."""
        if self.coming is None:
            return draw(self.eyes)
        (view, _), self.coming = self.coming, None
        return view

    def prepare(self, draw: Callable[[torch.Generator], View]) -> None:
        """Draws the next step's view."""
        lot = self.eyes.get_state()
        self.coming = draw(self.eyes), lot

    def kept(self) -> LitShare:
        """A copy of the share, for a step that may have to be taken again."""
        return replace(self.share)

    def tensors(self) -> dict[str, Tensor]:
        """What another process needs to go on: the coming view is drawn again."""
        lot = self.eyes.get_state() if self.coming is None else self.coming[1]
        share = self.share.known()
        return {"eyes": lot, "share": torch.tensor(-1.0 if share is None else share, dtype=torch.float64)}

    def restore(self, state: dict[str, Tensor], *, keep_generator: bool) -> None:
        """The inverse of ``tensors``; raises KeyError or RuntimeError when it does not fit."""
        share = float(state["share"])
        self.share, self.coming = LitShare(None if share < 0 else share), None
        if not keep_generator:
            self.eyes.set_state(state["eyes"])

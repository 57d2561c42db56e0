"""What a frozen diffusion prior is to the rest of the package. It knows nothing of SDS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras import Cameras
from dreamfusion3d.types import Render


@dataclass(frozen=True)
class Text:
    """Encoded prompts, one row a picture; what a row holds is the prior's own business."""

    embedding: Float[Tensor, "b ..."]

    def repeat(self, count: int) -> Text:
        """Each row ``count`` times in a row."""
        return Text(self.embedding.repeat_interleave(count, 0))

    @staticmethod
    def cat(texts: list[Text]) -> Text:
        return Text(torch.cat([t.embedding for t in texts]))


@runtime_checkable
class Prior(Protocol):
    """A frozen model of pictures ``x``, in whatever space it works in (pixels, latents).

    Times are in [0, 1]; x_t = alpha(t) x_0 + sigma(t) eps. Whatever the network predicts
    (noise, velocity, flow), ``denoise`` returns the predicted x_0.
    """

    name: str
    sha256: str

    def check_prompt(self, prompt: str) -> list[str]:
        """Warnings for the user; InputError when the prompt cannot be served."""
        ...

    def encode_text(self, prompts: list[str]) -> Text:
        """One row a prompt; the empty prompt is the unconditional one."""
        ...

    def alpha_sigma(self, t: Float[Tensor, " b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]: ...

    def encode(self, render: Render, *, generator: torch.Generator) -> Float[Tensor, "b c u v"]:
        """Pictures of the field in the prior's space, differentiable."""
        ...

    def denoise(
        self, x_t: Float[Tensor, "b c u v"], t: Float[Tensor, " b"], text: Text, cameras: Cameras,
        *, views: int = 1,
    ) -> Float[Tensor, "b c u v"]:
        """Predicted x_0. ``views`` consecutive pictures show one scene: a multi-view prior may
        denoise them jointly, any other ignores it."""
        ...

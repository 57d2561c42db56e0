"""In place of a prior where a run has none: the stages of an asset ask for its name and for its prompts."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.types import Render
from dreamfusion3d.priors.protocol import TextEmbedding


class NullPrior:
    """Knows the run's own name and no other prompt; draws nothing."""

    def __init__(self, prompt: str) -> None:
        self.name, self.sha256, self.camera_conditioned = "none", "", True
        self.prompt = prompt

    def check_prompt(self, prompt: str) -> list[str]:
        if prompt != self.prompt:
            raise InputError("this run has no prior, so no prompt can change it")
        return []

    def encode_text(self, prompts: list[str]) -> TextEmbedding:
        return TextEmbedding(torch.zeros(len(prompts), 1))

    def alpha_sigma(self, t: Float[Tensor, " b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        raise NotImplementedError("there is no prior to ask")

    def encode(self, render: Render, *, generator: torch.Generator) -> Float[Tensor, "b c u v"]:
        raise NotImplementedError("there is no prior to ask")

    def denoise(
        self,
        x_t: Float[Tensor, "b c u v"],
        t: Float[Tensor, " b"],
        text: TextEmbedding,
        cameras: OrbitCameras,
        *,
        views: int = 1,
    ) -> Float[Tensor, "b c u v"]:
        raise NotImplementedError("there is no prior to ask")

"""Placeholder for runs without a prior, whose stages still need a name and encoded prompts."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.types import Render
from dreamfusion3d.priors.protocol import TextEmbedding


class NullPrior:
    """A prior that accepts only the run's own prompt and cannot denoise."""

    def __init__(self, prompt: str) -> None:
        self.name, self.sha256, self.camera_conditioned = "none", "", True
        self.prompt = prompt

    def check_prompt(self, prompt: str) -> list[str]:
        if prompt != self.prompt:
            raise InputError("this run has no prior, so its prompt cannot be edited")
        return []

    def encode_text(self, prompts: list[str]) -> TextEmbedding:
        return TextEmbedding(torch.zeros(len(prompts), 1))

    def alpha_sigma(self, t: Float[Tensor, " b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        raise NotImplementedError("this run has no prior")

    def encode(self, render: Render, *, generator: torch.Generator) -> Float[Tensor, "b c u v"]:
        raise NotImplementedError("this run has no prior")

    def denoise(
        self,
        x_t: Float[Tensor, "b c u v"],
        t: Float[Tensor, " b"],
        text: TextEmbedding,
        cameras: OrbitCameras,
        *,
        views: int = 1,
    ) -> Float[Tensor, "b c u v"]:
        raise NotImplementedError("this run has no prior")

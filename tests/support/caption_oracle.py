"""The optimal denoiser of a folder of captioned images without cameras, in closed form.

A network trained on them without end converges to it: ``oracle.py`` with captions in place of
cameras. With p(i | y) the fraction of image i among those of caption y,

    E[x_0 | x_t, y] = sum_i softmax_i( log p(i | y) - |x_t - alpha x^i|^2 / (2 sigma^2) ) x^i

A mixture of captions is the mixture of their fractions, so that no error is a network's.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.types import Render
from dreamfusion3d.priors.images import render_to_rgba
from dreamfusion3d.priors.pixel import image_folder
from dreamfusion3d.priors.protocol import TextEmbedding


class CaptionOracle:
    """The prior over the images of ``folder``, in the form that ``train-prior`` reads. A row of its
    ``TextEmbedding`` is the fraction of every image."""

    name = "caption-oracle"
    camera_conditioned = False

    def __init__(self, folder: Path) -> None:
        images = image_folder.read_image_folder(folder)
        self.images = images.pixels.float() / 127.5 - 1
        self.captions = [line.text for line in images.records]
        contents = repr(self.captions).encode() + images.pixels.numpy().tobytes()
        self.sha256 = hashlib.sha256(contents).hexdigest()

    def check_prompt(self, prompt: str) -> list[str]:
        if prompt not in self.captions:
            raise InputError(f"no image has the caption {prompt!r}; give one of metadata.jsonl")
        return []

    def encode_text(self, prompts: list[str]) -> TextEmbedding:
        fractions = torch.tensor([[not p or p == caption for caption in self.captions] for p in prompts])
        return TextEmbedding(fractions / fractions.sum(1, keepdim=True))

    def alpha_sigma(self, t: Float[Tensor, " b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        return torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2)

    def encode(self, render: Render, *, generator: torch.Generator) -> Float[Tensor, "b 4 h w"]:
        return render_to_rgba(render, self.images.shape[-1])

    def denoise(
        self,
        x_t: Float[Tensor, "b 4 h w"],
        t: Float[Tensor, " b"],
        text: TextEmbedding,
        cameras: OrbitCameras,
        *,
        views: int = 1,
    ) -> Float[Tensor, "b 4 h w"]:
        alpha, sigma = (c[:, None] for c in self.alpha_sigma(t))
        known = self.images.flatten(1)
        # |x_t - alpha x|^2 without the part that is the same for all images
        distance = alpha**2 * known.square().sum(1) - 2 * alpha * (x_t.flatten(1) @ known.T)
        posterior = (text.embedding.log() - distance / (2 * sigma**2)).softmax(1)
        return (posterior @ known).view_as(x_t)

"""The best denoiser of a folder of captioned pictures that is told no camera, in closed form.

What a network comes to that is trained on them without end: ``prior/ideal.py`` for captions in place of
cameras. With p(i | y) the share of picture i among those of caption y,

    E[x_0 | x_t, y] = sum_i softmax_i( log p(i | y) - |x_t - alpha x^i|^2 / (2 sigma^2) ) x^i

A mixture of captions is the mixture of their shares, so that nothing of what is asked is a network's fault.
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


class Album:
    """The prior over the pictures of ``folder``, in the form that ``train-prior --pictures-from`` reads. A
    row of its ``Text`` is the share of every picture."""

    name = "album"
    camera_conditioned = False

    def __init__(self, folder: Path) -> None:
        *_, (_, _, pictures) = image_folder.read_image_folder(folder)
        assert pictures is not None, "read_folder ends with the pictures"
        self.pictures = pictures.pixels.float() / 127.5 - 1
        self.captions = [line.text for line in pictures.records]
        contents = repr(self.captions).encode() + pictures.pixels.numpy().tobytes()
        self.sha256 = hashlib.sha256(contents).hexdigest()

    def check_prompt(self, prompt: str) -> list[str]:
        if prompt not in self.captions:
            raise InputError(f"no picture of the album has the caption {prompt!r}; give one that is there")
        return []

    def encode_text(self, prompts: list[str]) -> TextEmbedding:
        shares = torch.tensor([[not p or p == caption for caption in self.captions] for p in prompts])
        return TextEmbedding(shares / shares.sum(1, keepdim=True))

    def alpha_sigma(self, t: Float[Tensor, " b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        return torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2)

    def encode(self, render: Render, *, generator: torch.Generator) -> Float[Tensor, "b 4 h w"]:
        return render_to_rgba(render, self.pictures.shape[-1])

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
        known = self.pictures.flatten(1)
        # |x_t - alpha x|^2 without the part that is the same for all pictures
        misfit = alpha**2 * known.square().sum(1) - 2 * alpha * (x_t.flatten(1) @ known.T)
        owner = (text.embedding.log() - misfit / (2 * sigma**2)).softmax(1)
        return (owner @ known).view_as(x_t)

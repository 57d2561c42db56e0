"""A prior is a class with the methods of dreamfusion3d/priors/protocol.py. This one predicts a ball."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.config import PriorConfig
from dreamfusion3d.core.types import Render
from dreamfusion3d.priors.protocol import TextEmbedding

SIZE = 64
RADIUS = 0.5  # of the ball, in scene units
COLORS = {"red": (0.8, 0.2, 0.2), "green": (0.2, 0.7, 0.3), "blue": (0.2, 0.3, 0.8)}
GRAY = (0.6, 0.6, 0.6)


class ToyPrior:
    """Predict a ball of one color from any noise."""

    name = "toy"
    sha256 = ""  # no weights
    camera_conditioned = True

    def __init__(self, settings: PriorConfig, device: torch.device) -> None:
        self.device = device

    def check_prompt(self, prompt: str) -> list[str]:
        """Return warnings for the user."""
        return [] if "ball" in prompt else [f"the toy prior draws a ball for every prompt, for {prompt!r} too"]

    def encode_text(self, prompts: list[str]) -> TextEmbedding:
        """Embed each prompt as a color; gray if it names none."""
        named = ([c for word, c in COLORS.items() if word in prompt] for prompt in prompts)
        return TextEmbedding(torch.tensor([found[0] if found else GRAY for found in named], device=self.device))

    def alpha_sigma(self, t: Float[Tensor, " b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        return torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2)

    def encode(self, render: Render, *, generator: torch.Generator) -> Float[Tensor, "b 4 h w"]:
        """Resize premultiplied color and opacity to the prior's size, in [-1, 1]."""
        x = torch.cat([render.rgb, render.opacity[..., None]], -1).permute(0, 3, 1, 2) * 2 - 1
        return F.interpolate(x, size=(SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False)

    def denoise(
        self,
        x_t: Float[Tensor, "b 4 h w"],
        t: Float[Tensor, " b"],
        text: TextEmbedding,
        cameras: OrbitCameras,
        *,
        views: int = 1,
    ) -> Float[Tensor, "b 4 h w"]:
        """Predict the ball as seen from each camera, whatever the noise."""
        origins, directions = cameras.resized(*x_t.shape[-2:]).rays()
        nearest = origins - (origins * directions).sum(-1, keepdim=True) * directions
        hit = (nearest.norm(dim=-1) < RADIUS).to(x_t.dtype)[:, None]
        color = text.embedding.to(x_t)[:, :, None, None]
        return torch.cat([hit * color, hit], 1) * 2 - 1

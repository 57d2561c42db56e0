"""The perfect prior of a finite world, in closed form.

For K equally likely things x^1..x^K the best denoiser in the mean square is known:

    E[x_0 | x_t] = sum_k softmax_k( -|x_t - alpha x^k|^2 / (2 sigma^2) ) x^k

so whatever goes wrong when a field is distilled from it is the distillation's fault, not a
network's. Pictures are drawn once, for a fixed bank of cameras.
"""

from __future__ import annotations

import hashlib
import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import ORBIT_ELEVATION_DEG, Cameras, orbit
from dreamfusion3d.core.types import Render
from dreamfusion3d.priors.protocol import Text
from dreamfusion3d.procedural.objects import Instances, Meaning
from dreamfusion3d.procedural.renderer import draw


class IdealPrior:
    """The prior over ``len(props)`` props of one kind, painted alike.

    It only answers for cameras of its bank: ``rounds`` sets of ``views`` cameras each, the
    views of a set 360/views degrees apart. ``sample_cameras`` draws such a set.
    """

    name = "ideal"
    camera_conditioned = True

    def __init__(
        self, props: Instances, meaning: Meaning, *, rounds: int = 12, views: int = 4, size: int = 64,
        elevation_range_deg: tuple[float, float] = ORBIT_ELEVATION_DEG, generator: torch.Generator,
    ) -> None:
        self.views = views
        self.sha256 = hashlib.sha256(repr((meaning, rounds, views, size)).encode()).hexdigest()
        low, high = (math.sin(math.radians(e)) for e in elevation_range_deg)
        offsets = (torch.arange(rounds) + torch.rand(rounds, generator=generator)) * (360 / views / rounds)
        azimuth = (offsets[:, None] + torch.arange(views) * (360 / views)).flatten()
        heights = torch.rand(rounds * views, generator=generator) * (high - low) + low
        self.bank = orbit(azimuth, torch.rad2deg(torch.asin(heights)), height=size, width=size)
        colours = torch.tensor([meaning.paints()]).expand(len(props), -1, -1)
        pictures = []
        for i in range(rounds * views):
            camera = self.bank.select(torch.full((len(props),), i))
            planes = draw(props, camera, meaning.finish)
            rgba = torch.cat([planes.paint(colours), planes.opacity[..., None]], -1)
            pictures.append(rgba.permute(0, 3, 1, 2) * 2 - 1)
        self.pictures = torch.stack(pictures)  # (camera, instance, 4, h, w)

    def sample_cameras(self, count: int, *, generator: torch.Generator) -> Cameras:
        """One set of the bank; ``count`` must be its number of views."""
        if count != self.views:
            raise ValueError(f"this bank holds sets of {self.views} views, not {count}")
        start = int(torch.randint(len(self.bank) // count, (), generator=generator)) * count
        return self.bank.select(torch.arange(start, start + count))

    def check_prompt(self, prompt: str) -> list[str]:
        return []

    def encode_text(self, prompts: list[str]) -> Text:
        return Text(torch.zeros(len(prompts), 1))

    def alpha_sigma(self, t: Float[Tensor, " b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        return torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2)

    def encode(self, render: Render, *, generator: torch.Generator) -> Float[Tensor, "b 4 h w"]:
        return rgba(render, self.bank.height)

    def denoise(
        self, x_t: Float[Tensor, "b 4 h w"], t: Float[Tensor, " b"], text: Text, cameras: Cameras,
        *, views: int = 1,
    ) -> Float[Tensor, "b 4 h w"]:
        alpha, sigma = (c.view(-1, 1, 1, 1) for c in self.alpha_sigma(t))
        known = self.pictures[self._rows(cameras)]  # (b, instance, 4, h, w)
        misfit = (x_t[:, None] - alpha[:, None] * known).square().flatten(2).sum(-1)
        score = -misfit / (2 * sigma.view(-1, 1) ** 2)
        # pictures of one scene are evidence about the same instance
        joint = score.view(-1, views, score.shape[-1]).sum(1).repeat_interleave(views, 0)
        return torch.einsum("bk,bkchw->bchw", joint.softmax(-1), known)

    def _rows(self, cameras: Cameras) -> Tensor:
        distance = (self.bank.azimuth_deg - cameras.azimuth_deg[:, None]).abs() + (
            self.bank.elevation_deg - cameras.elevation_deg[:, None]
        ).abs()
        least, rows = distance.min(1)
        if float(least.max()) > 1e-3:
            raise ValueError("a camera outside the bank: draw them with sample_cameras")
        return rows


def rgba(render: Render, size: int) -> Float[Tensor, "b 4 {size} {size}"]:
    """Premultiplied RGB and opacity in [-1, 1], CHW, at ``size``: the embedded prior's picture space."""
    pictures = torch.cat([render.rgb, render.opacity[..., None]], -1).permute(0, 3, 1, 2) * 2 - 1
    if pictures.shape[-1] < size:
        return F.interpolate(pictures, size=(size, size), mode="bilinear", align_corners=False)
    if pictures.shape[-1] > size:
        return F.interpolate(pictures, size=(size, size), mode="area")
    return pictures

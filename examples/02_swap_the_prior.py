"""Replace the embedded prior with your own: a class with the methods of the protocol.

    python examples/02_swap_the_prior.py --out out

This prior predicts a striped ball whatever the noise. A network would only replace `denoise`, which predicts x_0 from
x_t = alpha x_0 + sigma eps. A package can register a prior for `--prior NAME`: see examples/plugin.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d import OrbitCameras, Render, resolve_config, text_to_mesh
from dreamfusion3d.core.progress import default_progress
from dreamfusion3d.core.shading import lambert_shading, light_direction
from dreamfusion3d.priors.protocol import TextEmbedding

RADIUS = 0.5  # scene units
SIZE = 64  # image size of the prior in pixels
RED, WHITE = (0.8, 0.15, 0.15), (0.9, 0.9, 0.9)
STRIPES = 6  # per color, around the ball


class BallPrior:
    """An implementation of the `Prior` protocol."""

    name = "striped-ball"
    sha256 = "1"  # identifies the weights in asset.json
    camera_conditioned = True  # needs no view-dependent prompts

    def check_prompt(self, prompt: str) -> list[str]:
        return [] if "ball" in prompt else [f"{prompt!r} will be a striped ball"]

    def encode_text(self, prompts: list[str]) -> TextEmbedding:
        return TextEmbedding(torch.zeros(len(prompts), 1))

    def alpha_sigma(self, t: Float[Tensor, " b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        return torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2)

    def encode(self, render: Render, *, generator: torch.Generator) -> Float[Tensor, "b 4 h w"]:
        """Map a render to this prior's space: premultiplied color and opacity in [-1, 1], CHW."""
        images = torch.cat([render.rgb, render.opacity[..., None]], -1).permute(0, 3, 1, 2) * 2 - 1
        return F.interpolate(images, (SIZE, SIZE), mode="bilinear", antialias=True)

    def denoise(
        self,
        x_t: Float[Tensor, "b 4 h w"],
        t: Float[Tensor, " b"],
        text: TextEmbedding,
        cameras: OrbitCameras,
        *,
        views: int = 1,
    ) -> Float[Tensor, "b 4 h w"]:
        """Render the ball: rays o + s d hit it where |o + s d| = RADIUS, at the smaller s.

        The ball is shaded like renders of the field, so that shading is not mistaken for shape.
        """
        origins, directions = cameras.resized(*x_t.shape[-2:]).rays()
        along = (origins * directions).sum(-1)
        discriminant = along**2 - (origins**2).sum(-1) + RADIUS**2
        points = origins + (-along - discriminant.clamp(min=0).sqrt())[..., None] * directions
        longitude = torch.atan2(points[..., 0], points[..., 2])
        red = (torch.sin(STRIPES * longitude) > 0).to(x_t)[..., None]
        color = red * x_t.new_tensor(RED) + (1 - red) * x_t.new_tensor(WHITE)
        light = light_direction(cameras.camera_to_world)[:, None, None]
        hit = (discriminant > 0).to(x_t)[..., None]
        shaded = hit * color * lambert_shading(points / RADIUS, light)[..., None]
        return torch.cat([shaded, hit], -1).permute(0, 3, 1, 2) * 2 - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("prompt", nargs="?", default="a striped ball")
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--set", action="append", default=[], dest="sets")
    options = parser.parse_args()

    asset = text_to_mesh(
        options.prompt,
        out=options.out,
        config=resolve_config("draft", sets=options.sets),
        prior=BallPrior(),
        progress=default_progress(),
    )
    low, high = asset.record.mesh["bounds"]
    size = ", ".join(f"{b - a:.2f}" for a, b in zip(low, high, strict=True))
    print(f"{asset.main_file}: {size} m, prior {asset.record.prior['name']}")


if __name__ == "__main__":
    main()

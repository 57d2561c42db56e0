"""A prior of one's own in place of the one that ships: a class with the protocol's methods, and no more.

    python examples/02_swap_the_prior.py --out out

This one knows a single thing, a striped ball, and sees it in any noise. A network would take the place of
`denoise` alone: it is shown x_t = alpha x_0 + sigma eps and says which x_0 it sees. To have a prior by name,
as `--prior NAME`, let a package offer it: examples/plugin.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.config import resolve_config
from dreamfusion3d.core.progress import default_progress
from dreamfusion3d.core.shading import lambert_shading, light_direction
from dreamfusion3d.core.types import Render
from dreamfusion3d.pipelines.text_to_mesh import text_to_mesh
from dreamfusion3d.priors.protocol import TextEmbedding

RADIUS = 0.5  # scene units
SIZE = 64  # pixels of the prior's pictures
RED, WHITE = (0.8, 0.15, 0.15), (0.9, 0.9, 0.9)
STRIPES = 6  # of each colour, around the ball


class BallPrior:
    """What `dreamfusion3d/priors/protocol.py` asks of a prior."""

    name = "striped-ball"
    sha256 = "1"  # of the weights: what tells two versions apart in asset.json
    camera_conditioned = True  # it is told the camera, and needs no words for the view

    def check_prompt(self, prompt: str) -> list[str]:
        return [] if "ball" in prompt else [f"{prompt!r} will be a striped ball"]

    def encode_text(self, prompts: list[str]) -> TextEmbedding:
        return TextEmbedding(torch.zeros(len(prompts), 1))

    def alpha_sigma(self, t: Float[Tensor, " b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        return torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2)

    def encode(self, render: Render, *, generator: torch.Generator) -> Float[Tensor, "b 4 h w"]:
        """Premultiplied colour and opacity in [-1, 1], CHW: the space that this prior thinks in."""
        pictures = torch.cat([render.rgb, render.opacity[..., None]], -1).permute(0, 3, 1, 2) * 2 - 1
        return F.interpolate(pictures, (SIZE, SIZE), mode="bilinear", antialias=True)

    def denoise(
        self,
        x_t: Float[Tensor, "b 4 h w"],
        t: Float[Tensor, " b"],
        text: TextEmbedding,
        cameras: OrbitCameras,
        *,
        views: int = 1,
    ) -> Float[Tensor, "b 4 h w"]:
        """The ball where each camera's rays meet it, |o + s d| = RADIUS at the nearer s, in the light that
        the field's pictures have: so no shadow is taken for a shape."""
        origins, directions = cameras.resized(*x_t.shape[-2:]).rays()
        along = (origins * directions).sum(-1)
        under_root = along**2 - (origins**2).sum(-1) + RADIUS**2
        points = origins + (-along - under_root.clamp(min=0).sqrt())[..., None] * directions
        longitude = torch.atan2(points[..., 0], points[..., 2])
        red = (torch.sin(STRIPES * longitude) > 0).to(x_t)[..., None]
        colour = red * x_t.new_tensor(RED) + (1 - red) * x_t.new_tensor(WHITE)
        light = light_direction(cameras.camera_to_world)[:, None, None]
        hit = (under_root > 0).to(x_t)[..., None]
        lit = hit * colour * lambert_shading(points / RADIUS, light)[..., None]
        return torch.cat([lit, hit], -1).permute(0, 3, 1, 2) * 2 - 1


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
    low, high = asset.record["mesh"]["bounds"]
    size = ", ".join(f"{b - a:.2f}" for a, b in zip(low, high, strict=True))
    print(f"{asset.main_file}: {size} m, by the prior {asset.record['prior']['name']}")


if __name__ == "__main__":
    main()

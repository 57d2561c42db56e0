"""The optimal prior of a finite set of objects, in closed form.

For K equally likely objects x^1..x^K the optimal denoiser in the mean square is

    E[x_0 | x_t] = sum_k softmax_k( -|x_t - alpha x^k|^2 / (2 sigma^2) ) x^k

so any artifact of a field that is distilled from it comes from the distillation, not from a network. The
images are rendered once, for a fixed bank of cameras.
"""

from __future__ import annotations

import hashlib
import math

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import ORBIT_ELEVATION_DEG, OrbitCameras, orbit_cameras
from dreamfusion3d.core.types import Render
from dreamfusion3d.priors.images import render_to_rgba
from dreamfusion3d.priors.protocol import TextEmbedding
from dreamfusion3d.procedural.objects import ObjectBatch, ObjectSpec
from dreamfusion3d.procedural.renderer import render_objects


class OraclePrior:
    """Optimal denoiser of the renders of ``objects``, all in the colors of ``spec``.

    It denoises only for the cameras of its bank: ``num_camera_sets`` sets of ``views`` cameras each, the views
    of a set 360/views degrees apart. ``sample_cameras`` draws such a set.
    """

    name = "ideal"
    camera_conditioned = True

    def __init__(
        self,
        objects: ObjectBatch,
        spec: ObjectSpec,
        *,
        num_camera_sets: int = 12,
        views: int = 4,
        resolution: int = 64,
        elevation_range_deg: tuple[float, float] = ORBIT_ELEVATION_DEG,
        generator: torch.Generator,
    ) -> None:
        self.views = views
        self.sha256 = hashlib.sha256(repr((spec, num_camera_sets, views, resolution)).encode()).hexdigest()
        low, high = (math.sin(math.radians(e)) for e in elevation_range_deg)
        offsets = (torch.arange(num_camera_sets) + torch.rand(num_camera_sets, generator=generator)) * (
            360 / views / num_camera_sets
        )
        azimuth = (offsets[:, None] + torch.arange(views) * (360 / views)).flatten()
        sin_elevation = torch.rand(num_camera_sets * views, generator=generator) * (high - low) + low
        self.camera_bank = orbit_cameras(
            azimuth, torch.rad2deg(torch.asin(sin_elevation)), height=resolution, width=resolution
        )
        colors = torch.tensor([spec.part_colors()]).expand(len(objects), -1, -1)
        images = []
        for i in range(num_camera_sets * views):
            camera = self.camera_bank.select(torch.full((len(objects),), i))
            planes = render_objects(objects, camera, spec.material)
            rgba = torch.cat([planes.colorize(colors), planes.opacity[..., None]], -1)
            images.append(rgba.permute(0, 3, 1, 2) * 2 - 1)
        self.images = torch.stack(images)  # (camera, object, 4, h, w)

    def sample_cameras(self, count: int, *, generator: torch.Generator) -> OrbitCameras:
        """Draw one set of the bank; ``count`` must be its number of views."""
        if count != self.views:
            raise ValueError(f"the camera bank holds sets of {self.views} views, not {count}")
        start = int(torch.randint(len(self.camera_bank) // count, (), generator=generator)) * count
        return self.camera_bank.select(torch.arange(start, start + count))

    def check_prompt(self, prompt: str) -> list[str]:
        return []

    def encode_text(self, prompts: list[str]) -> TextEmbedding:
        return TextEmbedding(torch.zeros(len(prompts), 1))

    def alpha_sigma(self, t: Float[Tensor, " b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        return torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2)

    def encode(self, render: Render, *, generator: torch.Generator) -> Float[Tensor, "b 4 h w"]:
        return render_to_rgba(render, self.camera_bank.height)

    def denoise(
        self,
        x_t: Float[Tensor, "b 4 h w"],
        t: Float[Tensor, " b"],
        text: TextEmbedding,
        cameras: OrbitCameras,
        *,
        views: int = 1,
    ) -> Float[Tensor, "b 4 h w"]:
        alpha, sigma = (c.view(-1, 1, 1, 1) for c in self.alpha_sigma(t))
        candidates = self.images[self._bank_indices(cameras)]  # (b, object, 4, h, w)
        squared_distance = (x_t[:, None] - alpha[:, None] * candidates).square().flatten(2).sum(-1)
        log_likelihood = -squared_distance / (2 * sigma.view(-1, 1) ** 2)
        # all views of a scene show the same object
        joint = log_likelihood.view(-1, views, log_likelihood.shape[-1]).sum(1).repeat_interleave(views, 0)
        return torch.einsum("bk,bkchw->bchw", joint.softmax(-1), candidates)

    def _bank_indices(self, cameras: OrbitCameras) -> Tensor:
        distance = (self.camera_bank.azimuth_deg - cameras.azimuth_deg[:, None]).abs() + (
            self.camera_bank.elevation_deg - cameras.elevation_deg[:, None]
        ).abs()
        nearest, rows = distance.min(1)
        if float(nearest.max()) > 1e-3:
            raise ValueError("a camera is not in the bank: draw cameras with sample_cameras")
        return rows

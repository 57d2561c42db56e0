"""One prior for all families: a space, noise levels, a network and a reader of prompts, put together."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import Cameras
from dreamfusion3d.core.types import Render
from dreamfusion3d.priors.pretrained.networks import Network
from dreamfusion3d.priors.pretrained.noise_schedule import Levels
from dreamfusion3d.priors.pretrained.offload import Placed
from dreamfusion3d.priors.pretrained.render_encoders import Latents, Space
from dreamfusion3d.priors.pretrained.text_encoders import Reader
from dreamfusion3d.priors.protocol import Chained, Text


class DiffusionPrior:
    """The contract of ``prior/protocol.py`` over a published model.

    Takes and gives float32 on the caller's device; the network computes on ``device`` in ``dtype``,
    ``batch`` pictures at a time (whole scenes, where views are denoised jointly).
    """

    def __init__(
        self, *, name: str, sha256: str, space: Space, levels: Levels, network: Network, reader: Reader,
        device: torch.device, dtype: torch.dtype, batch: int, camera_conditioned: bool,
        placed: Placed | None = None,
    ) -> None:
        self.name = name
        self.sha256 = sha256
        self.camera_conditioned = camera_conditioned
        self.space = space
        self.levels = levels
        self.network = network
        self.reader = reader
        self.device = device
        self.dtype = dtype
        self.batch = batch
        self.placed = placed  # the network's weights, where they may be sent to main memory

    def check_prompt(self, prompt: str) -> list[str]:
        return self.reader.check(prompt)

    def encode_text(self, prompts: list[str]) -> Text:
        return self.reader.encode(prompts)

    def alpha_sigma(self, t: Float[Tensor, " b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        return self.levels.alpha_sigma(t)

    def encode(self, render: Render, *, generator: torch.Generator) -> Float[Tensor, "b c u v"]:
        return self.space.encode(render, generator=generator)

    def chained(self, render: Render, *, generator: torch.Generator) -> Chained | None:
        """``encode`` as a chain of blocks; None where it has nothing worth to be computed twice."""
        if isinstance(self.space, Latents):
            return self.space.chained(render, generator=generator)
        return None

    @torch.no_grad()
    def denoise(
        self, x_t: Float[Tensor, "b c u v"], t: Float[Tensor, " b"], text: Text, cameras: Cameras,
        *, views: int = 1,
    ) -> Float[Tensor, "b c u v"]:
        joint = views if self.camera_conditioned else 1
        step = max(self.batch // joint, 1) * joint
        timestep = self.levels.timestep(t).to(self.device)
        outputs = []
        for first in range(0, len(x_t), step):
            part = slice(first, first + step)
            rows = torch.arange(len(x_t), device=x_t.device)[part]
            outputs.append(self.network(
                x_t[part].to(self.device, self.dtype), timestep[part], text.select(part).to(self.device),
                cameras.select(rows).to(self.device), joint,
            ).to(x_t))
        return self.levels.x0(x_t, t, torch.cat(outputs))

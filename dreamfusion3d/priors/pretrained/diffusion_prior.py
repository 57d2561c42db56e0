"""The prior shared by all model families: render encoder, noise schedule, network and prompt encoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.types import Render
from dreamfusion3d.priors.pretrained.networks import Network
from dreamfusion3d.priors.pretrained.noise_schedule import NoiseSchedule
from dreamfusion3d.priors.pretrained.offload import OffloadableNetwork
from dreamfusion3d.priors.pretrained.render_encoders import LatentEncoder, RenderEncoder
from dreamfusion3d.priors.pretrained.text_encoders import PromptEncoder
from dreamfusion3d.priors.pretrained.vae_blocks import is_tiny_autoencoder
from dreamfusion3d.priors.protocol import EncoderBlocks, TextEmbedding


@dataclass(eq=False, kw_only=True)
class DiffusionPrior:
    """A published diffusion model behind the protocol of ``priors/protocol.py``.

    Inputs and outputs are float32 on the caller's device. The network computes on ``device`` in ``dtype``,
    ``batch_size`` images at a time (whole scenes if views are denoised jointly).
    """

    name: str
    sha256: str
    render_encoder: RenderEncoder
    noise_schedule: NoiseSchedule
    network: Network
    prompt_encoder: PromptEncoder
    device: torch.device
    dtype: torch.dtype
    batch_size: int
    camera_conditioned: bool
    offloadable_weights: OffloadableNetwork | None = None  # set if the network can move to main memory

    def check_prompt(self, prompt: str) -> list[str]:
        return self.prompt_encoder.check_prompt(prompt)

    def encode_text(self, prompts: list[str]) -> TextEmbedding:
        return self.prompt_encoder.encode(prompts)

    def alpha_sigma(self, t: Float[Tensor, " b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        return self.noise_schedule.alpha_sigma(t)

    def encode(self, render: Render, *, generator: torch.Generator) -> Float[Tensor, "b c u v"]:
        return self.render_encoder.encode(render, generator=generator)

    def encode_in_blocks(self, render: Render, *, generator: torch.Generator) -> EncoderBlocks | None:
        """Return ``encode`` as a chain of blocks, or None if nothing in it is worth recomputing."""
        if isinstance(self.render_encoder, LatentEncoder):
            return self.render_encoder.encode_in_blocks(render, generator=generator)
        return None

    def memory_advice(self) -> list[str]:
        """Settings of this prior that would lower the memory of a step."""
        encoder = self.render_encoder
        has_full_vae = isinstance(encoder, LatentEncoder) and not is_tiny_autoencoder(encoder.vae)
        advice = {"prior.dtype=bfloat16": self.dtype == torch.float32, "a tiny prior.vae": has_full_vae}
        return [setting for setting, applies in advice.items() if applies]

    @torch.no_grad()
    def denoise(
        self,
        x_t: Float[Tensor, "b c u v"],
        t: Float[Tensor, " b"],
        text: TextEmbedding,
        cameras: OrbitCameras,
        *,
        views: int = 1,
    ) -> Float[Tensor, "b c u v"]:
        views_per_scene = views if self.camera_conditioned else 1
        chunk_size = max(self.batch_size // views_per_scene, 1) * views_per_scene
        timestep = self.noise_schedule.timestep(t).to(self.device)
        outputs = []
        for first in range(0, len(x_t), chunk_size):
            chunk = slice(first, first + chunk_size)
            chunk_cameras = cameras.select(torch.arange(len(x_t), device=x_t.device)[chunk]).to(self.device)
            noisy, chunk_text = x_t[chunk].to(self.device, self.dtype), text.select(chunk).to(self.device)
            output = self.network(noisy, timestep[chunk], chunk_text, chunk_cameras, views_per_scene)
            outputs.append(output.to(x_t))
        return self.noise_schedule.x0(x_t, t, torch.cat(outputs))

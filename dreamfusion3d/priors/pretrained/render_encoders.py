"""Encoding of rendered images into the space a prior works in: pixels, or the latents of a VAE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.core.types import Render
from dreamfusion3d.memory.checkpointed import Activations, Block
from dreamfusion3d.priors.images import resize_images
from dreamfusion3d.priors.pretrained.vae_blocks import is_tiny_autoencoder, vae_encoder_blocks
from dreamfusion3d.priors.protocol import EncoderBlocks

GRAY_LEVELS = {"white": 1.0, "gray": 0.5, "black": 0.0}


@runtime_checkable
class RenderEncoder(Protocol):
    """Encoder of renders into the space of a model: pixels or latents."""

    def encode(self, render: Render, *, generator: torch.Generator) -> Float[Tensor, "b c u v"]: ...


@dataclass(eq=False)
class PixelEncoder:
    """RGB in [-1, 1] at ``size`` pixels, composited over a background.

    A "random" background is drawn once per call and shared by all images of the call.
    """

    size: int
    background: str

    def encode(self, render: Render, *, generator: torch.Generator) -> Float[Tensor, "b 3 h w"]:
        return self.composite(render, self.sample_background(generator))

    def sample_background(self, generator: torch.Generator) -> Float[Tensor, "1 3"]:
        if self.background == "random":
            # shared, because images of one scene must differ only by the camera
            return torch.rand(1, 3, generator=generator, device=generator.device)
        return torch.full((1, 3), GRAY_LEVELS[self.background])

    def composite(self, render: Render, background: Float[Tensor, "1 3"]) -> Float[Tensor, "b 3 h w"]:
        images = render.over(background.to(render.rgb)).permute(0, 3, 1, 2) * 2 - 1
        return resize_images(images, self.size)


class LatentEncoder:
    """Differentiable latents of a VAE; the decoder is never called.

    Posterior samples of an AutoencoderKL, or the deterministic latents of an AutoencoderTiny, normalized as
    (z - shift) * scale. The VAE computes in its own precision.
    """

    def __init__(self, vae: Any, pixel_encoder: PixelEncoder) -> None:
        self.vae, self.pixel_encoder = vae, pixel_encoder
        self.scale = float(vae.config.scaling_factor)
        self.shift = float(getattr(vae.config, "shift_factor", None) or 0.0)

    def encode(self, render: Render, *, generator: torch.Generator) -> Float[Tensor, "b c u v"]:
        images = self.pixel_encoder.encode(render, generator=generator)
        encoded = self.vae.encode(images.to(self.vae.device, self.vae.dtype))
        if hasattr(encoded, "latents"):  # AutoencoderTiny
            return self._normalize(encoded.latents.float(), images.device)
        noise = torch.randn(encoded.latent_dist.mean.shape, generator=generator, device=generator.device)
        return self._normalize(_sample(encoded.latent_dist, noise), images.device)

    def encode_in_blocks(self, render: Render, *, generator: torch.Generator) -> EncoderBlocks:
        """Return ``encode`` as a chain of blocks; the same random numbers are drawn here, once."""
        background, noise = self.pixel_encoder.sample_background(generator), None
        if not is_tiny_autoencoder(self.vae):
            side = self.pixel_encoder.size // 2 ** (len(self.vae.config.block_out_channels) - 1)
            shape = (len(render.rgb), self.vae.config.latent_channels, side, side)
            noise = torch.randn(shape, generator=generator, device=generator.device)
        from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

        def blocks(rows: slice) -> list[Block]:
            def composite(state: Activations) -> Activations:
                part = Render(state["rgb"], state["opacity"], render.depth[rows])
                return {"h": self.pixel_encoder.composite(part, background).to(self.vae.device, self.vae.dtype)}

            def sample(state: Activations) -> Activations:
                h = state["h"]
                z = h.float() if noise is None else _sample(DiagonalGaussianDistribution(h), noise[rows])
                return {"x": self._normalize(z, render.rgb.device)}

            first, last = Block("composite", composite, ("rgb", "opacity")), Block("sample", sample, ("h",))
            return [first, *vae_encoder_blocks(self.vae), last]

        return EncoderBlocks(blocks, tuple(self.vae.parameters()))

    def _normalize(self, z: Float[Tensor, "b c u v"], device: torch.device) -> Float[Tensor, "b c u v"]:
        return ((z - self.shift) * self.scale).to(device)


def _sample(posterior: Any, noise: Float[Tensor, "b c u v"]) -> Float[Tensor, "b c u v"]:
    """Sample a diagonal Gaussian in float32 with given noise."""
    mean = posterior.mean.float()
    return mean + posterior.std.float() * noise.to(mean)

"""From the field's pictures to the space that a prior works in: pixels, or a VAE's latents."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.core.types import Render
from dreamfusion3d.memory.checkpointed import Activations, Block
from dreamfusion3d.priors.images import resize_images
from dreamfusion3d.priors.pretrained.vae_blocks import is_tiny_autoencoder, vae_encoder_blocks
from dreamfusion3d.priors.protocol import EncoderBlocks

GRAY_LEVELS = {"white": 1.0, "grey": 0.5, "black": 0.0}


@runtime_checkable
class RenderEncoder(Protocol):
    def encode(self, render: Render, *, generator: torch.Generator) -> Float[Tensor, "b c u v"]: ...


class PixelEncoder:
    """RGB in [-1, 1] at ``size`` pixels, over a background that is drawn anew at each call and is one
    for all pictures of it ("random"), or always the same."""

    def __init__(self, size: int, background: str) -> None:
        self.size = size
        self.background = background

    def encode(self, render: Render, *, generator: torch.Generator) -> Float[Tensor, "b 3 h w"]:
        return self.composite(render, self.sample_background(generator))

    def sample_background(self, generator: torch.Generator) -> Float[Tensor, "1 3"]:
        """The background of one call."""
        if self.background == "random":
            # one for all: pictures of a scene must differ by the camera alone
            return torch.rand(1, 3, generator=generator, device=generator.device)
        return torch.full((1, 3), GRAY_LEVELS[self.background])

    def composite(self, render: Render, background: Float[Tensor, "1 3"]) -> Float[Tensor, "b 3 h w"]:
        images = render.over(background.to(render.rgb)).permute(0, 3, 1, 2) * 2 - 1
        return resize_images(images, self.size)


class LatentEncoder:
    """Latents of a VAE's encoder, differentiable; the decoder is never called.

    Posterior samples of AutoencoderKL, (z - shift) * scale as the network was trained with, or the
    plain latents of AutoencoderTiny. The VAE computes in its own precision.
    """

    def __init__(self, vae: Any, pixel_encoder: PixelEncoder) -> None:
        self.vae = vae
        self.pixel_encoder = pixel_encoder
        self.scale = float(vae.config.scaling_factor)
        self.shift = float(getattr(vae.config, "shift_factor", None) or 0.0)

    def encode(self, render: Render, *, generator: torch.Generator) -> Float[Tensor, "b c u v"]:
        images = self.pixel_encoder.encode(render, generator=generator)
        encoded = self.vae.encode(images.to(self.vae.device, self.vae.dtype))
        if hasattr(encoded, "latents"):  # AutoencoderTiny's
            z = encoded.latents.float()
        else:
            posterior = encoded.latent_dist
            mean, std = posterior.mean.float(), posterior.std.float()
            noise = torch.randn(mean.shape, generator=generator, device=generator.device)
            z = mean + std * noise.to(mean)
        return ((z - self.shift) * self.scale).to(images.device)

    def encode_in_blocks(self, render: Render, *, generator: torch.Generator) -> EncoderBlocks:
        """``encode`` as a chain, with what it draws."""
        background, noise = self.pixel_encoder.sample_background(generator), None
        if not is_tiny_autoencoder(self.vae):  # whose latents are no distribution
            side = self.pixel_encoder.size // 2 ** (len(self.vae.config.block_out_channels) - 1)
            shape = (len(render.rgb), self.vae.config.latent_channels, side, side)
            noise = torch.randn(shape, generator=generator, device=generator.device)

        from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

        def blocks(rows: slice) -> list[Block]:
            def composite(state: Activations) -> Activations:
                part = Render(state["rgb"], state["opacity"], render.depth[rows])
                return {"h": self.pixel_encoder.composite(part, background).to(self.vae.device, self.vae.dtype)}

            def sample_latents(state: Activations) -> Activations:
                z = state["h"].float()
                if noise is not None:
                    posterior = DiagonalGaussianDistribution(state["h"])
                    z = posterior.mean.float() + posterior.std.float() * noise[rows].to(z)
                return {"x": ((z - self.shift) * self.scale).to(render.rgb.device)}

            return [
                Block("shown", composite, ("rgb", "opacity")),
                *vae_encoder_blocks(self.vae),
                Block("sampled", sample_latents, ("h",)),
            ]

        return EncoderBlocks(blocks, tuple(self.vae.parameters()))

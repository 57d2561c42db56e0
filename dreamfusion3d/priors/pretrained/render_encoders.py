"""From the field's pictures to the space that a prior works in: pixels, or a VAE's latents."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.core.types import Render
from dreamfusion3d.memory.checkpointed import Block, State
from dreamfusion3d.priors.pretrained.vae_blocks import encoder_blocks, is_tiny
from dreamfusion3d.priors.protocol import Chained

GREYS = {"white": 1.0, "grey": 0.5, "black": 0.0}


@runtime_checkable
class Space(Protocol):
    def encode(self, render: Render, *, generator: torch.Generator) -> Float[Tensor, "b c u v"]: ...


class Pixels:
    """RGB in [-1, 1] at ``size`` pixels, over a background that is drawn anew at each call and is one
    for all pictures of it ("random"), or always the same."""

    def __init__(self, size: int, background: str) -> None:
        self.size = size
        self.background = background

    def encode(self, render: Render, *, generator: torch.Generator) -> Float[Tensor, "b 3 h w"]:
        return self.over(render, self.colour(generator))

    def colour(self, generator: torch.Generator) -> Float[Tensor, "1 3"]:
        """The background of one call."""
        if self.background == "random":
            # one for all: pictures of a scene must differ by the camera alone
            return torch.rand(1, 3, generator=generator, device=generator.device)
        return torch.full((1, 3), GREYS[self.background])

    def over(self, render: Render, colour: Float[Tensor, "1 3"]) -> Float[Tensor, "b 3 h w"]:
        pictures = render.over(colour.to(render.rgb)).permute(0, 3, 1, 2) * 2 - 1
        return resized(pictures, self.size)


class Latents:
    """Latents of a VAE's encoder, differentiable; the decoder is never called.

    Posterior samples of AutoencoderKL, (z - shift) * scale as the network was trained with, or the
    plain latents of AutoencoderTiny. The VAE computes in its own precision.
    """

    def __init__(self, vae: Any, pixels: Pixels) -> None:
        self.vae = vae
        self.pixels = pixels
        self.scale = float(vae.config.scaling_factor)
        self.shift = float(getattr(vae.config, "shift_factor", None) or 0.0)

    def encode(self, render: Render, *, generator: torch.Generator) -> Float[Tensor, "b c u v"]:
        pictures = self.pixels.encode(render, generator=generator)
        encoded = self.vae.encode(pictures.to(self.vae.device, self.vae.dtype))
        if hasattr(encoded, "latents"):  # AutoencoderTiny's
            z = encoded.latents.float()
        else:
            posterior = encoded.latent_dist
            mean, std = posterior.mean.float(), posterior.std.float()
            noise = torch.randn(mean.shape, generator=generator, device=generator.device)
            z = mean + std * noise.to(mean)
        return ((z - self.shift) * self.scale).to(pictures.device)

    def chained(self, render: Render, *, generator: torch.Generator) -> Chained:
        """``encode`` as a chain, with what it draws."""
        colour, noise = self.pixels.colour(generator), None
        if not is_tiny(self.vae):  # whose latents are no distribution
            side = self.pixels.size // 2 ** (len(self.vae.config.block_out_channels) - 1)
            shape = (len(render.rgb), self.vae.config.latent_channels, side, side)
            noise = torch.randn(shape, generator=generator, device=generator.device)

        from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

        def blocks(rows: slice) -> list[Block]:
            def shown(state: State) -> State:
                part = Render(state["rgb"], state["opacity"], render.depth[rows])
                return {"h": self.pixels.over(part, colour).to(self.vae.device, self.vae.dtype)}

            def sampled(state: State) -> State:
                z = state["h"].float()
                if noise is not None:
                    posterior = DiagonalGaussianDistribution(state["h"])
                    z = posterior.mean.float() + posterior.std.float() * noise[rows].to(z)
                return {"x": ((z - self.shift) * self.scale).to(render.rgb.device)}

            return [
                Block("shown", shown, ("rgb", "opacity")), *encoder_blocks(self.vae),
                Block("sampled", sampled, ("h",)),
            ]

        return Chained(blocks, tuple(self.vae.parameters()))


def resized(pictures: Float[Tensor, "b c h w"], size: int) -> Float[Tensor, "b c {size} {size}"]:
    """Bilinear enlargement, box-filtered reduction."""
    if pictures.shape[-1] < size:
        return F.interpolate(pictures, size=(size, size), mode="bilinear", align_corners=False)
    if pictures.shape[-1] > size:
        return F.interpolate(pictures, size=(size, size), mode="area")
    return pictures

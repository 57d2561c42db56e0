"""Adapters that call each family's network and return its raw prediction for each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.backends import constant_like
from dreamfusion3d.priors.protocol import TextEmbedding


@runtime_checkable
class Network(Protocol):
    """A denoising network of a model family; returns its raw prediction."""

    def __call__(
        self, x_t: Float[Tensor, "b c u v"], timestep: Tensor, text: TextEmbedding, cameras: OrbitCameras, views: int
    ) -> Float[Tensor, "b c u v"]: ...


@dataclass(eq=False)
class UNet:
    """UNet2DConditionModel with cross-attention to the prompt: Stable Diffusion, DeepFloyd IF.

    IF also predicts a variance; only the first half of its output channels is used. ``size`` (pixels) is
    for SDXL, which is conditioned on the pooled prompt and on the size of an uncropped square image.
    """

    unet: Any
    size: int | None = None

    def __call__(
        self, x_t: Float[Tensor, "b c u v"], timestep: Tensor, text: TextEmbedding, cameras: OrbitCameras, views: int
    ) -> Float[Tensor, "b c u v"]:
        added = None
        if self.size is not None:
            size = (float(self.size),) * 2
            ids = constant_like((*size, 0.0, 0.0, *size), x_t).expand(len(x_t), -1)
            assert text.pooled is not None, "SDXL needs pooled text embeddings"
            added = {"text_embeds": text.pooled.to(x_t), "time_ids": ids}
        output = self.unet(x_t, timestep, encoder_hidden_states=text.embedding.to(x_t), added_cond_kwargs=added).sample
        return output[:, : x_t.shape[1]]


@dataclass(eq=False)
class SD3:
    """SD3Transformer2DModel: Stable Diffusion 3."""

    transformer: Any

    def __call__(
        self, x_t: Float[Tensor, "b c u v"], timestep: Tensor, text: TextEmbedding, cameras: OrbitCameras, views: int
    ) -> Float[Tensor, "b c u v"]:
        assert text.pooled is not None, "SD3 needs pooled text embeddings"
        return self.transformer(
            hidden_states=x_t,
            timestep=timestep,
            encoder_hidden_states=text.embedding.to(x_t),
            pooled_projections=text.pooled.to(x_t),
        ).sample


@dataclass(eq=False)
class Flux:
    """FluxTransformer2DModel, whose tokens are 2x2 patches of latents with their coordinates.

    ``distilled_scale`` is the guidance scale on which a guidance-distilled network (FLUX.1-dev) is conditioned.
    """

    transformer: Any
    distilled_scale: float

    def __call__(
        self, x_t: Float[Tensor, "b c u v"], timestep: Tensor, text: TextEmbedding, cameras: OrbitCameras, views: int
    ) -> Float[Tensor, "b c u v"]:
        assert text.pooled is not None, "Flux needs pooled text embeddings"
        rows, columns = x_t.shape[-2] // 2, x_t.shape[-1] // 2
        scale = None
        if self.transformer.config.guidance_embeds:
            scale = x_t.new_full((len(x_t),), self.distilled_scale, dtype=torch.float32)
        output = self.transformer(
            hidden_states=F.pixel_unshuffle(x_t, 2).flatten(2).transpose(1, 2),
            timestep=timestep.to(x_t),
            guidance=scale,
            pooled_projections=text.pooled.to(x_t),
            encoder_hidden_states=text.embedding.to(x_t),
            txt_ids=x_t.new_zeros(text.embedding.shape[1], 3),
            img_ids=latent_image_ids(rows, columns).to(x_t),
        ).sample
        return F.pixel_shuffle(output.transpose(1, 2).unflatten(2, (rows, columns)), 2)


def latent_image_ids(rows: int, columns: int) -> Float[Tensor, "{rows}*{columns} 3"]:
    """Return (0, row, column) for every token, row by row."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([torch.zeros_like(y), y, x], -1).flatten(0, 1).float()

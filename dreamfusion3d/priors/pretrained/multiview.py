"""Multi-view priors conditioned on cameras as in MVDream (Shi et al., arXiv 2308.16512, section 3.1).

Several views of one object are denoised in one batch. Self-attention runs over the tokens of all views,
which keeps them consistent. Each view's flattened camera-to-world matrix passes through a two-layer MLP
whose output is added to the time embedding. In diffusers' terms this is a UNet2DConditionModel with
``class_embed_type="projection"`` and 16 numbers per image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.priors.protocol import TextEmbedding

CAMERA_DIM = 16


class MultiViewAttnProcessor:
    """Attention processor in which ``num_views`` consecutive images of a batch attend to each other."""

    def __init__(self) -> None:
        self.num_views = 1
        self.attn_processor = AttnProcessor2_0()

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        b, n, d = hidden_states.shape
        scenes = hidden_states.reshape(b // self.num_views, self.num_views * n, d)
        return self.attn_processor(attn, scenes, encoder_hidden_states, attention_mask, temb).reshape(b, n, d)


def enable_multiview_attention(unet: Any) -> MultiViewAttnProcessor:
    """Install one shared processor in every self-attention layer of ``unet`` and return it."""
    multiview = MultiViewAttnProcessor()
    # attn1 is self-attention; attn2 (cross-attention to the prompt) keeps its processor
    shared = {name: multiview for name in unet.attn_processors if name.endswith("attn1.processor")}
    unet.set_attn_processor({**unet.attn_processors, **shared})
    return multiview


@dataclass(eq=False)
class MultiViewUNet:
    """A UNet2DConditionModel that receives camera matrices as class labels.

    ``attention`` is the processor returned by `enable_multiview_attention`.
    """

    unet: Any
    attention: MultiViewAttnProcessor

    def __call__(
        self, x_t: Float[Tensor, "b c u v"], timestep: Tensor, text: TextEmbedding, cameras: OrbitCameras, views: int
    ) -> Float[Tensor, "b c u v"]:
        self.attention.num_views = views
        matrices = mvdream_camera_matrices(cameras).to(x_t)
        output = self.unet(x_t, timestep, encoder_hidden_states=text.embedding.to(x_t), class_labels=matrices).sample
        return output[:, : x_t.shape[1]]


def mvdream_camera_matrices(cameras: OrbitCameras) -> Float[Tensor, "b 16"]:
    """Return flattened camera-to-world matrices in MVDream's training convention.

    The world is Blender's (+Z up, the object faces -Y) and every camera lies one unit from the origin.
    """
    x, y, z, last = cameras.camera_to_world.unbind(1)
    pose = torch.stack([x, -z, y, last], 1)
    pose[:, :3, 3] /= pose[:, :3, 3].norm(dim=1, keepdim=True)
    return pose.flatten(1)

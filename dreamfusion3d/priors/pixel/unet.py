"""The embedded prior's network: diffusers' UNet2DModel on unshuffled pixels, which is shown the
prompt's scene beside the noisy picture (``scene.py``), with attention that can look across the
views of one prop (MVDream, arXiv 2308.16512, section 3.1)."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.models.attention_processor import Attention
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.priors.pixel.scene_volume import PALETTE_SIZE, SCENE_IMAGE_CHANNELS, render_scene_volume

UNSHUFFLE_FACTOR = 4  # 4 channels at 64x64 become 64 at 16x16: what is finer than that, the scene shows
SCENE_DOWNSCALE = 2  # pixels of the picture along one of the scene's
RAY_CHANNELS = 8
DEVIATION_SCALE = 0.4  # how far pictures lie from their scene's, in [-1, 1]
IMAGE_CHANNELS = 4  # premultiplied RGB and opacity
OUT_CHANNELS = PALETTE_SIZE + IMAGE_CHANNELS


def build_unet(widths: tuple[int, ...] = (96, 192), layers: int = 1) -> UNet2DModel:
    """A U-Net conditioned by one vector (passed as ``class_labels``); attention at 8x8 only."""
    num_plain_blocks = len(widths) - 1
    return UNet2DModel(
        sample_size=64 // UNSHUFFLE_FACTOR,
        in_channels=IMAGE_CHANNELS * UNSHUFFLE_FACTOR**2
        + (3 + SCENE_IMAGE_CHANNELS) * (UNSHUFFLE_FACTOR // SCENE_DOWNSCALE) ** 2
        + RAY_CHANNELS,
        out_channels=OUT_CHANNELS * UNSHUFFLE_FACTOR**2,
        block_out_channels=widths,
        layers_per_block=layers,
        down_block_types=("DownBlock2D",) * num_plain_blocks + ("AttnDownBlock2D",),
        up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * num_plain_blocks,
        attention_head_dim=32,
        norm_num_groups=8,
        class_embed_type="identity",
        resnet_time_scale_shift="scale_shift",
        add_attention=False,  # in the middle: diffusers leaves that one without a norm
    )


def build_scheduler() -> DDPMScheduler:
    """Cosine noise levels (Nichol and Dhariwal, arXiv 2102.09672); the picture itself is predicted."""
    return DDPMScheduler(
        num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2", prediction_type="sample", clip_sample=False
    )


class ViewAttention:
    """Attention processor: ``views`` consecutive pictures of a batch attend to each other."""

    def __init__(self) -> None:
        self.views = 1

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        b, c, h, w = hidden_states.shape
        groups, views = b // self.views, self.views
        x = attn.group_norm(hidden_states.flatten(2)).transpose(1, 2)  # (b hw c)
        x = x.reshape(groups, views * h * w, c)

        def heads(t: Tensor) -> Tensor:
            return t.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        x = F.scaled_dot_product_attention(heads(attn.to_q(x)), heads(attn.to_k(x)), heads(attn.to_v(x)))
        x = attn.to_out[0](x.transpose(1, 2).flatten(2))
        x = x.reshape(b, h * w, c).transpose(1, 2).reshape(b, c, h, w)
        return (x + hidden_states) / attn.rescale_output_factor


def install_view_attention(unet: UNet2DModel) -> ViewAttention:
    """Put one shared processor into every attention layer and return it."""
    processor = ViewAttention()
    for module in unet.modules():
        if isinstance(module, Attention):
            module.set_processor(processor)
    return processor


def ray_map(cameras: OrbitCameras, height: int, width: int) -> Float[Tensor, "b 8 {height} {width}"]:
    """Where every pixel is and what it looks at: (u, v) in [-1, 1], the ray's direction, and
    twice the point of the ray nearest to the origin, both in the world.

    A vector that scales and shifts whole feature maps cannot say on which side a handle is; a
    ray can (as Pluecker coordinates, Sitzmann et al., arXiv 2106.02634, section 3.1). The
    nearest point stands for the moment: it says "at world +X" in one channel.
    """
    with torch.autocast(cameras.azimuth_deg.device.type, enabled=False):  # geometry wants its digits
        origins, directions = cameras.resized(height, width).rays()
    nearest = origins - (origins * directions).sum(-1, keepdim=True) * directions
    v, u = torch.meshgrid(
        torch.linspace(-1, 1, height, device=origins.device),
        torch.linspace(-1, 1, width, device=origins.device),
        indexing="ij",
    )
    pixel_position = torch.stack([u, v], -1).expand(len(cameras), -1, -1, -1)
    return torch.cat([pixel_position, directions, 2 * nearest], -1).permute(0, 3, 1, 2)


def render_scene_condition(
    volumes: Float[Tensor, "b v z y x"],
    cameras: OrbitCameras,
    height: int,
    width: int,
    *,
    generator: torch.Generator | None = None,
    jitter: Float[Tensor, "b 1 hs ws"] | None = None,
) -> Float[Tensor, "b c hs ws"]:
    """The scene beside pictures of ``height`` x ``width``, as ``predict`` takes it."""
    size = height // SCENE_DOWNSCALE, width // SCENE_DOWNSCALE
    return render_scene_volume(volumes, cameras, *size, generator=generator, jitter=jitter)


@dataclass(frozen=True)
class ImagePrediction:
    """What a clear picture is made of: the light that each of the p colours of the prompt's palette
    sends (in [0, 1]), the opacity (in [-1, 1]), and premultiplied sRGB of none of these colours.

    A network that says where a colour is, and not what it is, cannot take one for another.
    """

    shading: Float[Tensor, "b p h w"]
    opacity: Float[Tensor, "b 1 h w"]
    residual: Float[Tensor, "b 3 h w"]

    def image(self, colors: Float[Tensor, "b p 3"]) -> Float[Tensor, "b 4 h w"]:
        """x_0: premultiplied RGBA in [-1, 1]."""
        return torch.cat([2 * (apply_palette(self.shading, colors) + self.residual) - 1, self.opacity], 1)


def apply_palette(shading: Float[Tensor, "b p h w"], colors: Float[Tensor, "b p 3"]) -> Float[Tensor, "b 3 h w"]:
    """Premultiplied sRGB."""
    return torch.einsum("bphw,bpc->bchw", shading, colors)


def predict_image(
    unet: Callable[..., Any],
    attention: ViewAttention,
    x_t: Float[Tensor, "b 4 h w"],
    timestep: Tensor,
    scene_images: Float[Tensor, "b c hs ws"],
    colors: Float[Tensor, "b p 3"],
    condition: Float[Tensor, "b d"],
    cameras: OrbitCameras,
    *,
    views: int,
) -> ImagePrediction:
    """The prediction of x_0 for pictures whose consecutive ``views`` belong together; ``seen`` is the
    prompt's scene before each camera, at half the picture's resolution, and ``colours`` its palette.

    The network predicts how the picture deviates from the scene's, in units of SPREAD, whatever
    the noise. It never predicts noise: that of a 4x4 patch has 64 numbers, and a network that had to
    carry them through itself would have no width left for the picture (Li and He, arXiv 2511.13720).
    """
    attention.views = views
    x = pack_unet_input(x_t, scene_images, colors, cameras)
    return unpack_unet_output(unet(x, timestep, class_labels=condition).sample, scene_images)


def pack_unet_input(
    x_t: Float[Tensor, "b 4 h w"],
    scene_images: Float[Tensor, "b c hs ws"],
    colors: Float[Tensor, "b p 3"],
    cameras: OrbitCameras,
) -> Float[Tensor, "b n u v"]:
    """What the network is shown, unshuffled."""
    rgb = 2 * apply_palette(scene_images[:, :PALETTE_SIZE], colors) - 1
    scene_input = torch.cat([rgb, scene_images[:, PALETTE_SIZE:], 2 * scene_images[:, :PALETTE_SIZE]], 1)
    x, scene_channels = (
        F.pixel_unshuffle(x_t, UNSHUFFLE_FACTOR),
        F.pixel_unshuffle(scene_input, UNSHUFFLE_FACTOR // SCENE_DOWNSCALE),
    )
    x = torch.cat([x, scene_channels.to(x.dtype), ray_map(cameras, *x.shape[-2:]).to(x.dtype)], 1)
    return x.contiguous(memory_format=torch.channels_last)


def unpack_unet_output(sample: Float[Tensor, "b n u v"], scene_images: Float[Tensor, "b c hs ws"]) -> ImagePrediction:
    """What the network's answer means beside the scene."""
    deviation = F.pixel_shuffle(sample, UNSHUFFLE_FACTOR).float()
    residual, opacity, shading = deviation.split([3, 1, PALETTE_SIZE], 1)
    scene = F.interpolate(
        scene_images[:, : PALETTE_SIZE + 1], scale_factor=float(SCENE_DOWNSCALE), mode="bilinear", align_corners=False
    )
    return ImagePrediction(
        scene[:, :PALETTE_SIZE] + DEVIATION_SCALE / 2 * shading,
        scene[:, PALETTE_SIZE:] + DEVIATION_SCALE * opacity,
        DEVIATION_SCALE / 2 * residual,
    )


def bfloat16_autocast(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """bfloat16 where the device computes in it; float32 elsewhere.

    On x86 below AVX-512 torch runs bfloat16 convolutions by a fallback that is some fifty times
    slower than float32: an ordinary laptop would take hours for what takes a minute.
    """
    if device.type == "cpu" and not _cpu_supports_bfloat16():
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


@functools.cache
def _cpu_supports_bfloat16() -> bool:
    """Whether oneDNN, which computes torch's convolutions, takes bfloat16 on this CPU."""
    if not torch.backends.mkldnn.is_available():
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def cast_weights_to_bfloat16(unet: UNet2DModel, device: torch.device) -> None:
    """Keep the weights of a frozen network's products and convolutions as ``autocast`` would make them at
    every call, in place. The results have the same bits; hundreds of conversions a step are saved."""
    with bfloat16_autocast(device):
        uses_bfloat16 = torch.is_autocast_enabled(device.type)
    if uses_bfloat16:
        for layer in unet.modules():
            # diffusers takes the precision of the whole from the first, which stays
            if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d)) and layer is not unet.conv_in:
                layer.to(torch.bfloat16)

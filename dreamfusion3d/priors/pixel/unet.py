"""Network of the pixel prior: diffusers' UNet2DModel on unshuffled pixels.

It sees the render of the prompt's scene (``scene_volume.py``) beside the noisy image, and its attention can span the
views of an object (MVDream, arXiv 2308.16512, section 3.1).
"""

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

UNSHUFFLE_FACTOR = 4  # 4 channels at 64x64 become 64 at 16x16
SCENE_DOWNSCALE = 2  # the scene is rendered at half the image resolution
RAY_CHANNELS = 8
DEVIATION_SCALE = 0.4  # typical deviation of images from their scene's renders, in [-1, 1]
IMAGE_CHANNELS = 4  # premultiplied RGB and opacity
OUT_CHANNELS = PALETTE_SIZE + IMAGE_CHANNELS


def build_unet(widths: tuple[int, ...] = (96, 192), layers: int = 1) -> UNet2DModel:
    """Build a U-Net conditioned on one vector (passed as ``class_labels``), with attention at 8x8 only."""
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
        add_attention=False,  # in the middle, where diffusers omits its norm
    )


def build_scheduler() -> DDPMScheduler:
    """Return the cosine noise schedule (Nichol and Dhariwal, arXiv 2102.09672) with x_0 prediction."""
    return DDPMScheduler(
        num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2", prediction_type="sample", clip_sample=False
    )


class ViewAttention:
    """Attention processor in which ``views`` consecutive images of a batch attend to each other."""

    def __init__(self) -> None:
        self.views = 1

    def __call__(self, attn: Attention, hidden_states: Tensor, **_: Any) -> Tensor:
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
    """Install one shared processor in all attention layers and return it."""
    processor = ViewAttention()
    for module in unet.modules():
        if isinstance(module, Attention):
            module.set_processor(processor)
    return processor


def ray_map(cameras: OrbitCameras, height: int, width: int) -> Float[Tensor, "b 8 {height} {width}"]:
    """Return per pixel: (u, v) in [-1, 1], the ray direction, and twice the ray's nearest point to the origin.

    A vector that modulates whole feature maps cannot tell the side of a handle; rays can (like Pluecker coordinates,
    Sitzmann et al., arXiv 2106.02634, section 3.1). The nearest point, in world space, replaces the moment: it
    encodes "at world +X" in a single channel.
    """
    with torch.autocast(cameras.azimuth_deg.device.type, enabled=False):  # geometry needs full precision
        origins, directions = cameras.resized(height, width).rays()
    nearest = origins - (origins * directions).sum(-1, keepdim=True) * directions
    rows, columns = (torch.linspace(-1, 1, size, device=origins.device) for size in (height, width))
    v, u = torch.meshgrid(rows, columns, indexing="ij")
    pixel_position = torch.stack([u, v], -1).expand(len(cameras), -1, -1, -1)
    return torch.cat([pixel_position, directions, 2 * nearest], -1).permute(0, 3, 1, 2)


def render_scene_condition(
    volumes: Float[Tensor, "b v z y x"],
    cameras: OrbitCameras,
    height: int,
    width: int,
    *,
    jitter: Float[Tensor, "b 1 hs ws"] | None = None,
) -> Float[Tensor, "b c hs ws"]:
    """Render the scene that conditions images of ``height`` x ``width`` pixels."""
    return render_scene_volume(volumes, cameras, height // SCENE_DOWNSCALE, width // SCENE_DOWNSCALE, jitter=jitter)


@dataclass(frozen=True)
class ImagePrediction:
    """Decomposition of a predicted image into the colors of the prompt's palette.

    The network predicts where each color is, not which color it is, so it cannot confuse them.
    """

    shading: Float[Tensor, "b p h w"]  # of each palette color, in [0, 1]
    opacity: Float[Tensor, "b 1 h w"]  # in [-1, 1]
    residual: Float[Tensor, "b 3 h w"]  # premultiplied sRGB outside the palette

    def image(self, colors: Float[Tensor, "b p 3"]) -> Float[Tensor, "b 4 h w"]:
        """Return x_0: premultiplied RGBA in [-1, 1]."""
        return torch.cat([2 * (apply_palette(self.shading, colors) + self.residual) - 1, self.opacity], 1)


def apply_palette(shading: Float[Tensor, "b p h w"], colors: Float[Tensor, "b p 3"]) -> Float[Tensor, "b 3 h w"]:
    """Return the premultiplied sRGB of shaded palette colors."""
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
    """Predict x_0, ``views`` consecutive images jointly.

    The network predicts the deviation of the image from the scene's render in units of ``DEVIATION_SCALE``, at any
    noise level. It does not predict noise: the 64 numbers of a noisy 4x4 patch would fill its width and leave none
    for the image (Li and He, arXiv 2511.13720). ``condition`` is the output of the ``Conditioner``.
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
    """Assemble the unshuffled input of the network."""
    rgb = 2 * apply_palette(scene_images[:, :PALETTE_SIZE], colors) - 1
    scene_input = torch.cat([rgb, scene_images[:, PALETTE_SIZE:], 2 * scene_images[:, :PALETTE_SIZE]], 1)
    x = F.pixel_unshuffle(x_t, UNSHUFFLE_FACTOR)
    scene_channels = F.pixel_unshuffle(scene_input, UNSHUFFLE_FACTOR // SCENE_DOWNSCALE)
    x = torch.cat([x, scene_channels.to(x.dtype), ray_map(cameras, *x.shape[-2:]).to(x.dtype)], 1)
    return x.contiguous(memory_format=torch.channels_last)


def unpack_unet_output(sample: Float[Tensor, "b n u v"], scene_images: Float[Tensor, "b c hs ws"]) -> ImagePrediction:
    """Add the network's output, a deviation, to the scene's render."""
    deviation = F.pixel_shuffle(sample, UNSHUFFLE_FACTOR).float()
    residual, opacity, shading = deviation.split([3, 1, PALETTE_SIZE], 1)
    scene, scale = scene_images[:, : PALETTE_SIZE + 1], float(SCENE_DOWNSCALE)
    scene = F.interpolate(scene, scale_factor=scale, mode="bilinear", align_corners=False)
    shading = scene[:, :PALETTE_SIZE] + DEVIATION_SCALE / 2 * shading
    opacity = scene[:, PALETTE_SIZE:] + DEVIATION_SCALE * opacity
    return ImagePrediction(shading, opacity, DEVIATION_SCALE / 2 * residual)


def bfloat16_autocast(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Return an autocast to bfloat16 where the device supports it, otherwise a null context (float32).

    On x86 without AVX-512, torch's fallback for bfloat16 convolutions is about fifty times slower than float32.
    """
    if device.type == "cpu" and not _cpu_supports_bfloat16():
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


@functools.cache
def _cpu_supports_bfloat16() -> bool:
    """Return whether oneDNN, which computes torch's convolutions, supports bfloat16 on this CPU."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def cast_weights_to_bfloat16(unet: UNet2DModel, device: torch.device) -> None:
    """Cast the weights of linear and convolutional layers once, in place, instead of at every call.

    The results are the same to the bit; it saves the hundreds of casts per step that autocast makes.
    """
    with bfloat16_autocast(device):
        uses_bfloat16 = torch.is_autocast_enabled(device.type)
    if uses_bfloat16:
        for layer in unet.modules():
            # diffusers reads the dtype of the network from its first layer, which stays in float32
            if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d)) and layer is not unet.conv_in:
                layer.to(torch.bfloat16)

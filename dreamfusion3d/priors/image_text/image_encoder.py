"""Frozen image encoders, differentiable with respect to the image, for semantic losses."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.priors.image_text.protocol import EMBEDDED_ENCODER


@runtime_checkable
class ImageEncoder(Protocol):
    """A frozen image encoder, differentiable with respect to the images."""

    def to(self, device: torch.device) -> ImageEncoder: ...

    def encode_image(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Encode images in [0, 1] as unit vectors."""
        ...


class EmbeddedImageEncoder:
    """Image encoder of the embedded CLIP, trained on procedural objects only."""

    SIZE = 64

    def __init__(self) -> None:
        from dreamfusion3d.priors.image_text.embedded_clip import EmbeddedClipEncoder

        self.net = EmbeddedClipEncoder.load_embedded().net

    def to(self, device: torch.device) -> EmbeddedImageEncoder:
        self.net = self.net.to(device)
        return self

    def encode_image(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        return self.net.encode_images(center_crop(images, self.SIZE))


class ClipImageEncoder:
    """Image encoder of a CLIP model (arXiv 2103.00020) from transformers, as in DietNeRF (arXiv 2104.00677)."""

    MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's normalization
    STD = (0.26862954, 0.26130258, 0.27577711)

    def __init__(self, name: str) -> None:
        from dreamfusion3d.priors.image_text.transformers_clip import ClipEncoder

        self.model: Any = ClipEncoder(name).model.requires_grad_(False)
        self.size = int(self.model.config.vision_config.image_size)

    def to(self, device: torch.device) -> ClipImageEncoder:
        self.model = self.model.to(device)
        return self

    def encode_image(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        mean, std = (images.new_tensor(v)[:, None, None] for v in (self.MEAN, self.STD))
        pixel_values = (center_crop(images, self.size) - mean) / std
        output = self.model.get_image_features(pixel_values=pixel_values)
        return F.normalize(getattr(output, "pooler_output", output).float(), dim=-1)


def load_image_encoder(name: str, clip_model: str | None = None) -> ImageEncoder:
    """Load the encoder named by `reconstruction.semantic_encoder`: "embedded", or "clip" from ``clip_model``.

    ``clip_model`` is a folder or hub id. Raises InputError if it is missing or cannot be loaded.
    """
    if name == EMBEDDED_ENCODER:
        return EmbeddedImageEncoder()
    if clip_model is None:
        raise InputError("--semantic-encoder clip needs a CLIP model: pass its folder or hub id to --clip-model")
    return ClipImageEncoder(clip_model)


def center_crop(images: Float[Tensor, "b c h w"], size: int) -> Float[Tensor, "b c s s"]:
    """Crop the largest centered square and resize it to ``size`` pixels."""
    height, width = images.shape[2:]
    crop_size = min(height, width)
    top, left = (height - crop_size) // 2, (width - crop_size) // 2
    crop = images[:, :, top : top + crop_size, left : left + crop_size]
    if crop_size == size:
        return crop
    return F.interpolate(crop, (size, size), mode="bilinear", align_corners=False, antialias=crop_size > size)

"""Moved."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.core.errors import InputError


@runtime_checkable
class Eye(Protocol):
    """A frozen image encoder, differentiable in the pictures."""

    def to(self, device: torch.device) -> Eye: ...

    def look(self, pictures: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Unit vectors of pictures in [0, 1]."""
        ...


class JudgeEye:
    """The shipped image encoder of `evaluate`, which knows the procedural world alone."""

    SIZE = 64

    def __init__(self) -> None:
        from dreamfusion3d.priors.image_text.embedded_clip import Judge

        self.net = Judge.shipped().net

    def to(self, device: torch.device) -> JudgeEye:
        self.net = self.net.to(device)
        return self

    def look(self, pictures: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        return self.net.look(square(pictures, self.SIZE))


class ClipEye:
    """A CLIP model by transformers (Radford et al., arXiv 2103.00020): what DietNeRF asks."""

    MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's own normalisation
    DEVIATION = (0.26862954, 0.26130258, 0.27577711)

    def __init__(self, name: str) -> None:
        from dreamfusion3d.priors.image_text.transformers_clip import Clip

        self.model: Any = Clip(name).model.requires_grad_(False)
        self.size = int(self.model.config.vision_config.image_size)

    def to(self, device: torch.device) -> ClipEye:
        self.model = self.model.to(device)
        return self

    def look(self, pictures: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        mean, deviation = (pictures.new_tensor(v)[:, None, None] for v in (self.MEAN, self.DEVIATION))
        shown = (square(pictures, self.size) - mean) / deviation
        output = self.model.get_image_features(pixel_values=shown)
        return F.normalize(getattr(output, "pooler_output", output).float(), dim=-1)


def load_eye(teacher: str, encoder: str | None = None) -> Eye:
    """The encoder of `fit.teacher`. Raises InputError where a CLIP model is not named or cannot be read."""
    if teacher == "judge":
        return JudgeEye()
    if encoder is None:
        raise InputError("the teacher clip needs a CLIP model: name its folder or hub id with --encoder")
    return ClipEye(encoder)


def square(pictures: Float[Tensor, "b c h w"], size: int) -> Float[Tensor, "b c s s"]:
    """The largest square in the middle, at ``size`` pixels."""
    height, width = pictures.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    cut = pictures[:, :, top : top + side, left : left + side]
    if side == size:
        return cut
    return F.interpolate(cut, (size, size), mode="bilinear", align_corners=False, antialias=side > size)

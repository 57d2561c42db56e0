"""What teaches a fitted field from poses that no photo has.

`Semantic` is DietNeRF's semantic consistency (Jain et al., ICCV 2021, arXiv 2104.00677, eq. 5): "a
bulldozer is a bulldozer from any perspective", so an image encoder should find the field's picture like
a photo.
`Distilled` asks a prior that is told what the photos show (as RealFusion, arXiv 2302.10663, section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras import Cameras
from dreamfusion3d.config import Config, FitConfig
from dreamfusion3d.distill import guidance_loss
from dreamfusion3d.errors import InputError
from dreamfusion3d.evaluate.retrieval import GROUND
from dreamfusion3d.guidance import Guidance, load_guidance
from dreamfusion3d.photos import Photos
from dreamfusion3d.prior.protocol import Prior, Prompts
from dreamfusion3d.types import Render


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
        from dreamfusion3d.evaluate.judge import Judge

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
        from dreamfusion3d.evaluate.retrieval import Clip

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


class Semantic:
    """1 minus the likeness of the field's picture and a random photo: eq. 5 but for its scale.

    Asked in the first part of the steps only: as in the paper the photos alone have the last word.
    """

    guidance: Guidance | None = None

    def __init__(
        self, eye: Eye, known: Float[Tensor, "p d"], settings: FitConfig, ground: Float[Tensor, "1 3"]
    ) -> None:
        self.eye, self.known, self.ground = eye, known, ground
        self.weight, self.until = settings.semantic_weight, settings.semantic_until

    @classmethod
    @torch.no_grad()
    def of(
        cls, eye: Eye, photos: Photos, settings: FitConfig, ground: tuple[float, float, float]
    ) -> Semantic:
        """Photos that are cut out are shown over the grey that the encoders of `evaluate` see, as the field
        is; others as they are, and the field over ``ground``."""
        rgba = photos.rgba.float() / 255
        behind = (GROUND,) * 3 if photos.cut_out else ground
        colour = rgba.new_tensor(behind)
        shown = rgba[..., :3] * rgba[..., 3:] + (1 - rgba[..., 3:]) * colour
        known = torch.cat([eye.look(one[None].permute(0, 3, 1, 2)) for one in shown])
        return cls(eye, known, settings, colour[None])

    def __call__(
        self, picture: Render, cameras: Cameras, progress: float, *, generator: torch.Generator
    ) -> Float[Tensor, ""]:
        seen = self.eye.look(picture.over(self.ground).permute(0, 3, 1, 2))
        rows = torch.randint(len(self.known), (len(seen),), generator=generator, device=generator.device)
        return self.weight * (1 - (seen * self.known[rows]).sum(-1)).mean()


class Distilled:
    """Score distillation of a prior that is told what the photos show."""

    until = 1.0

    def __init__(self, prior: Prior, text: Prompts, config: Config, guidance: Guidance) -> None:
        self.prior, self.text, self.config, self.guidance = prior, text, config, guidance

    @classmethod
    def of(
        cls, prior: Prior, text: Prompts, config: Config, device: torch.device, say: Callable[[str], None]
    ) -> Distilled:
        return cls(prior, text, config, load_guidance(config.guidance, device=device, warn=say))

    def __call__(
        self, picture: Render, cameras: Cameras, progress: float, *, generator: torch.Generator
    ) -> Float[Tensor, ""]:
        return guidance_loss(
            self.guidance, picture, cameras, self.prior, self.text, self.config, progress, generator=generator
        )

"""What teaches a fitted field from poses that no photo has.

`Semantic` is DietNeRF's semantic consistency (Jain et al., ICCV 2021, arXiv 2104.00677, eq. 5): "a
bulldozer is a bulldozer from any perspective", so an image encoder should find the field's picture like
a photo.
`Distilled` asks a prior that is told what the photos show (as RealFusion, arXiv 2302.10663, section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.capture import Photos
from dreamfusion3d.cameras.orbit import Cameras
from dreamfusion3d.core.config import Config, FitConfig
from dreamfusion3d.core.types import Render
from dreamfusion3d.guidance import Guidance, load_guidance
from dreamfusion3d.priors.image_text.image_encoder import Eye
from dreamfusion3d.priors.image_text.protocol import GROUND
from dreamfusion3d.priors.protocol import Prior, Prompts
from dreamfusion3d.training.guidance_loss import guidance_loss


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

"""Supervision of a reconstruction from poses without a photo.

Semantic consistency is DietNeRF's (Jain et al., ICCV 2021, arXiv 2104.00677, eq. 5): "a bulldozer is a bulldozer from
any perspective", so an image encoder should embed a render like a photo. The alternative is a `DistillationLoss` of a
prior that knows what the photos show (as RealFusion, arXiv 2302.10663, section 3.2).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.capture import Photos
from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.config import ReconstructionConfig
from dreamfusion3d.core.shading import BACKGROUND_GRAY
from dreamfusion3d.core.types import Render
from dreamfusion3d.guidance import Guidance
from dreamfusion3d.priors.image_text.image_encoder import ImageEncoder


class SemanticConsistencyLoss:
    """1 minus the cosine similarity of a render and a random photo: eq. 5 up to its scale.

    It is off in the last part of the run: as in the paper, the photos alone have the last word.
    """

    guidance: Guidance | None = None

    def __init__(
        self,
        encoder: ImageEncoder,
        photo_embeddings: Float[Tensor, "p d"],
        settings: ReconstructionConfig,
        background: Float[Tensor, "1 3"],
    ) -> None:
        self.encoder, self.photo_embeddings, self.background = encoder, photo_embeddings, background
        self.weight, self.end_fraction = settings.semantic_weight, settings.semantic_end_fraction

    @classmethod
    @torch.no_grad()
    def from_photos(
        cls,
        encoder: ImageEncoder,
        photos: Photos,
        settings: ReconstructionConfig,
        background: tuple[float, float, float],
    ) -> SemanticConsistencyLoss:
        """Embed the photos; masked ones are composited over the gray that the encoders were trained with."""
        rgba = photos.rgba.float() / 255
        background_values = (BACKGROUND_GRAY,) * 3 if photos.masked else background
        background_color = rgba.new_tensor(background_values)
        images = rgba[..., :3] * rgba[..., 3:] + (1 - rgba[..., 3:]) * background_color
        photo_embeddings = torch.cat([encoder.encode_image(image[None].permute(0, 3, 1, 2)) for image in images])
        return cls(encoder, photo_embeddings, settings, background_color[None])

    def __call__(
        self, image: Render, cameras: OrbitCameras, progress: float, *, generator: torch.Generator
    ) -> Float[Tensor, ""]:
        embeddings = self.encoder.encode_image(image.over(self.background).permute(0, 3, 1, 2))
        rows = torch.randint(
            len(self.photo_embeddings), (len(embeddings),), generator=generator, device=generator.device
        )
        return self.weight * (1 - (embeddings * self.photo_embeddings[rows]).sum(-1)).mean()

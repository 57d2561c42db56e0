"""Load an image-text encoder: the shipped one, or a CLIP model by folder or hub id."""

from __future__ import annotations

from dreamfusion3d.priors.image_text.protocol import JUDGE, Encoder
from dreamfusion3d.priors.image_text.transformers_clip import Clip


def load_encoder(name: str = JUDGE) -> Encoder:
    """"judge" is the shipped one; else a folder or hub id of a CLIP model."""
    if name == JUDGE:
        from dreamfusion3d.priors.image_text.embedded_clip import Judge

        return Judge.shipped()
    return Clip(name)

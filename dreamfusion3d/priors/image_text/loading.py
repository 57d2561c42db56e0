"""Loading of image-text encoders: the embedded one, or a CLIP model by folder or hub id."""

from __future__ import annotations

from dreamfusion3d.priors.image_text.protocol import EMBEDDED_ENCODER, ImageTextEncoder
from dreamfusion3d.priors.image_text.transformers_clip import ClipEncoder


def load_image_text_encoder(name: str = EMBEDDED_ENCODER) -> ImageTextEncoder:
    """Load the embedded encoder ("embedded"), or a CLIP model by folder or hub id."""
    if name == EMBEDDED_ENCODER:
        from dreamfusion3d.priors.image_text.embedded_clip import EmbeddedClipEncoder

        return EmbeddedClipEncoder.load_embedded()
    return ClipEncoder(name)

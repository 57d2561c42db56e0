"""CLIP models (Radford et al., arXiv 2103.00020) from transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError

from dreamfusion3d.core.errors import InputError, MissingExtraError
from dreamfusion3d.mesh.geometry import normalize_vectors
from dreamfusion3d.priors.image_text.protocol import composite_over_gray


class ClipEncoder:
    """A CLIP model as an `ImageTextEncoder`; ``name`` is a folder or hub id."""

    def __init__(self, name: str) -> None:
        try:
            from transformers import CLIPModel, CLIPProcessor
        except ImportError:
            raise MissingExtraError("transformers", "clip", "the CLIP encoder") from None
        self.name = Path(name).name
        try:
            self.model = CLIPModel.from_pretrained(name, use_safetensors=True).eval()
            self.processor = CLIPProcessor.from_pretrained(name)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:160]
            message = f"cannot load a CLIP model from {name!r} ({reason}): pass a model folder or hub id"
            raise InputError(message) from None

    @torch.no_grad()
    def encode_images(self, views: Float[np.ndarray, "v h w 4"]) -> Float[np.ndarray, "v d"]:
        rgb = (composite_over_gray(views) * 255).round().astype(np.uint8)
        inputs = self.processor(images=list(rgb), return_tensors="pt")
        return normalize_vectors(_feature_array(self.model.get_image_features(**inputs)))

    @torch.no_grad()
    def encode_texts(self, prompts: Sequence[str]) -> Float[np.ndarray, "p d"]:
        inputs = self.processor(text=list(prompts), return_tensors="pt", padding=True, truncation=True)
        return normalize_vectors(_feature_array(self.model.get_text_features(**inputs)))


def _feature_array(output: object) -> Float[np.ndarray, "n d"]:
    """Return the features as an array; newer transformers wrap them in an output object."""
    return getattr(output, "pooler_output", output).float().numpy()  # type: ignore[attr-defined]

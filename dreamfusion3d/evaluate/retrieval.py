"""Would somebody who sees the asset pick its prompt out of many? (R-precision: Park et al., NeurIPS
2021; for text to 3D in DreamFusion, arXiv 2209.14988, Table 1, coloured and textureless.)"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError

from dreamfusion3d.errors import InputError, MissingExtraError

GROUND = 0.86  # grey behind the pictures
JUDGE = "judge"


@runtime_checkable
class Encoder(Protocol):
    """Pictures and sentences as unit vectors of one space."""

    name: str

    def pictures(self, views: Float[np.ndarray, "v h w 4"]) -> Float[np.ndarray, "v d"]: ...

    def sentences(self, prompts: Sequence[str]) -> Float[np.ndarray, "p d"]: ...


def load_encoder(name: str = JUDGE) -> Encoder:
    """"judge" is the shipped one; else a folder or hub id of a CLIP model."""
    if name == JUDGE:
        from dreamfusion3d.evaluate.judge import Judge

        return Judge.shipped()
    return Clip(name)


class Clip:
    """A CLIP model by transformers (Radford et al., arXiv 2103.00020)."""

    def __init__(self, name: str) -> None:
        try:
            from transformers import CLIPModel, CLIPProcessor
        except ImportError:
            raise MissingExtraError("transformers", "clip", "retrieval by CLIP") from None
        self.name = Path(name).name
        try:
            self.model = CLIPModel.from_pretrained(name, use_safetensors=True).eval()
            self.processor = CLIPProcessor.from_pretrained(name)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:160]
            raise InputError(f"no CLIP model can be loaded from {name!r} ({reason})") from None

    @torch.no_grad()
    def pictures(self, views: Float[np.ndarray, "v h w 4"]) -> Float[np.ndarray, "v d"]:
        rgb = (over_grey(views) * 255).round().astype(np.uint8)
        inputs = self.processor(images=list(rgb), return_tensors="pt")
        return _unit(_vectors(self.model.get_image_features(**inputs)))

    @torch.no_grad()
    def sentences(self, prompts: Sequence[str]) -> Float[np.ndarray, "p d"]:
        inputs = self.processor(text=list(prompts), return_tensors="pt", padding=True, truncation=True)
        return _unit(_vectors(self.model.get_text_features(**inputs)))


def _vectors(output: object) -> Float[np.ndarray, "n d"]:
    """Newer transformers return an output object, older ones the tensor."""
    return getattr(output, "pooler_output", output).float().numpy()  # type: ignore[attr-defined]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def over_grey(views: Float[np.ndarray, "v h w 4"]) -> Float[np.ndarray, "v h w 3"]:
    """Premultiplied RGBA over the grey that every encoder sees."""
    return np.clip(views[..., :3] + (1 - views[..., 3:]) * GROUND, 0, 1)


def scores(
    encoder: Encoder, assets: Sequence[Float[np.ndarray, "v h w 4"]], prompts: Sequence[str]
) -> Float[np.ndarray, "a p"]:
    """Likeness of each asset (the mean over its views) and each prompt."""
    text = encoder.sentences(prompts)
    seen = np.stack([_unit(encoder.pictures(views).mean(0)) for views in assets])
    return seen @ text.T


def ranks(likeness: Float[np.ndarray, "a p"], own: Sequence[int]) -> list[int]:
    """Place of each asset's own prompt among all, 1 the best; ties count against it."""
    return [int((row >= row[i]).sum()) for row, i in zip(likeness, own, strict=True)]


def r_precision(places: Sequence[int]) -> float:
    """Share of assets whose own prompt comes first."""
    return sum(place == 1 for place in places) / len(places) if places else 0.0

"""Would somebody who sees the asset pick its prompt out of many? (R-precision: Park et al., NeurIPS
2021; for text to 3D in DreamFusion, arXiv 2209.14988, Table 1, coloured and textureless.)"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from dreamfusion3d.priors.image_text.protocol import Encoder
from dreamfusion3d.priors.image_text.transformers_clip import _unit


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

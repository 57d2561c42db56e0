"""Would somebody who sees the asset pick its prompt out of many? (R-precision: Park et al., NeurIPS
2021; for text to 3D in DreamFusion, arXiv 2209.14988, Table 1, coloured and textureless.)"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from dreamfusion3d.priors.image_text.protocol import ImageTextEncoder
from dreamfusion3d.priors.image_text.transformers_clip import unit_vectors


def similarity_matrix(
    encoder: ImageTextEncoder, assets: Sequence[Float[np.ndarray, "v h w 4"]], prompts: Sequence[str]
) -> Float[np.ndarray, "a p"]:
    """Likeness of each asset (the mean over its views) and each prompt."""
    text_features = encoder.encode_texts(prompts)
    image_features = np.stack([unit_vectors(encoder.encode_images(views).mean(0)) for views in assets])
    return image_features @ text_features.T


def prompt_ranks(similarity: Float[np.ndarray, "a p"], own_prompts: Sequence[int]) -> list[int]:
    """Place of each asset's own prompt among all, 1 the best; ties count against it."""
    return [int((row >= row[i]).sum()) for row, i in zip(similarity, own_prompts, strict=True)]


def r_precision(ranks: Sequence[int]) -> float:
    """Share of assets whose own prompt comes first."""
    return sum(rank == 1 for rank in ranks) / len(ranks) if ranks else 0.0

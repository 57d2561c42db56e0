"""R-precision (Park et al., NeurIPS 2021): is an asset's prompt the closest of many?

DreamFusion (arXiv 2209.14988), Table 1, reports it for textured and textureless renders.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from dreamfusion3d.mesh.geometry import normalize_vectors
from dreamfusion3d.priors.image_text.protocol import ImageTextEncoder


def similarity_matrix(
    encoder: ImageTextEncoder, assets: Sequence[Float[np.ndarray, "v h w 4"]], prompts: Sequence[str]
) -> Float[np.ndarray, "a p"]:
    """Cosine similarity of each asset (mean over its views) to each prompt."""
    text_features = encoder.encode_texts(prompts)
    image_features = np.stack([normalize_vectors(encoder.encode_images(views).mean(0)) for views in assets])
    return image_features @ text_features.T


def prompt_ranks(similarity: Float[np.ndarray, "a p"], own_prompts: Sequence[int]) -> list[int]:
    """Rank of each asset's own prompt, 1 the best; ties count against it."""
    return [int((row >= row[i]).sum()) for row, i in zip(similarity, own_prompts, strict=True)]


def r_precision(ranks: Sequence[int]) -> float:
    """Fraction of assets whose own prompt ranks first."""
    return sum(rank == 1 for rank in ranks) / len(ranks) if ranks else 0.0

"""View consistency: the multi-face ("Janus") problem, DreamFusion (arXiv 2209.14988), section 5.

Every side of an asset is compared with its front. A barrel's back rightly looks like its front,
so the similarity is measured relative to the same side of the ground-truth object. A side that
is more similar than it should be repeats the front.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dreamfusion3d.evaluation.subject import EVAL_VIEWS, EvalSubject

REPEATED_FRONT_THRESHOLD = 0.2  # excess similarity above which a front counts as repeated


@dataclass(frozen=True)
class ConsistencyResult:
    """Similarity of each view to the front view, for the asset and the ground-truth object, in [0, 1]."""

    azimuth_deg: tuple[float, ...]
    front_similarity: tuple[float, ...]
    reference_front_similarity: tuple[float, ...]

    @property
    def excess(self) -> tuple[float, ...]:
        """Similarity to the front beyond that of the ground-truth object, per side."""
        pairs = zip(self.front_similarity, self.reference_front_similarity, strict=True)
        return tuple(max(similarity - expected, 0.0) for similarity, expected in pairs)

    @property
    def score(self) -> float:
        """Largest excess of any side; 0 is as consistent as the ground truth."""
        return max(self.excess)

    @property
    def has_repeated_front(self) -> bool:
        return self.score > REPEATED_FRONT_THRESHOLD


def evaluate_consistency(subject: EvalSubject, reference: EvalSubject) -> ConsistencyResult:
    """Compare how similar the sides look to the front with ``reference``, the most similar ground-truth object."""
    azimuth = tuple(360.0 * i / EVAL_VIEWS for i in range(1, EVAL_VIEWS))
    return ConsistencyResult(azimuth, _similarity_to_front(subject.views), _similarity_to_front(reference.views))


def _similarity_to_front(views: Float[np.ndarray, "v h w 4"]) -> tuple[float, ...]:
    """Return 1 minus the largest channel difference (RGBA), averaged over the pixels that either view covers."""
    covered = (np.maximum(views[0, ..., 3], view[..., 3]).sum() for view in views[1:])
    difference = (np.abs(views[0] - view).max(-1).sum() for view in views[1:])
    return tuple(float(1 - d / max(c, 1e-6)) for d, c in zip(difference, covered, strict=True))

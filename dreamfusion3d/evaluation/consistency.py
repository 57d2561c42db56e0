"""Has it a front on more than one side? (The Janus problem: DreamFusion, section 5.)

How like its front does each side look? A barrel's back is like its front and should be; so the
likeness is held against that of the true prop, side by side. What is more alike than it should
be repeats a front.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dreamfusion3d.evaluation.subject import EVAL_VIEWS, EvalSubject

REPEATED_FRONT_THRESHOLD = 0.2  # more alike than the true prop's side by this much: a front is repeated


@dataclass(frozen=True)
class ConsistencyResult:
    """Likeness of the view at each azimuth to the front, of the asset and of the true prop, in [0, 1]."""

    azimuth_deg: tuple[float, ...]
    front_similarity: tuple[float, ...]
    reference_front_similarity: tuple[float, ...]

    @property
    def excess(self) -> tuple[float, ...]:
        """By how much each side is too much like the front."""
        return tuple(
            max(a - t, 0.0) for a, t in zip(self.front_similarity, self.reference_front_similarity, strict=True)
        )

    @property
    def score(self) -> float:
        """The worst side's excess: 0 is as consistent as the truth."""
        return max(self.excess)

    @property
    def has_repeated_front(self) -> bool:
        return self.score > REPEATED_FRONT_THRESHOLD


def evaluate_consistency(subject: EvalSubject, reference: EvalSubject) -> ConsistencyResult:
    """``truth``: the true prop that is most like the asset, painted as the prompt asks."""
    azimuth = tuple(360.0 * i / EVAL_VIEWS for i in range(1, EVAL_VIEWS))
    return ConsistencyResult(azimuth, _similarity_to_front(subject.views), _similarity_to_front(reference.views))


def _similarity_to_front(views: Float[np.ndarray, "v h w 4"]) -> tuple[float, ...]:
    """1 minus the mean, over what either view covers, of the largest difference among colour and opacity."""
    front = views[0]
    out = []
    for view in views[1:]:
        covered = np.maximum(front[..., 3], view[..., 3]).sum()
        difference = np.abs(front - view).max(-1).sum()
        out.append(float(1 - difference / max(covered, 1e-6)))
    return tuple(out)

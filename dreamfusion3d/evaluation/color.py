"""Are the named parts of the named colours?

Surface points of the asset take their part from the nearest point of the most similar true prop;
each votes for the named colour that its base colour is nearest to.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from dreamfusion3d.core.types import TexturedMesh
from dreamfusion3d.evaluation.ground_truth import parts_at
from dreamfusion3d.evaluation.subject import Evidence
from dreamfusion3d.evaluation.voxels import centred
from dreamfusion3d.procedural.materials import FINISHES
from dreamfusion3d.procedural.objects import COLOURS, Instances, Meaning

POINTS = 4000
SEED = 0


@dataclass(frozen=True)
class PartColour:
    """One part whose colour the prompt names: the share of its points that agree, and the winner."""

    part: str  # "first" or "second"
    asked: str
    share: float
    seen: str

    @property
    def right(self) -> bool:
        return self.seen == self.asked


def judge_colours(
    evidence: Evidence, meaning: Meaning, props: Instances, truth: TexturedMesh
) -> list[PartColour]:
    """One entry for each colour that the prompt names; empty when it names none. ``truth`` is the
    mesh of the one instance in ``props``, the true prop that is most like the asset."""
    asked = {"first": meaning.colour, "second": meaning.second_colour}
    named = {part: colour for part, colour in asked.items() if colour in COLOURS}
    if not named:
        return []
    points, colours = surface(evidence.mesh, POINTS)
    owner = _owners(props, truth, meaning, points)
    votes = _named(colours)
    pattern = FINISHES[meaning.finish].shift is None
    # inside the spots of a spotted prop another colour is right
    slots = {"first": (0,) if pattern else (0, 3), "second": (1, 4)}
    out = []
    for part, colour in named.items():
        mine = Counter(votes[np.isin(owner, slots[part])].tolist())
        total = sum(mine.values())
        winner = mine.most_common(1)[0][0] if total else "nothing"
        out.append(PartColour(part, colour, mine[colour] / total if total else 0.0, winner))
    return out


def _owners(
    props: Instances, truth: TexturedMesh, meaning: Meaning, points: Float[np.ndarray, "n 3"]
) -> np.ndarray:
    """Index into ``Meaning.paints`` of each point, by the nearest point of the true prop."""
    middles = truth.vertices[truth.faces].mean(1)
    placed = centred(truth)
    _, row = cKDTree(placed.vertices[placed.faces].mean(1)).query(points)
    owner = parts_at(props, 0, middles, meaning.finish)
    return owner[row]


def surface(
    mesh: TexturedMesh, count: int
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Points spread evenly over the surface, and their base colours in [0, 1]."""
    rng = np.random.default_rng(SEED)
    corners = mesh.vertices[mesh.faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    face = rng.choice(len(area), count, p=area / area.sum())
    u, v = np.sqrt(rng.random(count)), rng.random(count)
    weights = np.stack([1 - u, u * (1 - v), u * v], -1)
    points = np.einsum("nk,nkd->nd", weights, corners[face])
    uv = np.einsum("nk,nkd->nd", weights, mesh.uv[mesh.faces[face]])
    height, width = mesh.texture.shape[:2]
    column = np.clip((uv[:, 0] * width).astype(int), 0, width - 1)
    row = np.clip(((1 - uv[:, 1]) * height).astype(int), 0, height - 1)
    return points, mesh.texture[row, column].astype(np.float64) / 255


def _named(colours: Float[np.ndarray, "n 3"]) -> np.ndarray:
    """The named colour nearest to each, in CIE Lab."""
    known = _lab(np.array(list(COLOURS.values())))
    off = np.linalg.norm(_lab(colours)[:, None] - known[None], axis=-1)
    return np.array(list(COLOURS))[off.argmin(1)]


def _lab(srgb: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    return cv2.cvtColor(srgb[None].astype(np.float32), cv2.COLOR_RGB2Lab)[0].astype(np.float64)

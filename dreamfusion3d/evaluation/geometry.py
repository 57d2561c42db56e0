"""Is it the kind that was asked for, and has it the holes and pieces that it should?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Bool

from dreamfusion3d.evaluation.ground_truth import true_solid
from dreamfusion3d.evaluation.subject import Evidence
from dreamfusion3d.evaluation.voxels import iou
from dreamfusion3d.procedural.categories import KINDS
from dreamfusion3d.procedural.objects import Instances, Meaning, instances

INSTANCES = 3  # of every form
SEED = 1_000_003  # of the instances that are compared with


@dataclass(frozen=True)
class Geometry:
    """Overlap with the best instance of the asked kind, and of all others; topology."""

    iou: float
    other_iou: float
    other_kind: str
    genus: int | None
    genus_asked: int
    components: int
    watertight: bool

    @property
    def kind_wins(self) -> bool:
        return self.iou > self.other_iou

    @property
    def genus_right(self) -> bool:
        return self.genus == self.genus_asked


@dataclass(frozen=True)
class Nearest:
    """The instance that overlaps best."""

    props: Instances
    overlap: float


def judge_geometry(evidence: Evidence, meaning: Meaning, kinds: list[str] | None = None) -> Geometry:
    """``kinds``: those that compete; all of the world when None."""
    best = {
        kind: max(iou(evidence.solid, candidate) for candidate in bank(kind, meaning.size)[1])
        for kind in {*(kinds or KINDS), meaning.kind}
    }
    asked = best.pop(meaning.kind)
    other = max(best, key=lambda k: best[k], default=meaning.kind)
    facts = evidence.facts
    return Geometry(
        asked, best.get(other, 0.0), other, facts["genus"], KINDS[meaning.kind].genus_of(meaning.count),
        facts["components"], facts["watertight"],
    )


def nearest(evidence: Evidence, meaning: Meaning) -> Nearest:
    """The instance of the asked kind and form that is most like the asset."""
    props, solids = bank(meaning.kind, meaning.size)
    form = [
        i for i in range(len(props))
        if int(props.count[i]) == meaning.count and bool(props.option[i]) == meaning.option
    ]
    overlaps = [iou(evidence.solid, solids[i]) for i in form]
    winner = int(np.argmax(overlaps))
    return Nearest(props[[form[winner]]], overlaps[winner])


@cache
def bank(kind: str, size: str) -> tuple[Instances, list[Bool[np.ndarray, "r r r"]]]:
    """INSTANCES of every form of a kind, and their solids in the frame of comparison."""
    generator = torch.Generator().manual_seed(SEED)
    batches = [
        instances(kind, count, size, INSTANCES, option=option, generator=generator)
        for count, option in KINDS[kind].forms()
    ]
    names = ("variation", "count", "option", "scale")
    props = Instances(batches[0].kind, *(torch.cat([getattr(b, n) for b in batches]) for n in names))
    return props, [true_solid(props, i) for i in range(len(props))]

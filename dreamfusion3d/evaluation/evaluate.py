"""Run all evaluations on a list of assets, with an upper bound and a chance baseline."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dreamfusion3d.evaluation.color import PartColorResult, evaluate_colors
from dreamfusion3d.evaluation.consistency import ConsistencyResult, evaluate_consistency
from dreamfusion3d.evaluation.geometry import GeometryResult, evaluate_geometry, nearest_reference
from dreamfusion3d.evaluation.ground_truth import colored_ground_truth_mesh
from dreamfusion3d.evaluation.likeness import LikenessResult, evaluate_likeness
from dreamfusion3d.evaluation.retrieval import prompt_ranks, r_precision, similarity_matrix
from dreamfusion3d.evaluation.subject import EvalSubject, ground_truth_subject
from dreamfusion3d.evaluation.surface import SurfaceResult, evaluate_surface
from dreamfusion3d.evaluation.true_object import find_true_object
from dreamfusion3d.evaluation.variety import VarietyResult
from dreamfusion3d.evaluation.voxels import normalize_mesh
from dreamfusion3d.priors.image_text.prompt_spec import prompt_to_spec
from dreamfusion3d.priors.image_text.protocol import ImageTextEncoder
from dreamfusion3d.procedural.objects import ObjectSpec

GROUND_TRUTH_SEED = 7  # seed of the ground-truth objects that stand in for perfect assets


@dataclass(frozen=True)
class EvalResult:
    """Results of one asset. A prompt outside the procedural vocabulary only has ranks.

    An asset whose faces have no area has neither ``surface`` nor ``likeness``.
    """

    subject: EvalSubject
    spec: ObjectSpec | None
    geometry: GeometryResult | None
    colors: list[PartColorResult]
    consistency: ConsistencyResult | None
    rank: int  # of its prompt among all prompts, from textured views; 1 is best
    textureless_rank: int  # the same from views without texture
    surface: SurfaceResult | None = None
    likeness: LikenessResult | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the results as plain values for JSON."""
        return {
            "prompt": self.subject.prompt,
            "folder": None if self.subject.folder is None else self.subject.folder.name,
            "topology": self.subject.topology,
            "geometry": self.geometry and _as_dict(self.geometry, "category_correct", "genus_correct"),
            "colors": [_as_dict(color, "correct") for color in self.colors],
            "consistency": self.consistency and _as_dict(self.consistency, "score", "has_repeated_front"),
            "rank": self.rank,
            "textureless_rank": self.textureless_rank,
            "surface": self.surface and _as_dict(self.surface),
            "likeness": self.likeness and _as_dict(self.likeness),
        }


def _as_dict(result: Any, *properties: str) -> dict[str, Any]:
    return dataclasses.asdict(result) | {name: getattr(result, name) for name in properties}


def evaluate_subjects(
    subjects: Sequence[EvalSubject], encoder: ImageTextEncoder, distractors: Sequence[str] = ()
) -> Iterator[EvalResult]:
    """Yield the result of each asset, in order.

    Each asset is ranked among the prompts of all assets and ``distractors``. Paraphrases count as
    one prompt.
    """
    unique_prompts: dict[ObjectSpec | str, str] = {}
    for prompt in [*(a.prompt for a in subjects), *distractors]:
        unique_prompts.setdefault(prompt_to_spec(prompt) or prompt, prompt)
    keys, prompts = list(unique_prompts), list(unique_prompts.values())
    own_prompts = [keys.index(prompt_to_spec(a.prompt) or a.prompt) for a in subjects]
    ranks, textureless_ranks = (
        prompt_ranks(similarity_matrix(encoder, views, prompts), own_prompts)
        for views in ([a.views for a in subjects], [a.textureless_views for a in subjects])
    )
    for subject, rank, textureless_rank in zip(subjects, ranks, textureless_ranks, strict=True):
        yield _evaluate_subject(subject, subject_spec(subject), rank, textureless_rank)


def subject_spec(subject: EvalSubject) -> ObjectSpec | None:
    """Return the spec of a subject's prompt; None if it has none, or if an asset of a library was drawn."""
    is_asset = subject.instance is not None and "asset" in subject.instance
    return None if is_asset else prompt_to_spec(subject.prompt)


def _evaluate_subject(subject: EvalSubject, spec: ObjectSpec | None, rank: int, textureless_rank: int) -> EvalResult:
    if spec is None:
        return EvalResult(subject, None, None, [], None, rank, textureless_rank)
    geometry = evaluate_geometry(subject, spec)
    objects = nearest_reference(subject, spec)
    mesh = colored_ground_truth_mesh(objects, 0, spec, 72)
    reference = EvalSubject(subject.prompt, normalize_mesh(mesh), {})
    colors, consistency = evaluate_colors(subject, spec, objects, mesh), evaluate_consistency(subject, reference)
    result = EvalResult(subject, spec, geometry, colors, consistency, rank, textureless_rank)
    if not subject.has_surface:
        return result
    true_object = find_true_object(subject, spec)
    return dataclasses.replace(
        result, surface=evaluate_surface(subject, true_object), likeness=evaluate_likeness(subject, true_object)
    )


def upper_bound_subjects(prompts: Sequence[str]) -> list[EvalSubject]:
    """Ground-truth objects in place of assets: the best scores possible. A repeated prompt gets another object."""
    specs = [(p, prompt_to_spec(p), prompts[:i].count(p)) for i, p in enumerate(prompts)]
    return [ground_truth_subject(p, m, seed=GROUND_TRUTH_SEED + n) for p, m, n in specs if m is not None]


def mislabeled_subjects(subjects: Sequence[EvalSubject]) -> list[EvalSubject]:
    """Pair each asset with the prompt of another category: the scores expected by chance."""
    specs = (subject_spec(a) for a in subjects)
    categories = [spec and spec.category for spec in specs]
    out = []
    for i, subject in enumerate(subjects):
        candidates = ((i + 1 + k) % len(subjects) for k in range(len(subjects)))
        other = next((j for j in candidates if categories[j] != categories[i]), None)
        if other is not None:
            out.append(dataclasses.replace(subject, prompt=subjects[other].prompt, instance=None))
    return out


def find_weak_categories(results: Sequence[EvalResult]) -> list[str]:
    """Return the categories in which fewer than half of the assets are most similar to their own category."""
    wins: dict[str, list[bool]] = {}
    for result in results:
        if result.spec is not None and result.geometry is not None:
            wins.setdefault(result.spec.category, []).append(result.geometry.category_correct)
    return sorted(category for category, correct in wins.items() if np.mean(correct) < 0.5)


def summarize_results(
    results: Sequence[EvalResult], variety: Sequence[VarietyResult] = ()
) -> dict[str, float | int | None]:
    """Average each metric over the assets it applies to; None if it applies to none."""
    geometry = [result.geometry for result in results if result.geometry is not None]
    colors = [c for result in results for c in result.colors]
    consistency = [result.consistency for result in results if result.consistency is not None]
    surfaces = [result.surface for result in results if result.surface is not None]
    likenesses = [result.likeness for result in results if result.likeness is not None]

    def mean(values: Sequence[float | int]) -> float | None:
        return round(float(np.mean(values)), 5) if values else None

    def mean_fields(result_type: type, group: Sequence[Any]) -> dict[str, float | None]:
        names = [field.name for field in dataclasses.fields(result_type)]
        return {name: mean([getattr(result, name) for result in group]) for name in names}

    def ratio(distances: Sequence[float], true_distances: Sequence[float]) -> float | None:
        return round(float(np.mean(distances) / np.mean(true_distances)), 5) if distances else None

    return {
        "assets": len(results),
        "category_correct": mean([g.category_correct for g in geometry]),
        "iou": mean([g.iou for g in geometry]),
        "r_precision": round(r_precision([result.rank for result in results]), 4),
        "r_precision_textureless": round(r_precision([result.textureless_rank for result in results]), 4),
        "colors_correct": mean([c.correct for c in colors]),
        "colors_named": len(colors),
        "genus_correct": mean([g.genus_correct for g in geometry]),
        "watertight": mean([g.watertight for g in geometry]),
        "one_component": mean([g.components == 1 for g in geometry]),
        "janus_score": mean([c.score for c in consistency]),
        "repeated_fronts": mean([c.has_repeated_front for c in consistency]),
        "surfaces_compared": len(surfaces),
        **mean_fields(SurfaceResult, surfaces),
        **mean_fields(LikenessResult, likenesses),
        "variety_ratio": ratio([v.chamfer for v in variety], [v.true_chamfer for v in variety]),
        "variety_iou_ratio": ratio([v.iou_distance for v in variety], [v.true_iou_distance for v in variety]),
    }

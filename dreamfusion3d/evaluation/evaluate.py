"""All judges on a list of assets, with what perfect and with what misnamed assets would get."""

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
from dreamfusion3d.evaluation.retrieval import prompt_ranks, r_precision, similarity_matrix
from dreamfusion3d.evaluation.subject import EvalSubject, ground_truth_subject
from dreamfusion3d.evaluation.voxels import normalize_mesh
from dreamfusion3d.priors.image_text.prompt_spec import prompt_to_spec
from dreamfusion3d.priors.image_text.protocol import ImageTextEncoder
from dreamfusion3d.procedural.objects import ObjectSpec

GROUND_TRUTH_SEED = 7  # of the true props that stand in for perfect assets


@dataclass(frozen=True)
class EvalResult:
    """What the judges say of one asset. Of a prompt beyond the procedural world there is only its rank."""

    subject: EvalSubject
    spec: ObjectSpec | None
    geometry: GeometryResult | None
    colors: list[PartColorResult]
    consistency: ConsistencyResult | None
    rank: int  # of its prompt among all, by coloured views
    textureless_rank: int  # and by the views without texture

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        geometry, consistency = self.geometry, self.consistency
        return {
            "prompt": self.subject.prompt,
            "folder": None if self.subject.folder is None else self.subject.folder.name,
            "facts": self.subject.topology,
            "geometry": geometry
            and {
                **dataclasses.asdict(geometry),
                "kind_wins": geometry.category_correct,
                "genus_right": geometry.genus_correct,
            },
            "colours": [{**dataclasses.asdict(c), "right": c.correct} for c in self.colors],
            "consistency": consistency
            and {
                **dataclasses.asdict(consistency),
                "score": consistency.score,
                "repeats_a_front": consistency.has_repeated_front,
            },
            "place": self.rank,
            "grey_place": self.textureless_rank,
        }


def evaluate_subjects(
    subjects: Sequence[EvalSubject], encoder: ImageTextEncoder, distractors: Sequence[str] = ()
) -> Iterator[tuple[int, list[EvalResult] | None]]:
    """Yields (assets judged so far, None), and (all, the verdicts) at the end.

    Each asset is ranked among all their prompts and ``distractors``; prompts that mean the same
    count as one.
    """
    unique_prompts: dict[ObjectSpec | str, str] = {}
    for prompt in [*(a.prompt for a in subjects), *distractors]:
        unique_prompts.setdefault(prompt_to_spec(prompt) or prompt, prompt)
    keys, prompts = list(unique_prompts), list(unique_prompts.values())
    own_prompts = [keys.index(prompt_to_spec(a.prompt) or a.prompt) for a in subjects]
    textured_ranks = prompt_ranks(similarity_matrix(encoder, [a.views for a in subjects], prompts), own_prompts)
    textureless_ranks = prompt_ranks(
        similarity_matrix(encoder, [a.textureless_views for a in subjects], prompts), own_prompts
    )
    results = []
    for i, subject in enumerate(subjects):
        spec = prompt_to_spec(subject.prompt)
        results.append(_evaluate_subject(subject, spec, textured_ranks[i], textureless_ranks[i]))
        yield i + 1, None
    yield len(subjects), results


def _evaluate_subject(subject: EvalSubject, spec: ObjectSpec | None, rank: int, textureless_rank: int) -> EvalResult:
    if spec is None:
        return EvalResult(subject, None, None, [], None, rank, textureless_rank)
    geometry = evaluate_geometry(subject, spec)
    objects = nearest_reference(subject, spec).objects
    mesh = colored_ground_truth_mesh(objects, 0, spec, 72)
    reference = EvalSubject(subject.prompt, normalize_mesh(mesh), {})
    return EvalResult(
        subject,
        spec,
        geometry,
        evaluate_colors(subject, spec, objects, mesh),
        evaluate_consistency(subject, reference),
        rank,
        textureless_rank,
    )


def upper_bound_subjects(prompts: Sequence[str]) -> list[EvalSubject]:
    """True props in the place of assets: what the judges give at best."""
    specs = [(p, prompt_to_spec(p)) for p in prompts]
    return [ground_truth_subject(p, m, seed=GROUND_TRUTH_SEED) for p, m in specs if m is not None]


def mislabeled_subjects(subjects: Sequence[EvalSubject]) -> list[EvalSubject]:
    """Each asset under the prompt of another kind: what the judges give by chance."""
    specs = [prompt_to_spec(a.prompt) for a in subjects]
    out = []
    for i, subject in enumerate(subjects):
        candidates = ((i + 1 + k) % len(subjects) for k in range(len(subjects)))
        other = next((j for j in candidates if _category(specs[j]) != _category(specs[i])), None)
        if other is not None:
            out.append(EvalSubject(subjects[other].prompt, subject.mesh, subject.topology, subject.folder))
    return out


def _category(spec: ObjectSpec | None) -> str | None:
    return spec.category if spec else None


def find_weak_categories(results: Sequence[EvalResult]) -> list[str]:
    """The kinds of which fewer than half of the assets overlap most with their own kind."""
    wins: dict[str, list[bool]] = {}
    for result in results:
        if result.spec is not None and result.geometry is not None:
            wins.setdefault(result.spec.category, []).append(result.geometry.category_correct)
    return sorted(category for category, correct in wins.items() if np.mean(correct) < 0.5)


def summarize_results(results: Sequence[EvalResult]) -> dict[str, float | int | None]:
    """Shares in [0, 1] over the assets that each question fits; None where it fits none."""
    geometry = [result.geometry for result in results if result.geometry is not None]
    colors = [c for result in results for c in result.colors]
    consistency = [result.consistency for result in results if result.consistency is not None]

    def fraction(flags: Sequence[bool]) -> float | None:
        return round(float(np.mean(flags)), 4) if len(flags) else None

    return {
        "assets": len(results),
        "kind_wins": fraction([g.category_correct for g in geometry]),
        "iou": round(float(np.mean([g.iou for g in geometry])), 4) if geometry else None,
        "r_precision": round(r_precision([result.rank for result in results]), 4),
        "r_precision_textureless": round(r_precision([result.textureless_rank for result in results]), 4),
        "colours_right": fraction([c.correct for c in colors]),
        "colours_named": len(colors),
        "genus_right": fraction([g.genus_correct for g in geometry]),
        "watertight": fraction([g.watertight for g in geometry]),
        "one_component": fraction([g.components == 1 for g in geometry]),
        "janus_score": round(float(np.mean([c.score for c in consistency])), 4) if consistency else None,
        "fronts_repeated": fraction([c.has_repeated_front for c in consistency]),
    }

"""All judges on a list of assets, with what perfect and with what misnamed assets would get."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dreamfusion3d.evaluation.color import PartColour, judge_colours
from dreamfusion3d.evaluation.consistency import Consistency, judge_consistency
from dreamfusion3d.evaluation.geometry import Geometry, judge_geometry, nearest
from dreamfusion3d.evaluation.ground_truth import true_mesh
from dreamfusion3d.evaluation.retrieval import r_precision, ranks, scores
from dreamfusion3d.evaluation.subject import Evidence, of_truth
from dreamfusion3d.evaluation.voxels import centred
from dreamfusion3d.priors.image_text.prompt_spec import meaning_of
from dreamfusion3d.priors.image_text.protocol import Encoder
from dreamfusion3d.procedural.objects import Meaning

TRUTH_SEED = 7  # of the true props that stand in for perfect assets


@dataclass(frozen=True)
class Verdict:
    """What the judges say of one asset. Of a prompt beyond the procedural world there is only its rank."""

    evidence: Evidence
    meaning: Meaning | None
    geometry: Geometry | None
    colours: list[PartColour]
    consistency: Consistency | None
    place: int  # of its prompt among all, by coloured views
    grey_place: int  # and by the views without texture

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        geometry, consistency = self.geometry, self.consistency
        return {
            "prompt": self.evidence.prompt,
            "folder": None if self.evidence.folder is None else self.evidence.folder.name,
            "facts": self.evidence.facts,
            "geometry": geometry and {
                **dataclasses.asdict(geometry), "kind_wins": geometry.kind_wins,
                "genus_right": geometry.genus_right,
            },
            "colours": [{**dataclasses.asdict(c), "right": c.right} for c in self.colours],
            "consistency": consistency and {
                **dataclasses.asdict(consistency), "score": consistency.score,
                "repeats_a_front": consistency.repeats_a_front,
            },
            "place": self.place, "grey_place": self.grey_place,
        }


def judge_all(
    assets: Sequence[Evidence], encoder: Encoder, distractors: Sequence[str] = ()
) -> Iterator[tuple[int, list[Verdict] | None]]:
    """Yields (assets judged so far, None), and (all, the verdicts) at the end.

    Each asset is ranked among all their prompts and ``distractors``; prompts that mean the same
    count as one.
    """
    rivals: dict[Meaning | str, str] = {}
    for prompt in [*(a.prompt for a in assets), *distractors]:
        rivals.setdefault(meaning_of(prompt) or prompt, prompt)
    keys, prompts = list(rivals), list(rivals.values())
    own = [keys.index(meaning_of(a.prompt) or a.prompt) for a in assets]
    places = ranks(scores(encoder, [a.views for a in assets], prompts), own)
    greys = ranks(scores(encoder, [a.grey_views for a in assets], prompts), own)
    verdicts = []
    for i, asset in enumerate(assets):
        meaning = meaning_of(asset.prompt)
        verdicts.append(_one(asset, meaning, places[i], greys[i]))
        yield i + 1, None
    yield len(assets), verdicts


def _one(asset: Evidence, meaning: Meaning | None, place: int, grey_place: int) -> Verdict:
    if meaning is None:
        return Verdict(asset, None, None, [], None, place, grey_place)
    geometry = judge_geometry(asset, meaning)
    props = nearest(asset, meaning).props
    mesh = true_mesh(props, 0, meaning, 72)
    twin = Evidence(asset.prompt, centred(mesh), {})
    return Verdict(
        asset, meaning, geometry, judge_colours(asset, meaning, props, mesh), judge_consistency(asset, twin),
        place, grey_place,
    )


def perfect(prompts: Sequence[str]) -> list[Evidence]:
    """True props in the place of assets: what the judges give at best."""
    meanings = [(p, meaning_of(p)) for p in prompts]
    return [of_truth(p, m, seed=TRUTH_SEED) for p, m in meanings if m is not None]


def misnamed(assets: Sequence[Evidence]) -> list[Evidence]:
    """Each asset under the prompt of another kind: what the judges give by chance."""
    meanings = [meaning_of(a.prompt) for a in assets]
    out = []
    for i, asset in enumerate(assets):
        turns = ((i + 1 + k) % len(assets) for k in range(len(assets)))
        other = next(
            (j for j in turns if _kind(meanings[j]) != _kind(meanings[i])), None
        )
        if other is not None:
            out.append(Evidence(assets[other].prompt, asset.mesh, asset.facts, asset.folder))
    return out


def _kind(meaning: Meaning | None) -> str | None:
    return meaning.kind if meaning else None


def weak_kinds(verdicts: Sequence[Verdict]) -> list[str]:
    """The kinds of which fewer than half of the assets overlap most with their own kind."""
    wins: dict[str, list[bool]] = {}
    for v in verdicts:
        if v.meaning is not None and v.geometry is not None:
            wins.setdefault(v.meaning.kind, []).append(v.geometry.kind_wins)
    return sorted(kind for kind, won in wins.items() if np.mean(won) < 0.5)


def summary(verdicts: Sequence[Verdict]) -> dict[str, float | int | None]:
    """Shares in [0, 1] over the assets that each question fits; None where it fits none."""
    geometry = [v.geometry for v in verdicts if v.geometry is not None]
    colours = [c for v in verdicts for c in v.colours]
    looks = [v.consistency for v in verdicts if v.consistency is not None]

    def share(flags: Sequence[bool]) -> float | None:
        return round(float(np.mean(flags)), 4) if len(flags) else None

    return {
        "assets": len(verdicts),
        "kind_wins": share([g.kind_wins for g in geometry]),
        "iou": round(float(np.mean([g.iou for g in geometry])), 4) if geometry else None,
        "r_precision": round(r_precision([v.place for v in verdicts]), 4),
        "r_precision_textureless": round(r_precision([v.grey_place for v in verdicts]), 4),
        "colours_right": share([c.right for c in colours]),
        "colours_named": len(colours),
        "genus_right": share([g.genus_right for g in geometry]),
        "watertight": share([g.watertight for g in geometry]),
        "one_component": share([g.components == 1 for g in geometry]),
        "janus_score": round(float(np.mean([c.score for c in looks])), 4) if looks else None,
        "fronts_repeated": share([c.repeats_a_front for c in looks]),
    }

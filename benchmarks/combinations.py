"""Combinations that training never showed, against seen ones, by what the prior draws.

    python -m benchmarks.combinations --out out/combinations
    python -m benchmarks.combinations --prior out/prior --each 20

One pair of kind and colour in twelve is kept out of training (``Meaning.held_out``). Every such pair,
and as many seen ones of the same kinds, are sampled from four sides; the shipped judge, which saw all
pairs, must find each one's prompt among all pairs of kind and colour. Prints JSON; ``samples.png``
and ``seen.png`` show the first of each.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from dreamfusion3d.cameras.orbit import turntable_cameras
from dreamfusion3d.core.progress import default_progress
from dreamfusion3d.evaluation.retrieval import prompt_ranks, r_precision, similarity_matrix
from dreamfusion3d.priors.image_text.loading import load_image_text_encoder
from dreamfusion3d.priors.image_text.prompt_spec import prompt_to_spec
from dreamfusion3d.priors.image_text.protocol import ImageTextEncoder
from dreamfusion3d.priors.loading import load_prior
from dreamfusion3d.priors.protocol import Prior
from dreamfusion3d.priors.sampling import initial_noise, sample_ddim, write_image_grid
from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.objects import COLORS, ObjectSpec, sample_objects_for_spec
from dreamfusion3d.procedural.renderer import render_objects

VIEWS = 4
SHOWN = 24  # pairs on the picture


def pairs() -> tuple[list[str], list[str], list[str]]:
    """(prompts of all held-out pairs, of as many seen ones of the same kinds, of every pair there is)."""
    held, seen, everything = [], [], []
    generator = torch.Generator().manual_seed(0)
    for kind in CATEGORIES:
        unseen = {c for c in COLORS if ObjectSpec(kind, c).is_held_out()}
        rest = [c for c in COLORS if c not in unseen]
        order = torch.randperm(len(rest), generator=generator).tolist()
        held += [f"a {c} {kind}" for c in COLORS if c in unseen]
        seen += [f"a {rest[i]} {kind}" for i in order[: len(unseen)]]
        everything += [f"a {c} {kind}" for c in COLORS]
    return held, seen, everything


def views_of(prior: Prior, prompt: str, *, steps: int, scale: float) -> torch.Tensor:
    """Four sides of one sample, (v 4 h w) in [-1, 1]."""
    cameras = turntable_cameras(VIEWS, 20.0)
    text = prior.encode_text([prompt, ""])
    *_, x0 = sample_ddim(
        prior, text, cameras, steps=steps, scale=scale, views=VIEWS, noise=initial_noise(cameras, seed=0)
    )
    return x0


def true_views(prompt: str) -> torch.Tensor:
    """The same four sides of a true prop: what the judge can tell at best."""
    meaning = prompt_to_spec(prompt)
    assert meaning is not None, "every prompt here is of the procedural world"
    props = sample_objects_for_spec(meaning, 1, generator=torch.Generator().manual_seed(7))
    drawn = render_objects(props[[0] * VIEWS], turntable_cameras(VIEWS, 20.0), meaning.material)
    rgb = drawn.colorize(torch.tensor([meaning.part_colors()] * VIEWS)).permute(0, 3, 1, 2)
    return torch.cat([rgb, drawn.opacity[:, None]], 1) * 2 - 1


def judged(judge: ImageTextEncoder, drawn: list[torch.Tensor], prompts: list[str], everything: list[str]) -> list[int]:
    """The place of each prompt among all."""
    pictures = [((x0 + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).numpy() for x0 in drawn]
    return prompt_ranks(similarity_matrix(judge, pictures, everything), [everything.index(p) for p in prompts])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prior", default="embedded")
    parser.add_argument("--each", type=int, help="pairs of either sort; all by default")
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--scale", type=float, default=2.0)
    parser.add_argument("--out", type=Path, default=Path("out/combinations"))
    arguments = parser.parse_args()
    prior, judge, progress = (load_prior(arguments.prior), load_image_text_encoder(), default_progress(quiet=False))
    held, seen, everything = pairs()
    result: dict[str, object] = {"benchmark": "combinations", "rivals": len(everything)}
    for sort, prompts in (("held_out", held[: arguments.each]), ("seen", seen[: arguments.each])):
        progress.stage(sort, 1, 2)
        drawn = []
        for i, prompt in enumerate(prompts):
            drawn.append(views_of(prior, prompt, steps=arguments.steps, scale=arguments.scale))
            progress.step(i + 1, len(prompts), prompt)
        places = judged(judge, drawn, prompts, everything)
        bound = judged(judge, [true_views(p) for p in prompts], prompts, everything)
        result[sort] = {
            "pairs": len(prompts),
            "r_precision": round(r_precision(places), 4),
            "true_props": round(r_precision(bound), 4),
            "among_first_three": round(sum(p <= 3 for p in places) / len(places), 4),
            "missed": [p for p, place in zip(prompts, places, strict=True) if place > 1],
        }
        arguments.out.mkdir(parents=True, exist_ok=True)
        shown = torch.cat([d[:1] for d in drawn[:SHOWN]])
        write_image_grid(shown, arguments.out / f"{sort}.png", columns=8, upscale=2)
    progress.close()
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()

"""Would a race of seeds pay? Short runs of several seeds, and whether the prior's loss knows the best.

    python -m benchmarks.race --out out/race
    python -m benchmarks.race --seeds 4 --prompts 10 --set field.init=blob

Every prompt is made at draft with every seed. ``loss``: the prior's own on the finished mesh, a mean over the
same eight views, times and noises for all (nothing that a judge knows). A race keeps the least. Prints
JSON: ``kept`` beside ``mean`` (no race) and ``best`` (a race that knew the truth), of the overlap with the
best true prop, and of the share with the genus asked for.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from dreamfusion3d.core.config import resolve_config
from dreamfusion3d.core.progress import default_progress
from dreamfusion3d.evaluation import prompt_lists
from dreamfusion3d.evaluation.geometry import evaluate_geometry
from dreamfusion3d.evaluation.subject import EvalSubject, evaluation_cameras, load_subject
from dreamfusion3d.pipelines.text_to_mesh import text_to_mesh
from dreamfusion3d.priors.image_text.prompt_spec import prompt_to_spec
from dreamfusion3d.priors.loading import load_prior
from dreamfusion3d.priors.protocol import Prior

TIMES = (0.2, 0.4, 0.6, 0.8)
JOINT = 4  # views that are denoised together


def prior_loss(prior: Prior, asset: EvalSubject) -> float:
    """Mean squared error of the predicted pictures, over TIMES."""
    ring = evaluation_cameras()
    x = torch.from_numpy(asset.views).permute(0, 3, 1, 2).float() * 2 - 1
    text = prior.encode_text([asset.prompt, ""]).conditioning(ring).cond
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    errors = []
    for time in TIMES:
        t = torch.full((len(x),), time)
        alpha, sigma = (v.view(-1, 1, 1, 1) for v in prior.alpha_sigma(t))
        guess = prior.denoise(alpha * x + sigma * noise, t, text, ring, views=JOINT)
        errors.append(float((guess - x).square().mean()))
    return float(np.mean(errors))


def one(prior: Prior, prompt: str, seed: int, out: Path, sets: list[str]) -> dict:
    asset = text_to_mesh(
        prompt,
        out=out / f"seed{seed}",
        seed=seed,
        config=resolve_config("draft", None, sets),
        progress=default_progress(quiet=True),
    )
    evidence, meaning = load_subject(asset.folder), prompt_to_spec(prompt)
    assert meaning is not None, "every prompt of the lists is of the procedural world"
    geometry = evaluate_geometry(evidence, meaning)
    return {
        "seed": seed,
        "loss": round(prior_loss(prior, evidence), 5),
        "overlap": round(geometry.iou, 4),
        "genus_right": geometry.genus_correct,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", default="development")
    parser.add_argument("--prompts", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--out", type=Path, default=Path("out/race"))
    arguments = parser.parse_args()
    prior, progress = load_prior("embedded"), default_progress(quiet=False)
    every = prompt_lists.load_prompt_list(arguments.list)
    prompts = every[:: max(1, len(every) // arguments.prompts)][: arguments.prompts]
    progress.stage("race", 1, 1)
    rows = []
    for i, prompt in enumerate(prompts):
        runs = [one(prior, prompt, seed, arguments.out, arguments.sets) for seed in range(arguments.seeds)]
        rows.append({"prompt": prompt, "runs": runs})
        progress.step(i + 1, len(prompts), prompt)
    progress.close()
    result = {"benchmark": "race", "seeds": arguments.seeds, **summary(rows), "assets": rows}
    print(json.dumps(result, indent=2))


def summary(rows: list[dict]) -> dict:
    """What a race keeps, against no race and against one that knew the truth."""
    overlap = np.array([[run["overlap"] for run in row["runs"]] for row in rows])
    genus = np.array([[run["genus_right"] for run in row["runs"]] for row in rows], float)
    loss = np.array([[run["loss"] for run in row["runs"]] for row in rows])
    kept = loss.argmin(1)
    at = np.arange(len(rows))
    spread = overlap - overlap.mean(1, keepdims=True)
    stray = loss - loss.mean(1, keepdims=True)
    both = np.sqrt((spread**2).sum() * (stray**2).sum())
    return {
        "overlap": {
            "mean": round(float(overlap.mean()), 4),
            "kept": round(float(overlap[at, kept].mean()), 4),
            "best": round(float(overlap.max(1).mean()), 4),
            "deviation_between_seeds": round(float(overlap.std(1).mean()), 4),
        },
        "genus_right": {
            "mean": round(float(genus.mean()), 3),
            "kept": round(float(genus[at, kept].mean()), 3),
            "best": round(float(genus.max(1).mean()), 3),
        },
        "correlation_of_loss_and_overlap_within_prompts": round(float((spread * stray).sum() / both), 3),
    }


if __name__ == "__main__":
    main()

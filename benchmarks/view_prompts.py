"""Prompts that name the side, on a prior that is told no camera: does the object grow a face on each side?

    python -m benchmarks.view_prompts --prior out/untold --out out/view_prompts
    python -m benchmarks.view_prompts --pictures out/pictures --out out/view_prompts_album

The same prompts and seeds three ways: the bare prompt from everywhere (off), the prompt with the side that
a camera sees (on), and these with Perp-Neg. ``benchmarks.view_pictures`` says how such a prior comes about;
``--pictures`` takes the optimal denoiser of such a folder in its place (``tests/support/caption_oracle.py``).
Each asset is held against the true prop that is most like it: by how much the worst side is more like the
front than it should be (``evaluate/consistency.py``). Prints JSON; ``OUT/view_prompts.png`` has a row a way,
below that of a true prop, and a column an azimuth, from the front by 45 degrees.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.view_pictures import KINDS
from benchmarks.ways import figures, judged, made, sheet
from dreamfusion3d.core.config import Config, resolve_config
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.evaluation.evaluate import GROUND_TRUTH_SEED, EvalResult
from dreamfusion3d.evaluation.subject import ground_truth_subject
from dreamfusion3d.priors.image_text.prompt_spec import prompt_to_spec
from dreamfusion3d.priors.image_text.protocol import composite_over_gray
from dreamfusion3d.priors.loading import load_prior
from tests.support.caption_oracle import CaptionOracle

WAYS = {"off": ("prompts.view_dependent=false",), "on": (), "perp-neg": ("prompts.perp_neg=1",)}
SCALE = 3.0  # of classifier-free guidance; what suits latents, 20 to 100, is too much for such a prior


def cells(views: np.ndarray) -> list[np.ndarray]:
    return [(view * 255).round().astype(np.uint8) for view in composite_over_gray(views)]


def rows_of(prompt: str, verdicts: Mapping[str, Sequence[EvalResult]], place: int) -> dict[str, list[np.ndarray]]:
    """What is seen of a true prop, and of the asset of each way."""
    meaning = prompt_to_spec(prompt)
    assert meaning is not None, "every prompt here is of the procedural world"
    true = ground_truth_subject(prompt, meaning, seed=GROUND_TRUTH_SEED)
    name = f"{prompt}\n"
    return {f"{name}true": cells(true.views)} | {
        f"{name}{way}": cells(group[place].subject.views) for way, group in verdicts.items()
    }


def ways_of(quality: str, sets: Sequence[str]) -> dict[str, Config]:
    return {way: resolve_config(quality, None, [f"guidance.scale={SCALE}", *sets, *own]) for way, own in WAYS.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--prior", help="folder of a prior that was taught without cameras")
    source.add_argument("--pictures", type=Path, help="folder of pictures, whose best denoiser is asked")
    parser.add_argument("--prompt", action="append", help="may be repeated; one a kind by default")
    parser.add_argument("--shown", action="append", help="prompts on the picture; all by default")
    parser.add_argument("--quality", default="draft")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--out", type=Path, default=Path("out/view_prompts"))
    arguments = parser.parse_args()
    prior = CaptionOracle(arguments.pictures) if arguments.pictures else load_prior(arguments.prior)
    if prior.camera_conditioned:
        raise InputError(f"the prior '{prior.name}' is told the camera, and is asked by no words for it")
    prompts = arguments.prompt or [f"a {kind}" for kind in KINDS]
    ways = ways_of(arguments.quality, arguments.sets)
    assets = made(ways, prompts, arguments.out, seed=arguments.seed, prior=prior)
    verdicts = {way: judged(group, prompts) for way, group in assets.items()}
    rows: dict[str, list[np.ndarray]] = {}
    for prompt in arguments.shown or prompts:
        rows |= rows_of(prompt, verdicts, prompts.index(prompt))
    sheet(rows, arguments.out / "view_prompts.png", colours=128)
    print(
        json.dumps(
            {
                "benchmark": "view_prompts",
                "prior": prior.name,
                "quality": arguments.quality,
                "seed": arguments.seed,
                "prompts": prompts,
                "scale": next(iter(ways.values())).guidance.scale,
                "ways": {way: figures(assets[way], verdicts[way]) for way in ways},
                "assets": {way: [v.as_dict() for v in group] for way, group in verdicts.items()},
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()

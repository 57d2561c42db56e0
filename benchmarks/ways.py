"""The guidances beside one another, as assets of one prior: figures of evaluation, seconds, a picture.

    python -m benchmarks.ways --out out/ways                       # the first eight development prompts
    python -m benchmarks.ways --quality draft --count 2 --out out/ways_draft

Every prompt is made with every guidance from the same seed, and judged as ``evaluate`` does. Prints JSON;
``OUT/ways.png`` has a row a guidance and a column a prompt. An asset that is done already is not made again,
and its recorded seconds are reported: take them from a run on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
from PIL import Image, ImageDraw

from dreamfusion3d.core.config import BUILTIN_GUIDANCES, Config, resolve_config
from dreamfusion3d.core.progress import default_progress
from dreamfusion3d.evaluation import evaluate, prompt_lists
from dreamfusion3d.evaluation.evaluate import EvalResult
from dreamfusion3d.evaluation.subject import load_subject
from dreamfusion3d.pipelines.text_to_mesh import Asset, text_to_mesh
from dreamfusion3d.priors.image_text.loading import load_image_text_encoder
from dreamfusion3d.priors.loading import load_prior
from dreamfusion3d.priors.protocol import Prior

CELL = 128  # pixels of a thumbnail on the picture
LABEL = 64  # pixels of the names on its left
GROUND = 255


def made(
    ways: Mapping[str, Config], prompts: Sequence[str], out: Path, *, seed: int, prior: Prior
) -> dict[str, list[Asset]]:
    """Every prompt in every way, in OUT/<way>/, the ways taking turns: a disturbance of the machine
    meets all of them."""
    progress = default_progress(quiet=False)
    found: dict[str, list[Asset]] = {way: [] for way in ways}
    progress.stage("make", 1, 1)
    for i, prompt in enumerate(prompts):
        for k, (way, config) in enumerate(ways.items()):
            found[way].append(
                text_to_mesh(
                    prompt, out=out / way, seed=seed, config=config, prior=prior, progress=default_progress(quiet=True)
                )
            )
            progress.step(i * len(ways) + k + 1, len(ways) * len(prompts), f"{prompt}, {way}")
    progress.close()
    return found


def judged(assets: Sequence[Asset], rivals: Sequence[str]) -> list[EvalResult]:
    """By all judges of ``evaluate``."""
    evidence = [load_subject(asset.folder) for asset in assets]
    return list(evaluate.evaluate_subjects(evidence, load_image_text_encoder(), rivals))


def seconds(assets: Sequence[Asset]) -> dict[str, float]:
    """Medians over the assets: of the steps alone, of the whole road, of one step."""
    every = [(a.record.seconds, a.record.config["optim"]["steps"]) for a in assets]
    return {
        "optimise": round(statistics.median(s["optimise"] for s, _ in every), 2),
        "total": round(statistics.median(sum(s.values()) for s, _ in every), 2),
    }


def figures(assets: Sequence[Asset], verdicts: Sequence[EvalResult]) -> dict[str, Any]:
    return {
        **evaluate.summarize_results(verdicts),
        "checks_passed": sum(asset.passed for asset in assets),
        "seconds": seconds(assets),
    }


def thumbnail(asset: Asset) -> np.ndarray:
    picture = iio.imread(asset.folder / "thumbnail.png")[..., :3].astype(np.float32)
    step = picture.shape[0] // CELL
    return picture.reshape(CELL, step, CELL, step, 3).mean((1, 3)).round().astype(np.uint8)


def sheet(rows: Mapping[str, Sequence[np.ndarray]], path: Path, *, colours: int = 256) -> None:
    """Cells of one size, a named row each, as a PNG of few colours."""
    height, width = next(iter(rows.values()))[0].shape[:2]
    columns = max(len(cells) for cells in rows.values())
    page = Image.new("RGB", (LABEL + columns * width, len(rows) * height), (GROUND,) * 3)
    pen = ImageDraw.Draw(page)
    for i, (name, cells) in enumerate(rows.items()):
        pen.multiline_text((4, i * height + height // 2 - 8), name, fill=(30, 30, 30))
        for k, cell in enumerate(cells):
            page.paste(Image.fromarray(cell), (LABEL + k * width, i * height))
    path.parent.mkdir(parents=True, exist_ok=True)
    page.quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompt", action="append", help="may be repeated; in place of the list's")
    parser.add_argument("--count", type=int, default=8, help="so many prompts of the development list")
    parser.add_argument("--guidance", action="append", help="may be repeated; all by default")
    parser.add_argument("--prior")
    parser.add_argument("--quality", default="standard")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--out", type=Path, default=Path("out/ways"))
    arguments = parser.parse_args()
    ways = {
        kind: resolve_config(arguments.quality, None, arguments.sets, prior__name=arguments.prior, guidance__kind=kind)
        for kind in arguments.guidance or BUILTIN_GUIDANCES
    }
    every = prompt_lists.load_prompt_list("development")
    prompts = arguments.prompt or every[: arguments.count]
    prior = load_prior(next(iter(ways.values())).prior)
    assets = made(ways, prompts, arguments.out, seed=arguments.seed, prior=prior)
    verdicts = {way: judged(group, every) for way, group in assets.items()}
    sheet({way: [thumbnail(a) for a in group] for way, group in assets.items()}, arguments.out / "ways.png")
    print(
        json.dumps(
            {
                "benchmark": "ways",
                "quality": arguments.quality,
                "seed": arguments.seed,
                "prompts": list(prompts),
                "rivals": len({*prompts, *every}),
                "ways": {way: figures(assets[way], verdicts[way]) for way in ways},
                "assets": {way: [v.as_dict() for v in group] for way, group in verdicts.items()},
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()

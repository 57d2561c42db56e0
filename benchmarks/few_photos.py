"""Reconstruction from few photos: the gain from a prior or an image encoder, on held-out photos.

    python -m benchmarks.few_photos --photos 4 --out out/few_photos

For each object: the field fitted to the photos alone, with the semantic loss (DietNeRF), and with the prior
conditioned on the object's category; PSNR and SSIM on 12 other photos. Prints JSON and draws few_photos.png, a row
per object: up to four photos; each mode's render of the held-out photo that the first mode renders worst; and that
photo.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch

from dreamfusion3d.cameras.capture import Photos
from dreamfusion3d.cameras.orbit import sample_orbit_cameras
from dreamfusion3d.core.config import RECONSTRUCTION_QUALITY_PRESETS, Config, resolve_config
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.priors.image_text.image_encoder import load_image_encoder
from dreamfusion3d.priors.loading import load_prior
from dreamfusion3d.priors.view_prompts import encode_prompts
from dreamfusion3d.procedural.objects import default_spec, sample_objects_for_spec
from dreamfusion3d.procedural.posed_photos import render_photos
from dreamfusion3d.rendering.occupancy_grid import occupied_cells
from dreamfusion3d.training.distillation_loss import DistillationLoss
from dreamfusion3d.training.novel_views import SemanticConsistencyLoss
from dreamfusion3d.training.photometric import (
    NovelViewLoss,
    estimate_background,
    evaluate_views,
    fit_photos,
    render_with_targets,
)

MODES = ("plain", "semantic", "prior")
NUM_EVAL_PHOTOS = 12
IMAGE_SIZE = 64


def make_novel_view_loss(mode: str, category: str, photos: Photos, config: Config) -> NovelViewLoss | None:
    if mode == "semantic":
        background = estimate_background(photos).color
        return SemanticConsistencyLoss.from_photos(
            load_image_encoder("embedded"), photos, config.reconstruction, background
        )
    if mode == "prior":
        prior = load_prior(config.prior)
        prompts = encode_prompts(prior, f"a {category}", config.prompts)
        return DistillationLoss.from_config(prior, prompts, config, torch.device("cpu"), print)
    return None


def run(category: str, count: int, seed: int, config: Config, modes: Sequence[str] = MODES) -> tuple[dict, np.ndarray]:
    """Return the metrics by mode, and a row of images."""
    generator = torch.Generator().manual_seed(seed)
    spec = default_spec(category)
    objects = sample_objects_for_spec(spec, 1, generator=generator)
    photos = render_photos(objects, 0, spec, sample_orbit_cameras(count, generator=generator, size=IMAGE_SIZE))
    eval_photos = render_photos(
        objects, 0, spec, sample_orbit_cameras(NUM_EVAL_PHOTOS, generator=generator, size=IMAGE_SIZE)
    )
    report: dict = {"category": category, "photos": count}
    row, worst = [], 0
    for mode in modes:
        field = NerfField(config.field, generator=torch.Generator().manual_seed(seed))
        start = time.perf_counter()
        steps = fit_photos(
            field,
            photos,
            config,
            generator=torch.Generator().manual_seed(seed + 1),
            novel_view_loss=make_novel_view_loss(mode, category, photos, config),
        )
        for _ in steps:
            pass
        generator = torch.Generator().manual_seed(seed + 2)
        metrics = evaluate_views(field, eval_photos, config, generator=generator)
        psnr, ssim = metrics.means
        if mode == modes[0]:
            worst = metrics.psnr.index(min(metrics.psnr))
        seconds = time.perf_counter() - start
        report[mode] = {"psnr": round(psnr, 2), "ssim": round(ssim, 4), "seconds": round(seconds, 1)}
        renders, targets = render_with_targets(
            field,
            eval_photos.select([worst]),
            occupied_cells(field, config, generator),
            estimate_background(eval_photos),
            config,
            generator,
        )
        row.append(renders[0])
    rgba = photos.rgba[:4].float() / 255
    inputs = list(rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:])
    return report, torch.cat([*inputs, *row, targets[0]], 1).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--category", action="append", help="may be repeated")
    parser.add_argument("--mode", action="append", choices=MODES, help="may be repeated; all")
    parser.add_argument("--photos", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--out", type=Path, default=Path("out/few_photos"))
    arguments = parser.parse_args()
    config = resolve_config("draft", sets=arguments.sets, quality_presets=RECONSTRUCTION_QUALITY_PRESETS)
    arguments.out.mkdir(parents=True, exist_ok=True)
    reports, rows = [], []
    for category in arguments.category or ("pitcher", "chair", "mushroom"):
        report, row = run(category, arguments.photos, arguments.seed, config, arguments.mode or MODES)
        print(json.dumps(report), flush=True)
        reports.append(report)
        rows.append(row)
        image = np.concatenate(rows).repeat(2, 0).repeat(2, 1)
        iio.imwrite(arguments.out / "few_photos.png", (image.clip(0, 1) * 255).round().astype(np.uint8))
    print(json.dumps({"benchmark": "few_photos", "steps": config.optim.steps, "objects": reports}, indent=2))


if __name__ == "__main__":
    main()

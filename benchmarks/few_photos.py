"""Few photos: what a prior or an image encoder adds to them, on photos that none of them was shown.

    python -m benchmarks.few_photos --photos 4 --out out/few_photos

For each prop: the field fitted to the photos alone, with the semantic loss (DietNeRF), and with the prior
that is told the prop's name; PSNR and SSIM on 12 other photos. Prints JSON and draws few_photos.png: of each
prop (four of) the photos; of those held out, the one that the first of the three shows worst, as each of the
three shows it; and the truth.
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
from dreamfusion3d.training.novel_views import DistillationLoss, SemanticConsistencyLoss
from dreamfusion3d.training.photometric import (
    NovelViewLoss,
    estimate_background,
    evaluate_views,
    fit_photos,
    render_with_targets,
)

MODES = ("plain", "semantic", "prior")
HELD = 12
SIZE = 64


def teacher(mode: str, kind: str, photos: Photos, config: Config) -> NovelViewLoss | None:
    if mode == "semantic":
        ground = estimate_background(photos).color
        return SemanticConsistencyLoss.from_photos(
            load_image_encoder("embedded"), photos, config.reconstruction, ground
        )
    if mode == "prior":
        prior = load_prior(config.prior)
        text = encode_prompts(prior, f"a {kind}", config.prompts)
        return DistillationLoss.from_config(prior, text, config, torch.device("cpu"), print)
    return None


def run(kind: str, count: int, seed: int, config: Config, modes: Sequence[str] = MODES) -> tuple[dict, np.ndarray]:
    """Figures by mode, and a row of pictures."""
    generator = torch.Generator().manual_seed(seed)
    meaning = default_spec(kind)
    props = sample_objects_for_spec(meaning, 1, generator=generator)
    taken = render_photos(props, 0, meaning, sample_orbit_cameras(count, generator=generator, size=SIZE))
    held = render_photos(props, 0, meaning, sample_orbit_cameras(HELD, generator=generator, size=SIZE))
    report: dict = {"kind": kind, "photos": count}
    row, worst = [], 0
    for mode in modes:
        field = NerfField(config.field, generator=torch.Generator().manual_seed(seed))
        begun = time.perf_counter()
        steps = fit_photos(
            field,
            taken,
            config,
            generator=torch.Generator().manual_seed(seed + 1),
            novel_view_loss=teacher(mode, kind, taken, config),
        )
        for _ in steps:
            pass
        lot = torch.Generator().manual_seed(seed + 2)
        found = evaluate_views(field, held, config, generator=lot)
        psnr, ssim = found.means
        if mode == modes[0]:
            worst = found.psnr.index(min(found.psnr))
        seconds = time.perf_counter() - begun
        report[mode] = {"psnr": round(psnr, 2), "ssim": round(ssim, 4), "seconds": round(seconds, 1)}
        seen, truth = render_with_targets(
            field, held.select([worst]), occupied_cells(field, config, lot), estimate_background(held), config, lot
        )
        row.append(seen[0])
    rgba = taken.rgba[:4].float() / 255
    given = list(rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:])
    return report, torch.cat([*given, *row, truth[0]], 1).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", action="append", help="may be repeated")
    parser.add_argument("--mode", action="append", choices=MODES, help="may be repeated; all")
    parser.add_argument("--photos", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--out", type=Path, default=Path("out/few_photos"))
    arguments = parser.parse_args()
    config = resolve_config("draft", sets=arguments.sets, quality_presets=RECONSTRUCTION_QUALITY_PRESETS)
    arguments.out.mkdir(parents=True, exist_ok=True)
    reports, rows = [], []
    for kind in arguments.kind or ("pitcher", "chair", "mushroom"):
        report, row = run(kind, arguments.photos, arguments.seed, config, arguments.mode or MODES)
        print(json.dumps(report), flush=True)
        reports.append(report)
        rows.append(row)
        picture = np.concatenate(rows).repeat(2, 0).repeat(2, 1)
        iio.imwrite(arguments.out / "few_photos.png", (picture.clip(0, 1) * 255).round().astype(np.uint8))
    print(json.dumps({"benchmark": "few_photos", "steps": config.optim.steps, "props": reports}, indent=2))


if __name__ == "__main__":
    main()

"""A folder of pictures with captions and without cameras, as ``train-prior --pictures-from`` takes it.

    python -m benchmarks.view_pictures --out out/pictures
    dreamfusion3d train-prior out/untold --pictures-from out/pictures --minutes 25

Props whose sides differ, as the web has pictures of things: half of them from the front, more or less,
with a caption that names the thing alone ("a chair"); half from all around, with one that also names
the side ("a chair, back view"). What is learned from them is asked in ``benchmarks.view_prompts``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch

from dreamfusion3d.cameras.orbit import ORBIT_ELEVATION_DEG, orbit_cameras
from dreamfusion3d.priors.view_prompts import OVERHEAD_DEG
from dreamfusion3d.procedural.objects import ObjectBatch, ObjectSpec, default_spec, sample_objects_for_spec
from dreamfusion3d.procedural.renderer import render_objects

KINDS = ("duck", "chair", "bed")
SIZE = 96  # pixels; the training crops and shrinks to 64
FRONTAL_DEG = 30.0  # deviation of the azimuths of pictures whose captions name no side
FRONTAL_ELEVATION_DEG = (0.0, 35.0)


def side_of(azimuth_deg: float, elevation_deg: float) -> str:
    """The one of the four words that a camera's picture is captioned with."""
    if elevation_deg > sum(OVERHEAD_DEG) / 2:
        return "overhead"
    from_front = abs((azimuth_deg + 180) % 360 - 180)
    return "front" if from_front < 45 else "back" if from_front > 135 else "side"


def cameras_deg(count: int, named: bool, generator: torch.Generator) -> list[tuple[float, float]]:
    """(azimuth, elevation) of ``count`` pictures."""
    lot = torch.rand(2, count, generator=generator)
    if named:
        # uniform on the sphere's band, as a run's cameras are
        low, high = np.sin(np.radians(ORBIT_ELEVATION_DEG))
        elevation = torch.rad2deg(torch.asin(low + (high - low) * lot[1]))
        return list(zip((360 * lot[0]).tolist(), elevation.tolist(), strict=True))
    low, high = FRONTAL_ELEVATION_DEG
    azimuth = FRONTAL_DEG * torch.randn(count, generator=generator)
    return list(zip(azimuth.tolist(), (low + (high - low) * lot[1]).tolist(), strict=True))


def picture_of(meaning: ObjectSpec, prop: ObjectBatch, azimuth_deg: float, elevation_deg: float) -> np.ndarray:
    """Straight RGBA, uint8."""
    camera = orbit_cameras([azimuth_deg], elevation_deg, height=SIZE, width=SIZE)
    planes = render_objects(prop, camera, meaning.material)
    rgb = planes.colorize(torch.tensor([meaning.part_colors()]))[0] / planes.opacity[0, ..., None].clamp(min=1e-3)
    rgba = torch.cat([rgb.clamp(0, 1), planes.opacity[0, ..., None]], -1)
    return (rgba * 255).round().to(torch.uint8).numpy()


def make_folder(out: Path, kinds: list[str], each: int, count: int, *, seed: int) -> dict[str, int]:
    """``each`` pictures a kind with sides named, and as many without, of ``count`` instances; how many
    captions name what."""
    generator = torch.Generator().manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    lines, counts = [], dict.fromkeys(("bare", "front", "side", "back", "overhead"), 0)
    for kind in kinds:
        meaning = default_spec(kind)
        props = sample_objects_for_spec(meaning, count, generator=generator)
        for named in (True, False):
            for i, camera in enumerate(cameras_deg(each, named, generator)):
                side = side_of(*camera)
                counts[side if named else "bare"] += 1
                name = f"{kind}_{'named' if named else 'bare'}_{i:04}.png"
                iio.imwrite(out / name, picture_of(meaning, props[[i % count]], *camera))
                text = f"a {kind}, {side} view" if named else f"a {kind}"
                lines.append(json.dumps({"file_name": name, "text": text}))
    (out / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", action="append", help=f"may be repeated; {', '.join(KINDS)} by default")
    parser.add_argument("--each", type=int, default=60, help="pictures a kind, of either sort of caption")
    parser.add_argument("--instances", type=int, default=1, help="different things of a kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/pictures"))
    arguments = parser.parse_args()
    kinds = arguments.kind or list(KINDS)
    counts = make_folder(arguments.out, kinds, arguments.each, arguments.instances, seed=arguments.seed)
    print(json.dumps({"benchmark": "view_pictures", "kinds": kinds, "captions": counts}, indent=2))


if __name__ == "__main__":
    main()

"""A folder of images with captions and without cameras, as ``train-prior`` takes it."""

from __future__ import annotations

import json
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch

from dreamfusion3d.cameras.orbit import ORBIT_ELEVATION_DEG, orbit_cameras
from dreamfusion3d.priors.view_prompts import OVERHEAD_DEG
from dreamfusion3d.procedural.objects import ObjectBatch, ObjectSpec, default_spec, sample_objects_for_spec
from dreamfusion3d.procedural.renderer import render_objects

SIZE = 96  # pixels; the training crops and shrinks to 64
FRONTAL_DEG = 30.0  # deviation of the azimuths of pictures whose captions name no side
FRONTAL_ELEVATION_DEG = (0.0, 35.0)


def named_side(azimuth_deg: float, elevation_deg: float) -> str:
    """Return the side that the caption of a camera's image names."""
    if elevation_deg > sum(OVERHEAD_DEG) / 2:
        return "overhead"
    from_front = abs((azimuth_deg + 180) % 360 - 180)
    return "front" if from_front < 45 else "back" if from_front > 135 else "side"


def sample_cameras_deg(count: int, named: bool, generator: torch.Generator) -> list[tuple[float, float]]:
    """Return (azimuth, elevation) of ``count`` images."""
    random = torch.rand(2, count, generator=generator)
    if named:
        # uniform on the sphere's band, as a run's cameras are
        low, high = np.sin(np.radians(ORBIT_ELEVATION_DEG))
        elevation = torch.rad2deg(torch.asin(low + (high - low) * random[1]))
        return list(zip((360 * random[0]).tolist(), elevation.tolist(), strict=True))
    low, high = FRONTAL_ELEVATION_DEG
    azimuth = FRONTAL_DEG * torch.randn(count, generator=generator)
    return list(zip(azimuth.tolist(), (low + (high - low) * random[1]).tolist(), strict=True))


def render_rgba(spec: ObjectSpec, object_batch: ObjectBatch, azimuth_deg: float, elevation_deg: float) -> np.ndarray:
    """Straight RGBA, uint8."""
    camera = orbit_cameras([azimuth_deg], elevation_deg, height=SIZE, width=SIZE)
    layers = render_objects(object_batch, camera, spec.material)
    rgb = layers.colorize(torch.tensor([spec.part_colors()]))[0] / layers.opacity[0, ..., None].clamp(min=1e-3)
    rgba = torch.cat([rgb.clamp(0, 1), layers.opacity[0, ..., None]], -1)
    return (rgba * 255).round().to(torch.uint8).numpy()


def write_captioned_images(out: Path, categories: list[str], each: int, count: int, *, seed: int) -> dict[str, int]:
    """Write ``each`` images per category whose captions name the side, and as many without, of ``count`` instances.

    Returns the number of captions by the side that they name.
    """
    generator = torch.Generator().manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    lines, counts = [], dict.fromkeys(("bare", "front", "side", "back", "overhead"), 0)
    for category in categories:
        spec = default_spec(category)
        objects = sample_objects_for_spec(spec, count, generator=generator)
        for named in (True, False):
            for i, camera in enumerate(sample_cameras_deg(each, named, generator)):
                side = named_side(*camera)
                counts[side if named else "bare"] += 1
                name = f"{category}_{'named' if named else 'bare'}_{i:04}.png"
                iio.imwrite(out / name, render_rgba(spec, objects[[i % count]], *camera))
                text = f"a {category}, {side} view" if named else f"a {category}"
                lines.append(json.dumps({"file_name": name, "text": text}))
    (out / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return counts
